/* SPDX-License-Identifier: MIT
 * Charts of the report's page. An axis maps numbers to places; charts are drawn at their full size and scroll on narrow screens. */
#include "cli/report_charts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/markup.h"

enum { WIDTH = 860, HEIGHT = 260, LEFT = 62, RIGHT = 16, TOP_EDGE = 12, BOTTOM = 40 };

struct axis {
    double lo, hi;     /* of the numbers; of logarithms when log */
    double from, to;   /* places of lo and hi */
    double step;       /* between lines */
    int log;
};

static double at(const struct axis *a, double v)
{
    const double x = a->log ? log10(v) : v;
    return a->from + (x - a->lo) / (a->hi - a->lo) * (a->to - a->from);
}

/* Around numbers from lo to hi: whole decades, or from 0 (or lo) to a round number. */
static struct axis axis_for(double lo, double hi, int log, double from, double to)
{
    struct axis a = {.from = from, .to = to, .log = log};
    if (log) {
        a.lo = floor(log10(lo));
        a.hi = ceil(log10(hi));
        a.hi = a.hi > a.lo ? a.hi : a.lo + 1;
        a.step = a.hi - a.lo > 8 ? 2 : 1;
        return a;
    }
    double step = pow(10, floor(log10(hi - lo > 0 ? hi - lo : 1)));
    step = (hi - lo) / step < 2 ? step / 5 : (hi - lo) / step < 5 ? step / 2 : step;
    a.lo = floor(lo / step) * step;
    a.hi = ceil(hi / step) * step;
    a.hi = a.hi > a.lo ? a.hi : a.lo + step;
    a.step = step;
    return a;
}

/* A chart fits the page's width; a field of cells keeps its size. */
static void svg_open(struct buffer *b, int width, int height, int fits, const char *label)
{
    buffer_printf(b, "<figure><div class=scroll tabindex=0 role=region aria-label=\"%s\"><svg %s viewBox=\"0 0 %d %d\"", label, fits ? "class=fit" : "", width, height);
    if (!fits)
        buffer_printf(b, " width=%d height=%d", width, height);
    buffer_printf(b, " role=img aria-label=\"%s\">", label);
}

static void svg_close(struct buffer *b)
{
    buffer_text(b, "</svg></div>");
}

static void grid_y(const struct axis *y, struct buffer *b)
{
    for (int i = 0; i <= (int)lrint((y->hi - y->lo) / y->step); i++) {
        const double v = y->lo + i * y->step, place = y->from + (y->to - y->from) * (v - y->lo) / (y->hi - y->lo);
        buffer_printf(b, "<line class=grid x1=%d x2=%d y1=%.1f y2=%.1f />", LEFT, WIDTH - RIGHT, place, place);
        buffer_printf(b, "<text x=%d y=%.1f text-anchor=end>%.4g</text>", LEFT - 6, place + 4, y->log ? pow(10, v) : v);
    }
}

static void label_x(const char *text, struct buffer *b)
{
    buffer_printf(b, "<text x=%d y=%d text-anchor=middle>%s</text>", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, text);
}

static double number(const struct json *o, const char *key)
{
    double v;
    return json_f64(json_get(o, key), &v) ? NAN : v;
}

/* ---- histogram */

void chart_histogram(const struct json *report, struct buffer *b)
{
    const struct json *list = json_get(report, "kld_histogram");
    const size_t n = json_count(list);
    double most = 0, x = LEFT;
    for (const struct json *v = json_child(list); v; v = json_next(v))
        most = fmax(most, number(v, "positions"));
    if (!n || !(most > 0))
        return;
    const struct axis y = axis_for(0, most, 0, HEIGHT - BOTTOM, TOP_EDGE);
    const double wide = (WIDTH - LEFT - RIGHT) / (double)n;
    svg_open(b, WIDTH, HEIGHT, 1, "Positions by divergence");
    grid_y(&y, b);
    for (const struct json *v = json_child(list); v; v = json_next(v), x += wide) {
        const double count = number(v, "positions"), from = number(v, "from"), top = at(&y, count);
        if (count > 0)
            buffer_printf(b, "<rect class=bar x=%.1f y=%.1f width=%.1f height=%.1f><title>%.0f positions from %.3g nats on</title></rect>", x + 1, top,
                          wide - 2, y.from - top, count, from);
        const double decade = from > 0 ? log10(from) : 0.5;
        if (fabs(decade - rint(decade)) < 0.01)
            buffer_printf(b, "<text x=%.1f y=%d text-anchor=middle>%.3g</text>", x, HEIGHT - BOTTOM + 16, from);
    }
    label_x("KL divergence of a position, nats", b);
    svg_close(b);
    buffer_text(b, "<figcaption>How many of the scored positions have which divergence; the first bar begins at 0.</figcaption></figure>");
}

/* ---- layers */

static void layer_range(const struct json *list, const char *const keys[2], int log, double range[2])
{
    for (const struct json *v = json_child(list); v; v = json_next(v))
        for (int k = 0; k < 2; k++) {
            const double x = number(v, keys[k]);
            if (!isfinite(x) || (log && !(x > 0)))
                continue;
            range[0] = fmin(range[0], x);
            range[1] = fmax(range[1], x);
        }
}

