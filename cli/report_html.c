/* SPDX-License-Identifier: MIT
 * The report of pare verify as one page of HTML that needs nothing else: no script, no font, no image from anywhere. It is made of the report's
 * JSON, so that pages of several candidates come from files of earlier runs. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/markup.h"
#include "cli/report.h"
#include "cli/report_charts.h"

enum { WORST_ROWS = 15 };

static double number(const struct json *o, const char *key)
{
    double v;
    return json_f64(json_get(o, key), &v) ? NAN : v;
}

static const char *text_of(const struct json *o, const char *key, const char *otherwise)
{
    const char *s = json_string(json_get(o, key));
    return s ? s : otherwise;
}

static const char *title_of(const struct json *r)
{
    return text_of(r, "candidate_name", text_of(r, "base_name", "?"));
}

/* ---- numbers at the top */

static void card(struct buffer *b, const char *value, const char *label)
{
    buffer_printf(b, "<div class=card><b>%s</b><span>%s</span></div>", value, label);
}

static void card_bar(struct buffer *b, const char *format, double value, double error, const char *label)
{
    char v[64], l[160];
    if (!isfinite(value))
        return;
    snprintf(v, sizeof v, format, value);
    if (error > 0)
        snprintf(l, sizeof l, "%s, &plusmn;&nbsp;%.2g (95&nbsp;%%)", label, 1.96 * error);
    else
        snprintf(l, sizeof l, "%s", label);
    card(b, v, l);
}

static void cards(const struct json *r, struct buffer *b)
{
    const struct json *kld = json_get(r, "kld"), *ratio = json_get(r, "ln_ppl_ratio");
    const double top1 = number(r, "top1_agreement"), n = number(r, "positions"), bytes = number(r, "candidate_bytes");
    char size[SIZE_TEXT];
    buffer_text(b, "<div class=cards>");
    card_bar(b, json_get(r, "untold") ? "&ge; %.6f" : "%.6f", number(kld, "mean"), number(kld, "stderr"), "mean KL divergence, nats");
    card_bar(b, "%.6f", number(r, "ppl_ratio"), number(r, "ppl_ratio") * number(ratio, "stderr"), "perplexity, candidate to base");
    card_bar(b, "%.2f %%", 100 * top1, 100 * sqrt(top1 * (1 - top1) / n), "same best token");
    card_bar(b, "%.4f", number(json_get(r, "base"), "ppl"), number(json_get(r, "base"), "ppl_stderr"), "perplexity of the base");
    if (bytes > 0)
        card(b, size_text((uint64_t)bytes, size), "size of the weights");
    buffer_text(b, "</div>");
}

static void gates_table(const struct json *r, struct buffer *b)
{
    const struct json *list = json_get(r, "gates");
    if (!json_count(list))
        return;
    buffer_text(b, "<h3>Gates</h3><div class=scroll tabindex=0 role=region aria-label=Gates><table><tr><th>gate<th>bound<th>value<th>&plusmn;<th>outcome");
    for (const struct json *g = json_child(list); g; g = json_next(g)) {
        const char *outcome = text_of(g, "outcome", "");
        const char *sign = !strcmp(outcome, "passed") ? "&#10003;" : !strcmp(outcome, "failed") ? "&#10007;" : "?";
        buffer_text(b, "<tr><td>");
        markup_text(b, text_of(g, "gate", ""));
        buffer_printf(b, "<td>%g<td>%.6g<td>%.2g<td class=", number(g, "limit"), number(g, "value"), number(g, "stderr"));
        markup_text(b, outcome);
        buffer_printf(b, ">%s ", sign);
        markup_text(b, outcome);
    }
    buffer_text(b, "</table></div>");
}

/* ---- tables */

