#!/bin/sh
# SPDX-License-Identifier: MIT
# Checkpoint folders as outputs: every target and scheme writes what pare reads back, with a configuration that is true; FP8 comes through
# byte for byte; shards, parts, interruption and damage behave as for any other output.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
TOOLS=${TOOLS:-build/tests/tools}
nano=tests/data/nano-v3

# convert NAME WORDS...: nano-v3 as the folder $tmp/NAME
convert()
{
    name=$1
    shift
    "$PARE" convert "$nano" -o "$tmp/$name" -q "$@"
}
# worst FOLDER: the largest relative error of a tensor against nano-v3, in thousandths
worst()
{
    "$PARE" diff "$nano" "$1" | awk '$4 ~ /e[-+]/ { v = 1000 * $4; if (v > most) most = v } END { printf "%d\n", most }'
}
# within FOLDER MOST: that error is at most this
within()
{
    found=$(worst "$1")
    test "$found" -le "$2" || { echo "$found thousandths" >&2; return 1; }
}

# targets and schemes
while read -r name most words; do
    ok "$name: is written" convert "$name" $words
    ok "$name: no tensor is farther than $most thousandths from the source" within "$tmp/$name" "$most"
done <<END
w4a16 115 --to compressed-tensors
w4a16-asym 110 --to compressed-tensors --recipe W4A16_ASYM
w4a16-32 95 --to compressed-tensors --group-size 32
w4a16-row 145 --to compressed-tensors --group-size -1
w4afp8 115 --to compressed-tensors --recipe W4AFP8
w8a16 7 --to compressed-tensors --recipe W8A16
w8a8 8 --to compressed-tensors --recipe W8A8
fp8-row 24 --to compressed-tensors --recipe FP8_CHANNEL
mxfp4 125 --to compressed-tensors --recipe MXFP4
nvfp4 92 --to compressed-tensors --recipe NVFP4
gptq 115 --to gptq
gptq-8 7 --to gptq_v2 --recipe W8A16
awq 110 --to awq
int8-block 12 --to int8-block
bf16 2 --to bf16
ue8m0 30 --to fp8 --recipe FP8_UE8M0
END

# FP8
ok "fp8: is written" convert fp8 --to fp8
is "$("$PARE" diff "$nano" "$tmp/fp8" | tail -n 1)" "0 of 76 tensors differ" "fp8: the released numbers pass through"
ok "fp8: from the BF16 cast, with the release's scales" "$PARE" convert "$tmp/bf16" -o "$tmp/again" --to fp8 --scales-from "$nano" -q
ok "every byte of the release comes back" cmp "$tmp/again/model.safetensors" "$tmp/fp8/model.safetensors"
ok "UE8M0 scales from the BF16 cast" "$PARE" convert "$tmp/bf16" -o "$tmp/cost" --to fp8 --recipe FP8_UE8M0 -q
has "$tmp/stdout" "weights are off by 2." "tell what they cost"
"$PARE" convert "$nano" -o "$tmp/rest" -q --to compressed-tensors --recipe W4A16_FP8
is "$("$PARE" diff "$nano" "$tmp/rest" | tail -n 1)" "9 of 76 tensors differ" "W4A16_FP8: all but the experts is as released"

# the folder
is "$(cd "$tmp/w4a16" && echo *)" "README.md config.json generation_config.json model.safetensors pare.manifest.json tokenizer.json tokenizer_config.json" \
    "the folder has weights, configuration, tokenizer, a card and a manifest"
