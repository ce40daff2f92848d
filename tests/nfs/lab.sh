#!/usr/bin/env bash
# Runs a command on a real Linux NFSv4 mount whose server, network and disk can be
# made to fail.  Needs root and Debian's packages, and no NFS client in the running kernel: the
# client and the server live in one User Mode Linux kernel, in two network namespaces of that
# kernel joined by a veth pair.  No packet of it reaches the host's network.
set -uo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

# In the guest, besides Debian's essential ones.
PACKAGES="nfs-kernel-server nfs-common iproute2 kmod mount procps rsync acl attr libcap2-bin"
# To be raised when the way the image is built changes.
RECIPE=2
MOUNT_OPTIONS=nfsvers=4,soft,timeo=30,retrans=3,actimeo=5

usage() {
    cat <<'EOF'
usage: tests/nfs/lab.sh prepare [--cache DIR] [--packages "NAME..."]
       tests/nfs/lab.sh run [OPTION...] -- COMMAND [ARG...]
       tests/nfs/lab.sh clean [--cache DIR]

prepare builds the guest's kernel and disk image once; run does it too where it is missing.
run boots the guest, exports a fresh ext4 disk, mounts it on /backup over NFSv4, runs COMMAND as
root and prints what it prints.  Its status is COMMAND's; 124: timed out, 125: the lab failed.

  --server-options OPTS  further export options, sync (default) or async
  --mount-options OPTS   default nfsvers=4,soft,timeo=30,retrans=3,actimeo=5
  --share DIR            this host folder is /share inside, read and write, and COMMAND's folder
  --env NAME=VALUE       sets a variable for COMMAND; may be repeated
  --disk MIB             size of the exported disk (default 1024; sparse)
  --mem MIB              the guest's memory (default 1024)
  --lease SECONDS        the server's NFSv4 lease and grace time (default 10; Linux's own is 90)
  --timeout SECONDS      ends the guest after this long (default 900; 0: never)
  --keep-log FILE        writes the guest's kernel log there
  --packages "NAME..."   further Debian packages in the image (each set has its own image)
  --cache DIR            default target/nfs-lab of this repository
  --verbose              shows the kernel log and the times taken, on stderr

Inside, for COMMAND:
  nfsd-stop             the server stops: connections are reset, then refused
  nfsd-start            and runs again (its clients reclaim their state in the grace time)
  net-drop SECONDS      every packet either way is lost for so long; returns at once; 0: until
  net-restore           ... this
  disk-fill MIB|all     takes so much of the server's free space;  disk-free gives it all back
  server-crash          power cut: the server's unwritten data is lost, the server is down,
                        its disk is mounted again; nfsd-start to go on
  second-client [OPTS]  another client, with its own address and cache, mounts the export on /backup2
                        (OPTS: further mount options)
/srv/disk/export is the exported folder as the server sees it.
EOF
}

die() { echo "nfs-lab: $*" >&2; exit 125; }
say() { [ -z "$verbose" ] || echo "nfs-lab: $*" >&2; }
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="${2:-$(now)}" 'BEGIN { printf "%.1f s", b - a }'; }

# ---------------------------------------------------------------- prepare

