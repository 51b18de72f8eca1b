/* SPDX-License-Identifier: MIT
 * Weight times panels: units of weight rows over the threads, decoded once, multiplied with all tokens. */
#include <stdlib.h>
#include <string.h>

#include "model/forward/gemm.h"
#include "model/forward/parts.h"

/* Decoded rows that one worker holds. With many tokens as many rows as have a block of their columns in the second-level cache, so that the
 * tokens are not fetched too often; with few tokens a quarter of a megabyte, so that all of them are still there when they are multiplied. */
enum { UNIT_FLOATS = 1 << 20, FEW_UNIT_FLOATS = 1 << 16, FEW_TILES = 2, ROWS_STEP = 12, ROWS_MOST = 144 };

static uint64_t unit_rows(const struct weight *w, uint64_t n, size_t tiles, int threads)
{
    uint64_t rows = (tiles <= FEW_TILES ? FEW_UNIT_FLOATS : UNIT_FLOATS) / w->cols, share = (n + (uint64_t)threads - 1) / (uint64_t)threads;
    /* small matrices are shared out, in steps that fill the kernel's register tiles */
    share = (share + ROWS_STEP - 1) / ROWS_STEP * ROWS_STEP;
    rows = rows < ROWS_STEP ? ROWS_STEP : rows > ROWS_MOST ? ROWS_MOST : rows - rows % ROWS_STEP;
    rows = rows > share ? share : rows;
    return rows > n ? n : rows;
}

/* Lanes in use, up to a multiple of 16: x->rows features of the last tile may stand for few tokens. */
static void multiply(gemm_fn *gemm, const float *w, size_t rows, const struct panels *x, struct panels *y, size_t y_row)
{
    for (size_t at = 0; at < x->rows; at += GEMM_BLOCK) {
        size_t n = x->rows - at < GEMM_BLOCK ? x->rows - at : GEMM_BLOCK;
        for (size_t t = 0; t < x->tiles; t++) {
            size_t lanes = t + 1 == x->tiles && x->last_lanes ? x->last_lanes : LANES;
            gemm(w + at, x->rows, rows, panel_row(x, t, at), n, lanes, panel_row(y, t, y_row), at == 0);
        }
    }
}

const struct panels *round_input(const struct forward *f, const struct weight *w, uint64_t slab, const struct panels *x, struct panels *copy,
                                 struct error *e)
{
    const struct rounding *r = act_rounding_of(f->options.rounding.act, f->model, w, slab);
    *copy = (struct panels){0};
    if (!r)
        return x;
    if (panels_init(copy, f->options.store, x->tiles, x->rows, e))
        return NULL;
    copy->last_lanes = x->last_lanes;
#pragma omp parallel for num_threads(f->options.threads)
    for (size_t t = 0; t < x->tiles; t++) {
        memcpy(panel_row(copy, t, 0), panel_row(x, t, 0), x->rows * LANES * sizeof(float));
        rounding_apply(r, panel_row(copy, t, 0), x->rows);
    }
    return copy;
}

static int product(const struct forward *f, const struct weight *w, uint64_t slab, uint64_t row0, uint64_t n, const struct panels *x,
                   struct panels *y, size_t y_row0, struct error *e)
{
    gemm_fn *gemm = gemm_for(f->model->cpu);
    uint64_t rows = unit_rows(w, n, x->tiles, f->options.threads), units = (n + rows - 1) / rows;
    int rc = 0;
#pragma omp parallel num_threads(f->options.threads)
    {
        float *decoded = malloc((size_t)(rows * w->cols) * sizeof *decoded + 64);
        void *scratch = malloc(weight_scratch(f->model, w, rows) + 64);
#pragma omp for schedule(dynamic)
        for (uint64_t u = 0; u < units; u++) {
            struct error why = {0};
            uint64_t at = u * rows, count = n - at < rows ? n - at : rows;
            int bad = check_stop(f, &why);
            if (!bad)
                bad = decoded && scratch ? weight_read(f->model, w, slab, row0 + at, count, decoded, scratch, NULL, &why)
                                         : error_set(&why, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
            if (!bad)
                multiply(gemm, decoded, (size_t)count, x, y, y_row0 + (size_t)at);
            else {
#pragma omp critical(product_error)
                {
                    if (!rc && e)
                        *e = why;
                    rc = -1;
                }
            }
        }
        free(decoded);
        free(scratch);
    }
    panels_rest(x);
    panels_rest(y);
    return rc;
}

int forward_product(const struct forward *f, const struct weight *w, uint64_t slab, uint64_t row0, uint64_t n,
                    const struct panels *x, struct panels *y, size_t y_row0, struct error *e)
{
    struct panels copy;
    const struct panels *in = round_input(f, w, slab, x, &copy, e);
    int rc = in ? product(f, w, slab, row0, n, in, y, y_row0, e) : -1;
    panels_clear(&copy, f->options.store);
    return rc;
}
