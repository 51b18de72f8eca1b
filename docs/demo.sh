#!/bin/sh
# SPDX-License-Identifier: MIT
# The main job on the checkpoint in tests/data: an FP8 checkpoint becomes GGUF files, each checked and judged by perplexity
# and KL divergence against its source. `make demo` runs it; it leaves the files in ./demo.
set -eu

pare=${PARE:-./pare}
source=tests/data/nano-v3

# run COMMAND...: shows the command, then its output; a difference found (exit 1) is an answer, no failure
run()
{
    printf '\n$ %s\n' "$*" | sed "s#^\\\$ $pare#\$ pare#"
    "$@" || [ $? -eq 1 ]
}

mkdir -p demo
printf 'An FP8 checkpoint of 8.7 million parameters with the architecture of DeepSeek-V3:\n'
run "$pare" inspect $source
run "$pare" convert $source -o demo/nano-v3-F32.gguf --recipe F32 --force
run "$pare" convert $source -o demo/nano-v3-Q8_0.gguf --recipe Q8_0 --force
run "$pare" convert $source -o demo/nano-v3-Q4_K_M.gguf --recipe Q4_K_M --force
run "$pare" check demo/nano-v3-Q4_K_M.gguf
printf '\nWhat 8 and 4 bits cost, judged by a reference forward pass over a technical text:\n'
run "$pare" verify $source demo/nano-v3-Q8_0.gguf --text tests/data/technical.txt --chunks 8 --quiet
run "$pare" verify $source demo/nano-v3-Q4_K_M.gguf --text tests/data/technical.txt --chunks 8 --quiet --max-kld 1
printf '\nThe same source as an INT4 checkpoint, for vLLM or Transformers, its weights rounded for the inputs that another text gives them:\n'
rm -rf demo/calibration
run "$pare" calibrate $source --text tests/data/headers.txt --chunks 32 -o demo/calibration --quiet
run "$pare" convert $source -o demo/nano-v3-W4A16 --to compressed-tensors --recipe W4A16 --calib demo/calibration --force
run "$pare" check demo/nano-v3-W4A16 --target vllm
run "$pare" verify $source demo/nano-v3-W4A16 --text tests/data/technical.txt --chunks 8 --quiet --max-kld 1
printf '\nAnd as an expert pack: a tar in which every expert has a place of its own, here with better types for the first experts of layer 1:\n'
cat >demo/recipe.json <<'END'
{"name": "hot", "base": "Q4_K_EXPERTS", "rules": [{"layers": "1", "experts": "0-1", "roles": ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"], "type": "Q8_0"}]}
END
run "$pare" convert $source -o demo/nano-v3.tar --to pack --recipe demo/recipe.json --force
tar tf demo/nano-v3.tar | sed -n '1,3p;$p'
run "$pare" check demo/nano-v3.tar
run "$pare" verify $source demo/nano-v3.tar --text tests/data/technical.txt --chunks 8 --quiet --max-kld 1
printf '\nThe files are in ./demo. llama.cpp loads the GGUF files, vLLM and Transformers the folder.\n'
