# The network is gone for a while in mid-run. Four seconds are survived; longer, and it is an error that publishes
# nothing.
# quick: yes
# shellcheck shell=bash source-path=SCRIPTDIR/.. source=lib.sh
. /run/lib.sh

make_sources
backup 0 2025-01
outages=(4)
if [ -z "$QUICK" ]; then outages=(4 8 12 16 24 40); fi
n=1
for seconds in "${outages[@]}"; do
    n=$((n + 1))
    week=2025-0$n
    change_sources "$n" 16
    before=$(objects)
    start_backup run "$week" --no-retention
    await_objects $((before + 4)) run
    net-drop "$seconds"
    give_up run 400
    if ((seconds <= 4)); then finish run 0; else finish run '0|1'; fi
    if ((code == 1)); then
        names_the_store
        figure "outage of $seconds s: exit code 1, $took s in all: ${said#*error: }"
        net-restore
        [[ "$(published)" != *$week* ]] || fail "exit code 1, and $week is published"
        backup 0 "$week" --no-retention
    else
        figure "outage of $seconds s: survived, $took s in all"
    fi
    weekvault 0 verify
    restores "$week"
done

# Reading.
outages=(4)
if [ -z "$QUICK" ]; then outages=(4 16); fi
for seconds in "${outages[@]}"; do
    # Nothing of it in the client's cache.
    echo 3 >/proc/sys/vm/drop_caches
    rm -rf /restored
    start run restore --week 2025-02 --pvc html --target /restored
    until [ -d /restored/data ] || ! running run; do sleep 0.01; done
    net-drop "$seconds"
    give_up run 400
    if ((seconds <= 4)); then finish run 0; else finish run '0|1'; fi
    net-restore
    figure "restore with an outage of $seconds s: exit code $code, $took s in all"
    if ((code == 1)); then weekvault 0 restore --week 2025-02 --pvc html --target /restored; fi
    same "$truth/2025-02/html" /restored
done
