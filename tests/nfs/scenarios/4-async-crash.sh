# An `async` export whose server loses its power: what it said to be durable may be gone. Verify names what is lost, the
# next backup stores it again, and every week whose objects survived restores.
# lab: --server-options async
# quick: yes
# shellcheck shell=bash source-path=SCRIPTDIR/.. source=lib.sh
. /run/lib.sh

sums() { (cd "$server" && find store.json objects [0-9]* -type f -exec sha256sum {} + | sort) 2>/dev/null || true; }
crash() {
    sums >"$work/before"
    server-crash
    nfsd-start
    sums >"$work/after"
    # What it had and has no more, or has with other bytes.
    comm -23 "$work/before" "$work/after" | cut -c67- >"$work/lost"
    lost_objects=$(grep -c '^objects/' "$work/lost" || true)
    lost_manifests=$(grep '\.manifest$' "$work/lost" | tr '\n' ' ' || true)
}

make_sources
backup 0 2025-01
sync -f /srv/disk
delays=(0 4)
if [ -z "$QUICK" ]; then delays=(0 1 2 4 6 8 12); fi
n=1 way=again
weeks=(2025-01)
for delay in "${delays[@]}"; do
    n=$((n + 1))
    week=2025-$(printf %02d "$n")
    change_sources "$n" 8
    backup 0 "$week" --no-retention
    sleep "$delay"
    crash
    weekvault '0|4' verify
    named_before=$(grep -c '^object ' "$out" || true)
    # Where nothing is cached of it. The client that wrote it may have the lost bytes still.
    echo 3 >/proc/sys/vm/drop_caches
    weekvault '0|4' verify
    # No object is called damaged that is whole.
    sed -n 's/^object \([0-9a-f]\{64\}\) is .*/\1/p' "$out" | sort >"$work/named"
    sed -n 's,^objects/./\(.*\)\.zst$,\1,p' "$work/lost" | sort >"$work/lost-ids"
    if [ -n "$(comm -23 "$work/named" "$work/lost-ids")" ]; then fail "verify names objects that are whole"; fi
    if [ -z "$lost_manifests" ] && ! cmp -s "$work/named" "$work/lost-ids"; then
        fail "lost: $lost_objects objects; verify names $(wc -l <"$work/named")"
    fi
    # A manifest that is there and not whole is named.
    for manifest in $lost_manifests; do
        [ ! -e "$server/$manifest" ] || [[ $said == *"damaged manifest: "*"$manifest"* ]] ||
            fail "verify does not name $manifest"
    done
    figure "crash $delay s after the end of a backup: lost $lost_objects of its objects and ${lost_manifests:-no manifest}; verify: exit code $code, names $(wc -l <"$work/named") objects, $named_before while the client had them cached"
    restores "${weeks[@]}"
    if [ "$way" = repair ]; then
        way=again
        # What only verify can find, zeros of the right length, is put aside; then the next week's run.
        weekvault '0|4' verify --repair
        # A manifest of which nothing is left stops gc, and cannot be mended.
        for manifest in $lost_manifests; do rm -f "/backup/$manifest"; done
        n=$((n + 1))
        week=2025-$(printf %02d "$n")
        keep_truth "$n"
        backup 0 "$week" --no-retention
        figure "verify --repair and the next week's run: $took s, $(grep '^written' "$out")"
    else
        way=repair
        backup 0 "$week" --no-retention
        figure "the same week's next run: $took s, $(grep '^written' "$out")"
        echo 3 >/proc/sys/vm/drop_caches
        weekvault '0|4' verify
        if ((code == 4)); then
            figure "what had the right length and wrong bytes is left: verify --repair, and another run"
            weekvault '0|4' verify --repair
            backup 0 "$week" --no-retention
        fi
    fi
    echo 3 >/proc/sys/vm/drop_caches
    weekvault 0 verify
    restores "$week"
    weeks=(2025-01 "$week")
    sync -f /srv/disk
done

# In mid-run, and back soon: the run may go on, but it publishes nothing that is not there.
moments=(4)
if [ -z "$QUICK" ]; then moments=(1 4 8); fi
for more in "${moments[@]}"; do
    n=$((n + 1))
    week=2025-$(printf %02d "$n")
    change_sources "$n" 16
    # Only what this run writes is to be lost.
    sync -f /srv/disk
    before=$(objects)
    start_backup run "$week" --no-retention
    await_objects $((before + more)) run
    server-crash
    running run || fail "the run was over already"
    nfsd-start
    lost_objects=$((before + more - $(objects)))
    give_up run 400
    finish run '0|1'
    figure "crash in mid-run with $more objects stored, $lost_objects of them gone: exit code $code, $took s: ${said##*error: }"
    if ((code == 1)); then
        [[ "$(published)" != *$week* ]] || fail "exit code 1, and $week is published"
        backup 0 "$week" --no-retention
    fi
    weekvault 0 verify
    restores "$week"
done