static void spread(const struct json *r, struct buffer *b)
{
    static const char *const keys[][2] = {{"median", "median"}, {"p90", "90 %"}, {"p95", "95 %"}, {"p99", "99 %"}, {"p999", "99.9 %"}, {"max", "largest"}};
    const struct json *kld = json_get(r, "kld");
    buffer_text(b, "<div class=scroll tabindex=0 role=region aria-label=Percentiles><table><tr>");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        buffer_printf(b, "<th>%s", keys[i][1]);
    buffer_text(b, "<tr>");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        buffer_printf(b, "<td>%.6f", number(kld, keys[i][0]));
    buffer_text(b, "</table></div>");
}

static void confidence(const struct json *r, struct buffer *b)
{
    const struct json *list = json_get(r, "kld_by_confidence");
    if (!json_count(list))
        return;
    buffer_text(b, "<h3>By the base's confidence</h3><p class=note>Its largest probability at the position.</p>"
                   "<div class=scroll tabindex=0 role=region aria-label=Confidence><table><tr><th>confidence<th>positions<th>mean KL");
    for (const struct json *v = json_child(list); v; v = json_next(v))
        buffer_printf(b, "<tr><td>%.2f to %.2f<td>%.0f<td>%.6f", number(v, "from"), number(v, "to"), number(v, "positions"), number(v, "kld"));
    buffer_text(b, "</table></div>");
}

struct row { /* of a table of the worst */
    double error;
    const struct json *v;
    double layer;
    int expert;
};

static int worse(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->error != y->error)
        return x->error > y->error ? -1 : 1;
    return x->layer != y->layer ? (x->layer < y->layer ? -1 : 1) : x->expert - y->expert;
}

static size_t count_experts(const struct json *layers)
{
    size_t n = 0;
    for (const struct json *l = json_child(layers); l; l = json_next(l))
        n += json_count(json_get(l, "experts"));
    return n;
}

static void worst_experts(const struct json *r, struct buffer *b)
{
    const struct json *layers = json_get(r, "layers");
    struct row *rows = malloc((count_experts(layers) + 1) * sizeof *rows);
    size_t n = 0;
    for (const struct json *l = json_child(layers); rows && l; l = json_next(l)) {
        int i = 0;
        for (const struct json *x = json_child(json_get(l, "experts")); x; x = json_next(x), i++)
            if (json_get(x, "output_error"))
                rows[n++] = (struct row){number(x, "output_error"), x, number(l, "layer"), i};
    }
    if (n) {
        qsort(rows, n, sizeof *rows, worse);
        buffer_text(b, "<details><summary>Worst experts</summary><div class=scroll tabindex=0 role=region aria-label=\"Worst experts\"><table>"
                       "<tr><th>expert<th>tokens<th>sum of gates<th>error of the output");
        for (size_t i = 0; i < n && i < WORST_ROWS; i++)
            buffer_printf(b, "<tr><td>layer %.0f, expert %d<td>%.0f<td>%.2f<td>%.4g", rows[i].layer, rows[i].expert, number(rows[i].v, "tokens"),
                          number(rows[i].v, "gate"), rows[i].error);
        buffer_text(b, "</table></div></details>");
    }
    free(rows);
}

static void worst_tensors(const struct json *r, struct buffer *b)
{
    const struct json *list = json_get(r, "tensors");
    struct row *rows = malloc((json_count(list) + 1) * sizeof *rows);
    size_t n = 0;
    for (const struct json *v = json_child(list); rows && v; v = json_next(v), n++)
        rows[n] = (struct row){number(v, "relative_rms"), v, (double)n, 0};
    if (n) {
        qsort(rows, n, sizeof *rows, worse);
        buffer_text(b, "<h3>Worst tensors</h3><div class=scroll tabindex=0 role=region aria-label=\"Worst tensors\"><table>"
                       "<tr><th>tensor<th>type<th>relative RMS error<th>largest error<th>signal to noise, dB");
        for (size_t i = 0; i < n && i < WORST_ROWS; i++) {
            buffer_text(b, "<tr><td>");
            markup_text(b, text_of(rows[i].v, "tensor", "?"));
            buffer_text(b, "<td>");
            markup_text(b, text_of(rows[i].v, "type", "?"));
            buffer_printf(b, "<td>%.5f<td>%.5f", rows[i].error, number(rows[i].v, "max"));
            if (isfinite(number(rows[i].v, "sqnr_db")))
                buffer_printf(b, "<td>%.1f", number(rows[i].v, "sqnr_db"));
            else
                buffer_text(b, "<td>exact");
        }
        buffer_text(b, "</table></div>");
    }
    free(rows);
}

