# Counts the NFS operations of each command.
# shellcheck shell=bash source-path=SCRIPTDIR/.. source=lib.sh
. /run/lib.sh

# Operations on the mount so far, by kind: the lines "OPEN: 12 ..." of its statistics.
declare -A before counts
read_counts() {
    local name rest here=''
    counts=()
    while read -r name rest; do
        case $name in
        device) [[ $rest == *' on /backup '* ]] && here=1 || here='' ;;
        *:) if [ -n "$here" ] && [[ $name =~ ^[A-Z_]+:$ ]]; then counts[${name%:}]=${rest%% *}; fi ;;
        esac
    done </proc/self/mountstats
}
# counted NAME FUNCTION ARGUMENT...: leaves the sum in $sum.
counted() {
    local name=$1 kind most=''
    shift
    # As a CronJob's pod finds it: nothing in the client's cache.
    echo 3 >/proc/sys/vm/drop_caches
    sleep 6
    read_counts
    before=()
    for kind in "${!counts[@]}"; do before[$kind]=${counts[$kind]}; done
    "$@"
    read_counts
    sum=0
    for kind in "${!counts[@]}"; do
        counts[$kind]=$((counts[$kind] - ${before[$kind]:-0}))
        sum=$((sum + counts[$kind]))
    done
    most=$(for kind in "${!counts[@]}"; do echo "${counts[$kind]} $kind"; done | sort -rn | sed -n '/^0/!s/^\([0-9]*\) \(.*\)/\2 \1/p' | tr '\n' ',' | sed 's/,$//; s/,/, /g')
    figure "$name: $sum operations: $most"
}

make_sources
files=$(find /src -type f | wc -l)
counted "first backup ($files files)" backup 0 2025-01
first=$sum
# What the guest's files hash to decides over how many folders the objects lie, and each costs its listing.
folders() { find /backup/objects -mindepth 1 -type d | wc -l; }
folders=$(folders)
figure "  $(objects) objects in $folders folders"
counted "unchanged backup" backup 0 2025-02
((counts[WRITE] <= 12)) || fail "an unchanged backup writes ${counts[WRITE]} times"
((sum <= 65 + 5 * folders)) || fail "an unchanged backup needs $sum operations"
((sum * 2 < first)) || fail "an unchanged backup needs $sum operations, a first one $first"
change_sources 3
counted "backup of a week's changes" backup 0 2025-03
counted "list" weekvault 0 list
counted "verify --quick" weekvault 0 verify --quick
((counts[READ] <= 60)) || fail "verify --quick reads ${counts[READ]} times"
counted "verify" weekvault 0 verify
counted "restore of html" weekvault 0 restore --week 2025-03 --pvc html --target /restored
same "$truth/2025-03/html" /restored
counted "restore that finds all in place" weekvault 0 restore --week 2025-03 --pvc html --target /restored
counted "gc" weekvault 0 gc
folders=$(folders)
figure "  $(objects) objects in $folders folders"
((sum <= 58 + 3 * folders)) || fail "a gc needs $sum operations"
