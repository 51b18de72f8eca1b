#!/bin/sh
# SPDX-License-Identifier: MIT
# pare check --target: what pare writes passes for the engines that can load it, and what was damaged is named.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
TOOLS=${TOOLS:-build/tests/tools}
nano=tests/data/nano-v3

# convert NAME WORDS...: nano-v3 as the folder $tmp/NAME
convert()
{
    name=$1
    shift
    "$PARE" convert "$nano" -o "$tmp/$name" -q "$@" >/dev/null
}
# check ENGINES PATH: all of them find no problem
check()
{
    for engine in $1; do
        "$PARE" check --target "$engine" "$2" || return 1
    done
}

# outputs, for those engines that can load them
while read -r name engines words; do
    convert "$name" $words || echo "Bail out! $name is not written"
    engines=$(echo "$engines" | tr , ' ')
    ok "$name: nothing is wrong for $engines" check "$engines" "$tmp/$name"
done <<END
w4a16 vllm,transformers --to compressed-tensors --split-max-size 4M
w4a16-asym vllm,transformers --to compressed-tensors --recipe W4A16_ASYM
experts vllm,sglang,transformers --to compressed-tensors --recipe W4A16_EXPERTS
w4a16-fp8 vllm,sglang,transformers --to compressed-tensors --recipe W4A16_FP8
w8a8 vllm,sglang,transformers --to compressed-tensors --recipe W8A8
nvfp4 vllm,transformers --to compressed-tensors --recipe NVFP4
gptq vllm --to gptq
gptq-experts vllm,sglang --to gptq --recipe W4A16_EXPERTS
awq vllm,sglang --to awq
awq-experts vllm,sglang --to awq --recipe W4A16_EXPERTS
int8-block sglang --to int8-block --type attn_kv_b=BF16
fp8 vllm,sglang,transformers --to fp8 --type attn_output=BF16
bf16 vllm,sglang,transformers --to bf16 --mtp drop
END
ok "the release: nothing is wrong" check "vllm sglang transformers" "$nano"
for family in v3.2 kimi; do
    "$TOOLS/mkcheckpoint" --family $family --tokenizer "$nano" --out "$tmp/$family" >/dev/null
    ok "$family as released: nothing is wrong" check "vllm sglang" "$tmp/$family"
done
"$TOOLS/mkcheckpoint" --family v3.1 --scale u8 --tokenizer "$nano" --out "$tmp/u8" >/dev/null
"$PARE" convert "$nano" -o "$tmp/k.gguf" -r Q4_K_M -q >/dev/null
ok "a GGUF: nothing is wrong for llama.cpp" check llama.cpp "$tmp/k.gguf"
"$PARE" check --target vllm "$tmp/w4a16" >"$tmp/out"
has "$tmp/out" "tensor-parallel sizes: 1, 2" "the sizes that groups and heads allow are told"
"$PARE" check --target sglang "$tmp/w8a8" --json >"$tmp/out"
has "$tmp/out" '"tensor_parallel":	[1, 2]' "in JSON too"
fails 2 "an engine that nobody knows is refused" "$PARE" check --target ollama "$nano"

# from NAME: a folder $tmp/f like $tmp/NAME, whose files may be replaced
from()
{
    rm -rf "$tmp/f"
    mkdir "$tmp/f"
    ln -s "$tmp/$1"/* "$tmp/f/"
}
# edit FILE SED...: of the folder
edit()
{
    file=$1
    shift
    sed "$@" "$tmp/f/$file" >"$tmp/edited"
    cmp -s "$tmp/edited" "$tmp/f/$file" && note "nothing was edited in $file" && return 1
    rm "$tmp/f/$file"
    mv "$tmp/edited" "$tmp/f/$file"
}
config()
{
    edit config.json "$@"
}
# header SED...: of the folder's only shard, whose data stay
header()
{
    shard=$tmp/f/model.safetensors
    n=$(od -An -tu8 -N8 "$shard" | tr -d ' ')
    head -c $((8 + n)) "$shard" | tail -c +9 | sed "$@" >"$tmp/header"
    m=$(wc -c <"$tmp/header")
    {
        printf "\\$(printf %03o $((m % 256)))\\$(printf %03o $((m / 256 % 256)))\\$(printf %03o $((m / 65536)))\\0\\0\\0\\0\\0"
        cat "$tmp/header"
        tail -c +$((9 + n)) "$shard"
    } >"$tmp/edited"
    rm "$shard"
    mv "$tmp/edited" "$shard"
}
# place TENSOR: its first byte in the data of the folder's only shard, in $at, and that of the shard in $data
place()
{
    shard=$tmp/f/model.safetensors
    data=$((8 + $(od -An -tu8 -N8 "$shard")))
    at=$(head -c "$data" "$shard" | tail -c +9 | sed "s/.*\"$1\":[^}]*\"data_offsets\":\[\([0-9]*\),.*/\1/")
}
# poke TENSOR OCTAL N: N copies of these bytes at its start
poke()
{
    place "$1"
    cp -L "$shard" "$tmp/edited"
    i=0
    while [ $i -lt "$3" ]; do
        printf "$2"
        i=$((i + 1))
    done | dd of="$tmp/edited" bs=1 seek=$((data + at)) conv=notrunc 2>/dev/null
    rm "$shard"
    mv "$tmp/edited" "$shard"
}
# names STATUS TITLE ENGINE TEXT [PATH]: the check ends with STATUS and says TEXT
names()
{
    "$PARE" check --target "$3" "${5:-$tmp/f}" >"$tmp/out" 2>&1
    status=$?
    if [ $status -eq "$1" ] && grep -q -e "$4" "$tmp/out"; then
        tap_result 0 "$2: is named"
    else
        tap_result 1 "$2: is named" || :
        note "exit $status, expected $1 and '$4'"
        head -n 5 "$tmp/out" | sed 's/^/#   /'
    fi
}
# A name that is passed over, so that bytes have an owner.
unused=model.layers.0.rotary_emb.inv_freq