/* ---- worst positions */

/* An id in words: its text, or #id. */
static void token(const struct json *choice, struct buffer *b)
{
    const char *text = text_of(choice, "text", NULL);
    if (text && *text)
        markup_token(b, text);
    else
        buffer_printf(b, "#%.0f", number(choice, "id"));
}

static void guesses(const struct json *list, double target, const char *title, const char *class, struct buffer *b)
{
    buffer_printf(b, "<div class=%s><span class=muted>%s</span>", class, title);
    for (const struct json *v = json_child(list); v; v = json_next(v)) {
        const double p = number(v, "p");
        buffer_printf(b, "<div class=\"guess%s\"><code>", number(v, "id") == target ? " hit" : "");
        token(v, b);
        buffer_printf(b, "</code><i style=width:%.0f%%></i><span>%.4f</span></div>", 100 * fmin(fmax(p, 0), 1), p);
    }
    buffer_text(b, "</div>");
}

static void closeup(const struct json *x, int open, struct buffer *b)
{
    const struct json *target = json_get(x, "target");
    buffer_printf(b, "<details%s><summary>KL %.4f &middot; chunk %.0f, position %.0f &middot; <code>", open ? " open" : "", number(x, "kld"), number(x, "chunk"),
                  number(x, "position"));
    token(target, b);
    buffer_printf(b, "</code> %.4f &rarr; %.4f</summary>", number(target, "p"), number(x, "p_candidate"));
    if (json_get(x, "before")) {
        buffer_text(b, "<blockquote>&hellip;");
        markup_text(b, text_of(x, "before", ""));
        buffer_text(b, "<mark>");
        markup_text(b, text_of(target, "text", ""));
        buffer_text(b, "</mark>");
        markup_text(b, text_of(x, "after", ""));
        buffer_text(b, "&hellip;</blockquote>");
    }
    buffer_text(b, "<div class=two>");
    guesses(json_get(x, "base"), number(target, "id"), "base", "base", b);
    guesses(json_get(x, "candidate"), number(target, "id"), "candidate", "cand", b);
    buffer_text(b, "</div></details>");
}

static void worst_positions(const struct json *r, struct buffer *b)
{
    const struct json *list = json_get(r, "worst_positions");
    int open = 1;
    if (!json_count(list))
        return;
    buffer_text(b, "<h3>Worst positions in their text</h3><p class=note>Marked: the token that follows in the text, its probability before and after, and what "
                   "both models hold most likely there.</p>");
    for (const struct json *x = json_child(list); x; x = json_next(x), open = 0)
        closeup(x, open, b);
}

/* ---- the page */

static void section(const struct json *r, size_t i, size_t n, struct buffer *b)
{
    static const char *const errors[] = {"accumulated_error", "local_error"}, *const error_titles[] = {"accumulated: each on its own input", "local: on the base's input"};
    static const char *const routers[] = {"same_experts", "expert_overlap"}, *const router_titles[] = {"tokens with the same experts", "common experts"};
    const double changed = number(json_get(r, "routing"), "changed");
    buffer_printf(b, "<section id=r%zu>", i);
    if (n > 1) {
        buffer_text(b, "<h2>");
        markup_text(b, title_of(r));
        buffer_text(b, "</h2>");
    }
    cards(r, b);
    gates_table(r, b);
    if (json_get(r, "kld")) {
        buffer_text(b, "<h3>How the divergence is spread</h3>");
        chart_histogram(r, b);
        spread(r, b);
        confidence(r, b);
        if (json_get(json_child(json_get(r, "layers")), "local_error"))
            buffer_text(b, "<h3>Error of the hidden state, layer by layer</h3>");
        chart_layers(r, errors, error_titles, 1, "Relative error of the hidden state by layer", b);
        if (isfinite(changed))
            buffer_printf(b, "<h3>Routing</h3><p>%.1f %% of the positions have other experts in some layer; they carry %.1f %% of the divergence.</p>", 100 * changed,
                          100 * number(json_get(r, "routing"), "kld_share"));
        chart_layers(r, routers, router_titles, 0, "Agreement of the routers by layer", b);
        buffer_text(b, "<h3>Experts</h3>");
        chart_experts(r, b);
        worst_experts(r, b);
    }
    worst_tensors(r, b);
    worst_positions(r, b);
    buffer_text(b, "</section>");
}