ok "the tokenizer's files are the source's" cmp "$nano/tokenizer.json" "$tmp/w4a16/tokenizer.json"
config=$tmp/w4a16/config.json
has "$config" '"quant_method":	"compressed-tensors"' "config.json names the method"
has "$config" '"format":	"pack-quantized"' "the format"
has "$config" '"re:.*\\.self_attn\\.kv_b_proj$"' "and by rules what is not quantized"
is "$(grep -c 'weight_block_size\|"fmt"\|e4m3' "$config")" 0 "nothing of the source's FP8 is left in it"
is "$(grep -c 'mlp.*experts' "$config")" 0 "and no expert is listed"
is "$(wc -c <"$config" | awk '{ print ($1 < 4000) }')" 1 "it is below 4,000 bytes"
has "$tmp/w4afp8/config.json" '"format":	"mixed-precision"' "two kinds of weights are mixed-precision"
has "$tmp/gptq/quantize_config.json" '"checkpoint_format":	"gptq"' "GPTQ's own file says the same"
has "$tmp/w4a16/README.md" "W4A16" "the card tells the recipe"
is "$(grep -c "$tmp\|$PWD" "$tmp/w4a16/README.md" "$tmp/w4a16/pare.manifest.json" | cut -d: -f2 | sort -u)" 0 "and no path"
has "$tmp/w4a16/config.json" '"num_nextn_predict_layers":	1' "the MTP layer is kept"
ok "or dropped" convert dropped --to compressed-tensors --mtp drop
has "$tmp/dropped/config.json" '"num_nextn_predict_layers":	0' "and the configuration says so"
printf '{{ template }}' >"$tmp/chosen"
ok "a chat template of choice is taken" convert templated --to bf16 --chat-template-file "$tmp/chosen"
ok "as it is" cmp "$tmp/chosen" "$tmp/templated/chat_template.jinja"
for name in w4a16 nvfp4 gptq; do
    ok "$name: structure, values and hashes are good" "$PARE" check "$tmp/$name"
done
has "$tmp/w4a16/README.md" "tensor-parallel sizes | 1, 2 |" "the card tells over how many devices its groups divide"

ok "verify writes what it measured into the card" "$PARE" verify "$nano" "$tmp/w4a16" --tokens "$nano/golden/tokens.bin" --chunks 1 -q --card
has "$tmp/w4a16/README.md" "Quality: KL divergence 0.0" "as KL divergence"
is "$(grep -c '^Quality' "$tmp/w4a16/README.md")" 1 "in one line"
fails 2 "a source has no card to write into" "$PARE" verify "$nano" "$nano" --tokens "$nano/golden/tokens.bin" --chunks 1 -q --card

# shards
ok "shards of 3 MB" convert shards --to compressed-tensors --split-max-size 3M
is "$(cd "$tmp/shards" && echo *.safetensors)" "$(for i in 1 2 3 4; do printf '%s ' model-0000$i-of-00004.safetensors; done | sed 's/ $//')" "are named as the hub's"
is "$(find "$tmp/shards" -name '*.safetensors' -size +3000000c | wc -l)" 0 "none is larger"
has "$tmp/shards/model.safetensors.index.json" '"model.layers.1.mlp.experts.7.down_proj.weight_packed":	"model-0000' "the index knows every part"
is "$("$PARE" diff "$tmp/w4a16" "$tmp/shards" | tail -n 1)" "0 of 76 tensors differ" "the numbers are those of one file"
sum=$("$PARE" plan "$nano" --to compressed-tensors --split-max-size 3M | awk '/^model|^lm_head/ { n += $(NF - 2) } END { print n }')
has "$tmp/shards/model.safetensors.index.json" "\"total_size\":	$sum" "total_size is the sum of all tensors, $sum bytes"
for part in 1 2; do
    ok "part $part of 2" convert parts --to compressed-tensors --split-max-size 3M --part $part/2
done
ok "the parts' manifests are joined" "$PARE" merge "$tmp/parts/pare.part-1-of-2.manifest.json" "$tmp/parts/pare.part-2-of-2.manifest.json"
ok "the whole's shards are those of one run" sh -c "cd '$tmp/shards' && for f in *.safetensors *.json; do test \$f = pare.manifest.json || cmp \$f '$tmp/parts/'\$f || exit 1; done"
ok "and the joined manifest proves them" "$PARE" check "$tmp/parts"

