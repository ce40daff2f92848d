# The server crashes or restarts while something is read, or its files are others than before: an error that names the
# file, or success; never other content.
# shellcheck shell=bash source-path=SCRIPTDIR/.. source=lib.sh
. /run/lib.sh

# Whatever of the tree is there has the right content.
right_so_far() {
    local wrong
    # With --existing nothing is asked of files that are not there yet; unfinished ones have names of their own.
    wrong=$(rsync -rlDnc --existing --itemize-changes "$truth/2025-01/html/" "$1/" | grep '^[<>ch]f' || true)
    [ -z "$wrong" ] || fail "wrong content: $wrong"
}
crash() { server-crash && nfsd-start; }
restart() { nfsd-stop && nfsd-start; }
# All files are other inodes than before, with the same content.
replace() {
    cp -a "$server/objects" "$server/../objects.new"
    mv "$server/objects" "$server/../objects.old"
    mv "$server/../objects.new" "$server/objects"
    rm -rf "$server/../objects.old"
}

make_sources
backup 0 2025-01
sync -f /srv/disk
for fault in crash restart replace; do
    for delay in 0.1 0.5 1; do
        echo 3 >/proc/sys/vm/drop_caches
        rm -rf /restored
        start run restore --week 2025-01 --pvc html --target /restored
        sleep $delay
        $fault
        finish run '0|1'
        if ((code == 0)); then same "$truth/2025-01/html" /restored; else names_the_store; fi
        if [ -d /restored ]; then right_so_far /restored; fi
        figure "$fault after $delay s of a restore: exit code $code, $took s"
        weekvault 0 restore --week 2025-01 --pvc html --target /restored --delete
        same "$truth/2025-01/html" /restored

        echo 3 >/proc/sys/vm/drop_caches
        start run verify
        sleep $delay
        $fault
        finish run '0|1|4'
        ((code == 0)) || says '(/backup|object [0-9a-f]{64})'
        figure "$fault after $delay s of a verify: exit code $code, $took s${said:+: ${said%%$'\n'*}}"
        weekvault 0 verify
    done
done
