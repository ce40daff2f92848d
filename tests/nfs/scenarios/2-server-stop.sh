# The server stops in mid-run: a clear error, nothing published, and the next run after it is back works.
# quick: yes
# shellcheck shell=bash source-path=SCRIPTDIR/.. source=lib.sh
. /run/lib.sh

make_sources
backup 0 2025-01
# A run has a manifest of each week open, and closing a file asks the server.
older=()
if [ -z "$QUICK" ]; then older=(2024-4{0..4}); fi
for week in "${older[@]}"; do backup 0 "$week"; done
change_sources 2 16
# An aborted run's objects are found by the next, so these add up to less than a run has.
moments=(6)
if [ -z "$QUICK" ]; then moments=(0 4 5); fi
for more in "${moments[@]}"; do
    before=$(objects)
    start_backup run 2025-02
    await_objects $((before + more)) run
    nfsd-stop
    tick
    stopped=$now
    give_up run 120
    finish run 1
    took_since "$stopped"
    names_the_store
    is_published "${older[@]}" 2025-01
    figure "stopped with $more objects stored: exit code 1 after $took s: ${said#*error: }"

    if [ -z "$QUICK" ]; then
        tick
        stopped=$now
        start run list
        give_up run 120
        finish run 1
        names_the_store
        took_since "$stopped"
        figure "list while it is down: exit code 1 after $took s"
    fi
    nfsd-start
    # Nothing that was published is hurt, and what the run left is no damage.
    weekvault 0 verify
    figure "verify after the server is back: ${said%%$'\n'*}"
done
backup 0 2025-02
is_published "${older[@]}" 2025-01 2025-02
weekvault 0 verify
restores 2025-01 2025-02
figure "the next run: exit code 0, both weeks restore"

# Down for five seconds in mid-run.
if [ -n "$QUICK" ]; then exit; fi
change_sources 3 16
before=$(objects)
start_backup run 2025-03
await_objects $((before + 4)) run
nfsd-stop
sleep 5
nfsd-start
finish run 0
is_published "${older[@]}" 2025-01 2025-02 2025-03
weekvault 0 verify
restores 2025-03
figure "down for 5 s in mid-run: exit code 0"
