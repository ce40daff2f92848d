# Killed outright in mid-run; and names that NFS gives to files that are deleted while open.
# shellcheck shell=bash source-path=SCRIPTDIR/.. source=lib.sh
. /run/lib.sh

make_sources
backup 0 2025-01
change_sources 2 16
for more in 0 1 3 6 10 14; do
    before=$(objects)
    start_backup run 2025-02
    # What earlier rounds left is found, not stored again.
    until (($(objects) >= before + more)) || ! running run; do sleep 0.01; done
    kill -9 "${pids[run]}" 2>/dev/null || true
    finish run '0|137'
    figure "killed at $(objects) objects (exit code $code): published $(published)"
    if ((code == 137)) && [[ "$(published)" != *2025-02/html* ]]; then is_published 2025-01; fi
    weekvault 0 verify
    # Its lock died with it.
    weekvault 0 gc
done
backup 0 2025-02
is_published 2025-01 2025-02
weekvault 0 verify
restores 2025-01 2025-02

# Deleted while open: .nfs* files in every folder of the store.
for folder in . tmp objects/0 2025-01; do
    echo gone >"/backup/$folder/open"
    # shellcheck disable=SC2034 # open is all that it is for
    exec {held}<"/backup/$folder/open"
    rm "/backup/$folder/open"
done
found=$(find "$server" -name '.nfs*' | wc -l)
((found == 4)) || fail "$found .nfs* files where there should be 4"
weekvault 0 list
weekvault 0 verify
change_sources 3
backup 0 2025-03 --keep 1
is_published 2025-03
weekvault 0 gc
weekvault 0 verify
restores 2025-03
figure "with $found .nfs* files in the store: list, verify, backup, retention and gc work as ever"