# keys, shapes, types
q=model.layers.0.self_attn.q_b_proj
from w4a16-asym && header "s/$q.weight_packed/$q.weight_paked/"
names 3 "a key of another name" vllm "$q.weight_paked"
from w4a16-asym && header "s/$q.weight_scale\"/$unused\"/"
names 3 "a missing scale" vllm "without its scale ($q.weight_scale)"
from w4a16-asym && header "s/\($q.weight_scale\":{\"dtype\":\)\"BF16\"/\1\"I16\"/"
names 3 "a scale of another type" vllm "scale of type I16.*$q.weight_scale"
from w4a16-asym && header "s/\($q.weight_scale\":[^[]*\)\[384,2\]/\1[192,4]/"
names 3 "a scale for other groups" vllm "\[192, 4\] contradicts.*$q.weight_scale"
from w8a8 && poke model.layers.1.mlp.experts.5.up_proj.weight_scale '\0\0' 256
names 1 "an expert whose scales are zero" sglang "experts.5.up_proj.weight: 256 of 256 scales are zero"
from w8a8 && poke model.layers.1.mlp.experts.5.up_proj.weight_scale '\300\177' 1
names 1 "a scale that is NaN" transformers "experts.5.up_proj.weight: 1 of 256 scales are NaN"
names 1 "exponents as whole numbers" vllm "q_a_proj.weight_scale_inv: is U8" "$tmp/u8"

# shards, files
from w4a16 && rm "$tmp/f/model-00002-of-00003.safetensors"
names 3 "a missing shard" vllm "model-00002-of-00003.safetensors"
from w4a16 && ln -s model-00001-of-00003.safetensors "$tmp/f/model-00009.safetensors"
names 1 "a shard that the index does not name" vllm "^model-00009.safetensors: the index"
from w4a16 && edit model.safetensors.index.json "s/$q.weight_scale\"/$q.scale\"/"
names 3 "an index that names another tensor" vllm "$q.scale"
from w4a16 && edit model.safetensors.index.json 's/"total_size":	/&1/'
names 0 "an index of another size" vllm "note: the index's total_size"
from w4a16 && rm "$tmp/f/tokenizer.json"
names 1 "a missing tokenizer" vllm "^tokenizer.json: is missing"
from w4a16 && rm "$tmp/f/generation_config.json"
names 0 "a missing generation config, worth a note," vllm "note: there is no generation_config.json"

