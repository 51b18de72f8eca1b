/* SPDX-License-Identifier: MIT
 * What charts are made of: axes that map numbers to places, the frame with its lines, and labels. */
#ifndef PARE_CLI_CHART_AXIS_H
#define PARE_CLI_CHART_AXIS_H

#include <stddef.h>

#include "base/buffer.h"

/* Of a chart; text is 13 high. */
enum { CHART_WIDTH = 960, CHART_HEIGHT = 280, CHART_LEFT = 66, CHART_RIGHT = 16, CHART_TOP = 14, CHART_BOTTOM = 42 };

struct axis {
    double lo, hi;   /* of the numbers; of their logarithms when log */
    double from, to; /* places of lo and hi */
    double step;     /* between lines, not log */
    int log;
};
/* Around numbers from lo to hi, which round numbers enclose; log: 1, 2, 5 or, over more than two decades, whole ones. */
struct axis axis_for(double lo, double hi, int log, double from, double to);
double axis_place(const struct axis *a, double v);
enum { AXIS_TICKS = 32 };
/* Round numbers on the axis; how many. */
size_t axis_ticks(const struct axis *a, double out[AXIS_TICKS]);

/* Opens a figure. `fits`: the chart takes the page's width; else it keeps its size and is scrolled. The label, already escaped, says in words
 * what the chart shows to whom does not see it. */
void chart_open(struct buffer *b, int width, int height, int fits, const char *label);
void chart_close(struct buffer *b); /* the drawing; the figure is open for its caption */
void chart_grid(const struct axis *y, struct buffer *b);
void chart_x_text(double place, const char *text, struct buffer *b);
void chart_x_title(const char *text, struct buffer *b);

#endif
