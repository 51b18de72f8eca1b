#!/bin/sh
# SPDX-License-Identifier: MIT
# pare plan with a budget: the budget is kept to the byte, what is measured is kept, recipes are what conversions take; what is refused.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
TOOLS=${TOOLS:-build/tests/tools}
nano=tests/data/nano-v3
small=$tmp/small
"$TOOLS/mkcheckpoint" --family v3 --layers 3 --dense 1 --vocab 2048 --hidden 128 --inter 128 --moe-inter 128 --heads 2 --q-lora 128 --kv-lora 128 \
    --experts 4 --used 2 --groups 1 --topk-group 1 --mtp 1 --tokenizer "$nano" --out "$small" >/dev/null

value() { sed -n "s/.*\"$1\":[ 	]*\"*\([^\",]*\)\"*,*$/\1/p" "$tmp/chosen.json" | head -n 1; }
# choose WORDS...: a recipe r.json for the small model, and chosen.json
choose() { "$PARE" plan "$small" --calib "$tmp/cal" --pool Q4_0,Q5_0,Q8_0 --gain-tokens 64 -j 1 -q --json -o "$tmp/r.json" "$@" >"$tmp/chosen.json"; }
# planned RECIPE WORDS...: total bytes of a conversion by it
planned() { recipe=$1; shift; "$PARE" plan "$small" -r "$recipe" --calib "$tmp/cal" --json "$@" >"$tmp/plan.json" && sed -n 's/.*"total_bytes":[ 	]*\([0-9]*\),/\1/p' "$tmp/plan.json"; }
# type NAME: of a tensor in the last plan
type() { awk -v n="\"$1\"," '$2 == n {found = 1} found && $1 == "\"type\":" {gsub(/[",]/, "", $2); print $2; exit}' "$tmp/plan.json"; }

ok "a calibration" "$PARE" calibrate "$small" -o "$tmp/cal" -q --text tests/data/technical.txt --ctx 32 --chunks 4 -j 1
ok "it keeps its tokens" test -s "$tmp/cal/tokens.safetensors"

# bits per weight
ok "types for 5.5 bits per weight" choose --bpw 5.5
ok "at most those" awk -v b="$(value bits_per_weight)" 'BEGIN {exit !(b > 5.4 && b <= 5.5)}'
ok "all was measured" test "$(value measured)" -gt 0
total=$(value total_bytes)
is "$(planned "$tmp/r.json")" "$total" "a conversion by the recipe has the bytes that were promised"
ok "it is converted" "$PARE" convert "$small" -r "$tmp/r.json" --calib "$tmp/cal" -o "$tmp/out.gguf" -q
is "$(wc -c <"$tmp/out.gguf")" "$total" "to that size"
ok "the plan says what is expected" "$PARE" plan "$small" -r "$tmp/r.json" --calib "$tmp/cal"
has "$tmp/stdout" "expects a KL divergence of 0" "in a line"
ok "so does the report of the real divergence" "$PARE" verify "$small" "$tmp/out.gguf" --text tests/data/technical.txt --ctx 32 --chunks 2 -q -j 1
has "$tmp/stdout" "mean KL, as it was planned" "beside it"

# what was measured is kept
cp "$tmp/r.json" "$tmp/want.json"
ok "the same again" choose --bpw 5.5
is "$(value measured)" 0 "measures nothing"
ok "and gives the same recipe" cmp "$tmp/r.json" "$tmp/want.json"
cp "$tmp/cal/sensitivity.json" "$tmp/sensitivity"
rm "$tmp/cal/sensitivity.json"
ok "measured anew by three threads" choose --bpw 5.5 -j 3
ok "recipe and measurements are the same" sh -c "cmp '$tmp/r.json' '$tmp/want.json' && cmp '$tmp/cal/sensitivity.json' '$tmp/sensitivity'"
ok "another type" choose --bpw 5.5 --pool Q4_0,Q5_0,Q8_0,IQ4_NL
ok "is measured alone" test "$(value measured)" -gt 0 -a "$(value gain_streams)" -eq "$(sed -n 's/.*"streams":\([0-9]*\),.*/\1/p' "$tmp/sensitivity")"

