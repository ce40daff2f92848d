# Weeks are backed up, listed, verified, restored, retired.
# quick: yes
# shellcheck shell=bash source-path=SCRIPTDIR/.. source=lib.sh
. /run/lib.sh

keep=2 weeks=4
if [ -n "$QUICK" ]; then weeks=3; fi
make_sources
for n in $(seq "$weeks"); do
    if ((n > 1)); then change_sources "$n"; fi
    backup 0 "2025-0$n" --keep $keep
    says '=== Backup IO Stats ==='
    figure "backup of 2025-0$n: $took s, $(grep '^written' "$out")"
done
kept=("2025-0$((weeks - 1))" "2025-0$weeks")
is_published "${kept[@]}"
weekvault 0 list
[ "$(grep -c ' complete' "$out")" = $((2 * keep)) ] || fail "list shows other weeks than the $keep newest"
[ "$(find "$server/trash" -name '*.manifest' | wc -l)" = $((2 * (weeks - keep))) ] || fail "retired manifests are not in the trash"
[ "$(find "$server/trash" -name '*.zst' | wc -l)" -gt 0 ] || fail "no object was retired"
[ "$(find "$server/tmp" -type f | wc -l)" = 0 ] || fail "something was left in tmp/"

weekvault 0 verify
figure "verify: $took s: ${said%%$'\n'*}"
restores "${kept[@]}"
figure "two weeks restored and compared by rsync -aHAXn --delete --checksum: no difference"
weekvault 1 restore --week 2025-01 --pvc html --target /restored
says 'no manifest for week 2025-01; it has: '

# In place: the live tree becomes an older week.
weekvault 0 restore --week "${kept[0]}" --pvc html --delete
same "$truth/${kept[0]}/html" "$source_html"
figure "restore in place: $took s: ${said%%$'\n'*}"
weekvault 0 materialize --week "${kept[1]}" --pvc enigma /materialized
same "$truth/${kept[1]}/enigma" /materialized

weekvault 0 gc
weekvault 0 verify --quick
figure "verify --quick: $took s: ${said%%$'\n'*}"