static void layer_line(const struct json *list, const char *key, int which, const struct axis *x, const struct axis *y, struct buffer *b)
{
    int points = 0;
    for (const struct json *v = json_child(list); v; v = json_next(v)) {
        const double value = number(v, key), layer = number(v, "layer");
        if (!isfinite(value) || !isfinite(layer) || (y->log && !(value > 0)))
            continue;
        if (!points++)
            buffer_printf(b, "<path class=l%d d=\"M", which);
        else
            buffer_text(b, " L");
        buffer_printf(b, "%.1f %.1f", at(x, layer), at(y, value));
    }
    if (points)
        buffer_text(b, "\"/>");
}

static void layer_dots(const struct json *list, const char *key, const char *title, int which, const struct axis *x, const struct axis *y, struct buffer *b)
{
    for (const struct json *v = json_child(list); v; v = json_next(v)) {
        const double value = number(v, key), layer = number(v, "layer");
        if (isfinite(value) && isfinite(layer) && (!y->log || value > 0))
            buffer_printf(b, "<circle class=d%d cx=%.1f cy=%.1f r=3.5><title>layer %.0f, %s: %.4g</title></circle>", which, at(x, layer), at(y, value), layer,
                          title, value);
    }
}

void chart_layers(const struct json *report, const char *const keys[2], const char *const titles[2], int log, const char *label, struct buffer *b)
{
    const struct json *list = json_get(report, "layers");
    const size_t n = json_count(list);
    double range[2] = {INFINITY, -INFINITY};
    layer_range(list, keys, log, range);
    if (!n || !(range[1] >= range[0]))
        return;
    if (!log)
        range[1] = 1;
    const struct axis x = {0, n > 1 ? (double)(n - 1) : 1, LEFT + 8, WIDTH - RIGHT - 8, 1, 0};
    const struct axis y = axis_for(range[0], range[1], log, HEIGHT - BOTTOM, TOP_EDGE);
    svg_open(b, WIDTH, HEIGHT, 1, label);
    grid_y(&y, b);
    for (int k = 0; k < 2; k++) {
        layer_line(list, keys[k], k + 1, &x, &y, b);
        layer_dots(list, keys[k], titles[k], k + 1, &x, &y, b);
    }
    for (size_t i = 0, step = n > 24 ? (n + 11) / 12 : 1; i < n; i += step)
        buffer_printf(b, "<text x=%.1f y=%d text-anchor=middle>%zu</text>", at(&x, (double)i), HEIGHT - BOTTOM + 16, i);
    label_x("layer", b);
    svg_close(b);
    buffer_printf(b, "<figcaption><span class=key></span>%s &emsp;<span class=\"key dash\"></span>%s</figcaption></figure>", titles[0], titles[1]);
}

/* ---- experts */

enum { SHADES = 9, HEAT_LEFT = 34, HEAT_TOP = 18 };

static const char *heat_key(const struct json *layers)
{
    for (const struct json *l = json_child(layers); l; l = json_next(l))
        for (const struct json *x = json_child(json_get(l, "experts")); x; x = json_next(x))
            if (json_get(x, "output_error"))
                return "output_error";
    return "candidate_tokens";
}

static void heat_row(const struct json *layer, const char *key, double most, int y, int cell, struct buffer *b)
{
    int i = 0;
    const double number_of = number(layer, "layer");
    buffer_printf(b, "<text x=%d y=%d text-anchor=end>%.0f</text>", HEAT_LEFT - 5, y + cell / 2 + 4, number_of);
    for (const struct json *x = json_child(json_get(layer, "experts")); x; x = json_next(x), i++) {
        const double v = number(x, key), tokens = number(x, "candidate_tokens");
        const int shade = v > 0 && most > 0 ? (int)fmin(SHADES - 1, 1 + v / most * (SHADES - 1)) : 0;
        buffer_printf(b, "<rect class=q%d x=%d y=%d width=%d height=%d><title>layer %.0f expert %d: ", shade, HEAT_LEFT + i * cell, y, cell - 1, cell - 1, number_of, i);
        if (!strcmp(key, "output_error") && isfinite(v))
            buffer_printf(b, "error %.4g, ", v);
        buffer_printf(b, "%.0f tokens</title></rect>", isfinite(tokens) ? tokens : 0);
    }
}

