/* SPDX-License-Identifier: MIT
 * Square symmetric matrices, in panels of LANES columns for the matrix product of model/forward/gemm.h:
 *
 *   element (row, col):  data[((col / LANES) * n + row) * LANES + col % LANES]
 *
 * so that rows of a panel, with LANES for the row length, are the product's weights, and also its right side. Behind column
 * n the last panel holds zeros. "Lower" means that only elements with row >= first column of their panel are kept. */
#ifndef PARE_CONVERT_FEEDBACK_SQUARE_H
#define PARE_CONVERT_FEEDBACK_SQUARE_H

#include <stddef.h>

#include "base/error.h"
#include "model/forward/gemm.h"

struct square {
    size_t n;
    float *data;
};

static inline size_t square_panels(size_t n)
{
    return (n + LANES - 1) / LANES;
}

/* Floats of all panels. */
static inline size_t square_floats(size_t n)
{
    return square_panels(n) * n * LANES;
}

/* Row `row` of the panel with number `panel`: LANES floats. */
static inline float *square_row(const struct square *s, size_t panel, size_t row)
{
    return s->data + (panel * s->n + row) * LANES;
}

static inline float *square_at(const struct square *s, size_t row, size_t col)
{
    return square_row(s, col / LANES, row) + col % LANES;
}

/* Zeroed. ERR_MEMORY. */
int square_init(struct square *s, size_t n, struct error *e);
void square_clear(struct square *s); /* safe on a zeroed one */

/* Floats of the lower panels behind one another, as they lie in files, and panel `p`'s part of them: rows [p * LANES, n). */
size_t square_lower_floats(size_t n);
size_t square_lower_part(size_t n, size_t panel);

/* Copies the lower half over the upper. */
void square_mirror(struct square *s, int threads);

/* Adds x x' of `tokens` inputs to the lower half: x [n][stride], of which the first
 * `tokens`, at most MOMENT_TOKENS, are read. One call is one
 * block of the sum: y + p of gemm.h. Thread-safe on different squares. */
enum { MOMENT_TOKENS = GEMM_BLOCK };
/* The same of x y', all of it: row i is of x, column j of y. */
void square_add_cross(struct square *s, gemm_fn *gemm, const float *x, const float *y, size_t stride, size_t tokens, int threads);
void square_add_moment(struct square *s, gemm_fn *gemm, const float *x, size_t stride, size_t tokens, int threads);

#endif