static void overview(const struct json *const *reports, size_t n, struct buffer *b)
{
    buffer_text(b, "<h2>Size against divergence</h2>");
    chart_pareto(reports, n, b);
    buffer_text(b, "<div class=scroll tabindex=0 role=region aria-label=Candidates><table><tr><th>candidate<th>size<th>mean KL<th>&plusmn; (95 %)<th>99 %<th>perplexity ratio"
                   "<th>same best token<th>gates");
    for (size_t i = 0; i < n; i++) {
        const struct json *r = reports[i], *kld = json_get(r, "kld");
        size_t bad = 0, unsure = 0;
        char size[SIZE_TEXT];
        for (const struct json *g = json_child(json_get(r, "gates")); g; g = json_next(g)) {
            bad += !strcmp(text_of(g, "outcome", ""), "failed");
            unsure += !strcmp(text_of(g, "outcome", ""), "undecided");
        }
        const double bytes = number(r, "candidate_bytes");
        char ratio[32] = "";
        if (isfinite(number(r, "ppl_ratio")))
            snprintf(ratio, sizeof ratio, "%.6f", number(r, "ppl_ratio"));
        buffer_printf(b, "<tr><td><a href=#r%zu>", i);
        markup_text(b, title_of(r));
        buffer_printf(b, "</a><td>%s<td>%.6f<td>%.6f<td>%.6f<td>%s<td>%.2f %%<td class=%s>%s", bytes > 0 ? size_text((uint64_t)bytes, size) : "", number(kld, "mean"),
                      1.96 * number(kld, "stderr"), number(kld, "p99"), ratio, 100 * number(r, "top1_agreement"),
                      bad ? "failed" : unsure ? "undecided" : "passed",
                      bad ? "&#10007; failed" : unsure ? "? undecided" : json_count(json_get(r, "gates")) ? "&#10003; passed" : "none");
    }
    buffer_text(b, "</table></div>");
}

void report_html(const struct json *const *reports, size_t n, struct buffer *b)
{
    const struct json *first = reports[0];
    const char *base = text_of(first, "base_name", "?");
    buffer_text(b, "<!DOCTYPE html><html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width,initial-scale=1\"><title>");
    markup_text(b, n > 1 ? base : title_of(first));
    buffer_printf(b, " - pare verify</title><style>%s</style></head><body><a class=skip href=#r0>To the numbers</a><main><h1>", html_style);
    markup_text(b, n > 1 ? "Candidates" : title_of(first));
    buffer_text(b, " <span class=muted>against</span> ");
    markup_text(b, base);
    buffer_printf(b, "</h1><p class=muted>%.0f scored positions, %.0f chunks of %.0f tokens; ", number(first, "positions"), number(first, "chunks"), number(first, "ctx"));
    markup_text(b, text_of(first, "settings", ""));
    buffer_text(b, ".</p>");
    if (n > 1)
        overview(reports, n, b);
    for (size_t i = 0; i < n; i++)
        section(reports[i], i, n, b);
    buffer_text(b, "<p class=muted>Made by pare " PARE_VERSION ". KL divergence is in nats, of the base from the candidate, over the whole vocabulary.</p></main></body></html>\n");
}
