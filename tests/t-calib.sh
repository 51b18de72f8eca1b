#!/bin/sh
# SPDX-License-Identifier: MIT
# convert --calib and --sequential: the same bytes by every way, also after kills; less KL than without; experts with one token or
# none; what is recorded, planned, refused, and left behind.
. "$(dirname "$0")/faults/job.sh"
nano=tests/data/nano-v3
golden=$nano/golden/tokens.bin
out=$tmp/out.gguf
small=$tmp/small
cp tests/data/technical.txt "$tmp/text" # one that stays the same: bounds of KL depend on it
"$TOOLS/mkcheckpoint" --family v3 --layers 3 --dense 1 --vocab 2048 --hidden 128 --inter 128 --moe-inter 128 --heads 2 --q-lora 128 --kv-lora 128 \
    --experts 4 --used 2 --groups 1 --topk-group 1 --mtp 0 --tokenizer "$nano" --out "$small" >/dev/null

value() { sed -n "s/.*\"$1\":[ 	]*\"*\([^\",]*\)\"*,*$/\1/p" "$tmp/stdout"; }
calibrate() { to=$1; shift; "$PARE" calibrate "$small" -o "$tmp/$to" -q "$@"; }
# fed DIR WORDS...: the small model by error feedback to $out
fed() { dir=$1; shift; "$PARE" convert "$small" -o "$out" -r Q4_0 -q -f --calib "$tmp/$dir" "$@"; }
# kl FILE: in nats, on text that no calibration here has seen
kl()
{
    "$PARE" verify "$nano" "$1" --tokens "$golden" --chunks 1 --no-local --json -q -j 1 | tr -d '\n' |
        sed 's/.*"kld":[^{]*{[^}]*"mean":[ 	]*\([^,} 	]*\).*/\1/'
}
# below X Y BOUND TITLE: X <= BOUND * Y
below() { ok "$4: $1 to $2, at most $3 times" awk -v x="$1" -v y="$2" -v b="$3" 'BEGIN {exit !(x > 0 && x <= b * y)}'; }

# the folder, and bytes
ok "a calibration of two chunks" calibrate two --text "$tmp/text" --chunks 2
ok "one of one chunk" calibrate one --text "$tmp/text" --chunks 1 -j 1
for cpu in scalar avx2; do
    ok "PARE_CPU=$cpu" env PARE_CPU=$cpu "$PARE" calibrate "$small" -o "$tmp/one-$cpu" -q --text "$tmp/text" --chunks 1 -j 2
    ok "it finds the same" diff -r "$tmp/one" "$tmp/one-$cpu"
done
ok "--calib" fed two -j 2
mv "$out" "$tmp/want.gguf" && mv "$out.manifest.json" "$tmp/want.json"
for how in "-j 1" "-j 3"; do
    ok "$how" fed two $how
    ok "gives the same bytes" cmp "$out" "$tmp/want.gguf"
done
ok "the manifest is the same too" cmp "$out.manifest.json" "$tmp/want.json"
has "$tmp/want.json" ", 2 chunks of 512 tokens, damping 0.03, blend 1, 2 passes, order by type" "and says what was calibrated with"
for cpu in scalar avx2; do
    ok "with PARE_CPU=$cpu" env PARE_CPU=$cpu "$PARE" convert "$small" -o "$out" -r Q4_0 -q -f --calib "$tmp/two"
    ok "it gives the same bytes" cmp "$out" "$tmp/want.gguf"
done
ok "a plan" "$PARE" plan "$small" -r Q4_0 --calib "$tmp/two"
has "$tmp/stdout" "error feedback for 33 tensors: XXH3-128 " "tells how many tensors are fed back"
is "$(grep -c ', with error feedback' "$tmp/stdout")" 33 "and which"
is "$(grep -E '^(token_embd|[^ ]*_norm|[^ ]*gate_inp)' "$tmp/stdout" | grep -c feedback)" 0 "no table, no vector, no router"

ok "columns as they lie" fed two --calib-order natural -j 2
mv "$out" "$tmp/natural.gguf"
fails 1 "are other bytes" cmp -s "$tmp/natural.gguf" "$tmp/want.gguf"
has "$out.manifest.json" "2 passes, order natural" "as the manifest says"
ok "with -j 1" fed two --calib-order natural -j 1
ok "they are the same" cmp "$out" "$tmp/natural.gguf"

