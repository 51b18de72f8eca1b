#!/bin/sh
# SPDX-License-Identifier: MIT
# Packs of hot and cold experts: chosen by what a text used, what they cover of it and of another text; what is refused.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
nano=tests/data/nano-v3

plan() { "$PARE" plan "$nano" --to pack --experts-only --profile "$tmp/a" "$@"; }
# covered NAME: of the first text (then of the second) in the last plan
covered() { sed -n "s/.*\"$1\":[ 	]*\([^,}]*\).*/\1/p" "$tmp/plan.json" | tr '\n' ' '; }
# experts: how many expert matrices of layers 1 and 2 the last plan has
experts() { grep -c '"name":.*layers\.[12]\.mlp\.experts\.[0-9]*\.gate_proj\.weight"' "$tmp/plan.json"; }

ok "a text" "$PARE" calibrate "$nano" -o "$tmp/a" -q --text tests/data/technical.txt --ctx 128 --chunks 2
ok "another" "$PARE" calibrate "$nano" -o "$tmp/b" -q --text docs/quality.md --ctx 128 --chunks 2

plan --experts hot:8 --coverage "$tmp/b" --json >"$tmp/plan.json"
is "$(covered choices)$(covered gate_mass)$(covered tokens)" "1 1 1 1 1 1 " "all experts cover everything, of both texts"
plan --experts hot:4 --coverage "$tmp/b" --json >"$tmp/plan.json"
hot=$(covered choices)
is "$(experts)" 8 "four hot ones of each of two layers"
plan --experts cold:4 --coverage "$tmp/b" --json >"$tmp/plan.json"
is "$(experts)" 8 "and four cold ones"
cold=$(covered choices)
ok "share all choices between them" awk -v h="$hot" -v c="$cold" 'BEGIN {split(h, x, " "); split(c, y, " "); exit !(x[1] + y[1] > 0.9999 && x[1] + y[1] < 1.0001 && x[2] + y[2] > 0.9999 && x[2] + y[2] < 1.0001)}'
ok "the hot ones have more than half of the text that they were chosen on" awk -v h="$hot" 'BEGIN {split(h, x, " "); exit !(x[1] > 0.5)}'
plan --experts hot:70% --json >"$tmp/plan.json"
ok "a share of gate mass is reached" awk -v g="$(covered gate_mass)" 'BEGIN {exit !(g >= 0.7 && g < 1)}'
ok "the plan tells people" plan --experts hot:4 --coverage "$tmp/b"
has "$tmp/stdout" "(chosen on it)" "on which text experts were chosen"
is "$(grep -c "on the text of" "$tmp/stdout")" 2 "and what they cover of both"

ok "such a pack" "$PARE" convert "$nano" --to pack --experts hot:2 --experts-only --profile "$tmp/a" -o "$tmp/hot.tar" -q
ok "holds two experts of each layer, and all of the MTP layer, of which nothing is known" test "$(tar tf "$tmp/hot.tar" | grep -c '^experts/')" -eq 12

fails 2 "no profile" "$PARE" plan "$nano" --to pack --experts hot:2
has "$tmp/stderr" "asks for --profile DIR" "is told"
for bad in hot: hot:0 hot:-1 hot:1.5 hot:101% cold:x hot:3x; do
    fails 2 "--experts $bad" plan --experts $bad
done
fails 2 "profiles are for packs" "$PARE" plan "$nano" --profile "$tmp/a"
fails 4 "a folder that is not there" "$PARE" plan "$nano" --to pack --experts hot:2 --profile "$tmp/none"
done_testing
