#!/bin/sh
# SPDX-License-Identifier: MIT
# Conversion end to end on nano-v3: the same bytes always, nothing lost, nothing half-written.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
TOOLS=${TOOLS:-build/tests/tools}
nano=tests/data/nano-v3

sum() { cksum <"$1"; }

ok "nano-v3 becomes an F32 GGUF" "$PARE" convert "$nano" -o "$tmp/f32.gguf" -r F32
planned=$("$PARE" plan "$nano" -r F32 | sed -n 's/.*total \([0-9]*\) bytes.*/\1/p')
is "$(wc -c <"$tmp/f32.gguf")" "$planned" "of exactly the planned $planned bytes"
fails 1 "diff finds the MTP layer missing in it" "$PARE" diff "$nano" "$tmp/f32.gguf"
is "$(grep -vc 'blk.3\|differ\|^tensor' "$tmp/stdout")" 0 "and no other difference: F32 keeps every value"
ok "with --mtp keep nothing differs at all" sh -c \
    "'$PARE' convert $nano -o $tmp/mtp.gguf -r F32 --mtp keep && '$PARE' diff $nano $tmp/mtp.gguf"
ok "check holds the file against its manifest" "$PARE" check "$tmp/f32.gguf"
has "$tmp/stdout" "values and hashes checked: no problem" "values and hashes"

for recipe in F32 BF16 F16 Q8_0 Q4_0; do
    "$PARE" convert "$nano" -o "$tmp/$recipe.gguf" -r $recipe -j 1 -q >/dev/null
    want=$(sum "$tmp/$recipe.gguf")
    for j in 2 3 7; do
        "$PARE" convert "$nano" -o "$tmp/again.gguf" -r $recipe -j $j -q -f >/dev/null
        is "$(sum "$tmp/again.gguf")" "$want" "$recipe: $j threads write the bytes of one"
    done
    for cpu in scalar avx2; do
        PARE_CPU=$cpu "$PARE" convert "$nano" -o "$tmp/again.gguf" -r $recipe -q -f >/dev/null
        is "$(sum "$tmp/again.gguf")" "$want" "$recipe: PARE_CPU=$cpu writes the same bytes"
    done
    "$PARE" convert "$nano" -o "$tmp/again.gguf" -r $recipe --memory 20M -q -f >/dev/null
    is "$(sum "$tmp/again.gguf")" "$want" "$recipe: 20 MB of memory write the same bytes"
    "$PARE" convert "$tmp/f32.gguf" -o "$tmp/again.gguf" -r $recipe -q -f >/dev/null
    is "$(sum "$tmp/again.gguf")" "$want" "$recipe: from the F32 GGUF the same file as from the checkpoint"
    ok "$recipe: inspect reads it" "$PARE" inspect "$tmp/$recipe.gguf"
    ok "$recipe: check finds nothing wrong" "$PARE" check "$tmp/$recipe.gguf"
done

ok "a role gets the type that --type says" "$PARE" convert "$nano" -o "$tmp/mixed.gguf" -r Q4_0 \
    --type output,token_embd=Q8_0 --type ffn_down_exps=F16 -f
"$PARE" inspect "$tmp/mixed.gguf" >"$tmp/mixed"
is "$(awk '$1 == "output" || $1 == "token_embd" || $1 == "ffn_down_exps" {printf "%s ", $3}' "$tmp/mixed")" \
    "Q8_0 Q8_0 F16 " "inspect shows Q8_0, Q8_0 and F16"

# --search
for search in compat best; do
    ok "Q2_K by --search $search" "$PARE" convert "$nano" -o "$tmp/$search.gguf" -r Q2_K --search $search
    "$PARE" diff "$nano" "$tmp/$search.gguf" --json | awk '/"rms"/ { sum += $2 } END { print sum }' >"$tmp/$search.rms"
done
is "$(wc -c <"$tmp/best.gguf")" "$(wc -c <"$tmp/compat.gguf")" "both have the same size"
is "$(paste -d' ' "$tmp/best.rms" "$tmp/compat.rms" | awk '{ print ($1 > 0 && $1 < 0.93 * $2) }')" 1 \
    "best has at least 7 % less error"
"$PARE" convert "$nano" -o "$tmp/again.gguf" -r Q2_K -q -f >/dev/null
is "$(sum "$tmp/again.gguf")" "$(sum "$tmp/best.gguf")" "best is the default"
is "$(sed -n 's/.*"recipe":[^"]*"\([^"]*\)".*/\1/p' "$tmp/compat.gguf.manifest.json")" "Q2_K compat" "the manifest says compat"
fails 2 "there is no third search" "$PARE" convert "$nano" -o "$tmp/third.gguf" --search fast
has "$tmp/stderr" "--search: 'fast' is none of best, compat" "it says which there are"

