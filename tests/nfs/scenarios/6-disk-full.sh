# The server's disk is full: a clear error, older weeks stay whole and restorable, and the next run after there is space
# again works.
# lab: --disk 192
# shellcheck shell=bash source-path=SCRIPTDIR/.. source=lib.sh
. /run/lib.sh

make_sources
backup 0 2025-01
change_sources 2 16
for when in before 4; do
    before=$(objects)
    if [ "$when" = before ]; then
        disk-fill all
        start_backup run 2025-02
    else
        start_backup run 2025-02
        await_objects $((before + when)) run
        disk-fill all
    fi
    finish run 1
    says 'No space left|full'
    names_the_store
    is_published 2025-01
    figure "full, ${when/#[0-9]*/after $when objects of the run}: exit code 1 after $took s: ${said#*error: }"
    weekvault 0 verify
    restores 2025-01
    weekvault 0 list
    figure "while it is full: verify finds nothing, the older week restores"
    [ "$(find "$server/tmp" -type f | wc -l)" = 0 ] || fail "something was left in tmp/"
    disk-free
done
backup 0 2025-02
weekvault 0 verify
restores 2025-01 2025-02
figure "with space again: exit code 0, both weeks restore"

# A collection has to make folders in the trash, for which there is no space.
change_sources 3 4
backup 0 2025-03 --no-retention
disk-fill all
weekvault '0|1' retain --keep 1
figure "retain while it is full: exit code $code: ${said##*$'\n'}"
weekvault '0|1' gc
figure "gc while it is full: exit code $code: ${said##*$'\n'}"
weekvault 0 verify
restores 2025-03
disk-free
weekvault 0 retain --keep 1
weekvault 0 gc
is_published 2025-03
weekvault 0 verify
restores 2025-03
