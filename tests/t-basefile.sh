#!/bin/sh
# SPDX-License-Identifier: MIT
# Base files: one run of the base serves many candidates.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
nano=tests/data/nano-v3
tokens=$nano/golden/tokens.bin

# near GOT WANT RELATIVE TITLE
near()
{
    awk -v a="$1" -v b="$2" -v r="$3" 'BEGIN { d = a - b; exit !(a != "" && b != "" && d <= r * b && -d <= r * b) }'
    tap_result $? "$4" || note "got '$1', wanted '$2'"
}
base() { "$PARE" verify "$nano" --tokens "$tokens" --ctx 40 --chunks 4 -q "$@"; }
# What two reports have in common when only one of them walked the base.
shared() { grep -vE '"(accumulated_error|local_error|output_error|gate|tokens)"' "$1" | tr -d ,; }

"$PARE" convert "$nano" -o "$tmp/q4.gguf" -r Q4_0 --search compat -q
for form in exact sampled llama; do
    ok "--save-base writes the form '$form'" base --save-base "$tmp/$form" --base-form $form
done
"$PARE" verify "$nano" "$tmp/q4.gguf" --tokens "$tokens" --ctx 40 --chunks 4 -q --no-local --json >"$tmp/live.json"
for form in exact sampled llama; do
    ok "'$form' stands in for the base, and brings its text" sh -c "'$PARE' verify $tmp/$form $tmp/q4.gguf --json -q >$tmp/$form.json"
done
shared "$tmp/live.json" >"$tmp/live.shared"
shared "$tmp/exact.json" >"$tmp/exact.shared"
ok "exact: every number of the report is the same bytes" cmp "$tmp/live.shared" "$tmp/exact.shared"
near "$(number "$tmp/sampled.json" kld.mean)" "$(number "$tmp/live.json" kld.mean)" 0.05 "sampled: KL is that of the whole vocabulary within the draw"
for path in base.ppl candidate.ppl top1_agreement routing.changed dp.rms; do
    is "$(number "$tmp/sampled.json" $path)" "$(number "$tmp/live.json" $path)" "sampled: $path is the same number"
done
near "$(number "$tmp/llama.json" kld.mean)" "$(number "$tmp/live.json" kld.mean)" 2e-3 "llama: KL within what 16-bit codes allow"
is "$(number "$tmp/llama.json" routing.changed)" "" "llama: nothing is said of the routers, which the file does not know"
size=$(wc -c <"$tmp/sampled")
is "$([ "$((size / 76))" -le 2080 ] && echo fits)" fits "sampled: 2 KB per scored position and a header"

# chunks by themselves, parts
"$PARE" verify "$nano" "$tmp/q4.gguf" --tokens "$tokens" --ctx 40 --chunks 2 -q --no-local --json >"$tmp/live2.json"
"$PARE" verify "$tmp/exact" "$tmp/q4.gguf" --chunks 2 --json -q >"$tmp/exact2.json"
shared "$tmp/live2.json" >"$tmp/live.shared"
shared "$tmp/exact2.json" >"$tmp/exact.shared"
ok "--chunks takes the first of them" cmp "$tmp/live.shared" "$tmp/exact.shared"
for i in 1 2; do
    "$PARE" verify "$tmp/sampled" "$tmp/q4.gguf" -q --part $i/2 -o "$tmp/part$i.json"
done
"$PARE" merge "$tmp/part2.json" "$tmp/part1.json" --json >"$tmp/merged.json"
ok "parts against a base file add up to the whole's report" cmp "$tmp/sampled.json" "$tmp/merged.json"
ok "the text may be given again" "$PARE" verify "$tmp/exact" "$tmp/q4.gguf" --tokens "$tokens" --chunks 1 -q
ok "threads do not change a byte of a base file" sh -c \
    "'$PARE' verify $nano --tokens $tokens --ctx 40 --chunks 4 -q -j 3 --save-base $tmp/again >/dev/null && cmp $tmp/sampled $tmp/again"

