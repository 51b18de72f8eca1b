#!/bin/sh
# SPDX-License-Identifier: MIT
# Nothing is lost: runs that were killed, interrupted or refused, what status says of them, how they are gone on with.
. "$(dirname "$0")/faults/job.sh"
out=$tmp/out
mkdir "$out"

# killed CLASS N COMMAND...: dies by SIGKILL before the N-th call of a class on a file
killed()
{
    class=$1 n=$2
    shift 2
    FAULT_ROOT=$tmp FAULT_CLASS=$class FAULT_AT=$n FAULT_DO=kill ${preload:+env LD_PRELOAD=$preload} "$@" >/dev/null 2>&1
}
# job WORDS...: the conversion, whose result is $new/out.gguf
job() { "$PARE" convert --no-vocab "$source" -o "$out/out.gguf" -r Q8_0 -q --sync-every 32K "$@"; }
value() { sed -n "s/.*\"$1\":[ 	]*\"*\([^\",]*\)\"*,*$/\1/p" "$tmp/stdout"; }

# a killed run; which sync finds some units recorded and others not is a matter of two threads' luck
for n in 8 9 10 11 12 13 14 8 9 10 11 12 13 14; do
    rm -f "$out"/*
    killed sync $n "$PARE" convert --no-vocab "$source" -o "$out/out.gguf" -r Q8_0 -j 1 -q --sync-every 32K
    "$PARE" status --json "$out/out.gguf" >"$tmp/stdout" 2>&1
    [ "$(value state)" != interrupted ] || [ "$(value units_done)" -eq 0 ] || [ "$(value units_done)" -ge 30 ] || break
done
is "$(ls "$out" | tr '\n' ' ')" "out.gguf.journal out.gguf.partial " "a killed run leaves journal and partial file, nothing else"
ok "status tells" "$PARE" status "$out/out.gguf"
has "$tmp/stdout" "interrupted" "that it was interrupted"
has "$tmp/stdout" "units are durable" "how much is durable"
ok "and in JSON" "$PARE" status --json "$out/out.gguf"
durable=$(value units_done)
is "$([ "${durable:-0}" -gt 0 ] && [ "$durable" -lt "$(value units)" ] && echo some)" some "some units of all"
ok "a journal can be named itself" "$PARE" status "$out/out.gguf.journal"
cp -r "$out" "$tmp/half"
again() { rm -rf "$out" && cp -rp "$tmp/half" "$out"; }

for how in "-j 1" "-j 3" "-j 7" "-j 1 --memory 48M" "-j 2 --sync-every 1G" "--rehash"; do
    again
    ok "the same command goes on, $how" job --json $how
    is "$(value units_reused)" "$durable" "all $durable units are reused"
    ok "the file is the undisturbed run's" cmp "$out/out.gguf" "$new/out.gguf"
    ok "and so is its manifest" cmp "$out/out.gguf.manifest.json" "$new/out.gguf.manifest.json"
    is "$(ls "$out" | wc -l)" 2 "nothing else is left"
done
ok "then status says" "$PARE" status "$out/out.gguf"
has "$tmp/stdout" "complete" "complete"
fails 3 "of an output that nobody made it says" "$PARE" status "$out/none.gguf"
has "$tmp/stderr" "no conversion" "that there is no conversion"

# other plans, other inputs
refused() { # TITLE TEXT COMMAND...
    title=$1 text=$2
    shift 2
    again
    fails 2 "$title: refused" "$@"
    has "$tmp/stderr" "$text" "it says what differs"
    ok "nothing was touched" cmp "$out/out.gguf.partial" "$tmp/half/out.gguf.partial"
}
refused "another recipe" "recipe was 'Q8_0', now it is 'F16'" job -r F16
refused "another search" "recipe was 'Q8_0', now it is 'Q8_0 compat'" job --search compat
refused "another type for a role" "recipe was 'Q8_0', now it is 'Q8_0 output=F16'" job --type output=F16
refused "another name in the header" "output was" job --name other
cp -p "$source/model.safetensors" "$tmp/kept" 2>/dev/null || cp -p "$source"/*.safetensors "$tmp"
touch -d '2001-01-01' "$source"/*.safetensors
refused "a source with another time" "source file model" job
for f in "$source"/*.safetensors; do touch -r "$tmp/$(basename "$f")" "$f" 2>/dev/null || touch -r "$tmp/kept" "$f"; done
again
ok "with the old time back it goes on" job
again
ok "--restart begins anew" job -r F16 --restart
ok "with the other recipe" cmp "$out/out.gguf" "$old/out.gguf"

# an importance matrix is part of what a run is
weigh() { "$TOOLS/mkimatrix" "$source" "$tmp/w.gguf" --seed "$1"; }
weighed() { "$PARE" convert --no-vocab "$source" -o "$out/out.gguf" -r Q4_0 -q --sync-every 32K --imatrix "$tmp/w.gguf" "$@"; }
weigh 1
rm -rf "$out" && mkdir "$out"
weighed >/dev/null && cp "$out/out.gguf" "$tmp/weighed.gguf"
for n in 8 9 10 11 12 13 14 8 9 10 11 12 13 14; do
    rm -f "$out"/*
    killed sync $n "$PARE" convert --no-vocab "$source" -o "$out/out.gguf" -r Q4_0 -j 1 -q --sync-every 32K --imatrix "$tmp/w.gguf"
    "$PARE" status --json "$out/out.gguf" >"$tmp/stdout" 2>&1
    [ "$(value state)" != interrupted ] || [ "$(value units_done)" -eq 0 ] || break
done
weigh 2
fails 2 "another imatrix of the same name: refused" weighed
has "$tmp/stderr" "imatrix was 'w.gguf, " "it says what differs"
weigh 1
fails 2 "so is another way without data" weighed --imatrix-missing layer
ok "with the old one it goes on" weighed --json
is "$([ "$(value units_reused)" -gt 0 ] && echo some)" some "with some of the work kept"
ok "and the file is the undisturbed run's" cmp "$out/out.gguf" "$tmp/weighed.gguf"

# damage between two runs
again
size=$(wc -c <"$out/out.gguf.partial")
first=$("$PARE" plan --no-vocab "$source" -r Q8_0 --json | sed -n 's/.*"offset":[ 	]*\([0-9]*\),*/\1/p' | sed -n 2p)
printf '\125' | dd of="$out/out.gguf.partial" bs=1 seek="$first" conv=notrunc 2>/dev/null
ok "--rehash finds damage in what was written" job --rehash --json
is "$(value units_redone)" 1 "does one unit again"
ok "and the file is right" cmp "$out/out.gguf" "$new/out.gguf"
again
rm "$out/out.gguf.partial"
ok "without its partial file a run begins anew" job
ok "and the file is right again" cmp "$out/out.gguf" "$new/out.gguf"
again
printf '\125' | dd of="$out/out.gguf.journal" bs=1 seek=50 conv=notrunc 2>/dev/null
fails 3 "a damaged journal's header is no reason to lose the work unasked" job
has "$tmp/stderr" "--restart" "but --restart is offered"
again
printf '\125' | dd of="$out/out.gguf.journal" bs=1 seek=8 conv=notrunc 2>/dev/null
fails 3 "a journal of an unknown version is refused" job
has "$tmp/stderr" "version" "by its version"

