/* SPDX-License-Identifier: MIT
 * One report on the page. Headings are collected as they come: the section begins with links to them. */
#include "cli/report_section.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/markup.h"
#include "cli/page_table.h"
#include "cli/report_charts.h"
#include "cli/report_facts.h"
#include "cli/report_worst.h"

struct section {
    const struct json *r;
    size_t index;
    int level;          /* of its headings */
    struct buffer nav;  /* links to them */
    struct buffer body;
};

/* word: the title in the links */
static void heading(struct section *s, const char *key, const char *word, const char *title)
{
    buffer_printf(&s->nav, "<li><a href=#r%zu-%s>%s</a></li>", s->index, key, word);
    buffer_printf(&s->body, "<h%d id=r%zu-%s>%s</h%d>", s->level, s->index, key, title, s->level);
}

/* ---- numbers at the top */

static void card(const char *value, const char *label, const char *bar, struct buffer *b)
{
    buffer_printf(b, "<div class=card><b>%s</b><span>%s</span><span>%s</span></div>", value, label, bar);
}

/* half: half of the 95 % interval; 0: none */
static void card_number(const char *format, double value, double half, const char *label, struct buffer *b)
{
    char v[400], text[64] = "";
    if (!isfinite(value))
        return;
    snprintf(v, sizeof v, format, value);
    if (half > 0)
        snprintf(text, sizeof text, "&plusmn;&nbsp;%.2g (95&nbsp;%%)", half);
    card(v, label, text, b);
}

static void card_size(const struct json *r, struct buffer *b)
{
    const uint64_t bytes = report_bytes(r);
    const double base = report_number(r, "base_bytes");
    char size[SIZE_TEXT], share[64] = "";
    if (!bytes)
        return;
    if (base > 0)
        snprintf(share, sizeof share, "%.1f&nbsp;%% of the base's", 100 * (double)bytes / base);
    card(size_text(bytes, size), "size of the weights", share, b);
}

static void cards(const struct json *r, struct buffer *b)
{
    const struct json *kld = json_get(r, "kld"), *base = json_get(r, "base");
    const double top1 = report_number(r, "top1_agreement"), n = report_number(r, "positions"), ratio = report_number(r, "ppl_ratio");
    buffer_text(b, "<div class=cards>");
    card_number(json_get(r, "untold") ? "&ge; %.6f" : "%.6f", report_number(kld, "mean"), 1.96 * report_number(kld, "stderr"),
                "mean KL divergence, nats", b);
    card_number("%.6f", ratio, 1.96 * ratio * report_number(json_get(r, "ln_ppl_ratio"), "stderr"), "perplexity, candidate to base", b);
    card_number("%.2f&nbsp;%%", 100 * top1, 196 * sqrt(top1 * (1 - top1) / n), "same best token", b);
    card_number("%.4f", report_number(base, "ppl"), 1.96 * report_number(base, "ppl_stderr"), kld ? "perplexity of the base" : "perplexity", b);
    card_size(r, b);
    buffer_text(b, "</div>");
}

static void mtp_note(const struct json *mtp, struct buffer *b)
{
    if (!mtp)
        return;
    buffer_printf(b, "<p>MTP: the loss of the token after next is %.4f", report_number(mtp, "loss"));
    if (json_get(mtp, "candidate_loss"))
        buffer_printf(b, ", of the candidate %.4f", report_number(mtp, "candidate_loss"));
    buffer_printf(b, "; its best token is the main model's at %.1f&nbsp;%% of the positions", 100 * report_number(mtp, "top1_agreement"));
    if (json_get(mtp, "candidate_top1_agreement"))
        buffer_printf(b, ", of the candidate %.1f&nbsp;%%", 100 * report_number(mtp, "candidate_top1_agreement"));
    buffer_text(b, ".</p>");
}

/* What must be said beside the numbers. */
static void notes(const struct json *r, struct buffer *b)
{
    const struct json *untold = json_get(r, "untold");
    const double planned = report_number(r, "predicted_kl"), targets = report_number(untold, "targets");
    if (untold) {
        buffer_printf(b, "<p>A server tells its likeliest tokens only, so the divergence is <em>at least</em> what is said here. Not told: "
                         "%.2f&nbsp;%% of the base's "
                         "probability, %.2f&nbsp;%% of the candidate's",
                      100 * report_number(untold, "base_probability"), 100 * report_number(untold, "candidate_probability"));
        if (targets > 0)
            buffer_printf(b, ", and %.0f of the tokens that follow, which is why nothing is said of the candidate's perplexity", targets);
        buffer_text(b, ".</p>");
    }
    if (planned > 0)
        buffer_printf(b, "<p>The planner that chose the types expected a divergence of %.6f.</p>", planned);
    mtp_note(json_get(r, "mtp"), b);
}

