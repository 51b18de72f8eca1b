#!/bin/sh
# SPDX-License-Identifier: MIT
# Quantized checkpoints as sources: one with INT4 experts is read, carried over without loss, and refused when its parts and its
# configuration do not agree; what GPTQ and AWQ files need beyond that.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-$PWD/pare}
TOOLS=${TOOLS:-build/tests/tools}
LC_ALL=C
export LC_ALL
nano=$PWD/tests/data/nano-v3
src=$tmp/kimi
"$TOOLS/mkcheckpoint" --family kimi --single --layers 2 --experts 4 --hidden 128 --out "$src" >/dev/null || { echo "Bail out! mkcheckpoint"; exit 1; }

convert() { "$PARE" convert "$@" -q --no-vocab --force; }
# offset of a tensor's data
offset_of() { "$PARE" inspect --json "$1/model.safetensors" | awk -v n="\"$2\"," '$2 == n {f = 1} f && $1 == "\"offset\":" {print $2 + 0; exit}'; }
# put BYTES FILE OFFSET
put() { printf "$1" | dd of="$2" bs=1 seek="$3" conv=notrunc 2>/dev/null; }

ok "a checkpoint with INT4 experts is checked" "$PARE" check "$src"
ok "and inspected" "$PARE" inspect "$src"
has "$tmp/stdout" "ffn_down_exps                  4 INT4-G32 [128, 256]" "experts are listed by their weights, not their words"
ok "it becomes F32" convert "$src" -o "$tmp/f32.gguf" -r F32
ok "with no difference" "$PARE" diff "$src" "$tmp/f32.gguf"
ok "it becomes Q4_0" convert "$src" -o "$tmp/q4_0.gguf" -r Q4_0
has "$tmp/stdout" ", 12288 of 12288 blocks carried over without loss" "all 12288 blocks of the experts are carried over"
"$PARE" diff "$src" "$tmp/q4_0.gguf" >"$tmp/diff"
is "$(grep -c _exps "$tmp/diff")" 0 "no expert differs, as others do"
is "$(grep -c attn_output "$tmp/diff")" 2 "which are quantized"
ok "one thread writes the same" convert "$src" -o "$tmp/j1.gguf" -r Q4_0 -j1
ok "byte for byte" cmp "$tmp/q4_0.gguf" "$tmp/j1.gguf"
ok "with --search compat the experts are carried over too" convert "$src" -o "$tmp/compat.gguf" -r Q4_0 --search compat
has "$tmp/stdout" "12288 of 12288 blocks" "all of them"
ok "so are groups to groups of another target" "$PARE" convert "$src" -o "$tmp/packed" --to compressed-tensors --group-size 32 -q
has "$tmp/stdout" "blocks carried over without loss" "as it says"
"$PARE" diff "$src" "$tmp/packed" >"$tmp/diff"
is "$(grep -c _exps "$tmp/diff")" 0 "and no expert differs"

"$PARE" verify "$src" "$tmp/f32.gguf" --tokens "$nano/golden/tokens.bin" --ctx 64 --chunks 1 -q --json >"$tmp/verify"
has "$tmp/verify" '"top1_agreement":	1,' "verify runs, and its best tokens are those of F32"

# a scale that is no F16 number
cp -r "$src" "$tmp/fine"
scale=$(offset_of "$src" model.layers.1.mlp.experts.2.up_proj.weight_scale)
put '\201\064' "$tmp/fine/model.safetensors" "$scale"
ok "a scale that F16 does not hold is rounded" convert "$tmp/fine" -o "$tmp/fine.gguf" -r Q4_0
has "$tmp/stdout" ", 12287 of 12288 blocks carried over without loss" "and the other 12287 blocks are carried over"

# damaged TITLE TEXT SHELL-COMMANDS: they run in a fresh copy
damaged()
{
    rm -rf "$tmp/ck"
    cp -r "${from:-$src}" "$tmp/ck"
    (cd "$tmp/ck" && eval "$3") || { tap_result 1 "$1 (the damage itself failed)"; return; }
    if cmp -s "$tmp/ck/config.json" "${from:-$src}/config.json" && cmp -s "$tmp/ck/model.safetensors" "${from:-$src}/model.safetensors"; then
        tap_result 1 "$1 (nothing was damaged)"
        return
    fi
    "$PARE" convert "$tmp/ck" -o "$tmp/x.gguf" --no-vocab -q >"$tmp/stdout" 2>"$tmp/stderr"
    status=$?
    lines=$(grep -c . "$tmp/stderr")
    if [ $status -eq 3 ] && [ "$lines" -eq 1 ] && [ ! -e "$tmp/x.gguf" ] && grep -qF -e "$2" "$tmp/stderr"; then
        tap_result 0 "$1"
    else
        tap_result 1 "$1" || note "exit $status, $lines lines; expected '$2'"
        tap_output "$PARE" convert
    fi
}
one=model.layers.1.mlp.experts.0.gate_proj
set_key() { sed -i "s/\"$1\":[^,]*/\"$1\": $2/" config.json; }
# swap PART NEW: expert 0's gate has it under another name of the same length
swap() { sed -i "s/\"$one\.$1\":/\"$one.$2\":/" model.safetensors; }

