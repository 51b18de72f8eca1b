#!/bin/sh
# SPDX-License-Identifier: MIT
# The judge on nano-v3: known answers, the same digits always, gates.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
TOOLS=${TOOLS:-build/tests/tools}
nano=tests/data/nano-v3
golden=$nano/golden
tokens=$golden/tokens.bin

# known FILE KEY: a number of a golden file
known() { sed -n "s/^ \"$2\": \([-0-9.e]*\),*$/\1/p" "$golden/$1"; }
# within GOT WANT RELATIVE TITLE
within()
{
    awk -v a="$1" -v b="$2" -v r="$3" 'BEGIN { d = a - b; s = b < 0 ? -b : b; exit !(a != "" && b != "" && d <= r * s && -d <= r * s) }'
    tap_result $? "$4" || note "got '$1', known '$2'"
}

ok "verify judges nano-v3 on four chunks of known tokens" sh -c \
    "'$PARE' verify $nano --tokens $tokens --mtp --json -q >$tmp/one.json"
within "$(number "$tmp/one.json" base.ppl)" "$(known golden4.json ppl_half)" 1e-5 "perplexity is the known one within 1e-5"
within "$(number "$tmp/one.json" base.ppl_stderr)" "$(known golden4.json ppl_half_stderr)" 2e-3 "its standard error too"
within "$(number "$tmp/one.json" positions)" 1020 0 "over 1020 positions"
within "$(number "$tmp/one.json" mtp.loss)" "$(known golden4.json mtp_loss)" 2e-5 "the MTP layer's loss is the known one within 1e-4"
within "$(number "$tmp/one.json" mtp.top1_agreement)" "$(known golden4.json mtp_top1_agreement_with_main)" 1e-6 \
    "its agreement with the main model too"
"$PARE" verify "$nano" --tokens "$tokens" --all-positions --json -q >"$tmp/all.json"
within "$(number "$tmp/all.json" base.ppl)" "$(known golden4.json ppl_all)" 1e-5 "and perplexity over all positions"

# logits: the first 64 positions of the first chunk, compared as text
head -c 2048 "$tokens" >"$tmp/chunk"
ok "logits can be saved" "$PARE" verify "$nano" --tokens "$tmp/chunk" --save-logits "$tmp/logits" -q
is "$(wc -c <"$tmp/logits")" $((512 * 2048 * 4)) "512 positions x 2048 words of 4 bytes"
head -c 524288 "$tmp/logits" | od -An -v -w4 -tf4 >"$tmp/a"
od -An -v -w4 -tf4 "$golden/logits.bin" >"$tmp/b"
worst=$(paste "$tmp/a" "$tmp/b" | awk '{ d = $1 - $2; if (d < 0) d = -d; if (d > m) m = d } END { print m + 0 }')
is "$(awk -v m="$worst" 'BEGIN { print (m > 0 && m < 5e-4) }')" 1 "logits are the known ones within 5e-4 (worst $worst)"

# a pair
"$PARE" convert "$nano" -o "$tmp/f32.gguf" -r F32 -q >/dev/null
"$PARE" convert "$nano" -o "$tmp/q4.gguf" -r Q4_0 -q >/dev/null
"$PARE" convert "$nano" -o "$tmp/q8.gguf" -r Q8_0 -q >/dev/null
pair() { "$PARE" verify "$nano" "$1" --tokens "$tmp/chunk" --json -q -j "${2:-2}"; }
pair "$tmp/f32.gguf" >"$tmp/same.json"
within "$(number "$tmp/same.json" kld.max)" 0 0 "KL to the same values in another container is exactly 0"
within "$(number "$tmp/same.json" top1_agreement)" 1 0 "every best token is the same"
pair "$tmp/q4.gguf" >"$tmp/q4.json"
pair "$tmp/q8.gguf" >"$tmp/q8.json"
is "$(awk -v a="$(number "$tmp/q4.json" kld.mean)" -v b="$(number "$tmp/q8.json" kld.mean)" \
    'BEGIN { print (a > 20 * b && b > 0) }')" 1 "Q4_0 loses more than 20 times what Q8_0 loses"
for j in 1 3; do
    pair "$tmp/q4.gguf" $j >"$tmp/again.json"
    ok "the report of $j threads has the bytes of two" cmp "$tmp/q4.json" "$tmp/again.json"
done
short() { "$PARE" verify "$nano" "$tmp/q4.gguf" --tokens "$tmp/chunk" --ctx 32 --chunks 1 --no-local --json -q; }
short >"$tmp/short.json"
for cpu in avx2 scalar; do
    PARE_CPU=$cpu short >"$tmp/again.json"
    ok "PARE_CPU=$cpu gives the same bytes" cmp "$tmp/short.json" "$tmp/again.json"
done
"$PARE" verify "$nano" "$tmp/q4.gguf" --tokens "$tmp/chunk" --json -q --memory 1M >"$tmp/again.json"
ok "activations on disk give the same bytes" cmp "$tmp/q4.json" "$tmp/again.json"
"$PARE" verify "$nano" --tokens "$tmp/chunk" --json -q --group-routing off >"$tmp/off.json"
is "$([ "$(number "$tmp/off.json" base.ppl)" != "$(number "$tmp/q4.json" base.ppl)" ] && echo differs)" differs \
    "--group-routing off routes otherwise"

