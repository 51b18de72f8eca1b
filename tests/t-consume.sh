#!/bin/sh
# SPDX-License-Identifier: MIT
# convert --consume: what it asks, what it refuses, what goes and what stays, how much disk it takes. That nothing is lost by
# kills, faults and power cuts is shown by t-kills.sh, t-faults.sh and t-powercut.sh.
. "$(dirname "$0")/faults/job.sh"

"$TOOLS/mkcheckpoint" --family v3 --layers 6 --experts 16 --shards 12 --out "$tmp/v3" >/dev/null
convert "$tmp/v3" -o "$tmp/want.gguf" -r Q8_0
work=$tmp/work ck=$tmp/work/v3 out=$tmp/work/out.gguf
# fresh: the checkpoint, and no output
fresh() { rm -rf "$work" && mkdir "$work" && cp -rp "$tmp/v3" "$ck"; }
# run WORDS...: the conversion that consumes
run() { "$PARE" convert --no-vocab "$ck" -o "$out" -r Q8_0 -q --consume "$@"; }
listing() { (cd "$work" && find . -type f -exec cksum {} + | sort -k 3); }
injected() { env FAULT_ROOT="$work" ${preload:+LD_PRELOAD=$preload} "$@"; }
value() { sed -n "s/.*\"$1\":[ 	]*\"*\([^\",]*\)\"*,*$/\1/p" "$tmp/stdout"; }
# untouched STATUS TITLE TEXT COMMAND...: refused in one line that says TEXT, every file as it was
untouched()
{
    status=$1 title=$2 text=$3
    shift 3
    listing >"$tmp/before"
    fails $status "$title: refused" "$@"
    grep -v ' note: ' "$tmp/stderr" >"$tmp/line"
    has "$tmp/line" "$text" "it says why"
    listing >"$tmp/after"
    is "$(wc -l <"$tmp/line"),$(cmp "$tmp/before" "$tmp/after")" "1," "in one line, and every file is as it was"
}

# asking
fresh
untouched 2 "without a terminal to ask on and without --yes" "needs --yes" run
rm -rf "$ck" && "$TOOLS/mkcheckpoint" --family v3 --shards 2 --out "$ck" >/dev/null
convert "$ck" -o "$tmp/few.gguf" -r Q8_0
if script -qec true /dev/null >"$tmp/stdout" 2>&1; then
    echo no | script -qec "$PARE convert --no-vocab $ck -o $out -r Q8_0 -q --consume" /dev/null >"$tmp/asked" 2>&1
    has "$tmp/asked" "tensors that the output does not hold go with them" "on a terminal it says what will be lost"
    has "$tmp/asked" "not confirmed; nothing was done" "and takes no for an answer"
    is "$(ls "$work" "$ck" | grep -c 'gguf\|consumed')" 0 "then nothing happens"
    echo yes | script -qec "$PARE convert --no-vocab $ck -o $out -r Q8_0 -q --consume" /dev/null >"$tmp/asked" 2>&1
    ok "yes makes it begin" cmp "$out" "$tmp/few.gguf"
else
    for i in 1 2 3 4; do skip "the script command is not here" "asking on a terminal"; done
fi

# what goes
fresh
echo mine >"$ck/notes.txt"
echo mine >"$ck/extra.safetensors"
ok "with --yes it begins" run --yes --json --sync-every 1M
is "$(value shards_removed)" 9 "nine of twelve shards are used up and removed"
ok "the output is that of a run which keeps its source" cmp "$out" "$tmp/want.gguf"
is "$(ls "$ck" | tr '\n' ' ')" "config.json extra.safetensors generation_config.json model-00010-of-000012.safetensors \
model-00011-of-000012.safetensors model-00012-of-000012.safetensors model.safetensors.index.json notes.txt " \
    "shards from which nothing was made, and all other files, stay"
ok "the output is whole" "$PARE" check "$out"
fails 3 "what is left is no model" "$PARE" inspect "$ck"
fresh
ok "split output is consumed for as well" run --yes --split-max-size 4M --sync-every 1M
ok "with the same weights" "$PARE" diff "$work"/out-00001-of-*.gguf "$tmp/want.gguf"

# half-way
fresh
injected env FAULT_CLASS=unlink FAULT_AT=5 FAULT_DO=kill-after "$PARE" convert --no-vocab "$ck" -o "$out" -r Q8_0 -q --consume \
    --yes --sync-every 256K -j 1 >/dev/null 2>&1
is $? 137 "a run is killed when the fifth shard has gone"
is "$(ls "$ck" | grep -c 'safetensors.consumed$'),$(ls "$ck" | grep -c 'safetensors$')" 5,7 "five stand-ins, seven shards"
is "$(find "$ck" -name '*.consumed' -size +64k -print | wc -l),$(du -k "$ck" | awk '{ print ($1 < 17500) }')" 5,1 \
    "a stand-in has its shard's size but takes no room"
