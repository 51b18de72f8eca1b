/* SPDX-License-Identifier: MIT
 * Reports as a JUnit file: a suite for each report, a case for each gate; an undecided gate is a skipped case. Without gates one case says that
 * the judging itself went through.
 * Source: the XML that Jenkins, GitLab and GitHub's report actions read (testsuites, testsuite, testcase, failure, skipped). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/markup.h"
#include "cli/report.h"

static void add_gate(const struct json *g, const char *suite, struct buffer *b)
{
    const char *outcome = json_string(json_get(g, "outcome")), *name = json_string(json_get(g, "gate"));
    double limit = NAN, value = NAN, error = 0;
    json_f64(json_get(g, "limit"), &limit);
    json_f64(json_get(g, "value"), &value);
    json_f64(json_get(g, "stderr"), &error);
    buffer_text(b, "    <testcase classname=\"");
    markup_text(b, suite);
    buffer_text(b, "\" name=\"");
    markup_text(b, name ? name : "gate");
    buffer_printf(b, " %g\">", limit);
    if (outcome && !strcmp(outcome, "failed"))
        buffer_printf(b, "<failure message=\"%g +- %g breaks the bound %g\"/>", value, error, limit);
    if (outcome && !strcmp(outcome, "undecided"))
        buffer_printf(b, "<skipped message=\"undecided: the error bar of %g +- %g holds the bound %g\"/>", value, error, limit);
    buffer_printf(b, "<system-out>%g +- %g</system-out></testcase>\n", value, error);
}

static void add_suite(const struct json *r, struct buffer *b)
{
    const struct json *list = json_get(r, "gates");
    const char *base = json_string(json_get(r, "base_name")), *cand = json_string(json_get(r, "candidate_name"));
    const char *suite = cand ? cand : base ? base : "pare verify";
    const size_t n = json_count(list);
    double kld;
    buffer_text(b, "  <testsuite name=\"");
    markup_text(b, suite);
    buffer_printf(b, "\" tests=\"%zu\" failures=\"%zu\" skipped=\"%zu\" errors=\"0\">\n", n ? n : 1, report_outcomes(r, "failed"),
                  report_outcomes(r, "undecided"));
    for (const struct json *g = json_child(list); g; g = json_next(g))
        add_gate(g, suite, b);
    if (!n) {
        buffer_text(b, "    <testcase classname=\"");
        markup_text(b, suite);
        buffer_text(b, "\" name=\"judged\"/>\n");
    }
    if (!json_f64(json_get(json_get(r, "kld"), "mean"), &kld))
        buffer_printf(b, "    <system-out>mean KL divergence %g</system-out>\n", kld);
    buffer_text(b, "  </testsuite>\n");
}

void report_junit(const struct json *const *reports, size_t n, struct buffer *out)
{
    buffer_text(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (size_t i = 0; i < n; i++)
        add_suite(reports[i], out);
    buffer_text(out, "</testsuites>\n");
}