# as it will run
run() { "$PARE" verify "$nano" "$tmp/q4.gguf" --tokens "$tmp/chunk" --ctx 32 --chunks 2 --no-local --json -q "$@"; }
run --act q8_k --kv q8_0 >"$tmp/act.json"
is "$(grep -c -e '"act":.*"q8_k"' -e '"kv":.*"q8_0"' "$tmp/act.json")" 2 "--act and --kv stand in the report"
run >"$tmp/exact.json"
is "$(awk -v a="$(number "$tmp/act.json" candidate.ppl)" -v b="$(number "$tmp/exact.json" candidate.ppl)" \
    -v c="$(number "$tmp/act.json" base.ppl)" -v d="$(number "$tmp/exact.json" base.ppl)" 'BEGIN { print (a != b && c == d) }')" 1 \
    "the candidate is rounded, the base is not"
run --act q8_k --kv q8_0 -j 1 --memory 1M >"$tmp/again.json"
ok "with one thread and activations on disk they give the same bytes" cmp "$tmp/act.json" "$tmp/again.json"
for cpu in avx2 scalar; do
    PARE_CPU=$cpu "$PARE" verify "$tmp/q4.gguf" --tokens "$tmp/chunk" --ctx 16 --chunks 1 --act q8_k --kv f16 -q >"$tmp/$cpu.txt"
done
ok "and with PARE_CPU=scalar those of AVX2" cmp "$tmp/avx2.txt" "$tmp/scalar.txt"
has "$tmp/avx2.txt" "model: activations q8_k, cache f16" "the text says how a model was rounded"
"$PARE" verify "$nano" "$nano" --tokens "$tmp/chunk" --ctx 32 --chunks 1 --json -q --act fp8-1x128 --act-base fp8-1x128 >"$tmp/again.json"
within "$(number "$tmp/again.json" kld.max)" 0 0 "a model rounded like itself loses nothing"
"$PARE" verify "$tmp/f32.gguf" "$tmp/f32.gguf" --tokens "$tmp/chunk" --ctx 32 --chunks 1 --no-local --json -q --act q8_k >"$tmp/again.json"
is "$(awk -v m="$(number "$tmp/again.json" kld.max)" 'BEGIN { print (m != 0 && m < 1e-8 && m > -1e-8) }')" 1 \
    "of F32 weights nothing is rounded: absorbed attention computes the same, in other sums"
for i in 1 2; do run --act q8_k --kv q8_0 --part $i/2 -o "$tmp/act$i.json"; done
ok "parts are merged with it" sh -c "'$PARE' merge $tmp/act1.json $tmp/act2.json --json | cmp - $tmp/act.json"
run --part 1/2 -o "$tmp/act1.json"
fails 3 "but not with parts without" "$PARE" merge "$tmp/act1.json" "$tmp/act2.json"
fails 2 "--act needs weights that it is for" run --act int8-token
has "$tmp/stderr" "has a rule for none of its weights" "and says so"
fails 2 "and a name that is known" run --act q4_k
fails 2 "so does --kv" run --kv q4_0
fails 2 "--act-base needs a candidate" "$PARE" verify "$nano" --tokens "$tmp/chunk" --act-base fp8-1x128

# parts
for i in 1 2 3; do
    "$PARE" verify "$nano" "$tmp/q8.gguf" --tokens "$tokens" --ctx 100 --chunks 7 -q --part $i/3 -o "$tmp/part$i.json"
done
"$PARE" verify "$nano" "$tmp/q8.gguf" --tokens "$tokens" --ctx 100 --chunks 7 -q --json >"$tmp/whole.json"
ok "parts of a run are merged in any order" sh -c \
    "'$PARE' merge $tmp/part3.json $tmp/part1.json $tmp/part2.json --json >$tmp/merged.json"
ok "to the bytes of the whole's report" cmp "$tmp/whole.json" "$tmp/merged.json"
fails 3 "a missing part is an error" "$PARE" merge "$tmp/part1.json" "$tmp/part3.json"
has "$tmp/stderr" "in none of the parts" "that names the chunk"
fails 3 "so is a part that comes twice" "$PARE" merge "$tmp"/part[123].json "$tmp/part1.json"
"$PARE" verify "$nano" "$tmp/q4.gguf" --tokens "$tokens" --ctx 100 --chunks 7 -q --part 2/3 -o "$tmp/other.json"
fails 3 "and a part of another run" "$PARE" merge "$tmp/part1.json" "$tmp/other.json" "$tmp/part3.json"
for n in 10 1000 5000; do
    head -c $n "$tmp/part1.json" >"$tmp/cut.json"
    fails 3 "and a part cut to $n bytes" "$PARE" merge "$tmp/cut.json" "$tmp/part2.json" "$tmp/part3.json"
done

