#!/bin/sh
# SPDX-License-Identifier: MIT
# A served model against a base file: three kinds of servers, and servers that misbehave.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
TOOLS=${TOOLS:-build/tests/tools}
nano=tests/data/nano-v3
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY all_proxy

"$PARE" verify "$nano" --text README.md --ctx 16 --chunks 2 -q --save-base "$tmp/base" >/dev/null
servers=
trap 'kill $servers 2>/dev/null; chmod -R u+rwx "$tmp" 2>/dev/null; rm -rf "$tmp"' EXIT
# serve KIND HOW: starts one; $url
serve()
{
    "$TOOLS/stub_server" "$1" "$2" >"$tmp/port" &
    servers="$servers $!"
    for _ in $(seq 50); do
        [ ! -s "$tmp/port" ] || break
        sleep 0.02
    done
    url=http://127.0.0.1:$(cat "$tmp/port")
    : >"$tmp/port"
}
ask() { "$PARE" verify "$tmp/base" --server "$url" -q "$@"; }

if "$PARE" verify "$tmp/base" --server http://127.0.0.1:1 -q 2>&1 | grep -q "built without libcurl"; then
    skip "built without libcurl" "servers are judged"
    done_testing
    exit
fi
fails 4 "no server is an error" "$PARE" verify "$tmp/base" --server http://127.0.0.1:1 -q
has "$tmp/stderr" "'http://127.0.0.1:1/props'" "that names the address"
mkdir "$tmp/none"
for name in libcurl.so.4 libcurl-gnutls.so.4; do : >"$tmp/none/$name"; done
fails 3 "a machine without libcurl cannot ask" env LD_LIBRARY_PATH="$tmp/none" "$PARE" verify "$tmp/base" --server "http://127.0.0.1:1" -q
has "$tmp/stderr" "install libcurl4" "and is told what is missing"
ok "which keeps nothing else from working" env LD_LIBRARY_PATH="$tmp/none" "$PARE" verify "$tmp/base" "$nano" -q
for kind in vllm sglang; do
    serve $kind good
    ok "a $kind server is known by itself and judged" ask --json
    cp "$tmp/stdout" "$tmp/$kind.json"
    has "$tmp/stdout" '"untold"' "its divergence is called a bound"
    is "$(grep -c '"nll":	1$' "$tmp/stdout")" 1 "the loss is what it tells of the token that follows"
done
has "$tmp/vllm.json" 'stub \"model\"' "a model's name may hold quotes"
serve llama.cpp good
ok "a llama.cpp server is asked position by position" ask --json
is "$([ "$(sed -n 's/.*"targets":	//p' "$tmp/stdout")" -ge 10 ] && echo many)" many "tokens that follow but were not told are counted"
is "$(grep -c '"ppl_ratio"' "$tmp/stdout")" 0 "and then nothing is said of the perplexity's change"
fails 2 "nor can a gate ask for it" ask --max-ppl-ratio 2
"$PARE" verify "$tmp/base" "$nano" --json -q >"$tmp/whole.json"
fails 2 "a bound is not held against a whole divergence" ask --baseline "$tmp/whole.json"
has "$tmp/stderr" "is a bound" "which is said"
fails 2 "nor the other way" "$PARE" verify "$tmp/base" "$nano" -q --baseline "$tmp/vllm.json"
ok "a gate on the bound works" ask --max-kld 100 --html "$tmp/page.html"
has "$tmp/page.html" "&ge;" "the page calls it a bound, too"
ok "/v1 may stand in the address, the kind be given" ask --server "$url/v1/" --server-kind llama.cpp --chunks 1

for kind in vllm llama.cpp; do
    serve $kind good
    ask --json >"$tmp/one.json"
    ok "$kind: several requests at a time" ask --json --server-parallel 3
    mv "$tmp/stdout" "$tmp/three.json"
    ok "make the same report" cmp "$tmp/three.json" "$tmp/one.json"
done
serve sglang together
ok "two are there at once, and answered in another order" ask --json --server-parallel 2
serve sglang good
mv "$tmp/stdout" "$tmp/two.json"
ask --json >"$tmp/one.json"
ok "but scored in theirs" cmp "$tmp/two.json" "$tmp/one.json"
serve vllm busy
ok "a busy server is asked again" ask
serve vllm refuse
fails 4 "a refusal is an error" ask
has "$tmp/stderr" "status 400" "with its status"
fails 4 "of one connection of several, too" ask --server-parallel 2
is "$(wc -l <"$tmp/stderr")" 1 "and is told once"
has "$tmp/stderr" "is not allowed" "and its words in one line"
serve vllm moved
fails 4 "another address is not followed" ask
has "$tmp/stderr" "status 302" "which the status tells"
serve vllm chunked
ok "an answer may come in chunks" ask
serve vllm denied
export OPENAI_API_KEY=sk-very-secret-7
fails 4 "a server that wants another key is an error" ask
has "$tmp/stderr" "status 401: {\"error\":\"wrong key ****" "that cites it"
fails 4 "also when its kind is given" ask --server-kind vllm
is "$(cat "$tmp/stdout" "$tmp/stderr" | grep -c secret)" 0 "without the key"
OPENAI_API_KEY="two
lines"
fails 2 "a key of two lines is refused" ask
unset OPENAI_API_KEY
fails 4 "a password in the address is sent" "$PARE" verify "$tmp/base" --server "http://me:secret@${url#http://}" -q
is "$(cat "$tmp/stdout" "$tmp/stderr" | grep -c secret)" 0 "and not shown"
has "$tmp/stderr" "'$url/" "as the rest of the address is"
fails 4 "an address of another kind is refused" "$PARE" verify "$tmp/base" --server file:///etc/passwd -q
serve llama.cpp least
ok "the smallest probabilities are numbers still" ask --json
is "$(grep -ciE 'inf|nan"|null' "$tmp/stdout")" 0 "as all of the report's are"
serve sglang half
fails 3 "ids with fractions are refused" ask
for how in html short nan sum outside twice deep inf null; do # of vllm a token twice is a key twice, which is no JSON
    serve vllm $how
    fails 3 "an answer that is '$how' is refused" ask
done
serve llama.cpp twice
fails 3 "so is a token that comes twice in a list" ask
has "$tmp/stderr" "a token twice" "and the reason is told"
serve vllm outside
fails 3 "chunk and position of a bad answer are named" ask
has "$tmp/stderr" "chunk 0, position 8" "in one line"
serve llama.cpp short
fails 3 "a llama.cpp server without probabilities is refused" ask
serve vllm slow
fails 2 "a timeout is a number" ask --server-timeout x
fails 2 "an unknown kind is refused" ask --server-kind other
fails 2 "a server needs a base file" "$PARE" verify "$nano" --text README.md --server "$url"
if [ -n "${FAULTS-}" ]; then # each waits for what does not come
    for how in broken cut close; do
        serve vllm $how
        fails 4 "a server that is '$how' is given up after some tries" ask --chunks 1
    done
    serve vllm slow
    fails 4 "so is one that does not answer in time" ask --server-timeout 1
    serve vllm endless
    fails 4 "an endless answer is cut off" ask
fi
serve vllm slow
"$PARE" verify "$tmp/base" --server "$url" >/dev/null 2>&1 &
pid=$!
sleep 0.3
kill -TERM $pid
wait $pid
is $? 130 "Ctrl-C is heard while a server thinks"
done_testing