/* ---- gates */

static const char *const signs[OUTCOMES] = {[GATE_PASSED] = "&#10003;", [GATE_FAILED] = "&#10007;", [GATE_UNDECIDED] = "?"};

static void verdict(const struct json *r, struct buffer *b)
{
    const struct outcomes o = report_outcomes(r);
    char text[OUTCOMES_TEXT];
    if (o.n)
        buffer_printf(b, "<p class=\"verdict %s\"><span aria-hidden=true>%s</span> %s</p>", outcome_words[outcomes_worst(&o)],
                      signs[outcomes_worst(&o)],
                      outcomes_text(&o, text));
}

static void gates_table(struct section *s)
{
    static const char *const heads[] = {"gate", "outcome", "bound", "value", "&plusmn; (95&nbsp;%)", NULL};
    const struct json *list = json_get(s->r, "gates");
    struct buffer *b = &s->body;
    if (!json_count(list))
        return;
    heading(s, "gates", "Gates", "Gates");
    table_open("Gates", heads, b);
    for (const struct json *g = json_child(list); g; g = json_next(g)) {
        const enum gate_outcome outcome = report_outcome(g);
        const double error = report_number(g, "stderr");
        char words[64];
        snprintf(words, sizeof words, "<span aria-hidden=true>%s</span> %s", signs[outcome], outcome_words[outcome]);
        table_row(b);
        table_text(report_string(g, "gate", "?"), b);
        table_markup(outcome_words[outcome], words, b);
        table_number("%g", report_number(g, "limit"), b);
        table_number("%.6g", report_number(g, "value"), b);
        table_number("%.2g", error > 0 ? 1.96 * error : NAN, b);
    }
    table_close(0, b);
}

/* ---- divergence */

static void percentiles(const struct json *r, struct buffer *b)
{
    static const char *const keys[] = {"median", "p90", "p95", "p99", "p999", "max"};
    static const char *const heads[] = {"median", "90&nbsp;%", "95&nbsp;%", "99&nbsp;%", "99.9&nbsp;%", "largest", NULL};
    if (!isfinite(report_number(json_get(r, "kld"), "median")))
        return;
    table_open("Percentiles of the divergence", heads, b);
    table_row(b);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        table_number("%.6f", report_number(json_get(r, "kld"), keys[i]), b);
    table_close(0, b);
}

static void confidence(struct section *s)
{
    static const char *const heads[] = {"the base's largest probability", "positions", "mean KL", NULL};
    const struct json *list = json_get(s->r, "kld_by_confidence");
    struct buffer *b = &s->body;
    if (!json_count(list))
        return;
    heading(s, "confidence", "Confidence", "By the base's confidence");
    table_open("Divergence by the base's confidence", heads, b);
    for (const struct json *v = json_child(list); v; v = json_next(v)) {
        char range[400];
        snprintf(range, sizeof range, "%.2f to %.2f", report_number(v, "from"), report_number(v, "to"));
        table_row(b);
        table_markup(NULL, range, b);
        table_number("%.0f", report_number(v, "positions"), b);
        table_number("%.6f", report_number(v, "positions") > 0 ? report_number(v, "kld") : NAN, b);
    }
    table_close(0, b);
}

/* ---- layers, routing, experts */

/* What a part draws is known only behind its heading: it draws apart, and the heading stays away with nothing below it. */
static void part(struct section *s, const char *key, const char *word, const char *title, int drawn, struct buffer *what)
{
    if (drawn) {
        heading(s, key, word, title);
        buffer_add(&s->body, what->data, what->size);
    }
    s->body.failed |= what->failed;
    buffer_clear(what);
}

static void layers(struct section *s)
{
    static const struct layer_chart errors = {.keys = {"accumulated_error", "local_error"},
                                              .titles = {"accumulated: each on its own input", "local: on the base's input"},
                                              .label = "Relative error of the hidden state by layer", .table = "Numbers: errors by layer", .log = 1};
    struct buffer b = {0};
    const int drawn = chart_layers(s->r, &errors, &b);
    part(s, "layers", "Layers", "Error of the hidden state, layer by layer", drawn, &b);
}