# refusals
fails 2 "an existing file is not replaced" base --save-base "$tmp/exact"
ok "but with --force" base --save-base "$tmp/exact" --base-form exact --force
mkfifo "$tmp/fifo"
mkdir "$tmp/folder"
for name in fifo folder; do
    fails 2 "nor is a $name replaced by force" base --save-base "$tmp/$name" --force
done
cp "$tokens" "$tmp/tokens"
cp "$tmp/q4.gguf" "$tmp/model.gguf"
fails 2 "nor a model that is read" "$PARE" verify "$tmp/model.gguf" --tokens "$tokens" --ctx 40 --chunks 1 -q --save-base "$tmp/model.gguf" --force
fails 2 "the candidate's file neither" base "$tmp/model.gguf" --save-base "$tmp/model.gguf" --force
fails 2 "nor the text" "$PARE" verify "$nano" --tokens "$tmp/tokens" --ctx 40 --chunks 1 -q --save-base "$tmp/tokens" --force
ok "all of which are as they were" sh -c "cmp $tmp/q4.gguf $tmp/model.gguf && cmp $tokens $tmp/tokens && test -p $tmp/fifo"
fails 2 "a card is for folders, which is said before anything is judged" "$PARE" verify "$tmp/exact" "$tmp/q4.gguf" --card -q
fails 2 "--base-form is for --save-base" base --base-form exact
fails 2 "logits of a base file are not saved" "$PARE" verify "$tmp/exact" "$tmp/q4.gguf" --save-logits "$tmp/logits" -q
has "$tmp/stderr" "--save-logits" "which the message says"
fails 2 "experts' groups are chosen as in the base's run" "$PARE" verify "$tmp/exact" "$tmp/q4.gguf" --group-routing off -q
ok "llama-perplexity's file leaves that open" "$PARE" verify "$tmp/llama" "$tmp/q4.gguf" --group-routing off -q
fails 2 "another --ctx is refused" "$PARE" verify "$tmp/exact" "$tmp/q4.gguf" --ctx 64
head -c 4000 "$tokens" | tr '\000' '\001' >"$tmp/other"
fails 2 "and another text" "$PARE" verify "$tmp/exact" "$tmp/q4.gguf" --tokens "$tmp/other" -q
fails 2 "a base file needs a candidate" "$PARE" verify "$tmp/exact"
fails 2 "tensors cannot be compared with a base file" "$PARE" verify "$tmp/exact" "$tmp/q4.gguf" --tensors
fails 2 "nor is a rounded base kept" base --save-base "$tmp/x" --act fp8-1x128
fails 2 "and one in a file is not rounded later" "$PARE" verify "$tmp/exact" "$tmp/q4.gguf" --act-base fp8-1x128
"$PARE" verify "$tmp/exact" "$tmp/q4.gguf" --json -q --act q8_k >"$tmp/act.json"
has "$tmp/act.json" "candidate act q8_k" "a candidate is, and the settings say so"
fails 2 "an unknown form is refused" base --save-base "$tmp/x" --base-form thin
is "$(ls "$tmp" | grep -c '^x')" 0 "and leaves nothing behind"
for form in exact sampled llama; do
    head -c 9000 "$tmp/$form" >"$tmp/cut"
    fails 3 "'$form' cut short is refused" "$PARE" verify "$tmp/cut" "$tmp/q4.gguf" -q
done
for form in exact sampled; do
    cp "$tmp/$form" "$tmp/bad"
    printf '\125\252' | dd of="$tmp/bad" bs=1 seek=$(($(wc -c <"$tmp/bad") / 2)) conv=notrunc 2>/dev/null
    fails 3 "a changed byte inside '$form' is found" "$PARE" verify "$tmp/bad" "$tmp/q4.gguf" -q
    has "$tmp/stderr" "of the base file is damaged" "and the chunk is named"
done
TOOLS=${TOOLS:-build/tests/tools}
"$TOOLS/mkcheckpoint" --family v2-lite --out "$tmp/lite" --tokenizer "$nano" --dtype bf16 >/dev/null
fails 3 "a model of another shape is refused" "$PARE" verify "$tmp/exact" "$tmp/lite" -q
done_testing
