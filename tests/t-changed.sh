#!/bin/sh
# SPDX-License-Identifier: MIT
# A source that is truncated, modified, replaced or removed while it is converted, or between a run and the one that goes on with
# it: one line that names the file, exit 3, nothing by the final name; and with the old file put back never a wrong byte. The run
# is stopped before a write, changed behind its back, and let go on.
. "$(dirname "$0")/faults/job.sh"
rm -rf "$tmp/job"
mkdir "$tmp/job"
ck=$tmp/job/source out=$tmp/job/out
job() { set -- "$PARE" convert --no-vocab "$ck" -o "$out/out.gguf" -r Q8_0 -q -j 1 --sync-every 32K "$@"; exec "$@"; }
run() { (job "$@"); }
fresh() { rm -rf "$ck" "$out" && cp -rp "$source" "$ck" && mkdir "$out"; }
shards=$(cd "$source" && ls *.safetensors)
last=$(echo "$shards" | tail -n 1)

# stopped N WORDS...: the job begins, and stops before its N-th write; $pid
stopped()
{
    n=$1
    shift
    (
        export FAULT_ROOT="$out" FAULT_CLASS=write FAULT_AT="$n" FAULT_DO=stop ${preload:+LD_PRELOAD="$preload"}
        job "$@"
    ) >"$tmp/out" 2>"$tmp/err" &
    pid=$!
    i=0
    until grep -q '^State:.*stopped' /proc/$pid/status 2>/dev/null || [ $i -ge 500 ]; do sleep 0.01; i=$((i + 1)); done
    [ $i -lt 500 ]
}
go_on() { kill -CONT $pid; wait $pid; }

# the ways to change a shard
truncated() { truncate -s -1000 "$ck/$1"; }
emptied() { : >"$ck/$1"; }
modified() { # bytes of its data: 0x60 to 0x6f, which are usual in FP8, become others of them
    header=$((8 + $(od -An -tu8 -N8 "$ck/$1")))
    tail -c +$((header + 1)) "$ck/$1" | tr '\140-\157' '\157\156\155\154\153\152\151\150\147\146\145\144\143\142\141\140' >"$tmp/data"
    dd if="$tmp/data" of="$ck/$1" bs=1024k seek=$header oflag=seek_bytes conv=notrunc 2>/dev/null
}
replaced() { cp "$ck/$1" "$ck/new" && modified new && touch -r "$ck/$1" "$ck/new" && mv "$ck/new" "$ck/$1"; }
removed() { rm "$ck/$1"; }

for how in truncated emptied modified replaced removed; do
    for write in 5 30; do
        fresh
        stopped $write
        is $? 0 "$how before write $write: the run stops there"
        for shard in $shards; do $how "$shard"; done
        go_on
        is $? 3 "it ends with 3"
        is "$(wc -l <"$tmp/err"),$(grep -c "$ck/model.*safetensors'" "$tmp/err")" 1,1 "in one line that names a shard"
        is "$(ls "$out" | grep -c 'gguf$\|manifest')" 0 "nothing has the final name"
        cp "$tmp/err" "$tmp/why"
        rm -rf "$ck" && cp -rp "$source" "$ck"
        ok "with the old files put back the same command ends it" run
        ok "with the right bytes" cmp "$out/out.gguf" "$new/out.gguf"
        ok "and the right manifest" cmp "$out/out.gguf.manifest.json" "$new/out.gguf.manifest.json"
    done
    note "$(sed "s#$tmp##" "$tmp/why")"
done

# the last write is done, and only then the source changes: what was read was right, but nobody can tell
fresh
(
    export FAULT_COUNT="$tmp/counts" FAULT_ROOT="$out" ${preload:+LD_PRELOAD="$preload"}
    job --sync-every 1G
) >/dev/null
writes=$(sed -n 's/^write //p' "$tmp/counts")
fresh
stopped $((writes - 3)) --sync-every 1G
is $? 0 "a change after the last unit: the run stops there"
modified "$last"
go_on
is "$?,$(wc -l <"$tmp/err"),$(ls "$out" | wc -l)" 3,1,0 "is found before anything is recorded: exit 3, one line, nothing is left"

# with --consume what lies there now is not ours to remove
fresh
stopped 8 --consume --yes
is $? 0 "--consume: the run stops"
for shard in $shards; do replaced "$shard"; done
(cd "$ck" && cksum *) >"$tmp/theirs"
go_on
is $? 3 "shards that were replaced: it ends with 3"
is "$(cd "$ck" && cksum * | cmp - "$tmp/theirs" && echo same)" same "and the new files stay"

# between two runs. Every write takes a moment, so that the keeper records meanwhile.
FAULT_LOG=$tmp/log FAULT_WRITE_DELAY=2
export FAULT_LOG FAULT_WRITE_DELAY
for write in 30 34 26 38; do
    fresh
    stopped $write
    kill -KILL $pid
    wait $pid 2>/dev/null
    units=$("$PARE" status --json "$out/out.gguf" 2>/dev/null | sed -n 's/.*"units_done":[ 	]*\([0-9]*\),*/\1/p')
    [ "${units:-0}" -eq 0 ] || [ ! -f "$out/out.gguf.partial" ] || break
done
unset FAULT_LOG FAULT_WRITE_DELAY
is "$([ "${units:-0}" -gt 0 ] && echo some)" some "a killed run has units recorded"
cp -rp "$out" "$tmp/half"
for how in truncated emptied modified removed; do
    rm -rf "$ck" "$out" && cp -rp "$source" "$ck" && cp -rp "$tmp/half" "$out"
    $how "$last"
    run >"$tmp/out" 2>"$tmp/err"
    status=$?
    # what can no longer be opened is bad input, what can is another input than before
    case $how in modified) want=2 ;; *) want=3 ;; esac
    is "$status,$(wc -l <"$tmp/err"),$(grep -c "$last" "$tmp/err")" $want,1,1 "$how before the second run: refused in one line that names the shard"
    is "$(ls "$out" | grep -c 'gguf$\|manifest')" 0 "nothing has the final name"
    ok "the work is kept" cmp "$out/out.gguf.partial" "$tmp/half/out.gguf.partial"
done
rm -rf "$ck" && cp -rp "$source" "$ck"
ok "with the old files it is gone on with" run
ok "to the right bytes" cmp "$out/out.gguf" "$new/out.gguf"

# a change that size and time do not tell: --rehash reads what was read again
rm -rf "$out" && cp -rp "$tmp/half" "$out"
for shard in $shards; do modified "$shard" && touch -r "$source/$shard" "$ck/$shard"; done
fails 3 "changed bytes behind the old size and time are found by --rehash" run --rehash
has "$tmp/stderr" "not those of its hash" "by a tensor's hash"
is "$(ls "$out" | grep -c 'gguf$\|manifest')" 0 "nothing has the final name"
sed 's/"initializer_range": *[0-9.]*/"initializer_range": 0.5/; s/"rms_norm_eps": *[0-9.e-]*/"rms_norm_eps": 0.125/' "$source/config.json" >"$tmp/config"
rm -rf "$ck" "$out" && cp -rp "$source" "$ck" && cp -rp "$tmp/half" "$out" && cp "$tmp/config" "$ck/config.json"
fails 2 "another config.json is another conversion" run
has "$tmp/stderr" "an interrupted run lies here that differs" "which is said"
done_testing
