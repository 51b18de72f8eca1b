/* SPDX-License-Identifier: MIT
 * Inner loops of a sweep over LANES rows at once, compiled for each instruction set from one source (columns_body.h). */
#ifndef PARE_CONVERT_FEEDBACK_COLUMNS_H
#define PARE_CONVERT_FEEDBACK_COLUMNS_H

#include <stddef.h>

struct columns {
    /* to[k][lane] = fmaf(w[k * stride], x[lane], to[k][lane]) for n columns k */
    void (*spread)(const float *w, size_t stride, size_t n, const float *x, float *to);
    /* to[k][lane] = fmaf(-w[k * stride], x[lane], to[k][lane]) */
    void (*spread_less)(const float *w, size_t stride, size_t n, const float *x, float *to);
    /* sum[lane] = sum over n columns j, in order, of a[j][lane] * b[j][lane], in F64 */
    void (*dots)(const float *a, const float *b, size_t n, double *sum);
    /* to[j][lane] = fmaf(by[lane], v[j][lane], to[j][lane]) of n columns j, in lanes whose by is not 0 */
    void (*steps)(const float *by, const float *v, size_t n, float *to);
    /* Where going over to y lowers the loss of a column, whose error is e and gradient g, with curvature h: change = the error's
     * change, e and code follow; elsewhere change = 0. Returns whether any lane changed. at: what is stored now, w - e. */
    int (*accept)(float h, const float *g, const float *at, const float *y, const float *y_code, float *e, float *code, float *change);
};

/* The best variant for these CPU features (base/cpu.h). */
const struct columns *columns_for(unsigned cpu);

extern const struct columns columns_scalar, columns_avx2, columns_avx512;

#endif
