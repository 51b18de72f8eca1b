#!/bin/sh
# SPDX-License-Identifier: MIT
# What the pages tell a reader to type works: the fenced blocks of sh in the tutorial, the FAQ and the pages of targets are run as they
# stand, block after block in one shell per page. Blocks that are indented need another program, and are shown only.
. "$(dirname "$0")/sh-tap.sh"
case ${PARE:-./pare} in /*) ;; *) PARE=$PWD/${PARE:-./pare} ;; esac
export PARE

# A page becomes one script that says the number of each block it got through.
script='
BEGIN { print "set -eu\npare() { \"$PARE\" \"$@\"; }" }
/^```sh$/ { inside = 1; n++; next }
/^```$/ { if (inside) print "echo \"block " n " is done\" >&3"; inside = 0; next }
inside { print }
END { print n > count }'

for page in docs/tutorial.md docs/faq.md docs/targets/*.md; do
    name=$(basename "$page" .md)
    mkdir -p "$tmp/$name"
    ln -s "$PWD/docs" "$PWD/base" "$PWD/convert" "$PWD/tests" "$tmp/$name"
    awk -v count="$tmp/count" "$script" "$page" >"$tmp/$name.sh"
    blocks=$(cat "$tmp/count")
    (cd "$tmp/$name" && sh "$tmp/$name.sh" 3>"$tmp/$name.done" >"$tmp/stdout" 2>"$tmp/stderr")
    status=$?
    for block in $(seq "${blocks:-0}"); do
        grep -qx "block $block is done" "$tmp/$name.done"
        tap_result $? "$page: block $block runs" || { tap_output "exit $status"; break; }
    done
    is "$(test "${blocks:-0}" -gt 0 && echo some)" some "$page has blocks that are run"
    rm -rf "${tmp:?}/$name"
done
done_testing
