"""The limits that results are held against, all in one place."""

# What `--quick` asserts, on a Roundcube tree.
QUICK = {
    "store_against_tar": 1.05,
    "created": 60,
    "unchanged_operations": 90,
    "unchanged_growth_kb": 200,
    "ten_operations": 110,
    "ten_growth_kb": 250,
    "bytes_an_object": 200,
    "names_mib": 56,
}
