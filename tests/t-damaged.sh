#!/bin/sh
# SPDX-License-Identifier: MIT
# Damaged checkpoints: each ends in exit 3, one line that says what is wrong, and no output.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-$PWD/pare}
TOOLS=${TOOLS:-build/tests/tools}
LC_ALL=C
export LC_ALL
nano=$PWD/tests/data/nano-v3
one=model-00001-of-000003.safetensors
two=model-00002-of-000003.safetensors
index=model.safetensors.index.json

# damaged TITLE TEXT SHELL-COMMANDS: they run in a fresh copy of nano-v3
damaged()
{
    rm -rf "$tmp/ck" "$tmp/out"
    cp -r "$nano" "$tmp/ck"
    mkdir "$tmp/out"
    (cd "$tmp/ck" && eval "$3") || { tap_result 1 "$1 (the damage itself failed)"; return; }
    "$PARE" convert "$tmp/ck" -o "$tmp/out/x.gguf" >"$tmp/stdout" 2>"$tmp/stderr"
    status=$?
    lines=$(grep -c . "$tmp/stderr")
    left=$(ls "$tmp/out" | wc -l)
    if [ $status -eq 3 ] && [ "$lines" -eq 1 ] && [ "$left" -eq 0 ] && grep -qF -e "$2" "$tmp/stderr"; then
        tap_result 0 "$1"
    else
        tap_result 1 "$1" || note "exit $status, $lines lines, $left files left; expected '$2'"
        tap_output "$PARE" convert
    fi
}

# put BYTES FILE OFFSET
put() { printf "$1" | dd of="$2" bs=1 seek="$3" conv=notrunc 2>/dev/null; }
# offset of a tensor's data in shard 1, from inspect
offset_of() { "$PARE" inspect --json "$nano/$one" | awk -v n="\"$1\"," '$2 == n {f = 1} f && $1 == "\"offset\":" {print $2 + 0; exit}'; }

# the index against the shards
damaged "the index lists a tensor that is in no shard" "that is not there" \
    'sed -i "s/\"lm_head.weight\": \(.*\)/\"lm_head.extra\": \1 \"lm_head.weight\": \1/" $index'
damaged "a shard has a tensor that the index does not list" "does not list" \
    'grep -v "model.embed_tokens.weight" $index >i && mv i $index'
rm -rf "$tmp/ck" && cp -r "$nano" "$tmp/ck" && grep -v "mlp.down_proj.weight_scale_inv" "$nano/$index" >"$tmp/ck/$index"
ok "scales that the index leaves out are taken from the shards" "$PARE" diff "$nano" "$tmp/ck"
ok "as inspect notes" "$PARE" inspect "$tmp/ck"
has "$tmp/stderr" "leaves out scales" "on standard error"
damaged "the index puts a tensor in the wrong shard" "the index puts" \
    'sed -i "s/\(\"model.norm.weight\": \"model-0000\)[0-9]/\11/" $index'
damaged "a shard is missing" "a shard that is missing" 'rm $two'
damaged "an index that is no JSON" "JSON" 'head -c 5000 $index >i && mv i $index'
damaged "an index with a key twice" "duplicate JSON key" \
    'sed -i "0,/model.norm.weight/s/\"model.norm.weight\"/\"lm_head.weight\": \"x\", \"model.norm.weight\"/" $index'
damaged "a shard name that leaves the folder" "names no plain file" \
    'mv $two ../stray.safetensors; sed -i "s#\"$two\"#\"../stray.safetensors\"#" $index'
damaged "an absolute shard name" "names no plain file" 'sed -i "s#\"$two\"#\"/etc/passwd\"#" $index'
damaged "a folder in place of a shard" "not a regular file" 'rm $two && mkdir $two'
damaged "a FIFO in place of a shard" "not a regular file" 'rm $two && mkfifo $two'

# shards
damaged "a shard that lacks its last byte" "truncated" 'truncate -s -1 $two'
damaged "a shard of half its size" "truncated" 'truncate -s 2000000 $two'
damaged "a shard of 4 bytes" "too few" 'truncate -s 4 $two'
damaged "an empty shard" "too few" ': >$two'
damaged "a shard with a byte too many" "bytes follow the last tensor" 'printf x >>$two'
damaged "a Git LFS pointer in place of a shard" "git lfs pull" \
    'printf "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3988288\n" >$two'
damaged "a header length beyond the file" "exceeds the file" 'put "\377\377\377\377" $two 0'
damaged "a header that is no JSON" "JSON" 'put "x" $two 8'
damaged "two tensors of the same name in a shard" "duplicate JSON key" \
    'sed -i "s/model.layers.1.self_attn.q_a_layernorm/model.layers.1.self_attn.kv_a_layernorm/" $one && truncate -s +1 $one'
damaged "an unknown tensor" "unknown tensor" 'sed -i "s/layers.1.mlp.gate.weight/layers.1.mlp.gato.weight/" $one $index'
damaged "a layer that the configuration does not have" "no place for this tensor" \
    'sed -i "s/layers.1.mlp.gate.weight/layers.9.mlp.gate.weight/" $one $index'
