/* SPDX-License-Identifier: MIT
 * Body of convert/feedback/columns*.c: included once per instruction set with COLUMNS_VARIANT defined as the name of its
 * table. */
#include <math.h>

#include "convert/feedback/columns.h"
#include "model/forward/panels.h"

static void spread(const float *w, size_t stride, size_t n, const float *x, float *to)
{
    for (size_t k = 0; k < n; k++, to += LANES)
        for (size_t l = 0; l < LANES; l++)
            to[l] = fmaf(w[k * stride], x[l], to[l]);
}

static void spread_less(const float *w, size_t stride, size_t n, const float *x, float *to)
{
    for (size_t k = 0; k < n; k++, to += LANES)
        for (size_t l = 0; l < LANES; l++)
            to[l] = fmaf(-w[k * stride], x[l], to[l]);
}

static void dots(const float *a, const float *b, size_t n, double *sum)
{
    double at[LANES] = {0};
    for (size_t j = 0; j < n; j++, a += LANES, b += LANES)
        for (size_t l = 0; l < LANES; l++)
            at[l] += (double)a[l] * (double)b[l];
    for (size_t l = 0; l < LANES; l++)
        sum[l] = at[l];
}

static void steps(const float *by, const float *v, size_t n, float *to)
{
    for (size_t j = 0; j < n; j++, v += LANES, to += LANES)
        for (size_t l = 0; l < LANES; l++) {
            float moved = fmaf(by[l], v[l], to[l]);
            to[l] = by[l] != 0 ? moved : to[l];
        }
}

static int accept(float h, const float *g, const float *at, const float *y, const float *y_code, float *e, float *code, float *change)
{
    int any = 0;
    for (size_t l = 0; l < LANES; l++) {
        float by = at[l] - y[l], gain = by * (2 * g[l] + by * h);
        /* a thousandth of the move's own size keeps rounding errors out */
        int better = gain < -0.001f * (by * by * h);
        change[l] = better ? by : 0;
        e[l] = better ? e[l] + by : e[l];
        code[l] = better ? y_code[l] : code[l];
        any |= better;
    }
    return any;
}

const struct columns COLUMNS_VARIANT = {spread, spread_less, dots, steps, accept};