cp -rp "$work" "$tmp/half"
half() { rm -rf "$work" && cp -rp "$tmp/half" "$work"; }
"$PARE" status --json "$out" >"$tmp/stdout"
durable=$(value units_done)
ok "the checkpoint can still be inspected" "$PARE" inspect "$ck"
has "$tmp/stderr" "were consumed" "which says what it is"
fails 1 "check finds" "$PARE" check "$ck"
has "$tmp/stdout" "these bytes were consumed by a conversion and are gone" "that weights are gone"
untouched 3 "a manifest of it" "were consumed" "$PARE" manifest "$ck"
untouched 2 "another output" "consumed by another conversion: their weights are gone" "$PARE" convert --no-vocab "$ck" -o "$work/other.gguf" -q
untouched 2 "another recipe" "recipe was 'Q8_0', now it is 'F16'" run --yes -r F16
untouched 2 "another recipe with --restart" "their weights are gone" run --yes -r F16 --restart
untouched 2 "the same recipe with --restart" "their weights are gone" run --yes --restart
untouched 2 "going on without --yes" "needs --yes" run
mv "$work/out.gguf.partial" "$work/away"
untouched 2 "going on without the partial output" "their weights are gone" run --yes
mv "$work/away" "$work/out.gguf.partial"
for words in "--yes" "--yes -j 3 --memory 48M" "--yes --sync-every 64K"; do
    half
    ok "the same command goes on, $words" run --json $words
    is "$(value units_reused),$(value shards_removed)" "$durable,4" "with all $durable units, and removes the four other shards"
    ok "to the same bytes" cmp "$out" "$tmp/want.gguf"
    is "$(ls "$ck" | grep -c 'consumed$'),$(ls "$ck" | grep -c 'safetensors$')" 0,3 "no stand-in is left"
done
half
ok "without --consume it goes on too" "$PARE" convert --no-vocab "$ck" -o "$out" -r Q8_0 -q
ok "to the same bytes" cmp "$out" "$tmp/want.gguf"
is "$(ls "$ck" | grep -c 'safetensors$')" 7 "and keeps what is left of the shards"

# what must not be removed
fresh
mkdir "$work/else"
mv "$ck/model-00003-of-000012.safetensors" "$work/else"
ln -s "$work/else/model-00003-of-000012.safetensors" "$ck"
untouched 2 "a symbolic link among the shards" "a symbolic link: '$ck/model-00003-of-000012.safetensors'" run --yes
fresh
ln "$ck/model-00004-of-000012.safetensors" "$work/second-name"
untouched 2 "a shard with a second name" "linked from elsewhere too: '$ck/model-00004-of-000012.safetensors'" run --yes
fresh
untouched 2 "a part of an output" "--consume and --part exclude each other" run --yes --split-max-size 4M --part 1/2
untouched 2 "a source that is one file" "needs a checkpoint folder" "$PARE" convert --no-vocab "$tmp/want.gguf" -o "$out" -q --consume --yes
if [ "$(id -u)" -eq 0 ]; then
    skip "root may remove anything" "a folder without permission to write"
else
    chmod a-w "$ck"
    fails 4 "a folder without permission to write" run --yes
    chmod u+w "$ck"
fi

# how much disk. What the folder holds at most is counted from a record of a run whose syncs take long.
for every in 512K 1M; do
    fresh
    "$PARE" plan --no-vocab "$ck" -r Q8_0 -j 2 --consume --sync-every $every --json >"$tmp/stdout"
    planned=$(value disk_peak)
    total=$(value total_bytes)
    injected env FAULT_ROOT="$ck" FAULT_LOG="$tmp/log" FAULT_SYNC_DELAY=10 "$PARE" convert --no-vocab "$ck" -o "$ck/out.gguf" -r Q8_0 -q -j 2 \
        --consume --yes --sync-every $every >/dev/null
    took=$("$bin/powercut" -u "$tmp/log" "$tmp/v3")
    is "$([ "$took" -le "$planned" ] && echo less)" less "groups of $every: the disk is taken $took bytes more, the plan says $planned"
    is "$([ "$planned" -lt $((2 * took)) ] && [ "$planned" -lt $((total / 2)) ] && echo near)" near \
        "which is near it, and under half of the output's $total"
done
"$PARE" plan --no-vocab "$tmp/v3" -r Q8_0 --consume --json >"$tmp/stdout"
is "$([ "$(value disk_peak)" -lt $((total + total / 10)) ] && echo less)" less "no more than the output is ever needed"
done_testing
