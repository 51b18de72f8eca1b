/* SPDX-License-Identifier: MIT
 * Axes and frames of the report's charts. */
#include "cli/chart_axis.h"

#include <math.h>

/* The logarithm of 1, 2, 5 times a power of ten next to v. */
static double round_log(double v, int up)
{
    static const double ones[] = {1, 2, 5, 10};
    const double decade = floor(log10(v)), one = v / pow(10, decade);
    int i = up ? 0 : 3;
    while (up ? i < 3 && ones[i] < one * (1 - 1e-9) : i > 0 && ones[i] > one * (1 + 1e-9))
        i += up ? 1 : -1;
    return decade + log10(ones[i]);
}

static struct axis log_axis(double lo, double hi, double from, double to)
{
    struct axis a = {.lo = round_log(lo, 0), .hi = round_log(hi, 1), .from = from, .to = to, .log = 1};
    if (a.hi - a.lo > 2) {
        a.lo = floor(log10(lo));
        a.hi = ceil(log10(hi));
    }
    if (a.hi - a.lo < 0.5) { /* one number, or nearly: half a decade around it at least */
        a.lo = round_log(lo / 2, 0);
        a.hi = round_log(hi * 2, 1);
    }
    return a;
}

struct axis axis_for(double lo, double hi, int log, double from, double to)
{
    if (log)
        return log_axis(lo, hi, from, to);
    double step = pow(10, floor(log10(hi - lo > 0 ? hi - lo : 1)));
    step = (hi - lo) / step < 2 ? step / 5 : (hi - lo) / step < 5 ? step / 2 : step;
    struct axis a = {.lo = floor(lo / step) * step, .hi = ceil(hi / step) * step, .from = from, .to = to, .step = step};
    a.hi = a.hi > a.lo ? a.hi : a.lo + step;
    return a;
}

double axis_place(const struct axis *a, double v)
{
    const double x = a->log ? log10(v) : v;
    return a->from + (x - a->lo) / (a->hi - a->lo) * (a->to - a->from);
}

size_t axis_ticks(const struct axis *a, double out[AXIS_TICKS])
{
    static const double ones[] = {1, 2, 5};
    size_t n = 0;
    if (!a->log) {
        for (int i = 0; i <= (int)lrint((a->hi - a->lo) / a->step) && n < AXIS_TICKS; i++)
            out[n++] = a->lo + i * a->step;
        return n;
    }
    const double decades = a->hi - a->lo, by = decades > 8 ? 2 : 1;
    for (double d = floor(a->lo + 1e-9); d <= a->hi + 1e-9; d += by)
        for (int i = 0; i < (decades > 2 ? 1 : 3) && n < AXIS_TICKS; i++) {
            const double v = ones[i] * pow(10, d);
            if (log10(v) > a->lo - 1e-9 && log10(v) < a->hi + 1e-9)
                out[n++] = v;
        }
    return n;
}

void chart_open(struct buffer *b, int width, int height, int fits, const char *label)
{
    buffer_printf(b, "<figure><div class=scroll tabindex=0 role=region aria-label=\"%s\"><svg class=%s viewBox=\"0 0 %d %d\"", label,
                  fits ? "fit" : "cells", width, height);
    if (!fits)
        buffer_printf(b, " width=%d height=%d", width, height);
    buffer_printf(b, " role=img aria-label=\"%s\">", label);
}

void chart_close(struct buffer *b)
{
    buffer_text(b, "</svg></div>");
}

void chart_grid(const struct axis *y, struct buffer *b)
{
    double ticks[AXIS_TICKS];
    const size_t n = axis_ticks(y, ticks);
    for (size_t i = 0; i < n; i++) {
        const double place = axis_place(y, ticks[i]);
        buffer_printf(b, "<line class=grid x1=%d x2=%d y1=%.1f y2=%.1f />", CHART_LEFT, CHART_WIDTH - CHART_RIGHT, place, place);
        buffer_printf(b, "<text x=%d y=%.1f text-anchor=end>%.4g</text>", CHART_LEFT - 6, place + 4, fabs(ticks[i]) < 1e-12 ? 0 : ticks[i]);
    }
}

void chart_x_text(double place, const char *text, struct buffer *b)
{
    buffer_printf(b, "<text x=%.1f y=%d text-anchor=middle>%s</text>", place, CHART_HEIGHT - CHART_BOTTOM + 17, text);
}

void chart_x_title(const char *text, struct buffer *b)
{
    buffer_printf(b, "<text x=%d y=%d text-anchor=middle>%s</text>", (CHART_LEFT + CHART_WIDTH - CHART_RIGHT) / 2, CHART_HEIGHT - 5, text);
}