# the source's own manifest, and bytes that changed without a trace in size and time
mkdir "$tmp/watched" && cp -rp "$source" "$tmp/watched" # the folder's name is the model's
shard=$(ls "$tmp/watched/source"/*.safetensors | tail -n 1)
ok "a source gets a manifest" "$PARE" manifest "$tmp/watched/source"
rm -rf "$out" && mkdir "$out"
ok "a conversion holds it against what it reads" "$PARE" convert --no-vocab "$tmp/watched/source" -o "$out/out.gguf" -r Q8_0 -q
ok "and gives the same bytes" cmp "$out/out.gguf" "$new/out.gguf"
cp -p "$shard" "$tmp/shard"
printf '\001' | dd of="$shard" bs=1 seek=$(($(wc -c <"$shard") - 3)) conv=notrunc 2>/dev/null
touch -r "$tmp/shard" "$shard"
rm -f "$out"/*
fails 3 "a byte that changed since is found" "$PARE" convert --no-vocab "$tmp/watched/source" -o "$out/out.gguf" -r Q8_0 -q
has "$tmp/stderr" "not those of its hash" "by its tensor's hash"
is "$(ls "$out" | wc -l)" 0 "and nothing is left"

# Ctrl-C, and two at a time: the first run stands still before a read until it is told to go on
rm -rf "$out"/*
(
    export FAULT_ROOT="$tmp" FAULT_CLASS=read FAULT_AT=40 FAULT_DO=stop ${preload:+LD_PRELOAD="$preload"}
    exec "$PARE" convert --no-vocab "$source" -o "$out/out.gguf" -r Q8_0 -q -j 1 --sync-every 32K
) >"$tmp/first" 2>&1 &
pid=$!
i=0
while ! grep -q '^State:.T' "/proc/$pid/status" 2>/dev/null && [ $i -lt 1000 ]; do sleep 0.01; i=$((i + 1)); done
fails 4 "a second run on the same output is refused" job
has "$tmp/stderr" "process $pid on" "and told which process has it"
ok "meanwhile status says" "$PARE" status "$out/out.gguf"
has "$tmp/stdout" "running" "running"
kill -INT $pid
kill -CONT $pid
wait $pid
is $? 130 "an interrupted conversion exits 130"
has "$tmp/first" "the same command goes on from there" "and says how to go on"
is "$(wc -l <"$tmp/first")" 1 "in one line"
ok "which works" job --json
is "$([ "$(value units_reused)" -gt 0 ] && echo some)" some "with some of the work kept"
ok "and the right bytes" cmp "$out/out.gguf" "$new/out.gguf"
rm -rf "$out"/*

# many shards, few descriptors
"$TOOLS/mkcheckpoint" --family v3 --out "$tmp/shards" --experts 64 --shards 120 --tokenizer tests/data/nano-v3 >/dev/null
ok "120 shards are read with 24 descriptors" sh -c "ulimit -n 24; exec '$PARE' convert $tmp/shards -o $out/s.gguf -r Q8_0 -q -j 2"
ok "and written with them, split" sh -c \
    "ulimit -n 24; exec '$PARE' convert $tmp/shards -o $out/t.gguf -r Q8_0 -q -j 2 --split-max-size 200k"
ok "which is the same model" sh -c "'$PARE' diff $out/s.gguf $out/t-00001-of-*.gguf"
done_testing