# text
ok "text is tokenized by the model's tokenizer" "$PARE" verify "$nano" --text README.md --ctx 64 --chunks 4 -q
ok "a GGUF brings its own" "$PARE" verify "$tmp/q8.gguf" --text README.md --ctx 64 --chunks 4 -q
fails 2 "text or tokens are needed" "$PARE" verify "$nano"
fails 2 "not both" "$PARE" verify "$nano" --text README.md --tokens "$tokens"
fails 2 "a text shorter than a chunk is refused" "$PARE" verify "$nano" --text .gitignore
fails 3 "an id outside the vocabulary is refused" sh -c \
    "printf '\377\377\377\177' | cat - $tmp/chunk | '$PARE' verify $nano --tokens /dev/stdin; cat $tmp/chunk $tmp/logits >$tmp/bad;
    '$PARE' verify $nano --tokens $tmp/bad"

# gates
gate() { "$PARE" verify "$nano" "$tmp/q4.gguf" --tokens "$tmp/chunk" -q "$@"; }
ok "gates that hold exit 0" gate --max-kld 1 --min-top1 0.5 --max-ppl-ratio 2
has "$tmp/stdout" "gate max-kld 1: passed" "and say so"
fails 1 "a gate that fails exits 1" gate --max-kld 0.0001
has "$tmp/stdout" "gate max-kld 0.0001: FAILED" "in a line of its own"
fails 1 "so does the worst tensor's" gate --max-tensor-error 0.05
echo '{"max-kld": 0.0001, "min-top1": 0.1}' >"$tmp/gates.json"
fails 1 "gates may stand in a file" gate --gate "$tmp/gates.json"
echo '{"max-kold": 1}' >"$tmp/gates.json"
fails 2 "where an unknown gate is refused" gate --gate "$tmp/gates.json"
ok "a gate inside its error bar is undecided" gate --max-kld "$(number "$tmp/q4.json" kld.mean)" --confidence 95
has "$tmp/stdout" "undecided" "and says so"

# a model that overflows
cp -r "$nano" "$tmp/hot" && chmod -R u+w "$tmp/hot"
at=$("$PARE" inspect --json "$tmp/hot/model-00002-of-000003.safetensors" |
    awk '$2 == "\"model.layers.2.post_attention_layernorm.weight\"," {f = 1} f && $1 == "\"offset\":" {print $2 + 0; exit}')
for i in 0 1 2 3; do printf '\177\177' | dd of="$tmp/hot/model-00002-of-000003.safetensors" bs=1 seek=$((at + 2 * i)) conv=notrunc 2>/dev/null; done
fails 3 "a hidden state that overflows stops the run" "$PARE" verify "$tmp/hot" --tokens "$tmp/chunk" -q
has "$tmp/stderr" "NaN or infinite behind this part of layer 2" "naming layer and token"
has "$tmp/stderr" "tensor 'blk.2.ffn_down_exps.weight'" "and the part"

# other families: their own forward pass agrees with itself in another container
for family in v2 v2-lite v3.2; do
    "$TOOLS/mkcheckpoint" --family $family --out "$tmp/$family" --tokenizer "$nano" --dtype bf16 --index-topk 16 >/dev/null 2>&1 ||
        "$TOOLS/mkcheckpoint" --family $family --out "$tmp/$family" --tokenizer "$nano" --dtype bf16 >/dev/null
    "$PARE" convert "$tmp/$family" -o "$tmp/$family.gguf" -r F32 -q >/dev/null 2>&1
    "$PARE" verify "$tmp/$family" "$tmp/$family.gguf" --tokens "$tmp/chunk" --ctx 100 --no-local --json -q >"$tmp/f.json" 2>/dev/null
    within "$(number "$tmp/f.json" kld.max)" 0 0 "$family: the GGUF's logits are the checkpoint's"
    within "$(number "$tmp/f.json" positions)" 245 0 "$family: on 5 chunks of 100 tokens, 49 positions each"
done
# Ctrl-C is heard inside a layer
"$TOOLS/mkcheckpoint" --family v3 --layers 1 --dense 1 --hidden 2048 --inter 8192 --moe-inter 128 --experts 2 --used 1 --groups 1 --topk-group 1 \
    --heads 4 --q-lora 128 --kv-lora 128 --vocab 256 --mtp 0 --sparse --out "$tmp/layer" >/dev/null
head -c 8192 /dev/zero >"$tmp/zeros"
"$PARE" verify "$tmp/layer" --tokens "$tmp/zeros" --ctx 512 -j 1 -q >"$tmp/stdout" 2>"$tmp/stderr" &
pid=$!
i=0 # until it catches SIGINT; its only layer takes seconds
while ! grep -q '^SigCgt:.*[2367abef]$' "/proc/$pid/status" 2>/dev/null && [ $i -lt 1000 ]; do sleep 0.01; i=$((i + 1)); done
sleep 0.3
kill -INT $pid
wait $pid
is $? 130 "a run that is interrupted inside its only layer exits 130"
is "$(cat "$tmp/stderr")" "pare verify: error: interrupted" "and says why"
done_testing