# a kill
half()
{
    rm -f "$out"*
    for n in 8 11 14 9 12 10; do
        rm -f "$out"*
        FAULT_ROOT=$tmp FAULT_CLASS=sync FAULT_AT=$n FAULT_DO=kill ${preload:+env LD_PRELOAD=$preload} \
            "$PARE" convert "$small" -o "$out" -r Q4_0 -q --sync-every 32K -j 1 --calib "$tmp/two" >/dev/null 2>&1
        "$PARE" status --json "$out" >"$tmp/stdout" 2>&1
        [ "$(value state)" != interrupted ] || [ "$(value units_done)" -eq 0 ] || return 0
    done
    return 1
}
resumed() { "$PARE" convert "$small" -o "$out" -r Q4_0 -q --calib "$tmp/two" "$@"; }
ok "a run that was killed" half
fails 2 "is not gone on with by another calibration" "$PARE" convert "$small" -o "$out" -r Q4_0 -q --calib "$tmp/one"
has "$tmp/stderr" "calibration was 'XXH3-128" "it says what differs"
fails 2 "nor with other options" resumed --calib-damping 0.1
has "$tmp/stderr" "damping 0.03" "it says which"
fails 2 "nor with columns in another order" resumed --calib-order natural
has "$tmp/stderr" "order by type" "it says that, too"
fails 2 "an order that there is not" resumed --calib-order random
has "$tmp/stderr" "importance, natural" "is answered with those that there are"
fails 2 "nor without" "$PARE" convert "$small" -o "$out" -r Q4_0 -q
ok "the same command goes on" resumed --json
is "$([ "$(value units_reused)" -gt 0 ] && echo some)" some "with some of the work kept"
ok "and the right bytes" cmp "$out" "$tmp/want.gguf"

# quality, and few tokens: most experts of nano have none
ids() { for id; do printf '%b' "\\0$(printf %o $((id % 256)))\\0$(printf %o $((id / 256)))\\0\\0"; done >"$tmp/ids"; }
nano_fed() { dir=$1; shift; "$PARE" convert "$nano" -o "$tmp/nano.gguf" -r Q2_K -q -f -j 1 --calib "$tmp/$dir" "$@"; }
"$PARE" convert "$nano" -o "$tmp/plain.gguf" -r Q2_K -q >/dev/null
plain=$(kl "$tmp/plain.gguf")
ok "nano on four chunks" "$PARE" calibrate "$nano" -o "$tmp/wide" -q --text "$tmp/text" --chunks 4 -j 1
ok "--calib" nano_fed wide
below "$(kl "$tmp/nano.gguf")" "$plain" 0.7 "KL with --calib to that without"
ids 0 300 900 1700
ok "nano on four tokens" "$PARE" calibrate "$nano" -o "$tmp/four" --tokens "$tmp/ids" --ctx 4 -q
"$PARE" inspect "$tmp/four/imatrix.gguf" --tensors >"$tmp/stdout"
is "$(awk '$1 == "blk.1.ffn_up_exps.weight" {print $2 - $6 " of " $2 " experts, at most " $5}' "$tmp/stdout")" \
    "6 of 8 experts, at most 2" "two experts of layer 1 have no token, four have one, two have two"
ok "it is converted" nano_fed four
below "$(kl "$tmp/nano.gguf")" "$plain" 2 "KL with four tokens to that without"
ok "experts without blending" nano_fed four --calib-blend 0

# what does not fit
mkdir "$tmp/empty"
fails 4 "a folder without a calibration" fed empty
has "$tmp/stderr" "calibration.json" "is told by the file that it lacks"
fails 4 "no folder" "$PARE" convert "$nano" -o "$tmp/none.gguf" -q --calib "$tmp/nowhere"
for file in layer-001-mlp.safetensors output.safetensors calibration.json; do
    rm -rf "$tmp/lacks" && cp -r "$tmp/one" "$tmp/lacks" && rm "$tmp/lacks/$file"
    fails 4 "without $file" fed lacks
    has "$tmp/stderr" "$file" "it is named"
done
fails 3 "the calibration of another model" "$PARE" convert "$nano" -o "$tmp/none.gguf" -q --calib "$tmp/one"
has "$tmp/stderr" "another size" "does not fit"
printf '{"chunks": 0, "ctx": 4}' >"$tmp/lacks/calibration.json"
fails 3 "no chunks" fed lacks
has "$tmp/stderr" "no calibration that can be" "are no calibration"
is "$(ls "$tmp"/none.gguf* 2>/dev/null)" "" "nothing was written"
cp -rp "$small" "$tmp/copy"
fails 2 "--consume is refused" "$PARE" convert "$tmp/copy" -o "$tmp/none.gguf" -q --calib "$tmp/one" --consume --yes
has "$tmp/stderr" "--consume and --calib exclude each other" "in words"

# parts
part() { i=$1; shift; "$PARE" convert "$small" -o "$tmp/split.gguf" -r Q4_0 -q -f --split-max-size 600K --part "$i/2" --calib "$tmp/$1"; }
ok "a part" part 1 two
ok "and another by another calibration" part 2 one
fails 3 "do not join" "$PARE" merge "$tmp/split.gguf.part-1-of-2.manifest.json" "$tmp/split.gguf.part-2-of-2.manifest.json"
has "$tmp/stderr" "calibration" "it says what may differ"
ok "by the same one" part 2 two
ok "they do" "$PARE" merge "$tmp/split.gguf.part-1-of-2.manifest.json" "$tmp/split.gguf.part-2-of-2.manifest.json"
has "$tmp/split.gguf.manifest.json" ", 2 chunks of 512 tokens" "and the whole's manifest names it"

