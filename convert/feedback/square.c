/* SPDX-License-Identifier: MIT
 * Square matrices: memory, mirroring, second moments. */
#include "convert/feedback/square.h"

#include <stdlib.h>
#include <string.h>

int square_init(struct square *s, size_t n, struct error *e)
{
    size_t bytes = square_floats(n) * sizeof *s->data;
    void *m = NULL;
    *s = (struct square){.n = n};
    if (posix_memalign(&m, 64, bytes + 64))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for a matrix of %zu x %zu", n, n);
    memset(m, 0, bytes);
    s->data = m;
    return 0;
}

void square_clear(struct square *s)
{
    free(s->data);
    *s = (struct square){0};
}

size_t square_lower_part(size_t n, size_t panel)
{
    return (n - panel * LANES) * LANES;
}

size_t square_lower_floats(size_t n)
{
    size_t sum = 0;
    for (size_t p = 0; p < square_panels(n); p++)
        sum += square_lower_part(n, p);
    return sum;
}

void square_mirror(struct square *s, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (size_t p = 0; p < square_panels(s->n); p++)
        for (size_t row = 0; row < p * LANES; row++)
            for (size_t l = 0; l < LANES && p * LANES + l < s->n; l++)
                square_row(s, p, row)[l] = *square_at(s, p * LANES + l, row);
    /* within a panel's own square the half above the diagonal is a sum of the same products, and equal */
}

/* Columns [first, first + LANES) of x as the product's right side [tokens][LANES]; zeros behind column n. */
static void turn(const float *x, size_t stride, size_t n, size_t first, size_t tokens, float *right)
{
    size_t cols = n - first < LANES ? n - first : LANES;
    for (size_t t = 0; t < tokens; t++)
        for (size_t l = 0; l < LANES; l++)
            right[t * LANES + l] = l < cols ? x[(first + l) * stride + t] : 0;
}

void square_add_moment(struct square *s, gemm_fn *gemm, const float *x, size_t stride, size_t tokens, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (size_t p = 0; p < square_panels(s->n); p++) {
        float right[MOMENT_TOKENS * LANES];
        size_t first = p * LANES;
        turn(x, stride, s->n, first, tokens, right);
        gemm(x + first * stride, stride, s->n - first, right, tokens, LANES, square_row(s, p, first), 0);
    }
}

void square_add_cross(struct square *s, gemm_fn *gemm, const float *x, const float *y, size_t stride, size_t tokens, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (size_t p = 0; p < square_panels(s->n); p++) {
        float right[MOMENT_TOKENS * LANES];
        turn(y, stride, s->n, p * LANES, tokens, right);
        gemm(x, stride, s->n, right, tokens, LANES, square_row(s, p, 0), 0);
    }
}