# the configuration as a whole
from bf16 && config 's/"vocab_size":	2048/&, "quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}/'
names 1 "a stale fp8 configuration" sglang "o_proj.weight: SGLang expects fp8 weights"
from fp8 && config 's/"quantization_config"/"was"/'
names 3 "no quantization_config" vllm "no FP8 quantization_config"
from gptq && config 's/"quantization_config"/"was"/'
names 1 "a configuration in quantize_config.json alone" vllm "^config.json: has no quantization_config"
from w4a16 && config 's/"group_size":	128/"group_size": 64/'
names 3 "another group size" vllm "weight_scale"
from w4a16 && config 's/"num_bits":	4/"num_bits": 8/'
names 3 "another number of bits" vllm "weight_packed"
from w4a16 && config 's/"symmetric":	true/"symmetric": false/'
names 3 "asymmetric, and no zero points" vllm "zero point"
from w4a16-asym && config 's/"symmetric":	false/"symmetric": true/'
names 3 "symmetric, and zero points" vllm "zero_point"
from w4a16 && config 's/"num_bits"/"bits_num": 4, &/'
names 1 "a key that the package refuses" vllm "refuses the key 'bits_num'"
from w4a16-fp8 && config 's/"format":	"pack-quantized"/"form": 1/'
names 3 "a group without a format in mixed precision" vllm "mixed-precision"
from gptq && config 's/"desc_act"/"act"/'
names 1 "a key that the engine asks for" vllm "no 'desc_act'"
from w4a16 && config 's/"architectures":	\["DeepseekV3ForCausalLM"\]/"architectures": ["LlamaForCausalLM"]/'
names 3 "another architecture" vllm "another family: LlamaForCausalLM"
from w4a16 && config 's/"architectures":	\["DeepseekV3ForCausalLM"\],//'
names 1 "no architecture" vllm "names no architecture"
names 1 "a model type that transformers does not have" transformers "no model type 'kimi_k2'" "$tmp/kimi"
from bf16 && config 's/"num_nextn_predict_layers":	0/"num_nextn_predict_layers": 1/'
names 1 "MTP layers that are not there" vllm "num_nextn_predict_layers is 1, and the files have 0"
from w4a16 && config 's/"hidden_size":	256/"hidden_size": 512/'
names 3 "another hidden_size" vllm "contradicts the configuration"
from w4a16 && config 's/\$"/(&/'
names 3 "a rule that is no pattern" vllm "pattern '"
names 1 "INT8 in blocks for vLLM" vllm "no quantization method 'blockwise_int8'" "$tmp/int8-block"
names 1 "packed attention for SGLang" sglang "q_a_proj.weight_packed: SGLang joins" "$tmp/w4a16"
names 1 "asymmetric groups for SGLang" sglang "only when they are symmetric" "$tmp/w4a16-asym"

# modules
kv_rule='"re:\.\*\\\\\.self_attn\\\\\.kv_b_proj\$", '
from w4a16 && config "s/$kv_rule//"
names 1 "a plain module that no rule leaves out" vllm "layers.0.self_attn.kv_b_proj.weight: vLLM expects compressed-tensors"
names 1 "for the package as well" transformers "layers.0.self_attn.kv_b_proj.weight: transformers expects"
from w4a16 && config 's/"lm_head"/&, "re:.*o_proj"/'
names 1 "a packed module that a rule leaves out" vllm "o_proj.weight_packed: vLLM expects plain numbers.*re:\.\*o_proj"
from w4a16 && config 's/"lm_head"/&, "re:.*q_a_proj"/'
names 1 "a rule for one of two that are joined" vllm "q_a_proj.weight_packed: vLLM stops at self_attn.fused_qkv_a_proj"
from awq && config 's/"lm_head"/&, "mlp.gate"/'
names 1 "'mlp.gate' as a part of gate_proj" vllm "mlp.gate_proj.qweight: vLLM stops at mlp.gate_up_proj"
names 1 "and of gate_up_proj" sglang "mlp.gate_proj.qweight: SGLang expects plain numbers in mlp.gate_up_proj"
from fp8 && config 's/"lm_head"/&, "mlp.gate"/'
ok "where steps of names count it is none" check "vllm sglang transformers" "$tmp/f"
names 1 "experts in GPTQ for transformers" transformers "experts.0.gate_proj.qweight: transformers has all experts in one module" "$tmp/gptq"
from gptq-experts && config 's/"dynamic":	{/&"-:.*experts.*": {}, /'
names 3 "experts that 'dynamic' leaves out" vllm "experts.0.gate_proj.qweight"
from experts && config 's/|fused_qkv_a_proj(_with_mqa)?\||gate_up_proj//g'
ok "names of what is joined are needed by some engines only" "$PARE" check --target vllm "$tmp/f"
names 1 "their lack" sglang "mlp.gate_proj.weight: SGLang expects compressed-tensors"
from w4a16-fp8 && config 's/|fused_qkv_a_proj(_with_mqa)?\||gate_up_proj//g'
names 1 "targets that lose against 'Linear'" vllm "mlp.gate_proj.weight: vLLM expects INT4-G128"

