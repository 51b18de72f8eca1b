/* SPDX-License-Identifier: MIT
 * H = U D U', panel by panel from the last: factor the panel's square, solve its rows against the panels before it, subtract
 * their products from what is left. With an order of columns a panel's rows are chosen and solved one by one. */
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

/* ---- columns in an order */

struct pivots {
    double *left;    /* [n] of each column: its variance less what the columns behind explain */
    uint32_t *order; /* [n] columns as they lie now */
};

static void swap_floats(float *a, float *b)
{
    float t = *a;
    *a = *b;
    *b = t;
}

/* Columns a and b of the matrix change places, a < b. */
static void swap_columns(const struct square *s, const struct pivots *p, size_t a, size_t b)
{
    const double left = p->left[a];
    const uint32_t column = p->order[a];
    for (size_t k = 0; k < a; k++)
        swap_floats(square_at(s, a, k), square_at(s, b, k));
    for (size_t k = a + 1; k < b; k++)
        swap_floats(square_at(s, k, a), square_at(s, b, k));
    for (size_t k = b + 1; k < s->n; k++)
        swap_floats(square_at(s, k, a), square_at(s, k, b));
    p->left[a] = p->left[b];
    p->left[b] = left;
    p->order[a] = p->order[b];
    p->order[b] = column;
}

/* Of columns 0 .. last the one of which least is left. */
static size_t least_left(const struct pivots *p, size_t last)
{
    size_t least = last;
    for (size_t k = 0; k < last; k++)
        if (p->left[k] < p->left[least] || (p->left[k] == p->left[least] && p->order[k] > p->order[least]))
            least = k;
    return least;
}

/* Chooses the block's columns from its last to its first. Each row is brought up to date when its column is chosen. 0, or 1 when a pivot
 * is not positive. */
static int choose_rows(const struct columns *columns, const struct square *s, struct block *b, const struct pivots *p)
{
    for (size_t j = b->n; j-- > 0;) {
        const size_t row = b->first + j, least = least_left(p, row);
        const double pivot = p->left[least];
        if (!(pivot > 0) || !isfinite(pivot))
            return 1;
        if (least != row)
            swap_columns(s, p, least, row);
        b->v[j][j] = pivot;
        for (size_t i = b->n; i-- > j + 1;)
            b->by[j][i] = (float)((double)*square_at(s, b->first + i, row) / b->v[i][i]);
        for (size_t panel = 0; panel * LANES < row; panel++)
            for (size_t i = b->n; i-- > j + 1;)
                columns->spread_less(&b->by[j][i], 1, 1, square_row(s, panel, b->first + i), square_row(s, panel, row));
        for (size_t k = 0; k < row; k++) {
            const double v = (double)*square_at(s, row, k);
            p->left[k] -= v * v / pivot;
        }
    }
    for (size_t j = 0; j < b->n; j++)
        for (size_t k = 0; k < j; k++)
            b->v[j][k] = (double)*square_at(s, b->first + j, b->first + k) / b->v[j][j];
    return 0;
}

/* ---- all of it */

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

int ldl_factor(struct square *s, float *d, uint32_t *order, unsigned cpu, int threads, struct error *e)
{
    gemm_fn *gemm = gemm_for(cpu);
    const struct columns *columns = columns_for(cpu);
    struct block *b = malloc(sizeof *b);
    float *w = malloc(square_panels(s->n) * LANES * LANES * sizeof *w);
    struct pivots p = {order ? malloc(s->n * sizeof *p.left) : NULL, order};
    int rc = b && w && (!order || p.left) ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for a factor");
    for (size_t k = 0; !rc && order && k < s->n; k++) {
        order[k] = (uint32_t)k;
        p.left[k] = (double)*square_at(s, k, k);
    }
    for (size_t panel = square_panels(s->n); !rc && panel-- > 0;) {
        b->first = panel * LANES;
        b->n = s->n - b->first < LANES ? s->n - b->first : LANES;
        if ((rc = order ? choose_rows(columns, s, b, &p) : factor_square(s, b)))
            break;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
        for (size_t k = 0; k < panel; k++) {
            if (!order)
                solve_rows(columns, s, b, k);
            weigh_rows(s, b, k, w);
        }
#pragma omp parallel for num_threads(threads) schedule(dynamic)
        for (size_t k = 0; k < panel; k++) {
            size_t first = k * LANES;
            gemm(w + first * LANES, LANES, b->first - first, square_row(s, k, b->first), b->n, LANES, square_row(s, k, first), 0);
            scale_rows(s, b, k);
        }
        store_square(s, b, d);
    }
    free(b);
    free(w);
    free(p.left);
    return rc;
}
