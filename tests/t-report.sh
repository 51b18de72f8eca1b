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
is "$(grep -o '<a href=#r0-' "$tmp/a.html" | wc -l)" "$(grep -o '<h2 id=r0-' "$tmp/a.html" | wc -l)" "its contents name every heading"
has "$tmp/a.html" "2 gates: 1 passed, 1 failed" "its verdict stands first, in words"
has "$tmp/a.xml" 'tests="2" failures="1" skipped="0"' "JUnit counts what failed"
has "$tmp/b.xml" "breaks the bound 1e-09" "and has the reason"
ok "the page of a base file has what is known without its layers" judge Q4_0 --html "$tmp/c.html"
is "$(grep -c 'layer by layer' "$tmp/c.html")" 0 "and no chart without numbers"

# several
for type in Q4_0 Q8_0 Q2_K; do
    judge $type --json --max-kld 0.05 >"$tmp/$type.json"
done
"$PARE" report "$tmp/Q4_0.json" "$tmp/Q8_0.json" "$tmp/Q2_K.json" --html "$tmp/all.html" --junit "$tmp/all.xml" >"$tmp/table"
is "$(grep -c gguf "$tmp/table")" 3 "report puts earlier reports side by side"
awk -f tests/v3-report.awk >"$tmp/v3.json"
ok "a report of V3's size becomes a page" "$PARE" report "$tmp/v3.json" "$tmp/Q2_K.json" --html "$tmp/v3.html"
is "$(tail -n +2 "$tmp/stdout" | cut -d ' ' -f 1)" "$(printf 'DeepSeek-V3\342\200\246nd-code.gguf\nQ2_K.gguf')" "a long name loses its middle"
has "$tmp/stdout" "404.43 GB" "beside a size of hundreds of GB"
has "$tmp/stderr" "their numbers do not compare" "reports over other texts are pointed out"
has "$tmp/v3.html" "their numbers do not compare" "on the page, too"
is "$([ "$(wc -c <"$tmp/v3.html")" -lt 3000000 ] && echo small)" small "which is smaller than 3 MB"
is "$(cat "$tmp/table" "$tmp/stdout" | LC_ALL=C.UTF-8 wc -L | awk '{ print ($1 <= 80) }')" 1 "tables keep to 80 columns"
has "$tmp/all.html" "Size against divergence" "with size against divergence on the page"
is "$(grep -o '<section id=r' "$tmp/all.html" | wc -l)" 3 "and each candidate's numbers"
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

"$PARE" verify "$nano" --text README.md --ctx 32 --chunks 1 -q --json >"$tmp/one.json"
ok "a model by itself has a page" "$PARE" report "$tmp/one.json" --html "$tmp/one.html"
is "$(grep -c '>against<' "$tmp/one.html")" 0 "that holds it against nothing"

# text
long=$tmp/$(printf '\346\250\241\345\236\213-%.0s' 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16).gguf
cp "$tmp/Q4_0.gguf" "$long"
ok "a name longer than a line is shown" "$PARE" verify "$nano" "$long" --text README.md --ctx 32 --chunks 1 -q --tensors --mtp --max-kld 5 --max-kld-p99 5 --max-tensor-error 5
is "$(LC_ALL=C.UTF-8 wc -L <"$tmp/stdout" | awk '{ print ($1 == 79 || $1 == 80) }')" 1 "cut in its middle to 80 columns"
has "$tmp/stdout" "$(printf '\342\200\246\345\236\213-')" "between two characters"
is "$(tail -n 1 "$tmp/stdout")" "3 gates: 3 passed" "the last line is the verdict"
if command -v script >/dev/null 2>&1; then
    # on_terminal TERM NO_COLOR OPTION...: what a terminal gets
    on_terminal() { TERM=$1 NO_COLOR=$2 script -qec "$PARE verify $tmp/base $tmp/Q4_0.gguf -q --max-kld 5 --min-top1 1 $3" /dev/null </dev/null >"$tmp/screen"; }
    escape=$(printf '\033')
    fails 1 "a terminal gets the same exit status" on_terminal xterm ""
    cp "$tmp/screen" "$tmp/colours"
    has "$tmp/colours" "${escape}[32mpassed${escape}[0m" "what passed is green there"
    has "$tmp/colours" "${escape}[31mFAILED${escape}[0m" "what failed red"
    is "$(grep -c "$escape" "$tmp/colours")" 2 "and nothing else has a colour"
    for how in "dumb ''" "xterm 1" "xterm '' --json"; do
        eval "on_terminal $how"
        is "$(grep -c "$escape" "$tmp/screen")" 0 "nothing has with $how"
    done
else
    skip "there is no script(1)" "terminals get colours"
fi

# regressions
ok "the same candidate is no regression" judge Q4_0 --baseline "$tmp/Q4_0.json"
has "$tmp/stdout" "gate baseline kld.mean" "which a line says"
is "$(grep -c '^gate.*passed' "$tmp/stdout")" 2 "and both gates pass without an error bar, as nothing changed"
ok "a better one is none" judge Q8_0 --baseline "$tmp/Q4_0.json"
fails 1 "a worse one fails" judge Q2_K --baseline "$tmp/Q4_0.json"
has "$tmp/stdout" "FAILED" "and says so"
ok "unless as much is allowed" judge Q2_K --baseline "$tmp/Q4_0.json" --max-regression 1000
fails 2 "a baseline of another base is refused" "$PARE" verify "$tmp/Q2_K.gguf" "$tmp/Q4_0.gguf" --text README.md --ctx 32 --chunks 3 -q --baseline "$tmp/Q4_0.json"
has "$tmp/stderr" "its base is another model" "as its losses tell"
"$PARE" verify "$nano" "$tmp/Q4_0.gguf" --text README.md --ctx 64 --chunks 1 -q --json >"$tmp/short.json"
fails 2 "of a single chunk, too" "$PARE" verify "$tmp/Q2_K.gguf" "$tmp/Q4_0.gguf" --text README.md --ctx 64 --chunks 1 -q --baseline "$tmp/short.json"
"$PARE" verify "$nano" --text README.md --ctx 32 --chunks 3 -q --save-base "$tmp/sampled" >/dev/null
ok "the same base in another form is the same" "$PARE" verify "$tmp/sampled" "$tmp/Q4_0.gguf" -q --baseline "$tmp/Q4_0.json"
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
