# Runs beside each other, on one mount and on two clients with caches of their own, with and without common locks.
# shellcheck shell=bash source-path=SCRIPTDIR/.. source=lib.sh
. /run/lib.sh

make_sources
# Two first runs of the same content.
start a backup --week 2025-01 --source html=$source_html
start b backup --week 2025-01 --source enigma=$source_enigma --source copy=$source_html
finish a 0
finish b 0
weekvault 0 verify
rm -rf /restored
weekvault 0 restore --week 2025-01 --pvc copy --target /restored
same "$truth/2025-01/html" /restored
restores 2025-01
figure "two first runs at once on one mount: exit codes 0, all restores"

second-client local_lock=all
# Two clients, the same sources and the same week.
change_sources 2 8
start_backup a 2025-02
start_backup b 2025-02 --store /backup2
finish a 0
finish b 0
weekvault 0 verify
weekvault 0 --store /backup2 verify
restores 2025-02
figure "two clients, the same pvcs and the same week at once: exit codes 0, both see it whole"

# A second client, whose locks are its own, retires the only week that has what the first one's backup needs, again and
# again, while that backup runs.
mkdir /aside
rounds=4 all=0
for n in $(seq 3 $((2 + rounds))); do
    mv $source_html/data/new-* /aside/
    change_sources "$n" 6
    mv $source_html/data/new-"$n" /aside/
    keep_truth "$n"
    backup 0 "2025-0$n" --no-retention
    # The next week has it all again.
    mv /aside/* $source_html/data/
    week=2025-0$n
    mkdir -p $truth/again
    rsync -aHAX --delete $source_html/ $truth/again/
    start a backup --week 2025-2"$n" --source html=$source_html --no-retention
    collections=0 retired=0
    while running a; do
        start b --store /backup2 retain --keep 1
        finish b 0
        # NFSv4 has the locks of all clients, whatever the mount's options say: without the file that it is held on, the
        # backup's keeps nobody out, but for a client that still remembers the file.
        rm -f "$server/lock"
        start b --store /backup2 gc
        finish b '0|1'
        if ((code == 1)); then
            says 'another run is at work'
            continue
        fi
        collections=$((collections + 1)) all=$((all + 1))
        retired=$((retired + $(find "$server/trash" -name '*.zst' | wc -l)))
    done
    finish a 0
    weekvault 0 verify
    weekvault 0 --store /backup2 verify
    rm -rf /restored
    weekvault 0 restore --week 2025-2"$n" --pvc html --target /restored
    same "$truth/again" /restored
    figure "a backup and $collections collections on another client without common locks: verify finds nothing ($retired objects in the trash)"
done

((all > 0)) || fail "each collection was kept out by the backup's lock"

# A collection sees the lock of a run on the same mount.
change_sources 8 16
before=$(objects)
start_backup a 2025-30 --no-retention
await_objects $((before + 4)) a
start b gc
finish b '0|1'
running a || fail "the run was over already"
collected=$code
figure "gc beside a backup on the same mount: exit code $code: ${said//$'\n'/ }"
finish a 0
weekvault 0 verify
((collected == 1)) || fail "gc did not see the lock of a backup on the same mount"
