# SPDX-License-Identifier: MIT
# TAP for shell tests; source it: . "$(dirname "$0")/sh-tap.sh"
# POSIX sh. $tmp is a folder of this run, removed at exit. A script ends with done_testing.
#
#   ok TITLE COMMAND...            the command succeeds
#   fails STATUS TITLE COMMAND...  the command exits with this status
#   is GOT WANT TITLE              two texts are equal
#   has FILE TEXT TITLE            a file contains a text
#   skip REASON TITLE              cannot run here
#   note TEXT...                   a diagnostic
#   number FILE PATH               a number of our JSON, such as kld.mean
# ok and fails leave the command's output in $tmp/stdout and $tmp/stderr.

# Tests run side by side: a thread that waits must not keep a processor from the others.
export OMP_WAIT_POLICY=passive

tap_count=0
tap_failed=0
tap_planned=
tmp=$(mktemp -d "${TMPDIR:-/tmp}/pare-test.XXXXXX") || { echo "Bail out! no temporary folder"; exit 1; }
trap 'chmod -R u+rwx "$tmp" 2>/dev/null; rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Says how many tests follow; without it done_testing prints the plan.
plan()
{
    tap_planned=$1
    echo "1..$1"
}

note()
{
    printf '%s\n' "$*" | sed 's/^/#   /'
}

# tap_result STATUS TITLE: 0 is a pass
tap_result()
{
    tap_count=$((tap_count + 1))
    if [ "$1" -eq 0 ]; then
        printf 'ok %d - %s\n' "$tap_count" "$2"
    else
        tap_failed=$((tap_failed + 1))
        printf 'not ok %d - %s\n' "$tap_count" "$2"
        note "failed in $0"
    fi
    return "$1"
}

# tap_output: the end of the command's output as diagnostics
tap_output()
{
    note "$*"
    tail -n 10 "$tmp/stdout" | sed 's/^/#   stdout: /'
    tail -n 10 "$tmp/stderr" | sed 's/^/#   stderr: /'
}

fails()
{
    tap_want=$1
    tap_title=$2
    shift 2
    "$@" >"$tmp/stdout" 2>"$tmp/stderr"
    tap_got=$?
    if [ "$tap_got" -eq "$tap_want" ]; then
        tap_result 0 "$tap_title"
    else
        tap_result 1 "$tap_title" || :
        note "exit status $tap_got, expected $tap_want"
        tap_output "$@"
        return 1
    fi
}

ok()
{
    fails 0 "$@"
}

is()
{
    if [ "$1" = "$2" ]; then
        tap_result 0 "$3"
    else
        tap_result 1 "$3" || :
        note "got:  $1"
        note "want: $2"
        return 1
    fi
}

has()
{
    if grep -qF -e "$2" "$1"; then
        tap_result 0 "$3"
    else
        tap_result 1 "$3" || :
        note "no '$2' in $1:"
        tail -n 10 "$1" | sed 's/^/#   /'
        return 1
    fi
}

skip()
{
    tap_count=$((tap_count + 1))
    printf 'ok %d - %s # SKIP %s\n' "$tap_count" "$2" "$1"
}

done_testing()
{
    if [ -z "$tap_planned" ]; then
        echo "1..$tap_count"
    elif [ "$tap_planned" -ne "$tap_count" ]; then
        note "planned $tap_planned tests, ran $tap_count"
        exit 1
    fi
    [ "$tap_failed" -eq 0 ] && [ "$tap_count" -gt 0 ]
    exit
}

# Members stand one per line, indented by tabs.
number()
{
    awk -v path="$2" '
        BEGIN { n = split(path, want, "."); at = 1 }
        { match($0, /^\t*/); depth = RLENGTH; key = $1; gsub(/[":]/, "", key) }
        depth == at && key == want[at] { if (at == n) { sub(/,$/, "", $2); print $2; exit } at++ }
    ' "$1"
}
