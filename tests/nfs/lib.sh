# What the scenarios share; they source it in the guest, as root, beside the program.
#
# A scenario's stdout is its figures, a line each; its stderr is a log that is shown when it fails.
# shellcheck shell=bash
set -euo pipefail
export LC_ALL=C TZ=UTC WEEKVAULT_STORE=/backup WEEKVAULT_CACHE_DIR=/var/tmp/cache
# The store as the server sees it, past all that the client caches.
server=/srv/disk/export
source_html=/src/html source_enigma=/src/enigma
truth=/truth
work=/run/work
mkdir -p "$work" "$truth" "$source_html" "$source_enigma"
exec 3>&1 >&2

figure() { printf '%s\n' "$*" >&3; }
# Starting a process costs some 50 ms in the guest: the shell does itself what it can.
log() { printf '%(%T)T.%s %s\n' -1 "${EPOCHREALTIME: -6:3}" "$*"; }
fail() {
    log "FAILED: $*"
    figure "FAILED: $*"
    exit 1
}
trap 'fail "line $LINENO: $BASH_COMMAND"' ERR
set -E

# Tells milliseconds in $now.
tick() { now=$((${EPOCHREALTIME/./} / 1000)); }
# Seconds since $1 in $took.
took_since() {
    tick
    took=$(((now - $1) / 1000)).$(((now - $1) % 1000 / 100))
}

# ---- the program

declare -A pids begun commands
now=0 took=0 out=/dev/null err=/dev/null said='' code=0

# start SLOT ARGUMENT...: runs the program in the background.
start() {
    local slot=$1
    shift
    log "[$slot] weekvault $*"
    tick
    begun[$slot]=$now
    /run/weekvault "$@" >"$work/$slot.out" 2>"$work/$slot.err" &
    pids[$slot]=$!
    commands[$slot]="weekvault $*"
}
running() { kill -0 "${pids[$1]}" 2>/dev/null; }

# give_up SLOT SECONDS: whoever waits for longer than this waits for nothing.
give_up() {
    local pid=${pids[$1]}
    (
        trap - ERR
        sleep "$2"
        kill -9 "$pid"
    ) 2>/dev/null &
}

# finish SLOT CODES: waits for it, and fails unless its exit code is one of CODES, as in '1|4'.
# Leaves $code, the seconds it $took, and what it $said; its $out and $err are files.
finish() {
    local slot=$1
    out=$work/$slot.out err=$work/$slot.err code=0
    wait "${pids[$slot]}" || code=$?
    took_since "${begun[$slot]}"
    said=$(<"$out")$'\n'$(<"$err")
    log "[$slot] exit code $code after $took s"
    printf '    %s\n' "${said//$'\n'/$'\n'    }"
    [[ $code =~ ^($2)$ ]] || fail "exit code $code where $2 is right: ${commands[$slot]}: ${said##*$'\n'}"
    [[ $said != *panicked* ]] || fail "a panic: ${commands[$slot]}"
}

# weekvault CODES ARGUMENT...: runs it to its end.
weekvault() {
    local codes=$1
    shift
    start main "$@"
    finish main "$codes"
}

# backup CODES WEEK ARGUMENT...: of both sources.
backup() {
    local codes=$1 week=$2
    shift 2
    weekvault "$codes" backup --week "$week" --source html=$source_html --source enigma=$source_enigma "$@"
}
# start_backup SLOT WEEK ARGUMENT...: the same in the background, and slow, so that there is a mid-run to meet.
start_backup() {
    local slot=$1 week=$2
    shift 2
    start "$slot" backup --week "$week" --source html=$source_html --source enigma=$source_enigma --compression 16 "$@"
}

# says PATTERN: the last command's stderr or stdout has it.
says() { [[ $said =~ $1 ]] || fail "it does not say \"$1\": $said"; }
# An error that a person can do something with: it names a file or folder of the store, and why.
names_the_store() { says 'error: .*(/backup|objects/|object [0-9a-f]{64})'; }

# ---- the sources

