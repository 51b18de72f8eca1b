/* SPDX-License-Identifier: MIT
 * Charts of one report: histogram, lines by layer, the field of experts. Each says its gist in its label and has its numbers in a table that
 * unfolds. */
#include "cli/report_charts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/chart_axis.h"
#include "cli/page_table.h"
#include "cli/report_facts.h"

enum { FLOOR = CHART_HEIGHT - CHART_BOTTOM }; /* where y axes begin */

/* ---- histogram */

static void histogram_numbers(const struct json *list, struct buffer *b)
{
    static const char *const heads[] = {"from, nats", "positions", NULL};
    table_unfolds("The numbers", "Numbers: positions by divergence", heads, b);
    for (const struct json *v = json_child(list); v; v = json_next(v)) {
        table_row(b);
        table_number("%.3g", report_number(v, "from"), b);
        table_number("%.0f", report_number(v, "positions"), b);
    }
    table_close(1, b);
}

static void histogram_label(const struct json *list, struct buffer *b)
{
    double all = 0, most = 0, from = 0;
    for (const struct json *v = json_child(list); v; v = json_next(v)) {
        const double count = report_number(v, "positions");
        all += isfinite(count) ? count : 0;
        if (count > most) {
            most = count;
            from = report_number(v, "from");
        }
    }
    buffer_printf(b, "Positions by divergence: of %.0f positions %.0f, the most, have a divergence from %.2g nats on", all, most, from);
}

static void histogram_bars(const struct json *list, const struct axis *y, double wide, struct buffer *b)
{
    double x = CHART_LEFT;
    for (const struct json *v = json_child(list); v; v = json_next(v), x += wide) {
        const double count = report_number(v, "positions"), from = report_number(v, "from"), high = fmax(y->from - axis_place(y, count), 1.5);
        char text[32];
        if (count > 0)
            buffer_printf(b, "<rect class=bar x=%.1f y=%.1f width=%.1f height=%.1f><title>%.0f positions from %.3g nats on</title></rect>",
                          x + 1, y->from - high,
                          wide - 2, high, count, from);
        const double decade = from > 0 ? log10(from) : 0.5;
        if (fabs(decade - rint(decade)) < 0.01) {
            snprintf(text, sizeof text, "%.3g", from);
            chart_x_text(x, text, b);
        }
    }
}

void chart_histogram(const struct json *report, struct buffer *b)
{
    const struct json *list = json_get(report, "kld_histogram");
    const size_t n = json_count(list);
    struct buffer label = {0};
    double most = 0;
    for (const struct json *v = json_child(list); v; v = json_next(v))
        most = fmax(most, report_number(v, "positions"));
    if (!n || !(most > 0))
        return;
    const struct axis y = axis_for(0, most, 0, FLOOR, CHART_TOP);
    histogram_label(list, &label);
    chart_open(b, CHART_WIDTH, CHART_HEIGHT, 1, label.data ? label.data : "");
    chart_grid(&y, b);
    histogram_bars(list, &y, (CHART_WIDTH - CHART_LEFT - CHART_RIGHT) / (double)n, b);
    chart_x_title("KL divergence of a position, nats", b);
    chart_close(b);
    buffer_text(b, "<figcaption>How many of the scored positions have which divergence; the first bar begins at 0.</figcaption></figure>");
    histogram_numbers(list, b);
    b->failed |= label.failed;
    buffer_clear(&label);
}

/* ---- layers */

static int series(const struct layer_chart *c)
{
    return c->keys[1] ? 2 : 1;
}

static int drawable(double v, int log)
{
    return isfinite(v) && (!log || v > 0);
}

/* Smallest and largest of both numbers, with their error bars; none: range[1] < range[0]. */
static void layer_range(const struct json *list, const struct layer_chart *c, double range[2])
{
    for (const struct json *v = json_child(list); v; v = json_next(v))
        for (int k = 0; k < series(c); k++) {
            const double x = report_number(v, c->keys[k]);
            if (!drawable(x, c->log))
                continue;
            const double half = c->error ? 1.96 * report_number(v, c->error) : 0;
            range[0] = fmin(range[0], drawable(x - half, c->log) ? x - half : x);
            range[1] = fmax(range[1], drawable(x + half, c->log) ? x + half : x);
        }
}

/* "accumulated 0.02 to 0.08, worst in layer 3" of both. */
static void layer_label(const struct json *list, const struct layer_chart *c, struct buffer *b)
{
    buffer_text(b, c->label);
    for (int k = 0; k < series(c); k++) {
        double lo = INFINITY, hi = -INFINITY, low_at = 0, high_at = 0;
        for (const struct json *v = json_child(list); v; v = json_next(v)) {
            const double x = report_number(v, c->keys[k]);
            low_at = isfinite(x) && x < lo ? report_number(v, "layer") : low_at;
            high_at = isfinite(x) && x > hi ? report_number(v, "layer") : high_at;
            lo = isfinite(x) ? fmin(lo, x) : lo;
            hi = isfinite(x) ? fmax(hi, x) : hi;
        }
        if (hi >= lo)
            buffer_printf(b, "%s %s: %.3g to %.3g, worst in layer %.0f", k ? ";" : ".", c->titles[k], lo, hi, c->low_is_bad ? low_at : high_at);
    }
}

