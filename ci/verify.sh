#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: ci/verify.sh       what a CI job runs; everything is told by variables of the environment:
#   PARE        the program (default: pare)
#   SOURCE      the checkpoint that is the base
#   TEXT        held-out text
#   CANDIDATE   the model to judge; made from SOURCE when it is not there and RECIPE is set
#   RECIPE, TO  of that conversion: pare convert --recipe, --to (default: pare's)
#   CHUNKS      how much of the text (default: 64)
#   BASE_FILE   where the base's run is kept between jobs (default: base.safetensors); made when it is not there
#   GATES       a gate file (docs/ci.md); BASELINE: report.json of the last accepted run, compared when it is there
#   REPORTS     the folder for report.json, report.html, report.xml and summary.txt (default: pare-report)
#   STRICT      1: what is undecided fails
# Exit: as pare verify: 0 all gates passed, 1 one failed, more: an error.
set -eu
PARE=${PARE:-pare} CHUNKS=${CHUNKS:-64} BASE_FILE=${BASE_FILE:-base.safetensors} REPORTS=${REPORTS:-pare-report}
if [ -z "${SOURCE-}" ] || [ -z "${TEXT-}" ] || [ -z "${CANDIDATE-}" ]; then
    echo "ci/verify.sh: SOURCE, TEXT and CANDIDATE must be set" >&2
    exit 2
fi
mkdir -p -- "$REPORTS" "$(dirname -- "$CANDIDATE")" "$(dirname -- "$BASE_FILE")"

if [ ! -e "$CANDIDATE" ] && [ -n "${RECIPE-}" ]; then
    "$PARE" convert "$SOURCE" -o "$CANDIDATE" --recipe "$RECIPE" ${TO:+--to "$TO"}
fi
"$PARE" check "$CANDIDATE"
if [ ! -e "$BASE_FILE" ]; then
    "$PARE" verify "$SOURCE" --text "$TEXT" --chunks "$CHUNKS" --save-base "$BASE_FILE" --quiet >/dev/null
fi

set -- "$BASE_FILE" "$CANDIDATE" --text "$TEXT" --chunks "$CHUNKS" --quiet --json --html "$REPORTS/report.html" --junit "$REPORTS/report.xml"
[ -z "${GATES-}" ] || set -- "$@" --gate "$GATES"
[ -z "${BASELINE-}" ] || [ ! -e "$BASELINE" ] || set -- "$@" --baseline "$BASELINE"
[ "${STRICT-}" != 1 ] || set -- "$@" --strict
status=0
"$PARE" verify "$@" >"$REPORTS/report.json.new" || status=$? # BASELINE may be the last report.json
[ "$status" -le 1 ] || { rm -f "$REPORTS/report.json.new"; exit "$status"; }
mv -f "$REPORTS/report.json.new" "$REPORTS/report.json"
"$PARE" report "$REPORTS/report.json" >"$REPORTS/summary.txt" || [ $? -eq 1 ]
cat "$REPORTS/summary.txt"
if [ -n "${GITHUB_STEP_SUMMARY-}" ]; then
    { echo '```'; cat "$REPORTS/summary.txt"; echo '```'; } >>"$GITHUB_STEP_SUMMARY"
fi
exit "$status"