damaged "another group size" "shape [256, 4] contradicts the configuration, which says [256, 2]" 'set_key group_size 64'
damaged "groups of 48" "whole weights of 4 bits, symmetric, in groups of 48, are not read in format 'pack-quantized'" 'set_key group_size 48'
damaged "8 bits" "contradicts the configuration" 'set_key num_bits 8'
damaged "asymmetric groups without zeros" "a quantized tensor without its zero point ($one.weight_zero_point) in any shard" 'set_key symmetric false'
damaged "another format" "the configuration says int-quantized, which stores this weight as '$one.weight'" \
    'set_key format "\"int-quantized\""; set_key num_bits 8; set_key strategy "\"channel\""'
damaged "a format that is not known" "a format that is not read: 'marlin-24'" 'set_key format "\"marlin-24\""'
damaged "no quantization_config" "a quantized tensor, but the configuration has no quantization_config" 'sed -i s/quantization_config/quantization_konfig/ config.json'
damaged "targets that do not name the experts" "quantization does not name its module" 'sed -i "s/\"Linear\"/\"re:.*self_attn.*\"/" config.json'
damaged "a pattern that is none" "a target's pattern is not read: '('" 'sed -i "s/\"Linear\"/\"re:(\"/" config.json'
damaged "scales of whole tensors" "a strategy that is not read: 'tensor'" 'set_key strategy "\"tensor\""'
damaged "another method" "the configuration says gptq, which stores this weight as '$one.qweight'" \
    'set_key quant_method "\"gptq\""; sed -i "s/\"format\": \"pack-quantized\",/\"bits\": 4, \"group_size\": 32,/" config.json'
damaged "a missing scale" "a quantized tensor without its scale ($one.weight_scale) in any shard" 'swap weight_scale weight_g_idx'
damaged "codes of another type" "a codes of type U32" \
    'sed -i "s/\"$one.weight_packed\":{\"dtype\":\"I32\"/\"$one.weight_packed\":{\"dtype\":\"U32\"/" model.safetensors'
damaged "a weight_shape of another matrix" "shape, group index or zero points are not those of INT4-G32" \
    'put "\001" model.safetensors $(offset_of "$src" $one.weight_shape)'
damaged "a scale that is NaN" "scale nan is not finite" 'put "\377\177" model.safetensors $(offset_of "$src" $one.weight_scale)'
damaged "a truncated file" "truncated" 'truncate -s -1 model.safetensors'

# GPTQ and AWQ
for to in gptq awq; do
    ok "the same becomes $to" "$PARE" convert "$src" -o "$tmp/$to" --to $to --group-size 32 -q
    ok "which becomes F32" convert "$tmp/$to" -o "$tmp/$to.gguf" -r F32 -j3
    ok "with no difference" "$PARE" diff "$tmp/$to" "$tmp/$to.gguf"
done
rm "$tmp/gptq/pare.manifest.json"
cp -r "$tmp/gptq" "$tmp/older"
sed -i 's/"quantization_config"/"no_longer"/' "$tmp/older/config.json"
ok "GPTQ's quantize_config.json stands in for config.json's" "$PARE" diff "$tmp/gptq" "$tmp/older"
from=$tmp/gptq
damaged "columns out of order" "shape, group index or zero points are not those of INT4-G32-F16 in gptq" \
    'put "\001" model.safetensors $(offset_of "$from" $one.g_idx)'
damaged "zeros of another file version" "shape, group index or zero points are not those of INT4-G32-F16 in gptq_v2" \
    'set_key checkpoint_format "\"gptq_v2\""'
damaged "a version that is not known" "a format that is not read: 'marlin'" 'set_key checkpoint_format "\"marlin\""'
damaged "an AWQ configuration" "shape [16, 256] contradicts the configuration, which says [128, 32]" \
    'set_key quant_method "\"awq\""'
done_testing
