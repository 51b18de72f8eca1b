#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: run.sh [--only NAME]       from the repository's root
# Runs the interoperability tests (t_NAME.py) as one TAP stream. A client that cannot be had, or a test that dies
# before its end, is a failure.
set -eu
here=$(dirname "$0")

only='*'
case "${1-}" in
--only) only=${2:?run.sh: --only wants a name} ;;
?*) echo "usage: run.sh [--only NAME]" >&2; exit 2 ;;
esac

# One test's TAP to our numbering. A missing or wrong plan line is a test that broke off.
renumber='
/^(not )?ok / { seen++; sub(/ok [0-9]+/, "ok " ++n) }
/^1\.\./      { planned = substr($0, 4); next }
/^Bail out!/  { sub(/^Bail out!/, "#  ") }
              { print; fflush() }
/^not ok /    { failed = 1 }
END           {
    if (planned == "" || planned + 0 != seen) {
        print "not ok " ++n " - " name " runs to its end"
        failed = 1
    }
    print n + 0, failed + 0 > result
}'

result=$(mktemp)
trap 'rm -f "$result"' EXIT
count=0 failed=0
export HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1
if ! env=$("$here/env.sh"); then
    echo "not ok 1 - the clients are installed"
    echo "1..1"
    exit 1
fi
for test in "$here"/t_$only.py; do
    [ -e "$test" ] || { echo "run.sh: no $test" >&2; exit 2; }
    name=$(basename "$test")
    echo "# $name"
    { "$env/bin/python" "$test" || true; } |
        awk -v n="$count" -v name="$name" -v result="$result" "$renumber"
    read -r count broke <"$result"
    [ "$broke" -eq 0 ] || failed=1
done
echo "1..$count"
exit "$failed"