void chart_experts(const struct json *report, struct buffer *b)
{
    const struct json *layers = json_get(report, "layers");
    const char *key = heat_key(layers);
    size_t experts = 0;
    int rows = 0, y = HEAT_TOP;
    double most = 0;
    for (const struct json *l = json_child(layers); l; l = json_next(l)) {
        const struct json *list = json_get(l, "experts");
        rows += list != NULL;
        experts = json_count(list) > experts ? json_count(list) : experts;
        for (const struct json *x = json_child(list); x; x = json_next(x)) {
            const double v = number(x, key);
            most = isfinite(v) ? fmax(most, v) : most;
        }
    }
    if (!rows || !(most > 0))
        return;
    const int cell = experts <= 64 ? 18 : experts <= 128 ? 11 : 8;
    const int wide = HEAT_LEFT + (int)experts * cell + 8;
    svg_open(b, wide < 320 ? 320 : wide, HEAT_TOP + rows * cell + 8, 0, "Experts by layer");
    for (size_t i = 0; i < experts; i += experts > 64 ? 32 : 8)
        buffer_printf(b, "<text x=%d y=12>%zu</text>", HEAT_LEFT + (int)i * cell, i);
    for (const struct json *l = json_child(layers); l; l = json_next(l))
        if (json_get(l, "experts")) {
            heat_row(l, key, most, y, cell, b);
            y += cell;
        }
    svg_close(b);
    buffer_printf(b, "<figcaption>A row is a layer, a column an expert. The darker (on a dark page: the brighter), the larger %s; the largest is %.3g.</figcaption></figure>",
                  !strcmp(key, "output_error") ? "the relative error of its output" : "the number of its tokens", most);
}

/* ---- size against divergence */

struct point {
    double bytes, kld, error;
    const char *name;
};

static int by_bytes(const void *a, const void *b)
{
    const struct point *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return x->kld < y->kld ? -1 : x->kld > y->kld;
}

static size_t collect(const struct json *const *reports, size_t n, struct point *p)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        const struct json *kld = json_get(reports[i], "kld");
        const char *name = json_string(json_get(reports[i], "candidate_name"));
        p[k] = (struct point){number(reports[i], "candidate_bytes"), number(kld, "mean"), number(kld, "stderr"), name ? name : "?"};
        p[k].error = isfinite(p[k].error) ? p[k].error : 0;
        k += p[k].bytes > 0 && p[k].kld > 0;
    }
    qsort(p, k, sizeof *p, by_bytes);
    return k;
}

static void draw_point(const struct point *p, const struct axis *x, const struct axis *y, struct buffer *b)
{
    const double px = at(x, p->bytes), py = at(y, p->kld), low = fmax(p->kld - 1.96 * p->error, pow(10, y->lo)), high = p->kld + 1.96 * p->error;
    const int left = px > WIDTH * 0.7;
    char size[SIZE_TEXT];
    buffer_printf(b, "<line class=whisk x1=%.1f x2=%.1f y1=%.1f y2=%.1f />", px, px, at(y, low), at(y, fmin(high, pow(10, y->hi))));
    buffer_printf(b, "<circle class=d1 cx=%.1f cy=%.1f r=4.5><title>", px, py);
    markup_text(b, p->name);
    buffer_printf(b, ": %s, KL %.6f +- %.6f</title></circle><text class=name x=%.1f y=%.1f text-anchor=%s>", size_text((uint64_t)p->bytes, size), p->kld, p->error,
                  px + (left ? -9 : 9), py - (left ? 15 : 7), left ? "end" : "start");
    markup_text(b, p->name);
    buffer_text(b, "</text>");
}

void chart_pareto(const struct json *const *reports, size_t n, struct buffer *b)
{
    struct point *p = malloc((n + 1) * sizeof *p);
    const size_t k = p ? collect(reports, n, p) : 0;
    double lo = INFINITY, hi = 0, best = INFINITY;
    int first = 1;
    for (size_t i = 0; i < k; i++) {
        lo = fmin(lo, p[i].kld);
        hi = fmax(hi, p[i].kld + 1.96 * p[i].error);
    }
    if (k > 1) {
        const double span = p[k - 1].bytes - p[0].bytes, room = span > 0 ? span * 0.08 : p[0].bytes * 0.1;
        const struct axis x = {p[0].bytes - room, p[k - 1].bytes + room, LEFT, WIDTH - RIGHT, 1, 0}, y = axis_for(lo, hi, 1, HEIGHT - BOTTOM, TOP_EDGE);
        svg_open(b, WIDTH, HEIGHT, 1, "Size against divergence");
        grid_y(&y, b);
        for (int i = 0; i <= 3; i++) {
            char size[SIZE_TEXT];
            const double v = x.lo + (x.hi - x.lo) * (i + 0.5) / 4;
            buffer_printf(b, "<text x=%.1f y=%d text-anchor=middle>%s</text>", at(&x, v), HEIGHT - BOTTOM + 16, size_text((uint64_t)v, size));
        }
        buffer_text(b, "<path class=l2 d=\"");
        for (size_t i = 0; i < k; i++)
            if (p[i].kld < best) {
                best = p[i].kld;
                buffer_printf(b, "%s%.1f %.1f ", first ? "M" : "L", at(&x, p[i].bytes), at(&y, p[i].kld));
                first = 0;
            }
        buffer_text(b, "\"/>");
        for (size_t i = 0; i < k; i++)
            draw_point(&p[i], &x, &y, b);
        label_x("size of the weights", b);
        svg_close(b);
        buffer_text(b, "<figcaption>Mean KL divergence with its 95 % interval. The dashed line joins those that no smaller candidate beats.</figcaption></figure>");
    }
    free(p);
}
