#!/bin/sh
# SPDX-License-Identifier: MIT
# convert --ladder: several outputs of one reading are those that runs of their own make, also with a calibration, folded, killed and gone
# on with; what is finished stays; what is refused.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-$PWD/pare}
nano=tests/data/nano-v3
rungs=Q4_K_M,Q2_K,Q8_0

# same FOLDER TITLE OPTIONS...: its rungs against runs of their own
same()
{
    folder=$1 title=$2
    shift 2
    for rung in Q4_K_M Q2_K Q8_0; do
        "$PARE" convert "$nano" -o "$tmp/alone.gguf" -r $rung -q -f "$@" >/dev/null
        ok "$title: $rung is what a run of its own makes" cmp "$tmp/alone.gguf" "$tmp/$folder/m-$rung.gguf"
    done
}

mkdir "$tmp/a" "$tmp/b" "$tmp/c" "$tmp/d"
ok "three recipes in one pass" "$PARE" convert "$nano" -o "$tmp/a/m.gguf" --ladder $rungs -q
has "$tmp/stdout" "| m-Q4_K_M.gguf |" "a table names the files"
same a plain
ok "each has a manifest of its own" "$PARE" check "$tmp/a/m-Q2_K.gguf" -q
ok "finished ones stay" "$PARE" convert "$nano" -o "$tmp/a/m.gguf" --ladder $rungs -q
is "$(grep -c "was there already" "$tmp/stdout")" 3 "all three"
rm "$tmp/a/m-Q2_K.gguf"
ok "one that is gone is made again" "$PARE" convert "$nano" -o "$tmp/a/m.gguf" --ladder $rungs --json -q
is "$(tr -d ' \n\t' <"$tmp/stdout" | grep -o '"units_reused":0' | grep -c .)" 1 "and only that one"
printf x | dd of="$tmp/a/m-Q8_0.gguf" bs=1 seek=9999999 conv=notrunc 2>/dev/null
fails 2 "a file of that name that is another's is refused" "$PARE" convert "$nano" -o "$tmp/a/m.gguf" --ladder $rungs -q
has "$tmp/stderr" "--force replaces it" "unless told otherwise"

# with error feedback, of a small model
"${TOOLS:-build/tests/tools}/mkcheckpoint" --family v3 --layers 2 --dense 1 --vocab 2048 --hidden 128 --inter 128 --moe-inter 128 --heads 2 --q-lora 128 \
    --kv-lora 128 --experts 2 --used 1 --groups 1 --topk-group 1 --mtp 0 --tokenizer "$nano" --out "$tmp/small" >/dev/null
ok "a calibration" "$PARE" calibrate "$tmp/small" --text tests/data/technical.txt --ctx 32 --chunks 2 -o "$tmp/cal" -q
ok "the same with error feedback, folded, by rules" "$PARE" convert "$tmp/small" -o "$tmp/b/m.gguf" --ladder $rungs --calib "$tmp/cal" --fold up-down \
    --type attn_output=Q6_K -q
nano=$tmp/small
same b calibrated --calib "$tmp/cal" --fold up-down --type attn_output=Q6_K
nano=tests/data/nano-v3

for after in 0.02 0.05 0.1 0.15 0.2 0.3; do
    timeout -s KILL $after "$PARE" convert "$nano" -o "$tmp/c/m.gguf" --ladder $rungs -q --sync-every 32K -j 1 >/dev/null 2>&1
done
ok "six kills later" "$PARE" convert "$nano" -o "$tmp/c/m.gguf" --ladder $rungs -q --sync-every 32K
same c killed
is "$(ls "$tmp/c" | grep -c -e journal -e partial)" 0 "nothing else is left"

# bits per weight
mkdir "$tmp/e"
pool="--pool Q4_0,Q5_0,Q8_0"
ok "bits per weight beside a mixture" "$PARE" convert "$tmp/small" -o "$tmp/e/m.gguf" --ladder 5.5,6.5,Q4_0 $pool --calib "$tmp/cal" -q
for bits in 5.5 6.5; do
    ok "$bits: the recipe is that of a plan" sh -c '"$1" plan "$2" --bpw $3 --calib "$4/cal" -o "$4/plan.json" -q '"$pool"' && cmp "$4/plan.json" "$4/e/m-$3bpw.gguf.json"' \
        sh "$PARE" "$tmp/small" $bits "$tmp"
    ok "$bits: the file what a run of its own makes" sh -c '"$1" convert "$2" -r "$4/plan.json" --calib "$4/cal" -o "$4/alone.gguf" -q -f &&
        cmp "$4/alone.gguf" "$4/e/m-$3bpw.gguf"' sh "$PARE" "$tmp/small" $bits "$tmp"
done
fails 2 "bits per weight without a calibration" "$PARE" convert "$nano" -o "$tmp/f.gguf" --ladder 3.5 -q
has "$tmp/stderr" "--calib DIR" "ask for one"

ok "recipes from files give their names" sh -c 'echo "{\"base\": \"Q3_K_M\"}" >"$1/small.json" && "$2" convert "$3" -o "$1/d/m.gguf" --ladder "$1/small.json,Q4_0" -q' \
    sh "$tmp" "$PARE" "$nano"
ok "as of the others" test -s "$tmp/d/m-small.gguf" -a -s "$tmp/d/m-Q4_0.gguf"
fails 2 "a name that stands twice" "$PARE" convert "$nano" -o "$tmp/e.gguf" --ladder Q4_0,Q4_0 -q
fails 2 "an unknown one" "$PARE" convert "$nano" -o "$tmp/e.gguf" --ladder Q4_0,Q9 -q
fails 2 "an empty one" "$PARE" convert "$nano" -o "$tmp/e.gguf" --ladder Q4_0, -q
fails 2 "and a recipe beside them" "$PARE" convert "$nano" -o "$tmp/e.gguf" --ladder Q4_0 -r Q8_0 -q
done_testing
