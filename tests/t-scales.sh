#!/bin/sh
# SPDX-License-Identifier: MIT
# GGUF files with NAME.scale beside NAME.weight, as NVFP4 files have them: one number per tensor or per expert, which multiplies.
# Powers of two in one factor of a product, undone in the other, must change no digit of a result.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
TOOLS=${TOOLS:-build/tests/tools}
nano=tests/data/nano-v3
tokens=$nano/golden/tokens.bin

# results FILE: perplexity and all else that verify prints of it, but for its name
results() { "$PARE" verify "$1" --tokens "$tokens" --chunks 1 -q --json | grep '"ppl"'; }
scaled() { "$TOOLS/gguf-scale" "$tmp/plain.gguf" "$@"; }

"$PARE" convert "$nano" -o "$tmp/plain.gguf" -r Q8_0 --type ffn_up_exps,ffn_down_exps,attn_output=NVFP4 -q
want=$(results "$tmp/plain.gguf")
ok "scales are added to an NVFP4 file" scaled "$tmp/scaled.gguf" blk.1.ffn_up_exps.scale=2,4,1,0.5,8,1,2,16 \
    blk.1.ffn_down_exps.scale=0.5,0.25,1,2,0.125,1,0.5,0.0625 blk.0.ffn_up.scale=4 blk.0.ffn_down.scale=0.25 \
    blk.2.attn_v_b.scale=0.5 blk.2.attn_output.scale=2 blk.2.attn_output.input_scale=77
is "$(results "$tmp/scaled.gguf")" "$want" "what one scale does and another undoes leaves perplexity as it was"
fails 1 "the weights are others" "$PARE" diff "$tmp/plain.gguf" "$tmp/scaled.gguf"
is "$(grep -c '^blk' "$tmp/stdout")" 6 "six of them"
ok "converted to F32 they are multiplied" "$PARE" convert "$tmp/scaled.gguf" -o "$tmp/f32.gguf" -r F32 -q
ok "so that nothing differs" "$PARE" diff "$tmp/scaled.gguf" "$tmp/f32.gguf"
is "$(results "$tmp/f32.gguf")" "$want" "nor perplexity"
grep -q 'blk.1.ffn_up_exps.scale' "$tmp/f32.gguf.manifest.json"
is $? 0 "the manifest has the scales' hashes"
ok "check finds nothing wrong" "$PARE" check "$tmp/scaled.gguf"
ok "inspect lists the scales" "$PARE" inspect "$tmp/scaled.gguf" --tensors
has "$tmp/stdout" "blk.2.attn_output.input_scale" "of inputs, too"
for j in 1 3; do
    "$PARE" convert "$tmp/scaled.gguf" -o "$tmp/j$j.gguf" -r Q4_0 -j $j --name x -q
done
ok "any number of threads writes the same bytes" cmp "$tmp/j1.gguf" "$tmp/j3.gguf"
scaled "$tmp/one.gguf" blk.1.ffn_up_exps.scale=1,1,1,1,1,1,1,2
is "$(test "$(results "$tmp/one.gguf")" = "$want"; echo $?)" 1 "one expert's scale alone changes the results"

# refuses TITLE TEXT NAME=NUMBERS
refuses()
{
    scaled "$tmp/bad.gguf" "$3"
    fails 3 "$1 is refused" "$PARE" verify "$tmp/bad.gguf" --tokens "$tokens" --chunks 1 -q
    has "$tmp/stderr" "$2" "$2"
}
refuses "a scale too few" "shape [7] contradicts the configuration, which says [8]" blk.1.ffn_up_exps.scale=1,1,1,1,1,1,1
refuses "two scales of one matrix" "shape [2] contradicts the configuration, which says [1]" blk.1.attn_output.scale=1,1
refuses "a negative scale" "scale -1 is negative or not finite: '$tmp/bad.gguf', tensor 'blk.1.attn_output.scale'" blk.1.attn_output.scale=-1
refuses "a scale that is NaN" "negative or not finite" blk.2.ffn_down_exps.scale=1,1,1,nan,1,1,1,1
refuses "an infinite scale" "scale inf is negative" blk.1.ffn_down_shexp.scale=inf
refuses "a scale of a norm" "a scale for a tensor that is always F32" blk.1.attn_norm.scale=1
refuses "a scale of the router" "a scale for a tensor that is always F32" blk.1.ffn_gate_inp.scale=1
refuses "a scale of nothing" "unknown tensor" blk.1.nose.scale=1
refuses "a scale of a layer that is not there" "has no place" blk.7.attn_output.scale=1
refuses "a scale of a weight that could be there and is not" "has no place" blk.1.ffn_up.scale=1
refuses "an input's scale of such a weight" "has no place" blk.1.ffn_up.input_scale=1
refuses "a scale that makes weights infinite" "NaN or infinite" blk.1.attn_output.scale=3e38
done_testing
