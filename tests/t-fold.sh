#!/bin/sh
# SPDX-License-Identifier: MIT
# convert --fold: the model stays what it is; each symmetry changes what it says and nothing but it; the same bytes by every way;
# what is recorded and refused.
. "$(dirname "$0")/faults/job.sh"
nano=tests/data/nano-v3

# folds SOURCE OUT WORDS...
folds() { from=$1 to=$2; shift 2; "$PARE" convert "$from" -o "$tmp/$to" -q "$@"; }
# faithful BASE CAND TITLE: nothing but the rounding of F32 tells them apart
faithful()
{
    ok "$3: compared on 1022 positions" "$PARE" verify "$1" "$2" --tokens "$nano/golden/tokens.bin" --chunks 2 --all-positions --no-local \
        --json -q
    kl=$(tr -d '\n' <"$tmp/stdout" | sed 's/.*"kld":[^{]*{[^}]*"max":[ 	]*\([^,} 	]*\).*/\1/')
    ok "no KL is above 1e-8 (the largest is $kl)" awk -v kl="$kl" 'BEGIN {exit !(kl ~ /^[0-9]/ && kl + 0 < 1e-8)}'
}
# changed OUT OUT: the kinds of tensors in which they differ, in one line
changed()
{
    "$PARE" diff "$tmp/$1" "$tmp/$2" --json 2>&1 | sed -n 's/.*"tensor":[ 	]*"\([^"]*\)".*/\1/p' |
        sed 's/^blk\.[0-9]*\.//; s/\.weight$//' | sort -u | tr '\n' ' '
}

# exactness
ok "a file in F32 without folds" folds "$nano" plain.gguf -r F32
for fold in up-down permute v-o norms all; do
    ok "--fold $fold" folds "$nano" "$fold.gguf" -r F32 --fold "$fold"
    faithful "$nano" "$tmp/$fold.gguf" "--fold $fold"
done
is "$(changed plain.gguf up-down.gguf)" "ffn_down ffn_down_exps ffn_down_shexp ffn_up ffn_up_exps ffn_up_shexp " \
    "up-down changes every up and down"
is "$(changed plain.gguf permute.gguf)" \
    "ffn_down ffn_down_exps ffn_down_shexp ffn_gate ffn_gate_exps ffn_gate_shexp ffn_up ffn_up_exps ffn_up_shexp " \
    "permute every gate, up and down"
is "$(changed plain.gguf v-o.gguf)" "attn_output attn_v_b " "v-o every v_b and o_proj"
is "$(changed plain.gguf norms.gguf)" \
    "attn_k_b attn_kv_a_mqa attn_kv_a_norm attn_norm attn_q_a attn_q_a_norm attn_q_b attn_v_b ffn_gate ffn_gate_exps ffn_gate_inp ffn_gate_shexp ffn_norm ffn_up ffn_up_exps ffn_up_shexp " \
    "norms every norm of a layer and what reads it"
ok "a folded file is folded again" folds "$tmp/permute.gguf" twice.gguf -r F32 --fold up-down,norms
faithful "$nano" "$tmp/twice.gguf" "twice"
for family in v2-lite v3.2; do
    "$TOOLS/mkcheckpoint" --family $family --layers 2 --vocab 2048 --out "$tmp/$family" >/dev/null
    ok "$family" folds "$tmp/$family" family.gguf -r F32 --no-vocab --fold all --force
    faithful "$tmp/$family" "$tmp/family.gguf" "$family"
done
"$TOOLS/mkcheckpoint" --family v3 --layers 2 --vocab 2048 --hidden 1024 --inter 1152 --moe-inter 1152 --heads 1 --q-lora 128 --kv-lora 128 \
    --experts 2 --used 1 --groups 1 --topk-group 1 --mtp 0 --out "$tmp/wide" >/dev/null
ok "matrices of several units, whose rows change places between these" folds "$tmp/wide" wide.gguf -r F32 --no-vocab --fold permute
faithful "$tmp/wide" "$tmp/wide.gguf" "wide"
"$PARE" plan "$tmp/wide" --no-vocab -r Q4_K_S --fold all -j 3 --json >"$tmp/plan"
planned=$(sed -n 's/.*"peak_memory":[ 	]*\([0-9]*\).*/\1/p' "$tmp/plan")
ok "memory is measured" "$TOOLS/peak" "$tmp/peak" "$PARE" convert "$tmp/wide" -o "$tmp/wide4.gguf" --no-vocab -q -r Q4_K_S --fold all -j 3
if [ -n "$san" ]; then
    skip "a sanitizer takes more" "it is what the plan says at most"
else
    ok "$(cat "$tmp/peak") bytes are at most the planned $planned" test "$(cat "$tmp/peak")" -le "$planned"
fi
rm -rf "$tmp"/wide* "$tmp/family.gguf"

