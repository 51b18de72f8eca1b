/* SPDX-License-Identifier: MIT
 * The report of pare verify as one page of HTML that needs nothing else: no script, no font, no image from anywhere. It is made of the report's
 * JSON, so that pages of several candidates come from files of earlier runs. */
#include <math.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/markup.h"
#include "cli/page_table.h"
#include "cli/report.h"
#include "cli/report_charts.h"
#include "cli/report_facts.h"
#include "cli/report_section.h"

/* ---- several side by side */

static void overview_gates(const struct json *r, struct buffer *b)
{
    const struct outcomes o = report_outcomes(r);
    if (o.n)
        table_markup(outcome_words[outcomes_worst(&o)], outcome_words[outcomes_worst(&o)], b);
    else
        table_markup("muted", "none", b);
}

static void overview_row(const struct json *r, size_t i, struct buffer *b)
{
    const struct json *kld = json_get(r, "kld");
    const uint64_t bytes = report_bytes(r);
    char size[SIZE_TEXT];
    table_row(b);
    buffer_printf(b, "<td><a href=#r%zu>", i);
    markup_name(b, report_title(r));
    buffer_text(b, "</a></td>");
    table_markup(NULL, bytes ? size_text(bytes, size) : "", b);
    table_number(json_get(r, "untold") ? "&ge; %.6f" : "%.6f", report_number(kld, "mean"), b);
    table_number("%.6f", 1.96 * report_number(kld, "stderr"), b);
    table_number("%.6f", report_number(kld, "p99"), b);
    table_number("%.6f", report_number(r, "ppl_ratio"), b);
    table_number("%.2f&nbsp;%%", 100 * report_number(r, "top1_agreement"), b);
    overview_gates(r, b);
}

static void overview(const struct json *const *reports, size_t n, struct buffer *b)
{
    static const char *const heads[] = {"candidate", "size", "mean KL", "&plusmn; (95&nbsp;%)", "KL, 99&nbsp;%", "perplexity ratio",
                                        "same best token", "gates", NULL};
    buffer_text(b, "<section id=overview><h2>Size against divergence</h2>");
    if (!report_comparable(reports, n))
        buffer_text(b, "<p class=\"verdict undecided\">These reports were not made with one base over one text: their numbers do not compare.</p>");
    chart_pareto(reports, n, b);
    table_open("Candidates", heads, b);
    for (size_t i = 0; i < n; i++)
        overview_row(reports[i], i, b);
    table_close(0, b);
    buffer_text(b, "</section>");
}

/* ---- the page */

static void heading(const struct json *const *reports, size_t n, struct buffer *b)
{
    const struct json *first = reports[0];
    if (n > 1)
        buffer_printf(b, "%zu reports", n);
    else
        markup_text(b, report_title(first));
    if (report_comparable(reports, n) && json_get(first, "candidate_name")) {
        buffer_text(b, " <span class=muted>against</span> ");
        markup_text(b, report_string(first, "base_name", "?"));
    }
}

/* How it was judged, as far as that is the same of all. */
static void settings(const struct json *const *reports, size_t n, struct buffer *b)
{
    const struct json *first = reports[0];
    if (!report_comparable(reports, n))
        return;
    buffer_printf(b, "<p class=muted>%.0f scored positions, %.0f %s of %.0f tokens", report_number(first, "positions"),
                  report_number(first, "chunks"),
                  report_number(first, "chunks") == 1 ? "chunk" : "chunks", report_number(first, "ctx"));
    if (n == 1 && json_get(first, "settings")) {
        buffer_text(b, "; ");
        markup_text(b, report_string(first, "settings", ""));
    }
    buffer_text(b, ".</p>");
}

static void footer(const struct json *const *reports, size_t n, struct buffer *b)
{
    size_t pairs = 0;
    for (size_t i = 0; i < n; i++)
        pairs += json_get(reports[i], "kld") != NULL;
    buffer_text(b, "<footer class=muted><p>Made by pare " PARE_VERSION ".");
    if (pairs)
        buffer_text(b, " KL divergence is in nats, of the base from the candidate, over the whole vocabulary where nothing else is said.");
    buffer_text(b, "</p></footer>");
}

void report_html(const struct json *const *reports, size_t n, struct buffer *b)
{
    buffer_text(b, "<!DOCTYPE html><html lang=en><head><meta charset=utf-8><meta name=viewport "
                   "content=\"width=device-width,initial-scale=1\"><title>");
    markup_text(b, report_title(reports[0]));
    if (n > 1)
        buffer_printf(b, " and %zu more", n - 1);
    buffer_printf(b, " - pare verify</title><style>%s</style></head><body><a class=skip href=#%s>To the numbers</a><main><h1 id=top>",
                  html_style, n > 1 ? "overview" : "r0");
    heading(reports, n, b);
    buffer_text(b, "</h1>");
    settings(reports, n, b);
    if (n > 1)
        overview(reports, n, b);
    for (size_t i = 0; i < n; i++)
        report_section(reports[i], i, n == 1, b);
    footer(reports, n, b);
    buffer_text(b, "</main></body></html>\n");
}
