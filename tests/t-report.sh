#!/bin/sh
# SPDX-License-Identifier: MIT
# Reports for people and for CI: HTML, JUnit, several side by side, regressions.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
nano=tests/data/nano-v3

for type in Q4_0 Q8_0 Q2_K; do
    "$PARE" convert "$nano" -o "$tmp/$type.gguf" -r $type --search compat -q
done
"$PARE" verify "$nano" --text README.md --ctx 32 --chunks 3 -q --save-base "$tmp/base" --base-form exact >/dev/null
judge() { candidate=$1; shift; "$PARE" verify "$tmp/base" "$tmp/$candidate.gguf" -q "$@"; }
direct() { "$PARE" verify "$nano" "$tmp/Q4_0.gguf" --text README.md --ctx 32 --chunks 2 -q "$@"; }

fails 1 "a report is written as HTML and as JUnit beside the text" direct --tensors --html "$tmp/a.html" --junit "$tmp/a.xml" --max-kld 5 --min-top1 1
fails 1 "a gate that fails still leaves both" direct --html "$tmp/b.html" --junit "$tmp/b.xml" --max-kld 1e-9
for text in "<!DOCTYPE html>" "mean KL divergence" "Gates" "How the divergence is spread" "layer by layer" "Agreement of the routers" "Experts by layer" "Worst tensors" \
    "Worst positions in their text" "<mark>" "prefers-color-scheme:dark" "name=viewport"; do
    has "$tmp/a.html" "$text" "the page has '$text'"
done
is "$(grep -cE '(src|href)="?(https?:)?//|<script|@import|url\(' "$tmp/a.html")" 0 "the page needs nothing from elsewhere"
is "$(grep -o '<section' "$tmp/a.html" | wc -l)" "$(grep -o '</section' "$tmp/a.html" | wc -l)" "its sections are closed"
has "$tmp/a.xml" 'tests="2" failures="1" skipped="0"' "JUnit counts what failed"
has "$tmp/b.xml" "<failure message=" "and has the reason"
ok "the page of a base file has what is known without its layers" judge Q4_0 --html "$tmp/c.html"
is "$(grep -c 'layer by layer' "$tmp/c.html")" 0 "and no chart without numbers"

# several
for type in Q4_0 Q8_0 Q2_K; do
    judge $type --json --max-kld 0.05 >"$tmp/$type.json"
done
"$PARE" report "$tmp/Q4_0.json" "$tmp/Q8_0.json" "$tmp/Q2_K.json" --html "$tmp/all.html" --junit "$tmp/all.xml" >"$tmp/table"
is "$(grep -c gguf "$tmp/table")" 3 "report puts earlier reports side by side"
is "$(awk 'length > 80' "$tmp/table" | wc -l)" 0 "in 80 columns"
has "$tmp/all.html" "Size against divergence" "with size against divergence on the page"
is "$(grep -o '<section' "$tmp/all.html" | wc -l)" 3 "and each candidate's numbers"
is "$(grep -c '<testsuite ' "$tmp/all.xml")" 3 "and three suites for CI"
fails 3 "what is no report is refused" "$PARE" report "$tmp/all.xml"
echo '{"layers": [], "base": {}, "base_name": "<b>&\u0007", "candidate_name": 7, "gates": [{}], "kld": 3}' >"$tmp/odd.json"
ok "a strange report is shown, not trusted" "$PARE" report "$tmp/odd.json" --html "$tmp/odd.html" --junit "$tmp/odd.xml"
is "$(grep -c '<b>&' "$tmp/odd.html")" 0 "and its names are text"
if command -v xmllint >/dev/null 2>&1; then
    ok "JUnit is well-formed" xmllint --noout "$tmp/a.xml" "$tmp/b.xml" "$tmp/all.xml" "$tmp/odd.xml"
else
    ok "JUnit is well-formed" python3 -c 'import sys, xml.dom.minidom; [xml.dom.minidom.parse(f) for f in sys.argv[1:]]' "$tmp/a.xml" "$tmp/b.xml" "$tmp/all.xml" "$tmp/odd.xml"
fi

# regressions
ok "the same candidate is no regression" judge Q4_0 --baseline "$tmp/Q4_0.json"
has "$tmp/stdout" "gate baseline kld.mean" "which a line says"
is "$(grep -c passed "$tmp/stdout")" 2 "and both gates pass without an error bar, as nothing changed"
ok "a better one is none" judge Q8_0 --baseline "$tmp/Q4_0.json"
fails 1 "a worse one fails" judge Q2_K --baseline "$tmp/Q4_0.json"
has "$tmp/stdout" "FAILED" "and says so"
ok "unless as much is allowed" judge Q2_K --baseline "$tmp/Q4_0.json" --max-regression 1000
limit=$(awk '$1 == "\"mean\":" && depth { v = $2 + 0; print v; exit } /"kld":/ { depth = 1 }' "$tmp/Q4_0.json")
ok "what the error bar holds is undecided and passes" judge Q4_0 --max-kld "$limit" --confidence 99
has "$tmp/stdout" "undecided" "and is called so"
fails 1 "but fails with --strict" judge Q4_0 --max-kld "$limit" --confidence 99 --strict
ok "JUnit calls it skipped" judge Q4_0 --max-kld "$limit" --confidence 99 --junit "$tmp/u.xml"
has "$tmp/u.xml" 'skipped="1"' "and counts it"
fails 3 "a baseline that is no JSON is refused" judge Q4_0 --baseline "$tmp/all.xml"
for gate in '[]' '3' '{"max-kld": "1"}' '{"max-kld": -1}' '{"min-top1": 95}' '{"max-kld": 1e999}' '{"strict": 1}'; do
    echo "$gate" >"$tmp/gate"
    fails 2 "a gate file of $gate is refused" judge Q4_0 --gate "$tmp/gate"
done
is "$(wc -c <"$tmp/stdout")" 0 "before anything is judged"
fails 2 "gates without a candidate are refused" "$PARE" verify "$nano" --text README.md --ctx 32 --chunks 2 -q --max-kld 1
is "$(wc -c <"$tmp/stdout")" 0 "before the base is run"
fails 2 "a part of a text is not held to gates" judge Q4_0 --part 1/2 -o "$tmp/part.json" --max-kld 1
fails 2 "-o is for parts" judge Q4_0 -o "$tmp/part.json"
is "$(ls "$tmp" | grep -c part)" 0 "and neither leaves a file"
fails 4 "a page for a folder that is not there too" judge Q4_0 --html "$tmp/none/a.html"
is "$(wc -c <"$tmp/stdout")" 0 "before anything is judged"
mkdir "$tmp/page"
fails 2 "a page that cannot be written is an error" judge Q4_0 --html "$tmp/page" --json
has "$tmp/stdout" '"kld"' "but the report is printed"
fails 2 "so is a bound that is none" judge Q4_0 --max-kld nan
fails 2 "a share above 1" judge Q4_0 --min-top1 95
fails 2 "an infinite regression" judge Q4_0 --baseline "$tmp/Q4_0.json" --max-regression inf
fails 2 "one without a divergence too" judge Q4_0 --baseline "$tmp/odd.json"
done_testing
