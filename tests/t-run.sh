#!/bin/sh
# SPDX-License-Identifier: MIT
# The test runner itself: what it counts, and that no broken test program passes.
. "$(dirname "$0")/sh-tap.sh"
here=$(cd "$(dirname "$0")" && pwd)

# program NAME: a test program with the script on stdin
program()
{
    { echo '#!/bin/sh'; cat; } >"$tmp/$1"
    chmod +x "$tmp/$1"
}

# closes STATUS LAST_LINE TITLE PROGRAM...: runs the runner on these
closes()
{
    tap_want_status=$1
    last=$2
    title=$3
    shift 3
    (cd "$tmp" && env -u VERBOSE "$here/run.sh" "$@") >"$tmp/log" 2>&1
    got=$?
    is "$(tail -n 1 "$tmp/log")" "$last" "$title: '$last'"
    is "$got" "$tap_want_status" "$title: exit status $tap_want_status"
}

program good <<'X'
echo 1..2; echo 'ok 1 - one'; echo 'ok 2 - two'
X
program late-plan <<'X'
echo 'ok 1 - one'; echo 1..1
X
program one-fails <<'X'
echo 1..2; echo 'ok 1 - one'; echo 'not ok 2 - two'; echo '#   why'; exit 1
X
program skips <<'X'
echo 1..3; echo 'ok 1 - one'; echo 'ok 2 - two # SKIP no avx512'; echo 'ok 3 - three # SKIP no avx512'
X
program skips-all <<'X'
echo '1..0 # SKIP no network'
X
program exits-7 <<'X'
echo 1..1; echo 'ok 1 - one'; exit 7
X
program dies <<'X'
echo 1..1; echo 'ok 1 - one'; kill -SEGV $$
X
program stops-early <<'X'
echo 1..3; echo 'ok 1 - one'
X
program runs-on <<'X'
echo 1..1; echo 'ok 1 - one'; echo 'ok 2 - two'
X
program no-plan <<'X'
echo 'ok 1 - one'
X
program silent <<'X'
exit 0
X
program bails <<'X'
echo 1..1; echo 'ok 1 - one'; echo 'Bail out! no disk'; exit 1
X
program leaves-files <<'X'
echo 1..1; : >"$TMPDIR/left"; echo "$TMPDIR" >where; echo 'ok 1 - one'
X

closes 0 '2 passed, 0 failed' 'two tests pass' good
closes 0 '3 passed, 0 failed' 'a plan at the end counts' good late-plan
closes 1 '3 passed, 1 failed' 'one test fails' good one-fails
has "$tmp/log" 'not ok 2 - two' 'the output of a failing program is shown'
has "$tmp/log" '#   why' 'with its diagnostics'
is "$(grep -c 'ok 1 - one' "$tmp/log")" 1 'the output of a passing program is not'
has "$tmp/log" 'ok  good  (2 tests, 0 skipped, ' 'a passing program is one line'
closes 0 '1 passed, 0 failed, 2 skipped' 'skipped tests are no passes' skips
has "$tmp/log" '2 skipped: no avx512' 'the reason of skips is shown'
closes 0 '2 passed, 0 failed, 1 skipped' 'a program that skips all' good skips-all
closes 1 '0 passed, 0 failed, 1 skipped' 'nothing but skips is no success' skips-all
closes 1 '0 passed, 0 failed' 'no program at all is no success'
closes 1 '1 passed, 1 failed' 'an exit status without a failed test is a failure' exits-7
has "$tmp/log" 'exit status 7 without a failed test' 'and is named'
closes 1 '1 passed, 1 failed' 'death by a signal is a failure' dies
has "$tmp/log" 'died by signal 11' 'and the signal is named'
closes 1 '1 passed, 1 failed' 'fewer tests than planned are a failure' stops-early
has "$tmp/log" 'planned 3 tests, ran 1' 'and the numbers are named'
closes 1 '2 passed, 1 failed' 'more tests than planned are a failure' runs-on
closes 1 '1 passed, 1 failed' 'a program without a plan is a failure' no-plan
closes 1 '0 passed, 1 failed' 'a program without output is a failure' silent
closes 1 '1 passed, 1 failed' 'bailing out is a failure' bails
closes 1 '0 passed, 1 failed' 'a program that does not exist is a failure' absent
closes 0 '1 passed, 0 failed' 'a program leaves a file in TMPDIR' leaves-files
is "$(ls "$(cat "$tmp/where")" 2>/dev/null)" '' 'the runner has removed it'

program nested <<X
. '$here/sh-tap.sh'
ok 'true succeeds' true
fails 3 'exit 3' sh -c 'exit 3'
ok 'false succeeds' false
is a b 'a is b'
done_testing
X
closes 1 '2 passed, 2 failed' 'a script with sh-tap.sh' nested
has "$tmp/log" 'exit status 1, expected 0' 'its failures say what happened'
done_testing
