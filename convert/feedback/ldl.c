/* SPDX-License-Identifier: MIT
 * H = U D U', panel by panel from the last: factor the panel's square, solve its rows against the panels before it, subtract
 * their products from what is left. */
#include "convert/feedback/ldl.h"

#include <math.h>
#include <stdlib.h>

#include "convert/feedback/columns.h"

struct block { /* the square on the diagonal */
    size_t first, n;
    double v[LANES][LANES]; /* below the diagonal: multipliers; on it: pivots */
    float by[LANES][LANES]; /* the multipliers in F32 */
};

/* 0, or 1 when a pivot is not positive. */
static int factor_square(const struct square *s, struct block *b)
{
    for (size_t r = 0; r < b->n; r++)
        for (size_t c = 0; c <= r; c++)
            b->v[r][c] = (double)*square_at(s, b->first + r, b->first + c);
    for (size_t j = b->n; j-- > 0;) {
        if (!(b->v[j][j] > 0) || !isfinite(b->v[j][j]))
            return 1;
        for (size_t k = 0; k < j; k++) {
            double by = b->v[j][k] / b->v[j][j];
            for (size_t l = 0; l <= k; l++)
                b->v[k][l] -= by * b->v[j][l];
        }
        for (size_t k = 0; k < j; k++)
            b->by[j][k] = (float)(b->v[j][k] /= b->v[j][j]);
    }
    return 0;
}

/* Rows of the block in a panel before it: their part of the elimination. */
static void solve_rows(const struct columns *columns, const struct square *s, const struct block *b, size_t panel)
{
    for (size_t j = b->n; j-- > 0;)
        columns->spread_less(b->by[j], 1, j, square_row(s, panel, b->first + j), square_row(s, panel, b->first));
}

/* What a panel's rows weigh in the subtraction: w[col][j] = - v[j][col] / pivot j. */
static void weigh_rows(const struct square *s, const struct block *b, size_t panel, float *w)
{
    for (size_t j = 0; j < b->n; j++)
        for (size_t l = 0; l < LANES; l++)
            w[(panel * LANES + l) * LANES + j] = (float)(-(double)square_row(s, panel, b->first + j)[l] / b->v[j][j]);
}

static void scale_rows(const struct square *s, const struct block *b, size_t panel)
{
    for (size_t j = 0; j < b->n; j++)
        for (size_t l = 0; l < LANES; l++)
            square_row(s, panel, b->first + j)[l] = (float)((double)square_row(s, panel, b->first + j)[l] / b->v[j][j]);
}

static void store_square(const struct square *s, const struct block *b, float *d)
{
    for (size_t j = 0; j < b->n; j++) {
        for (size_t k = 0; k < j; k++)
            *square_at(s, b->first + j, b->first + k) = (float)b->v[j][k];
        *square_at(s, b->first + j, b->first + j) = 1;
        d[b->first + j] = (float)b->v[j][j];
    }
}

int ldl_factor(struct square *s, float *d, unsigned cpu, int threads, struct error *e)
{
    gemm_fn *gemm = gemm_for(cpu);
    const struct columns *columns = columns_for(cpu);
    struct block *b = malloc(sizeof *b);
    float *w = malloc(square_panels(s->n) * LANES * LANES * sizeof *w);
    int rc = b && w ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for a factor");
    for (size_t panel = square_panels(s->n); !rc && panel-- > 0;) {
        b->first = panel * LANES;
        b->n = s->n - b->first < LANES ? s->n - b->first : LANES;
        if ((rc = factor_square(s, b)))
            break;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
        for (size_t p = 0; p < panel; p++) {
            solve_rows(columns, s, b, p);
            weigh_rows(s, b, p, w);
        }
#pragma omp parallel for num_threads(threads) schedule(dynamic)
        for (size_t p = 0; p < panel; p++) {
            size_t first = p * LANES;
            gemm(w + first * LANES, LANES, b->first - first, square_row(s, p, b->first), b->n, LANES, square_row(s, p, first), 0);
            scale_rows(s, b, p);
        }
        store_square(s, b, d);
    }
    free(b);
    free(w);
    return rc;
}
