#!/bin/sh
# SPDX-License-Identifier: MIT
# GGUF files as others publish them: with kv_b in one, both halves flat, gates and ups of experts in one tensor, without groups.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
TOOLS=${TOOLS:-build/tests/tools}
nano=tests/data/nano-v3
head -c 64 "$nano/golden/tokens.bin" >"$tmp/tokens"
"$PARE" convert "$nano" -o "$tmp/ours.gguf" -r F32 -q >/dev/null
judge() { "$PARE" verify "$@" --tokens "$tmp/tokens" --ctx 16 --json -q; }
same() { # TITLE FORM...
    title=$1
    shift
    "$TOOLS/gguf-peers" "$tmp/ours.gguf" "$tmp/peer.gguf" "$@"
    judge "$tmp/ours.gguf" "$tmp/peer.gguf" --no-local >"$tmp/report"
    is "$(sed -n 's/^\t\t"max":\t\([^,]*\),*$/\1/p' "$tmp/report" | head -n 1)" 0 "$title: the same logits as from our own"
    ok "all values are the same" "$PARE" diff -q "$tmp/ours.gguf" "$tmp/peer.gguf"
    ok "check finds nothing" "$PARE" check -q "$tmp/peer.gguf"
    ok "it becomes another file" "$PARE" convert "$tmp/peer.gguf" -o "$tmp/q8.gguf" -r Q8_0 -q --force
    ok "with the values that ours becomes" "$PARE" diff -q "$tmp/q8.gguf" "$tmp/q8-ours.gguf"
}
"$PARE" convert "$tmp/ours.gguf" -o "$tmp/q8-ours.gguf" -r Q8_0 -q >/dev/null
same "attn_kv_b in place of its halves, as before MLA" kv_b
has "$tmp/report" '"chunks":' "it is reported"
same "gates and ups in one tensor, defaults left out" gate_up defaults
"$PARE" inspect "$tmp/peer.gguf" >"$tmp/inspect"
is "$(awk '$1 == "ffn_gate_exps" || $1 == "ffn_up_exps" { print $3, $4 $5 $6, $7 $8 }' "$tmp/inspect" | sort -u | wc -l)" 1 \
    "inspect shows both alike"
"$TOOLS/gguf-peers" "$tmp/ours.gguf" "$tmp/peer.gguf" ik ungrouped
judge "$tmp/peer.gguf" >"$tmp/ik"
judge "$tmp/ours.gguf" --group-routing off >"$tmp/off"
is "$(grep '"ppl":' "$tmp/ik")" "$(grep '"ppl":' "$tmp/off")" "a file of ik_llama.cpp routes without groups, as --group-routing off"
is "$([ "$(grep '"ppl":' "$tmp/ik")" = "$(grep '"ppl":' "$tmp/report" | head -n 1)" ] || echo other)" other "which is another perplexity than with them"
ok "its kv_b and both halves hold the same values" "$PARE" diff -q "$tmp/ours.gguf" "$tmp/peer.gguf"

"$TOOLS/gguf-peers" "$tmp/ours.gguf" "$tmp/peer.gguf" gate_up
"$TOOLS/gguf-scale" "$tmp/peer.gguf" "$tmp/bad.gguf" blk.1.ffn_gate_up_exps.scale=1,2
fails 3 "a scale of the wrong size beside the joined tensor is refused" "$PARE" inspect "$tmp/bad.gguf"
"$TOOLS/gguf-scale" "$tmp/peer.gguf" "$tmp/bad.gguf" blk.1.ffn_up_exps.weight=1
fails 3 "so is a tensor of ups beside it" "$PARE" inspect "$tmp/bad.gguf"
has "$tmp/stderr" "there twice, under two names" "which says why"
"$TOOLS/gguf-scale" "$tmp/ours.gguf" "$tmp/bad.gguf" blk.0.ffn_gate_up_exps.weight=1
fails 3 "and a joined tensor in a dense layer" "$PARE" inspect "$tmp/bad.gguf"
done_testing