# the same bytes by every way
ok "--fold none" folds "$nano" none.gguf -r F32 --fold none
ok "is the default" cmp "$tmp/plain.gguf" "$tmp/none.gguf"
ok "a quantized file" folds "$nano" q.gguf -r Q4_K_S --fold all -j 3
ok "with one thread and little memory" folds "$nano" q1.gguf -r Q4_K_S --fold all -j 1 --memory 64M
ok "is the same" cmp "$tmp/q.gguf" "$tmp/q1.gguf"
ok "from a GGUF" folds "$tmp/plain.gguf" g.gguf -r Q4_K_S --fold all
ok "its tensors are, too" "$PARE" diff "$tmp/q.gguf" "$tmp/g.gguf"
ok "of what a BF16 file holds, rows from elsewhere included" folds "$nano" via.gguf -r F32 --via bf16 --fold permute
ok "as from such a file" sh -c "'$PARE' convert '$nano' -o '$tmp/b.gguf' -q -r BF16 && '$PARE' convert '$tmp/b.gguf' -o '$tmp/bf.gguf' -q -r F32"
is "$(changed via.gguf bf.gguf)" "ffn_down ffn_down_exps ffn_down_shexp ffn_gate ffn_gate_exps ffn_gate_shexp ffn_up ffn_up_exps ffn_up_shexp " \
    "nothing but the order differs"
mkdir "$tmp/apart"
ok "split files" folds "$nano" part.gguf -r Q4_K_S --fold all --split-max-size 2M
parts=$(ls "$tmp"/part-*.gguf | wc -l)
for i in $(seq "$parts"); do
    folds "$nano" apart/part.gguf -r Q4_K_S --fold all --split-max-size 2M --part "$i/$parts" >/dev/null
done
is "$(for i in "$tmp"/part-*.gguf; do cmp "$i" "$tmp/apart/${i##*/}" 2>&1; done)" "" "made apart, all $parts, are those made together"
ok "their manifests are joined" "$PARE" merge "$tmp"/apart/*.manifest.json

# going on
ok "an undisturbed run" folds "$source" new/fold.gguf -r Q8_0 --no-vocab --fold all
cp "$new/fold.gguf" "$tmp/want"
rm -f "$new"/fold*
for n in 12 11 10 9 8; do
    FAULT_ROOT=$tmp FAULT_CLASS=sync FAULT_AT=$n FAULT_DO=kill ${preload:+env LD_PRELOAD=$preload} "$PARE" convert "$source" -o "$new/fold.gguf" \
        -q -r Q8_0 --no-vocab --fold all --sync-every 32K -j 1 >/dev/null 2>&1
    [ -f "$new/fold.gguf.journal" ] && break
    rm -f "$new"/fold*
done
fails 2 "a killed one is not gone on with by another fold" folds "$source" new/fold.gguf -r Q8_0 --no-vocab --fold norms --sync-every 32K
has "$tmp/stderr" "fold was 'up-down,permute,v-o,norms', now it is 'norms'" "which is told"
ok "by the same it is" folds "$source" new/fold.gguf -r Q8_0 --no-vocab --fold all --sync-every 32K
ok "and ends with the same bytes" cmp "$new/fold.gguf" "$tmp/want"

# importance
"$TOOLS/mkimatrix" "$nano" "$tmp/w.imatrix" --idle 3 || { echo "Bail out! no imatrix"; exit 1; }
ok "an imatrix" folds "$nano" w.gguf -r Q4_K_S --fold all --imatrix "$tmp/w.imatrix" -j 1
ok "with more threads" folds "$nano" w3.gguf -r Q4_K_S --fold all --imatrix "$tmp/w.imatrix" -j 3
ok "gives the same" cmp "$tmp/w.gguf" "$tmp/w3.gguf"
fails 1 "but other scales than none" "$PARE" diff "$tmp/w.gguf" "$tmp/q.gguf"

# what is recorded
ok "plan tells folds" "$PARE" plan "$nano" --fold norms,up-down
has "$tmp/stdout" "folded: up-down,norms" "in an order of its own"
ok "in JSON, too" "$PARE" plan "$nano" --fold v-o --json
has "$tmp/stdout" '"v-o"' "as text"
has "$tmp/all.gguf.manifest.json" '"up-down,permute,v-o,norms"' "so does the manifest"
ok "which check finds true" "$PARE" check "$tmp/q.gguf"

# refused
fails 2 "an unknown fold is misuse" folds "$nano" x.gguf --fold up-down,sideways
is "$(cat "$tmp/stderr")" "pare convert: error: --fold: 'sideways' is none of up-down, permute, v-o, norms, all, none" "told in a line"
fails 2 "so is an empty one" folds "$nano" x.gguf --fold up-down,
cp -r "$source" "$tmp/eaten"
fails 2 "--consume goes with no fold" folds "$tmp/eaten" x.gguf --no-vocab --consume --yes --fold up-down
has "$tmp/stderr" "--consume and --fold exclude each other" "because a tensor's scales follow from others"
is "$(ls "$tmp" | grep -c '^x')" 0 "nothing is left behind"
done_testing