static void layer_numbers(const struct json *list, const struct layer_chart *c, struct buffer *b)
{
    const char *const heads[] = {"layer", c->titles[0], c->error ? "&plusmn; (95&nbsp;%)" : c->titles[1], NULL};
    table_unfolds("The numbers", c->table, heads, b);
    for (const struct json *v = json_child(list); v; v = json_next(v)) {
        if (!isfinite(report_number(v, c->keys[0])))
            continue;
        table_row(b);
        table_number("%.0f", report_number(v, "layer"), b);
        table_number(c->log ? "%.3e" : "%.4f", report_number(v, c->keys[0]), b);
        if (c->error)
            table_number("%.1e", 1.96 * report_number(v, c->error), b);
        else if (c->keys[1])
            table_number(c->log ? "%.3e" : "%.4f", report_number(v, c->keys[1]), b);
    }
    table_close(1, b);
}

static void layer_line(const struct json *list, const char *key, int which, const struct axis *x, const struct axis *y, struct buffer *b)
{
    int points = 0;
    for (const struct json *v = json_child(list); v; v = json_next(v)) {
        const double value = report_number(v, key), layer = report_number(v, "layer");
        if (!drawable(value, y->log) || !(layer >= x->lo && layer <= x->hi))
            continue;
        buffer_printf(b, points++ ? "L%.1f %.1f " : which == 1 ? "<path class=l1 d=\"M%.1f %.1f " : "<path class=l2 d=\"M%.1f %.1f ",
                      axis_place(x, layer),
                      axis_place(y, value));
    }
    buffer_text(b, points ? "\"/>" : "");
}

/* Error bars of the first line; one that reaches 0 ends with the axis. */
static void layer_whiskers(const struct json *list, const struct layer_chart *c, const struct axis *x, const struct axis *y, struct buffer *b)
{
    for (const struct json *v = json_child(list); v && c->error; v = json_next(v)) {
        const double value = report_number(v, c->keys[0]), half = 1.96 * report_number(v, c->error), layer = report_number(v, "layer");
        if (!drawable(value, y->log) || !(half > 0) || !(layer >= x->lo && layer <= x->hi))
            continue;
        const double at = axis_place(x, layer), low = drawable(value - half, y->log) ? axis_place(y, value - half) : y->from;
        buffer_printf(b, "<line class=whisk x1=%.1f x2=%.1f y1=%.1f y2=%.1f />", at, at, fmin(low, y->from), axis_place(y, value + half));
    }
}

static void layer_dots(const struct json *list, const struct layer_chart *c, int k, const struct axis *x, const struct axis *y, struct buffer *b)
{
    for (const struct json *v = json_child(list); v; v = json_next(v)) {
        const double value = report_number(v, c->keys[k]), layer = report_number(v, "layer");
        if (drawable(value, y->log) && layer >= x->lo && layer <= x->hi)
            buffer_printf(b, "<circle class=d%d cx=%.1f cy=%.1f r=3.5><title>layer %.0f, %s: %.4g</title></circle>", k + 1, axis_place(x, layer),
                          axis_place(y, value), layer, c->titles[k], value);
    }
}

int chart_layers(const struct json *report, const struct layer_chart *c, struct buffer *b)
{
    const struct json *list = json_get(report, "layers");
    const size_t n = json_count(list);
    double range[2] = {INFINITY, -INFINITY};
    struct buffer label = {0};
    layer_range(list, c, range);
    if (!n || !(range[1] >= range[0]))
        return 0;
    const struct axis x = {.lo = 0, .hi = n > 1 ? (double)(n - 1) : 1, .from = CHART_LEFT + 8, .to = CHART_WIDTH - CHART_RIGHT - 8};
    const struct axis y = axis_for(range[0], c->low_is_bad ? 1 : range[1], c->log, FLOOR, CHART_TOP);
    layer_label(list, c, &label);
    chart_open(b, CHART_WIDTH, CHART_HEIGHT, 1, label.data ? label.data : "");
    chart_grid(&y, b);
    layer_whiskers(list, c, &x, &y, b);
    for (int k = 0; k < series(c); k++) {
        layer_line(list, c->keys[k], k + 1, &x, &y, b);
        layer_dots(list, c, k, &x, &y, b);
    }
    for (size_t i = 0, step = n > 60 ? (n + 59) / 60 * 5 : n > 24 ? 4 : 1; i < n; i += step) {
        char text[24];
        snprintf(text, sizeof text, "%zu", i);
        chart_x_text(axis_place(&x, (double)i), text, b);
    }
    chart_x_title("layer", b);
    chart_close(b);
    buffer_printf(b, "<figcaption><span class=series><span class=key></span>%s</span>", c->titles[0]);
    if (c->keys[1])
        buffer_printf(b, " <span class=series><span class=\"key dash\"></span>%s</span>", c->titles[1]);
    buffer_text(b, "</figcaption></figure>");
    layer_numbers(list, c, b);
    b->failed |= label.failed;
    buffer_clear(&label);
    return 1;
}