# overwriting
before=$(sum "$tmp/Q8_0.gguf")
fails 2 "an existing output is not replaced" "$PARE" convert "$nano" -o "$tmp/Q8_0.gguf" -r F32
is "$(sum "$tmp/Q8_0.gguf")" "$before" "it keeps its bytes"
fails 2 "the output may not be the input, even with --force" "$PARE" convert "$tmp/Q8_0.gguf" -o "$tmp/Q8_0.gguf" -f
ln "$tmp/Q8_0.gguf" "$tmp/link.gguf"
fails 2 "not by another name either" "$PARE" convert "$tmp/Q8_0.gguf" -o "$tmp/link.gguf" -f
is "$(sum "$tmp/Q8_0.gguf")" "$before" "the input keeps its bytes"
fails 2 "a folder cannot be the output" "$PARE" convert "$nano" -o "$tmp" -f
fails 4 "a folder that does not exist cannot hold the output" "$PARE" convert "$nano" -o "$tmp/no/x.gguf"
is "$(find "$tmp" -name '*.partial' | wc -l)" 0 "no partial file is left anywhere"

# hashes
mkdir "$tmp/flip" && cp "$tmp/Q4_0.gguf" "$tmp/Q4_0.gguf.manifest.json" "$tmp/flip"
flip=$tmp/flip/Q4_0.gguf
ok "a copy passes with its manifest" "$PARE" check "$flip"
size=$(wc -c <"$flip")
printf '\125' | dd of="$flip" bs=1 seek=$((size - 5000)) conv=notrunc 2>/dev/null
fails 1 "one changed byte is found" "$PARE" check "$flip"
has "$tmp/stdout" "blk.2.ffn_down_shexp.weight: the tensor's bytes differ" "and the tensor named"
ok "pare manifest hashes a checkpoint" sh -c "cp -r $nano $tmp/nano && '$PARE' manifest $tmp/nano"
ok "check uses that manifest" "$PARE" check "$tmp/nano"
has "$tmp/stdout" "hashes" "and says so"
printf ' ' >>"$tmp/nano/tokenizer.json"
fails 1 "a changed side file is found" "$PARE" check "$tmp/nano"
has "$tmp/stdout" "tokenizer.json" "and named"

# dialect, template, vocabulary
ok "V3.2 becomes deepseek32 with its indexer" sh -c "$TOOLS/mkcheckpoint --family v3.2 --out $tmp/v32 \
    --tokenizer $nano >/dev/null && '$PARE' convert $tmp/v32 -o $tmp/v32.gguf -r BF16 && '$PARE' inspect $tmp/v32.gguf"
has "$tmp/stdout" "indexer.attn_q_b" "which inspect shows"
ok "for ik it is plain deepseek2" sh -c "'$PARE' convert $tmp/v32 -o $tmp/ik.gguf -r BF16 --dialect ik &&
    '$PARE' inspect $tmp/ik.gguf"
is "$(grep -c indexer "$tmp/stdout")" 0 "without an indexer"
fails 3 "and cannot keep the MTP layer" "$PARE" convert "$tmp/v32" -o "$tmp/x.gguf" --dialect ik --mtp keep
mkdir "$tmp/v32/inference"
grep index_ "$tmp/v32/config.json" | sed '$!b;s/,$//' | { echo '{'; cat; echo '}'; } >"$tmp/v32/inference/config_671B_v3.2.json"
grep -v index_ "$tmp/v32/config.json" >"$tmp/config" && cp "$tmp/config" "$tmp/v32/config.json"
ok "the indexer's sizes may stand in V3.2's second configuration file alone" "$PARE" diff "$tmp/v32" "$tmp/v32.gguf"
sed 's/"index_topk": [0-9]*/"index_topk": 7/' "$tmp/v32/inference/config_671B_v3.2.json" >"$tmp/config"
sed '1s/{/{ "index_topk": 8,/' "$tmp/v32/config.json" >"$tmp/config2"
cp "$tmp/config" "$tmp/v32/inference/config_671B_v3.2.json" && cp "$tmp/config2" "$tmp/v32/config.json"
fails 3 "the two files may not contradict each other" "$PARE" inspect "$tmp/v32"
has "$tmp/stderr" "disagree on 'index_topk'" "which is said with the field's name"
rm "$tmp/nano/tokenizer.json" "$tmp/nano/pare.manifest.json"
fails 3 "no tokenizer.json is an error" "$PARE" convert "$tmp/nano" -o "$tmp/x.gguf"
ok "unless --no-vocab says so" "$PARE" convert "$tmp/nano" -o "$tmp/x.gguf" --no-vocab