damaged "a shape that contradicts the configuration" "contradicts the configuration" \
    'sed -i "s/\[320,256\]/[256,320]/" $one'
damaged "a weight that is in no shard" "1 tensor is missing" \
    'sed -i "s/layers.0.mlp.gate_proj.weight/layers.0.arotary_emb.inv_freq/g" $index $one'
damaged "a missing scale" "without its scale" \
    'sed -i "s/experts.0.down_proj.weight_scale_inv/experts.0.aaaaaaarotary_emb.inv_freq/g" $one $two *3-of* $index'
damaged "a scale grid of another shape" "contradicts the configuration" \
    'sed -i "s/\"shape\":\[3,2\],\"data_offsets\":\[96,120\]/\"shape\":[2,3],\"data_offsets\":[96,120]/" $one'
damaged "one-byte weights that are not FP8 e4m3" "F8_E5M2" 'sed -i "0,/F8_E4M3/s/F8_E4M3/F8_E5M2/" $one'
damaged "an unknown dtype" "unknown dtype" 'sed -i "0,/F8_E4M3/s/F8_E4M3/F8_E4M9/" $one'

# values
damaged "an FP8 NaN code" "NaN (an FP8 code)" 'put "\177" $one $(offset_of model.layers.0.mlp.down_proj.weight)'
damaged "a NaN among BF16 weights" "NaN or infinite" 'put "\300\177" $one $(offset_of model.embed_tokens.weight)'
damaged "an infinite scale" "not finite" \
    'put "\000\000\200\177" $one $(offset_of model.layers.0.mlp.down_proj.weight_scale_inv)'
damaged "a negative scale" "negative" \
    'put "\000\000\200\277" $one $(offset_of model.layers.0.mlp.down_proj.weight_scale_inv)'

# configuration
damaged "no config.json" "no config.json" 'rm config.json'
damaged "a config.json that is no JSON" "JSON" 'echo "{" >config.json'
damaged "DeepSeek-V4" "DeepseekV4ForCausalLM" 'sed -i s/DeepseekV3ForCausalLM/DeepseekV4ForCausalLM/ config.json'
damaged "another family" "LlamaForCausalLM" 'sed -i s/DeepseekV3ForCausalLM/LlamaForCausalLM/ config.json'
damaged "a hidden size that is not the tensors'" "contradicts" 'sed -i "s/\"hidden_size\": 256/\"hidden_size\": 512/" config.json'
damaged "more experts than the files have" "contradicts the configuration" \
    'sed -i "s/\"n_routed_experts\": 8/\"n_routed_experts\": 16/" config.json'
damaged "more layers than the files have" "no place for this tensor" \
    'sed -i "s/\"num_hidden_layers\": 3/\"num_hidden_layers\": 6/" config.json'
damaged "an absurd number of layers" "num_hidden_layers" \
    'sed -i "s/\"num_hidden_layers\": 3/\"num_hidden_layers\": 2000000000/" config.json'
damaged "a fraction where a count belongs" "vocab_size" 'sed -i "s/\"vocab_size\": 2048/\"vocab_size\": 2048.5/" config.json'
damaged "FP8 weights without a quantization_config" "no FP8 quantization_config" \
    'sed -i "s/quantization_config/quantization_konfig/" config.json'
damaged "another quantization method" "by a method that is not read" \
    'sed -i "s/\"quant_method\": \"fp8\"/\"quant_method\": \"bitsandbytes\"/" config.json'
damaged "tiles of another size than the scales have" "contradicts" \
    'awk "/128/ {sub(/128/, \"64\")} 1" config.json >c && mv c config.json'

# tokenizer
damaged "a tokenizer.json that is no JSON" "tokenizer.json" 'echo "[" >tokenizer.json'
damaged "an unknown pre-tokenizer" "pre-tokenizer" 'sed -i "s/{1,3}/{1,4}/" tokenizer.json'
damaged "a token id beyond the vocabulary" "vocab_size" 'sed -i "s/\"id\": *2043/\"id\": 9043/" tokenizer.json'

# GGUF sources
"$PARE" convert "$nano" -o "$tmp/good.gguf" -r Q8_0 -q >/dev/null
for n in 0 3 24 1000 100000 6000000; do
    head -c $n "$tmp/good.gguf" >"$tmp/cut.gguf"
    fails 3 "a GGUF cut to $n bytes exits 3" "$PARE" convert "$tmp/cut.gguf" -o "$tmp/x.gguf"
done
sed 's/blk.1.attn_output.weight/blk.7.attn_output.weight/' "$tmp/good.gguf" >"$tmp/bad.gguf"
fails 3 "a GGUF with a block too many exits 3" "$PARE" convert "$tmp/bad.gguf" -o "$tmp/x.gguf"
has "$tmp/stderr" "no place for this tensor" "and says so"
sed 's/deepseek2/deepseek9/g' "$tmp/good.gguf" >"$tmp/bad.gguf"
fails 3 "a GGUF of another architecture exits 3" "$PARE" convert "$tmp/bad.gguf" -o "$tmp/x.gguf"
is "$(ls "$tmp" | grep -c 'x.gguf')" 0 "none of them left an output"
done_testing
