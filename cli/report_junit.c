/* SPDX-License-Identifier: MIT
 * Reports as a JUnit file: a suite for each report, a case for each gate; an undecided gate is a skipped case. Without gates one case says that
 * the judging itself went through. No times: the same report gives the same bytes.
 * Source: the XML that Jenkins (junit-10.xsd), GitLab and GitHub's report actions read; in a case skipped or failure comes before system-out. */
#include "cli/markup.h"
#include "cli/report.h"
#include "cli/report_facts.h"

static void add_case(const char *suite, struct buffer *b)
{
    buffer_text(b, "    <testcase classname=\"");
    markup_text(b, suite);
    buffer_text(b, "\" name=\"");
}

static void add_gate(const struct json *g, const char *suite, struct buffer *b)
{
    const enum gate_outcome outcome = report_outcome(g);
    const double limit = report_number(g, "limit"), value = report_number(g, "value"), error = report_number(g, "stderr");
    add_case(suite, b);
    markup_text(b, report_string(g, "gate", "gate"));
    buffer_printf(b, " %g\">", limit);
    if (outcome == GATE_FAILED)
        buffer_printf(b, "<failure type=\"gate\" message=\"%g +- %g breaks the bound %g\"/>", value, error, limit);
    if (outcome == GATE_UNDECIDED)
        buffer_printf(b, "<skipped message=\"undecided: the error bar of %g +- %g holds the bound %g\"/>", value, error, limit);
    buffer_printf(b, "<system-out>%g +- %g</system-out></testcase>\n", value, error);
}

static void add_suite(const struct json *r, struct buffer *b)
{
    const struct outcomes o = report_outcomes(r);
    const char *suite = report_title(r);
    double kld;
    buffer_text(b, "  <testsuite name=\"");
    markup_text(b, suite);
    buffer_printf(b, "\" tests=\"%zu\" failures=\"%zu\" skipped=\"%zu\" errors=\"0\">\n", o.n ? o.n : 1, o.of[GATE_FAILED], o.of[GATE_UNDECIDED]);
    for (const struct json *g = json_child(json_get(r, "gates")); g; g = json_next(g))
        add_gate(g, suite, b);
    if (!o.n) {
        add_case(suite, b);
        buffer_text(b, "judged\"/>\n");
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