need() {  # need PROGRAM PACKAGE
    command -v "$1" >/dev/null && return
    say "installing $2"
    [ "$(id -u)" = 0 ] || die "$1 is missing and only root can install it (apt-get install $2)"
    nice -n "$niceness" apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$2" >"$cache/apt.log" 2>&1 ||
        { nice -n "$niceness" apt-get update >>"$cache/apt.log" 2>&1
          nice -n "$niceness" apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$2" >>"$cache/apt.log" 2>&1; } ||
        { tail -5 "$cache/apt.log" >&2; die "apt-get install $2 failed"; }
}

# The kernel's ptrace, for processors with AMX: see xstate.c.
shim() {
    xstate=$cache/xstate.so
    [ "$xstate" -nt "$here/xstate.c" ] && return
    cc -O2 -shared -fPIC -o "$xstate.$$" "$here/xstate.c" || die "cc cannot make $xstate"
    mv "$xstate.$$" "$xstate"
}

image_key() { printf '%s\n' "$RECIPE" "$PACKAGES $packages" | sha256sum | cut -c1-12; }

prepare() {
    local work root version t0
    mkdir -p "$cache" || die "cannot make $cache"
    shim
    image=$cache/root-$(image_key).ext4
    kernel=$cache/uml/usr/bin/linux.uml
    [ -s "$image" ] && [ -x "$kernel" ] && return
    exec 9>"$cache/lock"
    flock 9
    if [ -s "$image" ] && [ -x "$kernel" ]; then exec 9>&-; return; fi
    [ "$(id -u)" = 0 ] || die "prepare must be run by root"
    t0=$(now)
    work=$(mktemp -d "$cache/build.XXXXXX") || die "cannot write in $cache"
    scratch+=("$work")

    if [ ! -x "$kernel" ]; then
        # Unpacked, not installed: nothing of it is then left on the host outside the cache.
        (cd "$work" && { apt-get download user-mode-linux || { apt-get update && apt-get download user-mode-linux; }; }) \
            >"$cache/apt.log" 2>&1 || { tail -5 "$cache/apt.log" >&2; die "apt-get download user-mode-linux failed"; }
        dpkg-deb -x "$work"/user-mode-linux_*.deb "$work/uml" || die "cannot unpack user-mode-linux"
        rm -rf "$cache/uml"
        mv "$work/uml" "$cache/uml"
    fi
    need mmdebstrap mmdebstrap
    need mke2fs e2fsprogs

    root=$work/root
    say "building the guest's root"
    nice -n "$niceness" mmdebstrap --mode=root --format=directory --variant=essential \
        --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --include="$PACKAGES${packages:+ $packages}" bookworm "$root" >"$cache/mmdebstrap.log" 2>&1 ||
        { tail -20 "$cache/mmdebstrap.log" >&2; die "mmdebstrap failed"; }

    version=$(ls "$cache/uml/usr/lib/uml/modules")
    mkdir -p "$root/lib/modules" "$root"/{share,backup,srv/disk,run,proc,sys,dev,tmp}
    cp -r "$cache/uml/usr/lib/uml/modules/$version" "$root/lib/modules/" || die "cannot copy the modules"
    (cd "$root/lib/modules/$version/kernel" &&
        rm -rf sound drivers/{scsi,target,usb,media} fs/{ocfs2,ceph,afs,cifs,ksmbd,gfs2,ntfs*} \
            net/{ceph,rds,sctp,tipc,batman-adv,bluetooth,can,mac80211,wireless,openvswitch,atm,dccp})
    chroot "$root" depmod "$version" || die "depmod failed"
    printf '127.0.0.1 localhost\n192.0.2.1 server\n192.0.2.2 client\n' >"$root/etc/hosts"
    cat >"$root/sbin/lab-init" <<'EOF'
#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p /run/ctl /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
for w in $(</proc/cmdline); do case $w in lab_ctl=*) ctl=${w#*=} ;; esac; done
mount -t hostfs -o "$ctl" none /run/ctl && exec /bin/bash /run/ctl/init
echo "lab-init: no control folder"
echo o >/proc/sysrq-trigger
sleep 10
EOF
    chmod 755 "$root/sbin/lab-init"
    nice -n "$niceness" mke2fs -q -t ext4 -m 0 -L labroot -d "$root" "$work/image" \
        $(($(du -sm "$root" | cut -f1) + 1024))M || die "mke2fs failed"
    mv "$work/image" "$image"
    rm -rf "$work"
    exec 9>&-
    say "image built in $(since "$t0"): $image"
}

# ---------------------------------------------------------------- what the guest is handed

helpers() {  # into $1
    local h
    cat >"$1/nfsd-stop" <<'EOF'
#!/bin/bash
exec nsenter --net=/proc/1/ns/net rpc.nfsd 0
EOF
    cat >"$1/nfsd-start" <<'EOF'
#!/bin/bash
nsenter --net=/proc/1/ns/net exportfs -ra &&
exec nsenter --net=/proc/1/ns/net rpc.nfsd --no-udp --no-nfs-version 3 8
EOF
    cat >"$1/net-drop" <<'EOF'
#!/bin/bash
[[ ${1-} =~ ^[0-9]+([.][0-9]+)?$ ]] || { echo "usage: net-drop SECONDS" >&2; exit 2; }
echo $$ >/run/net-drop
tc_() { nsenter --net="$1" tc qdisc replace dev "$2" root netem loss 100%; }
tc_ /proc/1/ns/net srv0 && tc_ /run/netns/client cli0 || exit
[ "$1" = 0 ] ||
    setsid bash -c 'sleep "$0"; [ "$(cat /run/net-drop)" = "$1" ] && net-restore' "$1" $$ </dev/null >/dev/null 2>&1 &
EOF
    cat >"$1/net-restore" <<'EOF'
#!/bin/bash
echo >/run/net-drop
nsenter --net=/proc/1/ns/net tc qdisc del dev srv0 root 2>/dev/null
nsenter --net=/run/netns/client tc qdisc del dev cli0 root 2>/dev/null
exit 0
EOF
    cat >"$1/disk-fill" <<'EOF'
#!/bin/bash
[[ ${1-} =~ ^([0-9]+|all)$ ]] || { echo "usage: disk-fill MIB|all" >&2; exit 2; }
sync -f /srv/disk
free=$(stat -f -c '%a*%S/1024' /srv/disk); free=$((free))
want=$free
[ "$1" = all ] || want=$(($1 * 1024 < free ? $1 * 1024 : free))
mkdir -p /srv/disk/ballast
f=$(mktemp /srv/disk/ballast/XXXXXX)
if [ "$want" -lt "$free" ]; then
    fallocate -l "${want}K" "$f" || exit
else  # to the last block: in ever smaller files, as no single one fits its own metadata too
    for k in "$((want * 9 / 10))" 65536 8192 1024 128 16 4; do
        while [ "$k" -gt 0 ] && fallocate -l "${k}K" "$(mktemp /srv/disk/ballast/XXXXXX)" 2>/dev/null; do :; done
    done
fi
sync -f /srv/disk
echo "disk-fill: $(stat -f -c '%a %S' /srv/disk | { read -r a s; echo $((a * s / 1024)); }) KiB free on the server" >&2
EOF
    cat >"$1/disk-free" <<'EOF'
#!/bin/bash
rm -rf /srv/disk/ballast
sync -f /srv/disk
EOF
    cat >"$1/server-crash" <<'EOF'
#!/bin/bash
# The network goes first, so that no client sees the server's last errors; then the file system is
# shut down without writing its journal (EXT4_IOC_SHUTDOWN, NOLOGFLUSH), as a power cut would.
net-drop 0 || exit
perl -e 'open F, "<", "/srv/disk" or die; my $how = pack "L", 2; ioctl F, 0x8004587d, $how or die "shutdown: $!\n"' || { net-restore; exit 1; }
nfsd-stop
nsenter --net=/proc/1/ns/net exportfs -ua
nsenter --net=/proc/1/ns/net exportfs -f
for i in 1 2 3 4 5 6 7 8 9 10; do umount /srv/disk 2>/dev/null && break; sleep 0.5; done
mountpoint -q /srv/disk && { echo "server-crash: the disk is in use" >&2; exit 1; }
mount -t ext4 /dev/ubdb /srv/disk && net-restore
EOF
    # No other client sees what one caches, and the server tells clients apart by their hosts' names.
    cat >"$1/second-client" <<'EOF'
#!/bin/bash
set -e
mkdir -p /backup2
nsenter --net=/proc/1/ns/net bash -c '
    ip netns add client2
    ip link add srv1 type veth peer name cli1 netns client2
    ip addr add 192.0.2.5/30 dev srv1 && ip link set srv1 up
    ip -n client2 addr add 192.0.2.6/30 dev cli1 && ip -n client2 link set cli1 up && ip -n client2 link set lo up'
. /run/ctl/config
exec nsenter --net=/run/netns/client2 unshare --uts \
    bash -c 'hostname nfs-lab-2 && exec mount -t nfs -o "$0" 192.0.2.5:/ /backup2' "$mount_options${1:+,$1}"
EOF
    for h in "$1"/*; do chmod 755 "$h"; done
}

guest_init() {
    cat <<'EOF'
# process 1 of the guest; run from a copy, so that the control folder can be unmounted
[ "$0" = /run/init ] || { cp "$0" /run/init && exec /bin/bash /run/init; }
export PATH=/run/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
ctl=/run/ctl
finish() {
    echo "$1" >$ctl/status
    exec 3>&- 4>&-
    kill -9 -1 2>/dev/null
    cd /
    umount /share 2>/dev/null
    sync -f $ctl
    umount $ctl
    echo o >/proc/sysrq-trigger
    sleep 20
}
fail() { echo "nfs-lab: in the guest: $*" >/dev/ttyS1; finish 125; }

ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
cp -r $ctl/bin /run/bin
. $ctl/config
stty -F /dev/ttyS0 raw -echo
stty -F /dev/ttyS1 raw -echo
exec 3>/dev/ttyS0 4>/dev/ttyS1
hostname nfs-lab
ip link set lo up
modprobe -a nfsd nfsv4 veth sch_netem 2>&4 || fail "modules"
mount -t nfsd nfsd /proc/fs/nfsd || fail "nfsd file system"
mkdir -p /run/rpc_pipefs /run/netns /run/sendsigs.omit.d
mount -t rpc_pipefs rpc_pipefs /run/rpc_pipefs || fail "rpc_pipefs"
mount -t ext4 /dev/ubdb /srv/disk || fail "the exported disk"
mkdir -p /srv/disk/export /share /backup
sync -f /srv/disk   # or server-crash could take the export itself away
echo "/srv/disk/export *(rw,fsid=0,no_root_squash,no_subtree_check,sec=sys,$server_options)" >/etc/exports
ip netns add client || fail "network namespace"
ip link add srv0 type veth peer name cli0 netns client || fail "veth"
ip addr add 192.0.2.1/30 dev srv0 && ip link set srv0 up || fail "srv0"
ip -n client addr add 192.0.2.2/30 dev cli0 && ip -n client link set cli0 up && ip -n client link set lo up || fail "cli0"
echo "$lease" >/proc/fs/nfsd/nfsv4leasetime
echo "$lease" >/proc/fs/nfsd/nfsv4gracetime
nfsdcld 2>&4 || fail "nfsdcld"
rpc.mountd --no-nfs-version 2 --no-nfs-version 3 2>&4 || fail "rpc.mountd"
nfsd-start 2>&4 || fail "rpc.nfsd"
nsenter --net=/run/netns/client mount -t nfs -o "$mount_options" 192.0.2.1:/ /backup 2>&4 || fail "the NFS mount"
work=/root
if [ -s $ctl/share ]; then
    mount -t hostfs -o "$(<$ctl/share)" none /share 2>&4 || fail "the shared folder"
    work=/share
fi
mapfile -d '' -t argv <$ctl/argv
vars=()
[ ! -s $ctl/env ] || mapfile -d '' -t vars <$ctl/env
mkfifo /run/out /run/err
cat /run/out >&3 & out=$!
cat /run/err >&4 & err=$!
date +%s.%N >$ctl/started
(cd $work && exec 3>&- 4>&- && exec nsenter --net=/run/netns/client env "${vars[@]}" "${argv[@]}") \
    </dev/null >/run/out 2>/run/err
status=$?
date +%s.%N >$ctl/ended
# What it left running may hold the pipes open: that is waited for a little while only.
(sleep 3; kill $out $err) 2>/dev/null & guard=$!
wait $out $err
kill $guard 2>/dev/null
stty -F /dev/ttyS0 drain raw   # waits until the line is written out
stty -F /dev/ttyS1 drain raw
finish $status
EOF
}

# ---------------------------------------------------------------- run

run() {
    local dir t0 status pid outs errs ended p n
    [ ${#command[@]} -gt 0 ] || { usage >&2; exit 125; }
    if [ -n "$share" ]; then
        if ! share=$(realpath -e -- "$share") || [ ! -d "$share" ]; then die "no folder to share"; fi
        case $share in *[,\"\\]* | *$'\n'*) die "--share: no comma, quote or backslash in its path, please: $share" ;; esac
    fi
    prepare
    t0=$(now)
    for p in "$cache"/run.*; do  # what a killed run left
        n=${p##*/run.} && n=${n%%.*} && [ -d "$p" ] && ! kill -0 "$n" 2>/dev/null && rm -rf -- "$p"
    done
    dir=$(mktemp -d "$cache/run.$$.XXXXXX") || die "cannot write in $cache"
    case $dir in *[[:space:],]*) die "the cache folder's path must have no blank or comma: $cache" ;; esac
    scratch+=("$dir")
    mkdir -p "$dir/ctl/bin"
    helpers "$dir/ctl/bin"
    guest_init >"$dir/ctl/init"
    printf '%q=%q\n' server_options "$server_options" mount_options "$mount_options" lease "$lease" >"$dir/ctl/config"
    printf '%s' "$share" >"$dir/ctl/share"
    printf '%s\0' "${command[@]}" >"$dir/ctl/argv"
    [ ${#env[@]} = 0 ] || printf '%s\0' "${env[@]}" >"$dir/ctl/env"
    truncate -s "${disk}M" "$dir/disk" || die "cannot make $dir/disk"
    mke2fs -q -t ext4 -m 0 -E lazy_itable_init=1,lazy_journal_init=1 "$dir/disk" || die "mke2fs failed"

    exec 5>"$dir/kernel.log"
    [ -z "$verbose" ] || exec 5> >(tee "$dir/kernel.log" >&2)
    # --pdeathsig: the guest does not outlive this script even where that is killed outright.
    # Through pipes, never a terminal or a file: the guest's lines set modes and use epoll.
    exec 6> >(cat); outs=$!
    exec 7> >(cat >&2); errs=$!
    setsid setpriv --pdeathsig TERM timeout -k 5 "$timeout" nice -n "$niceness" env LD_PRELOAD="$xstate" "$kernel" \
        mem="${mem}M" root=/dev/ubda rw init=/sbin/lab-init lab_ctl="$dir/ctl" \
        ubd0="$dir/cow,$image" ubd1="$dir/disk" umid=lab uml_dir="$dir" selinux=0 quiet loglevel=4 \
        con=null con0=null,fd:1 ssl=null ssl0=null,fd:6 ssl1=null,fd:7 </dev/null >&5 2>&5 &
    pid=$!
    guests+=("$pid")
    exec 5>&- 6>&- 7>&-
    wait "$pid"
    ended=$?
    guests=()
    wait "$outs" "$errs"   # all of COMMAND's output is out
    [ -z "$keep_log" ] || cp "$dir/kernel.log" "$keep_log"
    status=$(cat "$dir/ctl/status" 2>/dev/null)
    if [ -s "$dir/ctl/started" ]; then
        say "boot to command: $(since "$t0" "$(cat "$dir/ctl/started")")"
        [ -s "$dir/ctl/ended" ] && say "command: $(since "$(cat "$dir/ctl/started")" "$(cat "$dir/ctl/ended")")"
        say "all: $(since "$t0")"
    fi
    if [ -z "$status" ] && { [ "$ended" = 124 ] || [ "$ended" = 137 ]; }; then
        echo "nfs-lab: timed out after $timeout s" >&2
        status=124
    elif [ -z "$status" ]; then
        echo "nfs-lab: the guest ended without a status; the end of its kernel log:" >&2
        tail -30 "$dir/kernel.log" >&2
        status=125
    fi
    exit "$status"
}

stop_guest() {  # only the session that this script started: its leader and the processes it traces
    kill -TERM "$1" 2>/dev/null || return 0
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        sleep 0.3
        kill -0 "$1" 2>/dev/null || break
    done
    kill -KILL -- "-$1" 2>/dev/null
    return 0
}

cleanup() {
    local p
    for p in ${guests[@]+"${guests[@]}"}; do stop_guest "$p"; done
    [ ${#scratch[@]} = 0 ] || rm -rf -- "${scratch[@]}"
}

scratch=() guests=() command=() env=()
here=$(realpath -- "$(dirname "${BASH_SOURCE[0]}")")
cache=${WEEKVAULT_NFS_LAB:-$here/../../target/nfs-lab}
niceness=10
server_options=sync mount_options=$MOUNT_OPTIONS share='' disk=1024 mem=1024 lease=10 timeout=900
keep_log='' packages='' verbose=''
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

action=${1-}
[ $# = 0 ] || shift
while [ $# -gt 0 ]; do
    case $1 in
    --verbose) verbose=1; shift; continue ;;
    --) shift; command=("$@"); break ;;
    -h | --help) usage; exit 0 ;;
    esac
    [ $# -ge 2 ] || { usage >&2; exit 125; }
    case $1 in
    --server-options) server_options=$2 ;;
    --mount-options) mount_options=$2 ;;
    --share) share=$2 ;;
    --env) env+=("$2") ;;
    --disk) disk=$2 ;;
    --mem) mem=$2 ;;
    --lease) lease=$2 ;;
    --timeout) timeout=$2 ;;
    --keep-log) keep_log=$2 ;;
    --packages) packages=$2 ;;
    --cache) cache=$2 ;;
    *) echo "nfs-lab: unknown option $1" >&2; usage >&2; exit 125 ;;
    esac
    shift 2
done
for n in "$disk" "$mem" "$lease" "$timeout"; do
    [[ $n =~ ^[0-9]+$ ]] || die "not a whole number: $n"
done
if ! mkdir -p "$cache" || ! cache=$(realpath -e -- "$cache"); then die "cannot make $cache"; fi

case $action in
prepare) prepare; echo "$image" ;;
run) run ;;
clean) rm -rf -- "$cache"/root-*.ext4 "$cache"/uml "$cache"/build.* "$cache"/*.log "$cache"/*.so "$cache"/lock ;;
-h | --help | help) usage ;;
*) usage >&2; exit 125 ;;
esac
