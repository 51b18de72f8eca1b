#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: tests/run.sh PROGRAM...
# Runs TAP programs (compiled ones and scripts) and counts their lines. The last line is "N passed, N failed" or
# "N passed, N failed, N skipped". Exit: 0 when all that ran passed, 1 when anything failed or nothing passed.
# A program with its own fault counts as one more failure: it exits non-zero without a failed test, dies by a signal,
# bails out, or has another number of tests than its plan says. VERBOSE=1 prints the output of passing programs too.
# JOBS programs (default: one per processor) run at a time, each with a temporary folder of its own.
set -u
export OMP_WAIT_POLICY=passive # a thread that waits must not keep a processor from the programs beside it

# --one: one program of a run, whose folder is $RUN_WORK
if [ "${1-}" = --one ]; then
    work=$RUN_WORK
    mine=$work/$$
    mkdir -p "$mine/tmp"
else
    work=$(mktemp -d "${TMPDIR:-/tmp}/pare-run.XXXXXX") || exit 1
    trap 'rm -rf "$work"' EXIT          # also cleans up behind a test that was killed
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    : >"$work/counts"
fi

report='
function problem(text) { if (!fault) why = text; fault = 1 }
{ all = all $0 "\n" }
/^1\.\.[0-9]+/ { plans++; planned = substr($0, 4) + 0; if (/# *[Ss][Kk][Ii][Pp]/ && !planned) skipped_all = $0 }
/^Bail out!/ { problem($0) }
/^not ok( |$)/ { n++; failed++ }
/^ok( |$)/ {
    n++
    if (match($0, /# *[Ss][Kk][Ii][Pp]/)) {
        skipped++
        reason = substr($0, RSTART + RLENGTH)
        sub(/^ */, "", reason)
        if (!(reason in times)) order[++reasons] = reason
        times[reason]++
    } else
        passed++
}
END {
    if (skipped_all) {
        skipped++
        sub(/.*# *[Ss][Kk][Ii][Pp] */, "", skipped_all)
        times[order[++reasons] = skipped_all]++
    }
    if (status > 128) problem("died by signal " status - 128)
    if (status && !failed) problem("exit status " status " without a failed test")
    if (plans != 1) problem(plans ? "more than one plan" : "no plan")
    if (planned != n) problem("planned " planned " tests, ran " n + 0)
    bad = failed || fault
    if (bad) printf "not ok  %s  (%d passed, %d failed)\n", name, passed, failed + fault
    else printf "ok  %s  (%d tests, %d skipped, %d s)\n", name, n, skipped, seconds
    if (bad || verbose) printf "%s", all
    if (fault) printf "#   %s: %s\n", name, why
    for (i = 1; i <= reasons; i++) printf "#   %d skipped: %s\n", times[order[i]], order[i]
    print passed + 0, failed + fault + 0, skipped + 0 >>counts
}'

# one PROGRAM: runs it, counts, and prints its lines together
one()
{
    program=$1
    case $program in
        */*) ;;
        *) program=./$program ;;
    esac
    set -- "$program"
    if [ ! -x "$program" ]; then
        case $program in
            *.sh) set -- sh "$program" ;;
            *.py) set -- python3 "$program" ;;
        esac
    fi
    began=$(date +%s)
    TMPDIR=$mine/tmp "$@" >"$mine/out" 2>&1 </dev/null
    status=$?
    name=${program##*/}
    LC_ALL=C awk -v status="$status" -v name="${name%.sh}" -v counts="$mine/counts" -v verbose="${VERBOSE:-}" -v seconds=$(($(date +%s) - began)) \
        "$report" "$mine/out" >"$mine/report" || echo "0 1 0" >"$mine/counts"
    while ! mkdir "$work/printing" 2>/dev/null; do sleep 0.05; done
    cat "$mine/report"
    cat "$mine/counts" >>"$work/counts"
    rmdir "$work/printing"
    rm -rf "$mine"
}

if [ "${1-}" = --one ]; then
    one "$2"
    exit 0
fi
# threads that wait for work leave the processors to the other programs
[ $# -eq 0 ] || printf '%s\n' "$@" |
    RUN_WORK=$work OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} xargs -n 1 -P "${JOBS:-$(nproc 2>/dev/null || echo 2)}" sh "$0" --one

LC_ALL=C awk '
    { passed += $1; failed += $2; skipped += $3 }
    END {
        printf "%d passed, %d failed", passed, failed
        if (skipped) printf ", %d skipped", skipped
        printf "\n"
        exit failed || !passed
    }' "$work/counts"
