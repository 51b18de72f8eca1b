/* SPDX-License-Identifier: MIT
 * The worst experts, tensors and positions of a report, on its page. */
#include "cli/report_worst.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/markup.h"
#include "cli/page_table.h"
#include "cli/report_facts.h"

enum { WORST_ROWS = 15 };

struct row {
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

/* ---- experts */

static size_t count_experts(const struct json *layers)
{
    size_t n = 0;
    for (const struct json *l = json_child(layers); l; l = json_next(l))
        n += json_count(json_get(l, "experts"));
    return n;
}

static void expert_rows(const struct row *rows, size_t n, struct buffer *b)
{
    static const char *const heads[] = {"expert", "tokens", "sum of gates", "error of the output", NULL};
    table_unfolds("Worst experts", "Worst experts", heads, b);
    for (size_t i = 0; i < n && i < WORST_ROWS; i++) {
        char name[400];
        snprintf(name, sizeof name, "layer %.0f, expert %d", rows[i].layer, rows[i].expert);
        table_row(b);
        table_markup(NULL, name, b);
        table_number("%.0f", report_number(rows[i].v, "tokens"), b);
        table_number("%.2f", report_number(rows[i].v, "gate"), b);
        table_number("%.4g", rows[i].error, b);
    }
    table_close(1, b);
}

void worst_experts(const struct json *report, struct buffer *b)
{
    const struct json *layers = json_get(report, "layers");
    struct row *rows = malloc((count_experts(layers) + 1) * sizeof *rows);
    size_t n = 0;
    for (const struct json *l = json_child(layers); rows && l; l = json_next(l)) {
        int i = 0;
        for (const struct json *x = json_child(json_get(l, "experts")); x; x = json_next(x), i++)
            if (isfinite(report_number(x, "output_error")))
                rows[n++] = (struct row){report_number(x, "output_error"), x, report_number(l, "layer"), i};
    }
    if (n) {
        qsort(rows, n, sizeof *rows, worse);
        expert_rows(rows, n, b);
    }
    b->failed |= !rows;
    free(rows);
}

/* ---- tensors */

static void tensor_rows(const struct row *rows, size_t n, struct buffer *b)
{
    static const char *const heads[] = {"tensor", "type", "relative RMS error", "largest error", "signal to noise, dB", NULL};
    table_open("Worst tensors", heads, b);
    for (size_t i = 0; i < n && i < WORST_ROWS; i++) {
        const double db = report_number(rows[i].v, "sqnr_db");
        table_row(b);
        table_name(report_string(rows[i].v, "tensor", "?"), b);
        table_text(report_string(rows[i].v, "type", "?"), b);
        table_number("%.5f", rows[i].error, b);
        table_number("%.5f", report_number(rows[i].v, "max"), b);
        if (isfinite(db))
            table_number("%.1f", db, b);
        else
            table_markup(NULL, "exact", b);
    }
    table_close(0, b);
}

void worst_tensors(const struct json *report, struct buffer *b)
{
    const struct json *list = json_get(report, "tensors");
    struct row *rows = malloc((json_count(list) + 1) * sizeof *rows);
    size_t n = 0;
    for (const struct json *v = json_child(list); rows && v; v = json_next(v))
        if (isfinite(report_number(v, "relative_rms"))) {
            rows[n] = (struct row){report_number(v, "relative_rms"), v, (double)n, 0};
            n++;
        }
    if (n) {
        qsort(rows, n, sizeof *rows, worse);
        tensor_rows(rows, n, b);
    }
    b->failed |= !rows;
    free(rows);
}

/* ---- positions */

/* An id in words: its text, or #id. */
static void token(const struct json *choice, struct buffer *b)
{
    const char *text = report_string(choice, "text", "");
    buffer_text(b, "<code>");
    if (*text)
        markup_token(b, text);
    else
        buffer_printf(b, "#%.0f", report_number(choice, "id"));
    buffer_text(b, "</code>");
}

static void guesses(const struct json *list, double target, const char *title, const char *class, struct buffer *b)
{
    buffer_printf(b, "<div class=%s><p class=muted>%s</p>", class, title);
    for (const struct json *v = json_child(list); v; v = json_next(v)) {
        const double p = report_number(v, "p");
        buffer_printf(b, "<div class=\"guess%s\"><span>", report_number(v, "id") == target ? " hit" : "");
        token(v, b);
        buffer_printf(b, "</span><i style=width:%.0f%%></i><span>%.4f</span></div>", 100 * fmin(fmax(p, 0), 1), p);
    }
    buffer_text(b, "</div>");
}

/* The token in its text: blanks and line ends, which nobody could see marked, as signs. */
static void marked(const char *text, struct buffer *b)
{
    buffer_text(b, "<mark>");
    if (text[strspn(text, " \t\r\n")])
        markup_text(b, text);
    else
        markup_token(b, text);
    buffer_text(b, strchr(text, '\n') && !text[strspn(text, " \t\r\n")] ? "</mark>\n" : "</mark>");
}

static void closeup(const struct json *x, int open, struct buffer *b)
{
    const struct json *target = json_get(x, "target");
    buffer_printf(b, "<details%s><summary>KL %.4f &middot; chunk %.0f, position %.0f &middot; ", open ? " open" : "",
                  report_number(x, "kld"), report_number(x, "chunk"),
                  report_number(x, "position"));
    token(target, b);
    buffer_printf(b, " %.4f &rarr; %.4f</summary>", report_number(target, "p"), report_number(x, "p_candidate"));
    if (json_get(x, "before")) {
        buffer_text(b, "<blockquote>&hellip;");
        markup_text(b, report_string(x, "before", ""));
        marked(report_string(target, "text", ""), b);
        markup_text(b, report_string(x, "after", ""));
        buffer_text(b, "&hellip;</blockquote>");
    }
    buffer_text(b, "<div class=two>");
    guesses(json_get(x, "base"), report_number(target, "id"), "base", "base", b);
    guesses(json_get(x, "candidate"), report_number(target, "id"), "candidate", "cand", b);
    buffer_text(b, "</div></details>");
}

void worst_positions(const struct json *report, struct buffer *b)
{
    const struct json *list = json_get(report, "worst_positions");
    int open = 1;
    if (!json_count(list))
        return;
    buffer_text(b, "<p class=note>Marked: the token that follows in the text, its probability before and after, and what both models hold "
                   "most likely there.</p>");
    for (const struct json *x = json_child(list); x; x = json_next(x), open = 0)
        closeup(x, open, b);
}