# quantized NAME ROWS COLS: a plain BF16 matrix becomes INT8 with a scale per row
quantized()
{
    from w8a8 && place "$1.weight"
    a=$at b=$((at + $2 * $3)) c=$((at + $2 * $3 + 2 * $2)) d=$((at + 2 * $2 * $3))
    header "s/\"$1.weight\":{[^}]*}/\"$1.weight\":{\"dtype\":\"I8\",\"shape\":[$2,$3],\"data_offsets\":[$a,$b]},\"$1.weight_scale\":{\"dtype\":\"BF16\",\"shape\":[$2,1],\"data_offsets\":[$b,$c]},\"$unused\":{\"dtype\":\"U8\",\"shape\":[$((d - c))],\"data_offsets\":[$c,$d]}/"
}
quantized model.layers.1.mlp.gate 8 256
names 1 "a quantized router" vllm "mlp.gate.weight: vLLM expects plain numbers in mlp.gate (it never quantizes this)"
names 1 "for SGLang" sglang "mlp.gate.weight: SGLang expects plain numbers"
quantized lm_head 2048 256
names 1 "a quantized output layer" sglang "lm_head.weight: SGLang expects plain numbers"

# as_float PATTERN: modules of W8A8 whose codes are taken for FP8, with a target for them
as_float()
{
    from w8a8
    header "s/\(\"[^\"]*$1.weight\":{\"dtype\":\)\"I8\"/\1\"F8_E4M3\"/g"
    config "s/\"config_groups\":	{/&\"group_9\": {\"targets\": [\"re:.*$1\$\"], \"weights\": {\"num_bits\": 8, \"type\": \"float\", \"symmetric\": true, \"strategy\": \"channel\"}, \"input_activations\": {\"num_bits\": 8, \"type\": \"float\", \"strategy\": \"token\", \"dynamic\": true}, \"format\": \"float-quantized\"}, /"
}
as_float kv_a_proj_with_mqa
names 1 "q_a and kv_a of two schemes" vllm "kv_a_proj_with_mqa.weight: is FP8-C .* with which vLLM joins it, is INT8-C"
as_float layers.0.mlp.gate_proj
names 1 "gate and up of two schemes" sglang "layers.0.mlp.up_proj.weight: is INT8-C .* with which SGLang joins it, is FP8-C"
as_float layers.2.mlp.experts.3.down_proj
names 1 "one expert of another scheme" vllm "layers.2.mlp.experts.3.down_proj.weight: is FP8-C"

# GGUF
# patched NAME SED...: $tmp/NAME.gguf, a copy
patched()
{
    name=$1
    shift
    LC_ALL=C sed "$@" "$tmp/k.gguf" >"$tmp/$name.gguf"
}
patched merges 's/tokenizer.ggml.merges/tokenizer.ggml.merge_/'
names 1 "a GGUF without merges" llama.cpp "missing key 'tokenizer.ggml.merges'" "$tmp/merges.gguf"
patched pre 's/tokenizer.ggml.pre/tokenizer.ggml.pro/'
names 1 "a GGUF without its pre-tokenizer" llama.cpp "missing key 'tokenizer.ggml.pre'" "$tmp/pre.gguf"
patched mla 's/deepseek2.attention.key_length_mla/deepseek2.attention.key_length_mlb/'
names 3 "a GGUF without MLA's lengths" llama.cpp "mla.gguf" "$tmp/mla.gguf"
patched norm 's/attention.layer_norm_rms_epsilon/attention.layer_norm_rms_epsilom/'
names 3 "a GGUF without what all readers ask for" llama.cpp "layer_norm_rms_epsilon" "$tmp/norm.gguf"
# set_key KEY VALUE: a copy in which a number below 256 is another
set_key()
{
    cp "$tmp/k.gguf" "$tmp/set.gguf"
    at=$(LC_ALL=C grep -abo "$1" "$tmp/set.gguf" | head -n 1 | cut -d: -f1)
    printf "\\$(printf %03o "$2")" | dd of="$tmp/set.gguf" bs=1 seek=$((at + ${#1} + 4)) conv=notrunc 2>/dev/null
}
set_key deepseek2.attention.head_count_kv 2
names 1 "heads of keys where compressed attention has one" llama.cpp "head_count_kv is 2" "$tmp/set.gguf"
set_key deepseek2.attention.key_length 7
names 1 "a key length that is not that of the cache" llama.cpp "key_length is [0-9]*: with MLA llama.cpp asks for 320" "$tmp/set.gguf"
name=blk.0.attn_q_a.weight # its type stands behind name, number of dimensions and two of them
cp "$tmp/k.gguf" "$tmp/type.gguf"
at=$(LC_ALL=C grep -abo "$name" "$tmp/type.gguf" | head -n 1 | cut -d: -f1)
printf '\213' | dd of="$tmp/type.gguf" bs=1 seek=$((at + ${#name} + 20)) conv=notrunc 2>/dev/null
names 1 "a type that llama.cpp lacks" llama.cpp "$name: llama.cpp has no type IQ4_K" "$tmp/type.gguf"
names 1 "a folder for llama.cpp" llama.cpp "loads GGUF files" "$nano"
names 1 "a GGUF for vLLM" vllm "and this is a GGUF" "$tmp/k.gguf"

done_testing