# make_sources: some 450 real small files, two of several MiB that do not compress, and what else trees have.
make_sources() {
    local so=/usr/lib/x86_64-linux-gnu html=$source_html users=() i
    log "making the sources"
    mkdir "$html/data" "$html/odd"
    cp -a /etc /usr/share/{bash-completion,lintian,perl5,python3,info} "$html/"
    cat $so/*.so* | gzip -n -1 >"$work/stream"
    head -c 12M "$work/stream" >"$html/data/archive"
    tail -c 6M "$work/stream" >"$html/data/mail.mbox"
    echo line >"$html/odd/"$'new\nline'
    echo bytes >"$html/odd/"$'not-utf8-\xff'
    ln "$html/data/mail.mbox" "$html/odd/hard link"
    ln -s ../data/archive "$html/odd/symlink"
    mkfifo "$html/odd/fifo"
    truncate -s 3M "$html/odd/holes"
    echo end >>"$html/odd/holes"
    setfacl -m u:33:r "$html/odd/holes"
    setfattr -n user.note -v kept "$html/data"
    chown -R 33:33 "$html/data"
    chmod 4750 "$html/odd/"$'new\nline'
    touch -h -d '2001-02-03 04:05:06.789' "$html/odd/symlink" "$html/odd/holes"
    for i in {1..60}; do users+=("$source_enigma/user$i"); done
    mkdir "${users[@]}"
    for i in {1..60}; do printf 'key %s\n' {1..300} "$i" >"$source_enigma/user$i/key"; done
    keep_truth 1
}

# change_sources N [MIB]: the N-th week's changes; so many MiB of new content (4) among them, another each week.
change_sources() {
    local n=$1 mib=${2:-4} html=$source_html file some
    log "changes of week $n"
    # The stream's bytes, each turned by some places: as little to compress, and no chunk of it is known.
    head -c "${mib}M" "$work/stream" | tr '\000-\377' "$(turned $((n * 7)))" >"$html/data/new-$n"
    echo "week $n" >>"$html/data/mail.mbox"
    dd if=/dev/zero of="$html/data/archive" bs=1k count=3 seek=$((n * 500)) conv=notrunc status=none
    some=("$html"/etc/*.conf "$html"/bash-completion/completions/*)
    for file in "${some[@]:n:20}"; do echo "# $n" >>"$file"; done
    some=("$html"/lintian/overrides/*)
    rm "${some[@]::2}"
    mv "$source_enigma/user$n" "$source_enigma/moved$n"
    rm "$source_enigma/user$((n + 20))/key"
    keep_truth "$n"
}
# All bytes as tr takes them, from the $1-th on.
turned() { printf '\\%03o-\\377\\000-\\%03o' "$1" $(($1 - 1)); }

# keep_truth N: what the sources are now is what week 2025-N has to be; unchanged files are links among truths.
keep_truth() {
    local n=${1:-1} pvc to like=()
    to=$truth/2025-$(printf %02d "$n")
    [ "$n" = 1 ] || like=(--link-dest="$(find "$truth" -mindepth 1 -maxdepth 1 | sort | tail -1)")
    for pvc in html enigma; do
        mkdir -p "$to/$pvc"
        rsync -aHAX --delete ${like[@]+"${like[@]/%//$pvc}"} "/src/$pvc/" "$to/$pvc/"
    done
}

# same A B: two trees are equal in content, owner, mode, times, links, ACLs and xattrs.
same() {
    local differences
    differences=$(rsync -aHAXn --delete --checksum --itemize-changes "$1/" "$2/")
    [ -z "$differences" ] || fail "$1 and $2 differ: $(wc -l <<<"$differences") paths, $(head -5 <<<"$differences" | tr '\n' '|')"
}

# restores WEEK...: each restores to what its sources were.
restores() {
    local week pvc
    for week in "$@"; do
        for pvc in html enigma; do
            rm -rf /restored
            weekvault 0 restore --week "$week" --pvc "$pvc" --target /restored
            same "$truth/$week/$pvc" /restored
        done
    done
    rm -rf /restored
}

# ---- the store, as the server has it

objects() {
    shopt -s nullglob
    local all=("$server"/objects/?/*.zst)
    shopt -u nullglob
    echo ${#all[@]}
}
published() { (cd "$server" && find . -path './[0-9]*.manifest' | sed 's,^\./,,' | sort | tr '\n' ' ' | sed 's/ $//'); }

# is_published 'NAMES': these manifests and no others.
is_published() {
    local names=''
    for week in "$@"; do names+=" $week/enigma.manifest $week/html.manifest"; done
    [ "$(published)" = "${names# }" ] || fail "published is $(published); it should be${names:- nothing}"
}

# await_objects N SLOT: until the server has N objects; the run in SLOT is to be at work still.
await_objects() {
    while (($(objects) < $1)); do
        running "$2" || fail "the run ended before $1 objects were there: $(objects)"
        sleep 0.01
    done
    running "$2" || fail "the run was over already"
}