static void alone(struct section *s)
{
    static const struct layer_chart parts = {.keys = {"kld_alone"}, .error = "kld_alone_stderr", .titles = {"mean divergence with this layer alone"},
                                             .label = "KL divergence of each layer alone", .table = "Numbers: divergence of each layer alone", .log = 1};
    const struct json *all = json_get(s->r, "by_layer");
    struct buffer b = {0};
    if (isfinite(report_number(all, "kld")))
        buffer_printf(&b, "<p>Models of which one part is the candidate&rsquo;s and the rest the base&rsquo;s, on %.0f positions: the embedding alone "
                          "costs %.6f nats, the output %.6f; the whole candidate %.6f there.</p>",
                      report_number(all, "positions"), report_number(json_get(all, "embedding"), "kld_alone"),
                      report_number(json_get(all, "output"), "kld_alone"), report_number(all, "kld"));
    const int drawn = chart_layers(s->r, &parts, &b) || b.size > 0;
    part(s, "alone", "KL by layer", "What each layer costs alone", drawn, &b);
}

static void routing(struct section *s)
{
    static const struct layer_chart routers = {.keys = {"same_experts", "expert_overlap"},
                                               .titles = {"tokens with the same experts", "common experts"},
                                               .label = "Agreement of the routers by layer", .table = "Numbers: routers by layer", .low_is_bad = 1};
    const double changed = report_number(json_get(s->r, "routing"), "changed");
    struct buffer b = {0};
    if (isfinite(changed))
        buffer_printf(&b, "<p>%.1f&nbsp;%% of the positions have other experts in some layer; they carry %.1f&nbsp;%% of the divergence.</p>",
                      100 * changed, 100 * report_number(json_get(s->r, "routing"), "kld_share"));
    const int drawn = chart_layers(s->r, &routers, &b) || isfinite(changed);
    part(s, "routing", "Routing", "Routing", drawn, &b);
}

static void experts(struct section *s)
{
    struct buffer b = {0};
    const int drawn = chart_experts(s->r, &b);
    worst_experts(s->r, &b);
    part(s, "experts", "Experts", "Experts", drawn, &b);
}

static void tensors(struct section *s)
{
    struct buffer b = {0};
    worst_tensors(s->r, &b);
    part(s, "tensors", "Tensors", "Worst tensors", b.size > 0, &b);
}

static void positions(struct section *s)
{
    struct buffer b = {0};
    worst_positions(s->r, &b);
    part(s, "positions", "Positions", "Worst positions in their text", b.size > 0, &b);
}

static void divergence(struct section *s)
{
    if (!json_get(s->r, "kld"))
        return;
    heading(s, "spread", "Spread", "How the divergence is spread");
    chart_histogram(s->r, &s->body);
    percentiles(s->r, &s->body);
    confidence(s);
    layers(s);
    alone(s);
    routing(s);
}

void report_section(const struct json *report, size_t index, int alone, struct buffer *out)
{
    struct section s = {.r = report, .index = index, .level = alone ? 2 : 3};
    gates_table(&s);
    divergence(&s);
    experts(&s);
    tensors(&s);
    positions(&s);
    buffer_printf(out, "<section id=r%zu>", index);
    if (!alone) {
        buffer_text(out, "<h2>");
        markup_text(out, report_title(report));
        buffer_text(out, "</h2><p class=muted>");
        markup_text(out, report_string(report, "settings", ""));
        buffer_text(out, "</p>");
    }
    verdict(report, out);
    cards(report, out);
    notes(report, out);
    if (s.nav.size) {
        buffer_text(out, "<nav aria-label=\"Contents: ");
        markup_text(out, report_title(report));
        buffer_text(out, "\"><ul>");
        buffer_add(out, s.nav.data, s.nav.size);
        buffer_text(out, "</ul></nav>");
    }
    if (s.body.size)
        buffer_add(out, s.body.data, s.body.size);
    else
        buffer_text(out, "<p>There is no candidate and no gate, so there is nothing more to show.</p>");
    buffer_text(out, alone ? "</section>" : "<p class=note><a href=#top>To the top</a></p></section>");
    out->failed |= s.body.failed | s.nav.failed;
    buffer_clear(&s.nav);
    buffer_clear(&s.body);
}
