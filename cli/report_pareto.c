/* SPDX-License-Identifier: MIT
 * Size against divergence of several candidates. Names are put where nothing else is: beside their point, else further up or down at the end of
 * a line. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/chart_axis.h"
#include "cli/markup.h"
#include "cli/report_charts.h"
#include "cli/report_facts.h"

enum { NAME_COLUMNS = 34, FLOOR = CHART_HEIGHT - CHART_BOTTOM, LINE = 16, MARK = 6, TRIES = 4 * (CHART_HEIGHT / LINE) };

struct box {
    double x0, y0, x1, y1;
};

struct point {
    double bytes, kld, error;
    const char *name;
    char label[NAME_SHORT]; /* what tells the name apart from the others */
    double x, y, low, high; /* places */
    struct box box;         /* of the label; empty: there was no room */
    int left;               /* the label ends at the point */
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
        const double error = report_number(kld, "stderr");
        p[k] = (struct point){.bytes = (double)report_bytes(reports[i]), .kld = report_number(kld, "mean"), .error = error > 0 ? 1.96 * error : 0,
                              .name = report_title(reports[i])};
        k += p[k].bytes > 0 && p[k].kld > 0;
    }
    qsort(p, k, sizeof *p, by_bytes);
    return k;
}

/* ---- names */

static int overlap(const struct box *a, const struct box *b)
{
    return a->x0 < b->x1 && b->x0 < a->x1 && a->y0 < b->y1 && b->y0 < a->y1;
}

/* Whether a label of points[at] may be there: inside, on no point, no error bar and no label before it. */
static int is_free(const struct box *x, const struct point *points, size_t n, size_t at)
{
    if (x->x0 < CHART_LEFT || x->x1 > CHART_WIDTH - CHART_RIGHT || x->y0 < 2 || x->y1 > FLOOR)
        return 0;
    for (size_t i = 0; i < n; i++) {
        const struct point *p = &points[i];
        const struct box mark = {p->x - MARK, p->y - MARK, p->x + MARK, p->y + MARK}, bar = {p->x - 2, p->high, p->x + 2, p->low};
        if (overlap(x, &mark) || overlap(x, &bar) || (i < at && overlap(x, &p->box)))
            return 0;
    }
    return 1;
}

/* The k-th place to try: right and left of the point, each up and down, ever further away. */
static struct box place(const struct point *p, double wide, size_t k)
{
    const int left = k % 2, down = k / 2 % 2;
    const double away = 3 + LINE * (double)(k / 4), x0 = left ? p->x - 9 - wide : p->x + 9, y0 = down ? p->y + away : p->y - away - LINE;
    return (struct box){x0, y0, x0 + wide, y0 + LINE};
}

/* Bytes that all names share at their beginning, up to a separator. */
static size_t shared_head(const struct point *p, size_t n)
{
    size_t shared = 0;
    for (size_t i = 0; p[0].name[i]; i++) {
        for (size_t k = 1; k < n; k++)
            if (p[k].name[i] != p[0].name[i])
                return shared;
        shared = strchr("-_. ", p[0].name[i]) ? i + 1 : shared;
    }
    return 0; /* all the same, or one begins as another ends */
}

/* The same at their end, of what is behind the head. */
static size_t shared_tail(const struct point *p, size_t n, size_t head)
{
    const size_t length = strlen(p[0].name);
    size_t shared = 0;
    for (size_t i = 1; i < length - head; i++) {
        for (size_t k = 1; k < n; k++) {
            const size_t other = strlen(p[k].name);
            if (i >= other - head || p[k].name[other - i] != p[0].name[length - i])
                return shared;
        }
        shared = strchr("-_. ", p[0].name[length - i]) ? i : shared;
    }
    return shared;
}

static int make_labels(struct point *p, size_t n)
{
    const size_t head = shared_head(p, n), tail = shared_tail(p, n, head);
    for (size_t i = 0; i < n; i++) {
        char text[1024];
        snprintf(text, sizeof text, "%.*s", (int)(strlen(p[i].name) - head - tail), p[i].name + head);
        name_shorten(text, NAME_COLUMNS, p[i].label);
        if (!*text)
            name_shorten(p[i].name, NAME_COLUMNS, p[i].label);
    }
    return head + tail > 0;
}

/* Too many candidates for one chart, and some are without a label; the table has them all. */
static void place_labels(struct point *points, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct point *p = &points[i];
        for (size_t k = 0; k < TRIES; k++) {
            const struct box x = place(p, 7.4 * (double)name_columns(p->label) + 4, k);
            if (!is_free(&x, points, n, i))
                continue;
            p->box = x;
            p->left = k % 2;
            break;
        }
    }
}

static void draw_label(const struct point *p, struct buffer *b)
{
    const double x = p->left ? p->box.x1 : p->box.x0, y = p->box.y0 + 12, middle = (p->box.y0 + p->box.y1) / 2;
    if (!(p->box.x1 > p->box.x0))
        return;
    if (fabs(middle - p->y) > LINE)
        buffer_printf(b, "<line class=leader x1=%.1f y1=%.1f x2=%.1f y2=%.1f />", p->x, p->y, p->left ? x + 3 : x - 3, middle);
    buffer_printf(b, "<text class=name x=%.1f y=%.1f text-anchor=%s>", x, y, p->left ? "end" : "start");
    markup_text(b, p->label);
    buffer_text(b, "</text>");
}

