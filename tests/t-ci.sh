#!/bin/sh
# SPDX-License-Identifier: MIT
# What a CI job runs (ci/verify.sh), from checkpoint to gates, and that the examples and the action ask for what it knows.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
export PARE
SOURCE=tests/data/nano-v3 TEXT=README.md CANDIDATE=$tmp/new/out.gguf RECIPE=Q4_0 CHUNKS=1 BASE_FILE=$tmp/base/file REPORTS=$tmp/report
export SOURCE TEXT CANDIDATE RECIPE CHUNKS BASE_FILE REPORTS

ok "a job converts, checks, judges and reports" sh ci/verify.sh
for file in report.json report.html report.xml summary.txt; do
    ok "it leaves $file" test -s "$REPORTS/$file"
done
cp "$BASE_FILE" "$tmp/kept"
cp "$REPORTS/report.json" "$tmp/accepted.json"
ok "the next one takes the base's run from where it was kept" env BASELINE="$tmp/accepted.json" GITHUB_STEP_SUMMARY="$tmp/step" sh ci/verify.sh
ok "and leaves it alone" cmp "$tmp/kept" "$BASE_FILE"
has "$REPORTS/report.json" "baseline kld.mean" "it holds the result to the accepted report"
has "$tmp/step" "out.gguf" "and writes GitHub's summary"
ok "which may be the one that this run replaces" env BASELINE="$REPORTS/report.json" sh ci/verify.sh
fails 3 "a base file that is damaged is an error" env BASE_FILE=README.md sh ci/verify.sh
has "$REPORTS/report.json" "baseline kld.mean" "that leaves the last report"
echo '{"max-kld": 1e-9}' >"$tmp/gates.json"
fails 1 "a gate that fails fails the job" env GATES="$tmp/gates.json" sh ci/verify.sh
has "$REPORTS/report.xml" "<failure" "with its reason in the test results"
ok "the example's gate file is one" "$PARE" verify "$BASE_FILE" "$CANDIDATE" --gate ci/gates.json --max-kld 5 --max-kld-p99 50 --max-ppl-ratio 9 --min-top1 0 -q
fails 2 "a job without a text says so" env TEXT= sh ci/verify.sh
for file in action.yml ci/github.yml ci/gitlab.yml; do
    is "$(tr -d -c '\t' <"$file" | wc -c)" 0 "$file has no tab"
done
for name in $(sed -n 's/^        \([A-Z_]*\): .*inputs.*/\1/p' action.yml) $(sed -n 's/^    \([A-Z_]*\): .*/\1/p' ci/gitlab.yml); do
    is "$(grep -c "$name" ci/verify.sh | awk '{ print ($1 > 0) }')" 1 "ci/verify.sh knows $name"
done
for input in $(sed -n 's/^          \([a-z-]*\): .*/\1/p' ci/github.yml); do
    case $input in path|key|restore-keys|name|report_paths) continue ;; esac
    has action.yml "  $input:" "the action has the example's input $input"
done
done_testing