# sizes
ok "a size" choose --size "$total"
is "$(value total_bytes)" "$total" "that a recipe fits to the byte is used up"
ok "a byte less" choose --size $((total - 1))
ok "is kept too" test "$(value total_bytes)" -lt "$total"
ok "and loses more" awk -v a="$(value predicted_kl)" -v b="$(sed -n 's/.*"predicted_kl":\([^,]*\),"classes.*/\1/p' "$tmp/want.json")" 'BEGIN {exit !(a >= b)}'
ok "a larger one than the pool can use is told" "$PARE" plan "$small" --calib "$tmp/cal" --pool Q4_0,Q5_0,Q8_0 --gain-tokens 64 -q -o "$tmp/r.json" --size 1G
has "$tmp/stdout" "nothing of the pool is better" "in a line"
cp "$tmp/stdout" "$tmp/table"
ok "more bits, less divergence" awk '/bits\/weight *bytes *predicted/ {on = 1; last = 1e9; next} on && NF == 3 {if ($3 >= last) bad = 1; last = $3; n++} END {exit !(n > 3 && !bad)}' "$tmp/table"
ok "memory of an engine" choose --fit 6M --ctx 256
ok "is weights and what is beside them" test $(($(value total_bytes) + $(value kv_cache_bytes) + $(value buffer_bytes))) -le 6000000

# what must be
ok "a floor" choose --bpw 6.5 --floor embeddings=Q8_0 --floor attn_output=Q5_0
planned "$tmp/r.json" >/dev/null
is "$(type token_embd.weight) $(type output.weight)" "Q8_0 Q8_0" "is kept"
ok "a type by rule" choose --bpw 5 --type ffn_down_exps=Q5_0
planned "$tmp/r.json" >/dev/null
is "$(type blk.1.ffn_down_exps.weight)" Q5_0 "stays"
ok "an MTP layer" choose --bpw 5.5 --mtp keep
planned "$tmp/r.json" --mtp keep >/dev/null
is "$(type blk.3.ffn_up_exps.weight)" "$(type blk.2.ffn_up_exps.weight)" "has the types of the last layer"

# checkpoints
ok "types for compressed-tensors" choose --to compressed-tensors --bpw 12 --pool INT4-G32,INT8-G128,BF16
total=$(value total_bytes)
is "$(planned "$tmp/r.json" --to compressed-tensors)" "$total" "are a plan of that size, and alike where engines join"
ok "types for a pack" choose --to pack --bpw 5.5
total=$(value total_bytes)
is "$(planned "$tmp/r.json" --to pack)" "$total" "are a pack of that size"
ok "its experts differ" grep -q '"experts":' "$tmp/r.json"
fails 2 "a target with one type for all is refused" choose --to gptq --bpw 5
has "$tmp/stderr" "nothing to choose" "in a line"

# refusals
fails 2 "too few bits are refused" choose --bpw 3
has "$tmp/stderr" "fewest that the pool allows, 4." "with how few there may be"
fails 2 "too few bytes are refused" choose --size 100k
has "$tmp/stderr" "smallest size that the pool allows" "with the smallest size"
fails 2 "a context that fills the memory is refused" choose --fit 1M --ctx 100000
for wrong in "--pool Q9_Z" "--pool IQ1_S" "--floor all=Q4_0" "--floor Q4_0" "--bpw x" "--size 1M" "--recipe Q8_0" "--gain-tokens 0"; do
    fails 2 "$wrong is refused" choose --bpw 5 $wrong
done
fails 2 "a budget without a calibration is refused" "$PARE" plan "$small" --bpw 5 -o "$tmp/r.json"
fails 2 "a budget without a place for the recipe is refused" "$PARE" plan "$small" --bpw 5 --calib "$tmp/cal"
echo '{"format": "pare sensitivity 1"' >"$tmp/cal/sensitivity.json"
fails 3 "damaged measurements are refused" choose --bpw 5
has "$tmp/stderr" "sensitivity.json" "by name"
rm "$tmp/cal/sensitivity.json" "$tmp/cal/tokens.safetensors"
fails 3 "a calibration without its tokens is refused" choose --bpw 5
has "$tmp/stderr" "tokens.safetensors" "by name"
done_testing
