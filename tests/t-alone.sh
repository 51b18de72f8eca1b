#!/bin/sh
# SPDX-License-Identifier: MIT
# verify --by-layer: the divergence of each part alone is that of a file in which only this part is quantized.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
nano=tests/data/nano-v3

convert() { "$PARE" convert "$nano" -o "$tmp/$1.gguf" -q -f -r "$2" >/dev/null; }
verify() { "$PARE" verify "$nano" "$@" --text README.md --chunks 3 --ctx 64 -q; }
values() { sed -n "s/.*\"$1\":[ 	]*\([-+0-9.e]*\),*$/\1/p" "$2"; }
mean() { tr -d '\n' <"$1" | sed 's/.*"kld":[^{]*{[^}]*"mean":[ 	]*\([^,} 	]*\).*/\1/'; }
# near X Y TITLE: positions' divergences are kept as F32
near() { ok "$3: $1 and $2" awk -v x="$1" -v y="$2" 'BEGIN { exit !(x > 0 && x - y <= 1e-6 * x && y - x <= 1e-6 * x) }'; }

# made FILE CONDITION: F32, and Q4_0 where the condition holds
made()
{
    printf '{"name": "%s", "rules": [{%s, "type": "Q4_0"}], "default": "F32"}\n' "$1" "$2" >"$tmp/$1.json"
    convert "$1" "$tmp/$1.json"
}
made all '"name": "."'
ok "all parts are judged" verify "$tmp/all.gguf" --by-layer 3 --json --html "$tmp/page.html"
mv "$tmp/stdout" "$tmp/report"
verify "$tmp/all.gguf" --json >"$tmp/without"
sed -i 's/,$//' "$tmp/without"
sed '/^\t"by_layer"/,/^\t}/d; /kld_alone/d; s/,$//' "$tmp/report" >"$tmp/rest"
ok "and everything else is as without it" cmp "$tmp/rest" "$tmp/without"
values kld_alone "$tmp/report" >"$tmp/alone" # layers, embedding, output
is "$(wc -l <"$tmp/alone")" 5 "of nano: three layers, embedding and output"
n=0
for part in '"layers": "0"' '"layers": "1"' '"layers": "2"' '"roles": ["token_embd"]' '"roles": ["output"]'; do
    n=$((n + 1))
    made one "$part"
    verify "$tmp/one.gguf" --json >"$tmp/one"
    near "$(sed -n ${n}p "$tmp/alone")" "$(mean "$tmp/one")" "$part is what a file costs in which it alone is Q4_0"
done
near "$(sed -n '/"by_layer"/,/^\t}/s/^\t\t"kld":[ \t]*\([^,]*\),*$/\1/p' "$tmp/report")" "$(mean "$tmp/report")" "the whole candidate's stands beside them"
has "$tmp/page.html" "What each layer costs alone" "the page draws them"
ok "for people" verify "$tmp/all.gguf" --by-layer 2
has "$tmp/stdout" "KL of one part of the candidate          2 chunks" "they are a table"
mv "$tmp/stdout" "$tmp/text"
for i in 1 2 3; do verify "$tmp/all.gguf" --by-layer 2 --part $i/3 -o "$tmp/part$i.json" >/dev/null; done
ok "parts of a text are merged" "$PARE" merge "$tmp/part3.json" "$tmp/part1.json" "$tmp/part2.json"
mv "$tmp/stdout" "$tmp/merged"
ok "to the same text" cmp "$tmp/merged" "$tmp/text"
ok "little memory, three threads" verify "$tmp/all.gguf" --by-layer 2 --memory 1M -j 3
mv "$tmp/stdout" "$tmp/little"
ok "give the same bytes" cmp "$tmp/little" "$tmp/text"
verify "$tmp/all.gguf" --by-layer 1 --part 1/3 -o "$tmp/part1.json" >/dev/null
fails 3 "parts of two numbers of chunks do not belong together" "$PARE" merge "$tmp/part3.json" "$tmp/part1.json" "$tmp/part2.json"
ok "more chunks than there are mean all" verify "$tmp/all.gguf" --by-layer 100
has "$tmp/stdout" " 3 chunks" "which is said"
fails 2 "it needs each layer's own pass" verify "$tmp/all.gguf" --by-layer 1 --no-local
has "$tmp/stderr" "without --no-local" "as it says"
fails 2 "and a candidate" verify --by-layer 1
verify --save-base "$tmp/base" >/dev/null
fails 2 "and the base itself" "$PARE" verify "$tmp/base" "$tmp/all.gguf" --by-layer 1 -q
done_testing