# same bytes
ok "one thread and scalar code" env PARE_CPU=scalar "$PARE" convert "$nano" -o "$tmp/scalar" --to compressed-tensors --threads 1 -q
ok "give the same bytes" cmp "$tmp/scalar/model.safetensors" "$tmp/w4a16/model.safetensors"
ok "recipe files know schemes" sh -c "echo '{\"base\": \"W4A16\", \"rules\": [{\"roles\": [\"attn_output\"], \"type\": \"INT8-G128\"}]}' >'$tmp/recipe.json'"
ok "and types of checkpoints" convert ruled --to compressed-tensors --recipe "$tmp/recipe.json"
has "$tmp/ruled/config.json" '"re:.*\\.self_attn\\.o_proj$"' "a second group of the configuration names the modules"

# widths that groups do not divide
"$TOOLS/mkcheckpoint" --family v2-lite --layers 2 --dense 1 --tokenizer "$nano" --out "$tmp/odd" >/dev/null
ok "a model with odd widths" "$PARE" convert "$tmp/odd" -o "$tmp/odd-ct" --to compressed-tensors -q
ok "is written in smaller groups, experts alike" "$PARE" check "$tmp/odd-ct" --target vllm
"$PARE" plan "$tmp/odd" --to compressed-tensors >"$tmp/plan"
has "$tmp/plan" "cannot be stored as INT4-G128" "which the plan tells"
fails 3 "--no-fallback refuses" "$PARE" convert "$tmp/odd" -o "$tmp/no" --to compressed-tensors -q --no-fallback

# refused
mkdir "$tmp/full" && : >"$tmp/full/model-00009-of-00009.safetensors"
refused()
{
    status=$1 text=$2
    shift 2
    fails "$status" "$text is refused" "$PARE" convert "$@" -q
    is "$(wc -l <"$tmp/stderr")" 1 "$text: in one line"
}
refused 2 "an existing folder" "$nano" -o "$tmp/w4a16" --to compressed-tensors
refused 2 "a folder with other shards" "$nano" -o "$tmp/full" --to compressed-tensors --force
refused 2 "the source's folder" "$nano" -o "$nano" --to compressed-tensors --force
refused 2 "a scheme that GPTQ cannot store" "$nano" -o "$tmp/no" --to gptq --recipe FP8
refused 2 "a GGUF type" "$nano" -o "$tmp/no" --to compressed-tensors --type ffn_down=Q4_K
refused 2 "a checkpoint's type in a GGUF" "$nano" -o "$tmp/no" --type ffn_down=INT4-G128
refused 2 "what engines join in two types" "$nano" -o "$tmp/no" --to compressed-tensors --type ffn_up=INT8-G128
refused 2 "a quantized embedding" "$nano" -o "$tmp/no" --to compressed-tensors --type token_embd=INT4-G128
refused 2 "a group size that no type has" "$nano" -o "$tmp/no" --to compressed-tensors --group-size 48
refused 2 "--fold" "$nano" -o "$tmp/no" --to compressed-tensors --fold all
refused 2 "an unknown target" "$nano" -o "$tmp/no" --to onnx
ok "nothing was left behind" test ! -e "$tmp/no"

# experts for kt-kernel: names, sizes and a folder that is part of a model
ok "experts in the order of AMX tiles" "$PARE" convert "$nano" --to ktransformers -o "$tmp/kt" -q
ok "under kt-kernel's names" sh -c '"$1" inspect "$2" | grep -q "^blk.2.ffn_up_exps.7.numa.0.weight  *I8  *\[65536\]"' sh "$PARE" "$tmp/kt"
ok "and nothing of the rest of the model" sh -c '! "$1" inspect "$2" | grep -q -e attn -e shexp -e config' sh "$PARE" "$tmp/kt"
ok "its hashes are proven" "$PARE" check "$tmp/kt" -q
has "$tmp/stdout" "structure and hashes checked" "without values, as there is no configuration"
fails 2 "plain numbers are refused" "$PARE" convert "$nano" --to ktransformers --type ffn_up_exps=BF16 -o "$tmp/kt2" -q
fails 3 "it is no model" "$PARE" verify "$tmp/kt" --tokens "$nano/golden/tokens.bin" --chunks 1 -q

done_testing