/* ---- the chart */

static void draw_point(const struct point *p, struct buffer *b)
{
    char size[SIZE_TEXT];
    buffer_printf(b, "<line class=whisk x1=%.1f x2=%.1f y1=%.1f y2=%.1f />", p->x, p->x, p->low, p->high);
    buffer_printf(b, "<circle class=d1 cx=%.1f cy=%.1f r=4.5><title>", p->x, p->y);
    markup_text(b, p->name);
    buffer_printf(b, ": %s, KL %.6f, 95 %% &plusmn; %.6f</title></circle>", size_text((uint64_t)p->bytes, size), p->kld, p->error);
}

/* "15 MB": round, as its place is. */
static void size_ticks(const struct axis *x, struct buffer *b)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    double ticks[AXIS_TICKS], unit = 1;
    const size_t n = axis_ticks(x, ticks);
    size_t u = 0;
    for (; x->hi >= 1000 * unit && u + 1 < sizeof units / sizeof *units; u++)
        unit *= 1000;
    for (size_t i = 0; i < n; i++) {
        char text[48];
        snprintf(text, sizeof text, "%.6g %s", ticks[i] / unit, units[u]);
        buffer_printf(b, "<line class=grid x1=%.1f x2=%.1f y1=%d y2=%d />", axis_place(x, ticks[i]), axis_place(x, ticks[i]), FLOOR, FLOOR + 4);
        chart_x_text(axis_place(x, ticks[i]), text, b);
    }
}

/* Joins those that no smaller one beats. */
static void draw_front(const struct point *p, size_t n, struct buffer *b)
{
    double best = INFINITY;
    buffer_text(b, "<path class=l2 d=\"");
    for (size_t i = 0; i < n; i++)
        if (p[i].kld < best) {
            buffer_printf(b, "%s%.1f %.1f ", isfinite(best) ? "L" : "M", p[i].x, p[i].y);
            best = p[i].kld;
        }
    buffer_text(b, "\"/>");
}

static struct axis size_axis(const struct point *p, size_t n)
{
    double lo = p[0].bytes, hi = p[n - 1].bytes;
    if (hi - lo < lo * 0.002) { /* sizes that hardly differ are no distance */
        lo *= 0.99;
        hi *= 1.01;
    }
    return axis_for(lo, hi, 0, CHART_LEFT + 24, CHART_WIDTH - CHART_RIGHT - 24);
}

static struct axis kld_axis(const struct point *p, size_t n)
{
    double lo = INFINITY, hi = 0;
    for (size_t i = 0; i < n; i++) { /* an error bar may end below zero, which has no place here */
        lo = fmin(lo, p[i].kld > 2 * p[i].error ? p[i].kld - p[i].error : p[i].kld / 2);
        hi = fmax(hi, p[i].kld + p[i].error);
    }
    return axis_for(lo, hi, 1, FLOOR, CHART_TOP);
}

static void put(struct point *p, size_t n, const struct axis *x, const struct axis *y)
{
    const double least = pow(10, y->lo);
    for (size_t i = 0; i < n; i++) {
        p[i].x = axis_place(x, p[i].bytes);
        p[i].y = axis_place(y, p[i].kld);
        p[i].low = axis_place(y, fmax(p[i].kld - p[i].error, least));
        p[i].high = axis_place(y, p[i].kld + p[i].error);
    }
}

static void draw(struct point *p, size_t n, struct buffer *b)
{
    const struct axis x = size_axis(p, n), y = kld_axis(p, n);
    char label[128];
    put(p, n, &x, &y);
    const int is_cut = make_labels(p, n);
    place_labels(p, n);
    snprintf(label, sizeof label, "Size against divergence of %zu candidates; the table below has the numbers", n);
    chart_open(b, CHART_WIDTH, CHART_HEIGHT, 1, label);
    chart_grid(&y, b);
    size_ticks(&x, b);
    draw_front(p, n, b);
    for (size_t i = 0; i < n; i++)
        draw_point(&p[i], b);
    for (size_t i = 0; i < n; i++)
        draw_label(&p[i], b);
    chart_x_title("size of the weights", b);
    chart_close(b);
    buffer_text(b, "<figcaption>Mean KL divergence, nats, with its 95 % interval; below and left is better. The dashed line joins those "
                   "that no smaller candidate "
                   "beats.");
    buffer_text(b, is_cut ? " Labels leave out what all names share.</figcaption></figure>" : "</figcaption></figure>");
}

void chart_pareto(const struct json *const *reports, size_t n, struct buffer *b)
{
    struct point *p = malloc((n + 1) * sizeof *p);
    const size_t k = p ? collect(reports, n, p) : 0;
    if (k > 1)
        draw(p, k, b);
    if (k < n)
        buffer_printf(b, "<p class=note>%zu of %zu are not in the chart: a size or a divergence above zero is missing.</p>", k > 1 ? n - k : n, n);
    b->failed |= !p;
    free(p);
}