# scales of other kinds, other spellings
for scale in f32 e8m0 u8; do
    "$TOOLS/mkcheckpoint" --family v3.1 --out "$tmp/s-$scale" --scale $scale --tokenizer "$nano" >/dev/null
    "$PARE" convert "$tmp/s-$scale" -o "$tmp/s-$scale.gguf" -r F32 --name same -q >/dev/null 2>&1
done
is "$(sum "$tmp/s-e8m0.gguf")" "$(sum "$tmp/s-f32.gguf")" "E8M0 scales give the bytes of F32 scales"
is "$(sum "$tmp/s-u8.gguf")" "$(sum "$tmp/s-f32.gguf")" "U8 scales too"
"$TOOLS/mkcheckpoint" --family v3.1 --out "$tmp/rope" --rope-parameters --tokenizer "$nano" --single >/dev/null
"$PARE" convert "$tmp/rope" -o "$tmp/rope.gguf" -r F32 --name same -q >/dev/null 2>&1
is "$(sum "$tmp/rope.gguf")" "$(sum "$tmp/s-f32.gguf")" "rope_parameters and a single file give the same bytes too"
for dtype in bf16 f16 f32; do
    "$TOOLS/mkcheckpoint" --family v2-lite --out "$tmp/d-$dtype" --dtype $dtype --tokenizer "$nano" >/dev/null
    ok "a V2-Lite checkpoint in $dtype is converted and equals its source" sh -c \
        "'$PARE' convert $tmp/d-$dtype -o $tmp/d-$dtype.gguf -r F32 -q && '$PARE' diff $tmp/d-$dtype $tmp/d-$dtype.gguf"
done
ok "widths that are no multiple of the block fall back to F16, said in the plan" sh -c \
    "$TOOLS/mkcheckpoint --family v2-lite --out $tmp/odd --moe-inter 80 --tokenizer $nano >/dev/null && '$PARE' plan $tmp/odd"
has "$tmp/stdout" "rows of 80 are no multiple of Q8_0's block of 32: F16 instead" "with the reason"
fails 3 "which --no-fallback forbids" "$PARE" plan "$tmp/odd" --no-fallback
has "$tmp/stderr" "allows no other type" "in one line"

# a split's parts go by the name that was given to -o
ok "a split conversion" "$PARE" convert "$nano" -o "$tmp/s.gguf" -r Q8_0 --split-max-size 2M -q
ok "is found by the name of its whole" "$PARE" check "$tmp/s.gguf"
has "$tmp/stdout" "values and hashes checked" "with its manifest"
ok "as by a part's" "$PARE" inspect "$tmp/s-00002-of-00004.gguf"
ok "a second split of that name" "$PARE" convert "$nano" -o "$tmp/s.gguf" -r Q8_0 --split-max-size 4M -q --force
fails 3 "makes the whole's name ambiguous" "$PARE" inspect "$tmp/s.gguf"
has "$tmp/stderr" "several splits" "which is said"

# presets, and what a recipe's options change
ok "a mixture" "$PARE" convert "$nano" -o "$tmp/m.gguf" -r q4_k_m -q
ok "is planned role by role, layer by layer" "$PARE" plan "$nano" -r Q4_K_M
for want in "output.weight                      Q6_K" "blk.0.ffn_down.weight              Q4_K" "blk.2.ffn_down_exps.weight         Q6_K" \
    "blk.1.attn_k_b.weight              Q5_0" "blk.1.attn_output.weight           Q5_K"; do
    has "$tmp/stdout" "$want" "$(echo $want)"
done
ok "--pure takes the base type for all" "$PARE" plan "$nano" -r Q4_K_M --pure
has "$tmp/stdout" "output.weight                      Q4_K" "the output as well"
ok "--type goes before the preset" "$PARE" plan "$nano" -r Q4_K_M --type output=Q5_K
has "$tmp/stdout" "output.weight                      Q5_K" "in what is planned"
fails 2 "a preset that needs an importance matrix is unknown" "$PARE" plan "$nano" -r IQ2_XXS
has "$tmp/stderr" "Q4_K_M" "and the known ones are named"
ok "the mixture is read" "$PARE" check "$tmp/m.gguf"
rm "$tmp/m.gguf"
ok "a manifest whose file is gone does not stand in the way" "$PARE" convert "$nano" -o "$tmp/m.gguf" -r Q2_K -q
done_testing