/* ---- experts */

enum { SHADES = 9, CELLS_LEFT = 34, CELLS_TOP = 18, CELLS_WIDTH = 1026 };

/* The field of all experts: what is shown, its largest value, how many cells of which size. */
struct cells {
    const char *key;
    double most, most_layer;
    size_t experts, rows, most_expert;
    int wide, high;
};

static const char *cells_key(const struct json *layers)
{
    for (const struct json *l = json_child(layers); l; l = json_next(l))
        for (const struct json *x = json_child(json_get(l, "experts")); x; x = json_next(x))
            if (json_get(x, "output_error"))
                return "output_error";
    return "candidate_tokens";
}

static struct cells cells_of(const struct json *layers)
{
    struct cells c = {.key = cells_key(layers)};
    for (const struct json *l = json_child(layers); l; l = json_next(l)) {
        const struct json *list = json_get(l, "experts");
        const size_t n = json_count(list);
        size_t i = 0;
        c.rows += list != NULL;
        c.experts = n > c.experts ? n : c.experts;
        for (const struct json *x = json_child(list); x; x = json_next(x), i++) {
            const double v = report_number(x, c.key);
            if (isfinite(v) && v > c.most) {
                c.most = v;
                c.most_layer = report_number(l, "layer");
                c.most_expert = i;
            }
        }
    }
    c.wide = c.experts ? (int)fmin(18, fmax(4, floor(((double)CELLS_WIDTH - CELLS_LEFT) / (double)c.experts))) : 18;
    c.high = c.wide < 8 ? 8 : c.wide;
    return c;
}

static int is_error(const struct cells *c)
{
    return !strcmp(c->key, "output_error");
}

static void cells_row(const struct json *layer, const struct cells *c, int y, struct buffer *b)
{
    int i = 0;
    const double name = report_number(layer, "layer");
    if (c->high >= 14 || fmod(name, 5) == 0)
        buffer_printf(b, "<text x=%d y=%d text-anchor=end>%.0f</text>", CELLS_LEFT - 6, y + c->high / 2 + 4, name);
    for (const struct json *x = json_child(json_get(layer, "experts")); x; x = json_next(x), i++) {
        const double v = report_number(x, c->key), tokens = report_number(x, "candidate_tokens");
        const int shade = v > 0 && c->most > 0 ? (int)fmin(SHADES - 1, 1 + v / c->most * (SHADES - 1)) : 0;
        buffer_printf(b, "<rect class=q%d x=%d y=%d width=%d height=%d><title>layer %.0f expert %d: ", shade, CELLS_LEFT + i * c->wide, y,
                      c->wide - 1, c->high - 1, name, i);
        if (is_error(c) && isfinite(v))
            buffer_printf(b, "error %.3g, ", v);
        buffer_printf(b, "%.0f tokens</title></rect>", isfinite(tokens) ? tokens : 0);
    }
}

/* The shades from nothing to the largest. */
static void cells_legend(const struct cells *c, struct buffer *b)
{
    buffer_text(b, "<figcaption>A row is a layer, a column an expert. <span class=series>0 <svg class=ramp width=126 height=10 role=img "
                   "aria-label=\"light to dark\">");
    for (int i = 0; i < SHADES; i++)
        buffer_printf(b, "<rect class=q%d x=%d y=0 width=13 height=10></rect>", i, i * 14);
    buffer_printf(b, "</svg> %.3g</span> %s</figcaption></figure>", c->most,
                  is_error(c) ? "relative error of its output; the first shade: no token came" : "tokens of the candidate");
}

int chart_experts(const struct json *report, struct buffer *b)
{
    const struct json *layers = json_get(report, "layers");
    const struct cells c = cells_of(layers);
    char label[256];
    int y = CELLS_TOP;
    if (!c.rows || !(c.most > 0))
        return 0;
    const int wide = CELLS_LEFT + (int)c.experts * c.wide + 8;
    snprintf(label, sizeof label, "Experts by layer: %zu layers of up to %zu experts; the largest %s, %.3g, is that of expert %zu in layer %.0f",
             c.rows, c.experts, is_error(&c) ? "error of an output" : "number of tokens", c.most, c.most_expert, c.most_layer);
    chart_open(b, wide < 320 ? 320 : wide, CELLS_TOP + (int)c.rows * c.high + 8, 0, label);
    for (size_t i = 0; i < c.experts; i += c.wide < 14 ? 32 : 8)
        buffer_printf(b, "<text x=%d y=12 text-anchor=middle>%zu</text>", CELLS_LEFT + (int)i * c.wide + (c.wide - 1) / 2, i);
    for (const struct json *l = json_child(layers); l; l = json_next(l))
        if (json_get(l, "experts")) {
            cells_row(l, &c, y, b);
            y += c.high;
        }
    chart_close(b);
    cells_legend(&c, b);
    return 1;
}