# memory
"$PARE" plan "$small" -r Q4_0 --calib "$tmp/two" -j 2 --json >"$tmp/stdout"
planned=$(value peak_memory)
ok "memory is measured" "$TOOLS/peak" "$tmp/peak" "$PARE" convert "$small" -o "$out" -r Q4_0 -q -f --calib "$tmp/two" -j 2
if [ -n "$san" ]; then
    skip "a sanitizer takes more" "it is what the plan says at most"
else
    ok "$(cat "$tmp/peak") bytes are at most the planned $planned" test "$(cat "$tmp/peak")" -le "$planned"
fi

# sequential
follows() { to=$1; shift; "$PARE" convert "$small" -o "$to" -r Q4_0 -q --sequential --calib-text "$tmp/text" --calib-chunks 1 "$@"; }
"$PARE" plan "$small" -r Q4_0 --sequential --calib-text "$tmp/text" --calib-chunks 1 -j 2 --json >"$tmp/stdout"
planned=$(value peak_memory)
ok "--sequential" "$TOOLS/peak" "$tmp/peak" "$PARE" convert "$small" -o "$tmp/seq.gguf" -r Q4_0 -q --sequential --calib-text "$tmp/text" \
    --calib-chunks 1 -j 2
if [ -n "$san" ]; then
    skip "a sanitizer takes more" "its memory is what the plan says at most"
else
    ok "$(cat "$tmp/peak") bytes are at most the planned $planned" test "$(cat "$tmp/peak")" -le "$planned"
fi
is "$(cd "$tmp" && echo seq.gguf*)" "seq.gguf seq.gguf.manifest.json" "leaves its output and a manifest, nothing else"
has "$tmp/seq.gguf.manifest.json" "sequential, pull 0.5" "which says so"
ok "nano on one chunk" "$PARE" convert "$nano" -o "$tmp/nano.gguf" -r Q2_K -q -f -j 1 --sequential --calib-text "$tmp/text" --calib-chunks 1
below "$(kl "$tmp/nano.gguf")" "$plain" 0.85 "KL of --sequential to that without feedback"
# between the final name and the journal's end a run is not through yet
through() { [ -e "$out.s" ] && [ ! -e "$out.s.journal" ]; }
killed=0
for moment in 0.1 0.3 0.05 0.2; do
    (exec "$PARE" convert "$small" -o "$out.s" -r Q4_0 -q --sequential --calib-text "$tmp/text" --calib-chunks 1 -j 1 --sync-every 32K \
        >/dev/null 2>&1) &
    pid=$!
    sleep $moment
    kill -KILL $pid 2>/dev/null && killed=$((killed + 1))
    wait $pid 2>/dev/null
    ! through || break
done
note "$killed kills"
through || ok "a run that was killed at any moment goes on" follows "$out.s" -j 3
ok "and gives the same bytes" cmp "$out.s" "$tmp/seq.gguf"
ok "and manifest" sh -c "grep -v '\"output\\|\"name\\|xxh3' '$out.s.manifest.json' >'$tmp/a'; grep -v '\"output\\|\"name\\|xxh3' '$tmp/seq.gguf.manifest.json' | cmp - '$tmp/a'"
is "$(cd "$tmp" && echo out.gguf.s*)" "out.gguf.s out.gguf.s.manifest.json" "and leaves nothing else"
fails 2 "--sequential without a text is refused" "$PARE" convert "$nano" -o "$tmp/none.gguf" -q --sequential
has "$tmp/stderr" "--calib-text" "in words"
fails 2 "a text without --sequential" "$PARE" convert "$nano" -o "$tmp/none.gguf" -q --calib-text "$tmp/text"
fails 2 "a split output" follows "$tmp/none.gguf" --split-max-size 1M
has "$tmp/stderr" "cannot be split" "in words"
fails 2 "--consume" "$PARE" convert "$tmp/copy" -o "$tmp/none.gguf" -q --sequential --calib-text "$tmp/text" --consume --yes
has "$tmp/stderr" "--consume and --sequential exclude each other" "in words"
fails 4 "a text that is not there" "$PARE" convert "$nano" -o "$tmp/none.gguf" -q --sequential --calib-text "$tmp/nowhere.txt"
mkdir "$tmp/none.gguf.calib" && cp "$tmp/one"/* "$tmp/none.gguf.calib"
fails 2 "a finished calibration in the way is refused" follows "$tmp/none.gguf"
ok "and left as it was" diff -r "$tmp/one" "$tmp/none.gguf.calib"
is "$(cd "$tmp" && echo none.gguf*)" "none.gguf.calib" "nothing was written"
done_testing
