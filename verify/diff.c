/* SPDX-License-Identifier: MIT
 * Diff: slabs (experts, heads) are compared in any order and summed in slab order. */
#include "verify/diff.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/forward/det_math.h"

enum { CHUNK_FLOATS = 1 << 18 };

struct slab_sum {
    double square, square_a, max;
    uint64_t different, row, col;
};

struct pair { /* one role in one layer on both sides */
    const struct model *a, *b;
    struct weight wa, wb;
};

static void compare(const float *x, const float *y, uint64_t rows, uint64_t cols, uint64_t row0, struct slab_sum *s)
{
    for (uint64_t i = 0; i < rows * cols; i++) {
        double d = (double)y[i] - (double)x[i];
        s->square += d * d;
        s->square_a += (double)x[i] * (double)x[i];
        s->different += x[i] != y[i];
        if (fabs(d) > s->max) {
            s->max = fabs(d);
            s->row = row0 + i / cols;
            s->col = i % cols;
        }
    }
}

static int compare_slab(const struct pair *p, uint64_t slab, struct slab_sum *s, struct error *e)
{
    const struct weight *w = &p->wa;
    /* a K half cut from kv_b is read whole: parts would read the same source again */
    int whole = w->role == ROLE_ATTN_K_B && (p->wa.from_kv_b || p->wb.from_kv_b);
    uint64_t rows = whole ? w->rows : CHUNK_FLOATS / w->cols;
    rows = rows < 1 ? 1 : rows > w->rows ? w->rows : rows;
    size_t n = (size_t)(rows * w->cols), sa = weight_scratch(p->a, &p->wa, rows), sb = weight_scratch(p->b, &p->wb, rows);
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    void *scratch = malloc((sa > sb ? sa : sb) + 64);
    int rc = x && y && scratch ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (uint64_t at = 0; !rc && at < w->rows; at += rows) {
        uint64_t k = w->rows - at < rows ? w->rows - at : rows;
        rc = weight_read(p->a, &p->wa, slab, at, k, x, scratch, NULL, e) ||
                     weight_read(p->b, &p->wb, slab, at, k, y, scratch, NULL, e)
                 ? -1
                 : 0;
        if (!rc)
            compare(x, y, k, w->cols, at, s);
    }
    free(x);
    free(y);
    free(scratch);
    return rc;
}

/* Experts that a side does not have are passed over. */
static void add_up(struct diff_row *r, const struct slab_sum *sums, const struct pair *p)
{
    const struct weight *w = &p->wa;
    double square = 0, square_a = 0;
    for (uint64_t i = 0; i < w->slabs; i++) {
        const int in_a = weight_has(p->a, &p->wa, i), in_b = weight_has(p->b, &p->wb, i);
        r->slabs_missing += in_a != in_b;
        if (!in_a || !in_b)
            continue;
        r->weights += w->rows * w->cols;
        square += sums[i].square;
        square_a += sums[i].square_a;
        r->different += sums[i].different;
        if (sums[i].max > r->max) {
            r->max = sums[i].max;
            r->max_slab = i;
            r->max_row = sums[i].row;
            r->max_col = sums[i].col;
        }
    }
    r->rms = r->weights ? sqrt(square / (double)r->weights) : 0;
    r->rms_a = r->weights ? sqrt(square_a / (double)r->weights) : 0;
}

static int compare_pair(const struct pair *p, int threads, struct diff_row *r, struct error *e)
{
    uint64_t n = p->wa.slabs;
    struct slab_sum *sums = calloc((size_t)n, sizeof *sums);
    int rc = sums ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (rc)
        return rc;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (uint64_t i = 0; i < n; i++) {
        struct error why = {0};
        if (weight_has(p->a, &p->wa, i) && weight_has(p->b, &p->wb, i) && compare_slab(p, i, &sums[i], &why)) {
#pragma omp critical(diff_error)
            {
                if (!rc && e)
                    *e = why;
                rc = -1;
            }
        }
    }
    if (!rc)
        add_up(r, sums, p);
    free(sums);
    return rc;
}

/* Experts of a pack may have several. */
static const char *storage_name(const struct model *m, const struct weight *w)
{
    const char *first = stored_type(weight_stored(m, w));
    for (uint64_t i = 0; m->source->pack && roles[w->role].flags & ROLE_EXPERT && i < w->slabs; i++)
        if (weight_has(m, w, i) && strcmp(first, stored_type(model_stored(m, w->role, w->layer, (int)i))))
            return "mixed";
    return first;
}

static int same_shape(const struct weight *a, const struct weight *b, struct error *e)
{
    char name[TENSOR_NAME];
    if (a->slabs == b->slabs && a->rows == b->rows && a->cols == b->cols)
        return 0;
    error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "the models have different shapes");
    return error_at_tensor(e, role_gguf_name(a->role, a->layer, name));
}

static int diff_role(const struct model *a, const struct model *b, struct diff_row *r, int threads, struct error *e)
{
    struct pair p = {.a = a, .b = b};
    r->in_a = model_weight(a, r->role, r->layer, &p.wa);
    r->in_b = model_weight(b, r->role, r->layer, &p.wb);
    r->type_a = r->in_a ? storage_name(a, &p.wa) : "-";
    r->type_b = r->in_b ? storage_name(b, &p.wb) : "-";
    if (!r->in_a || !r->in_b)
        return 0;
    return same_shape(&p.wa, &p.wb, e) || compare_pair(&p, threads, r, e);
}

int diff_models(const struct model *a, const struct model *b, int threads, const struct check_hooks *hooks,
                struct diff_row **rows, size_t *n, struct error *e)
{
    int la = (int)arch_all_layers(&a->params), lb = (int)arch_all_layers(&b->params), layers = la > lb ? la : lb;
    size_t most = (size_t)(layers + 1) * ROLE_COUNT;
    struct diff_row *list = calloc(most, sizeof *list);
    *n = 0;
    if (!list)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (int layer = -1; layer < layers; layer++) {
        for (int role = 0; role < ROLE_COUNT; role++) {
            struct diff_row *r = &list[*n];
            if (roles[role].flags & ROLE_HF_FUSED)
                continue;
            *r = (struct diff_row){.role = (enum tensor_role)role, .layer = layer};
            if (diff_role(a, b, r, threads, e)) {
                free(list);
                return -1;
            }
            *n += r->in_a || r->in_b;
        }
        if (hooks->progress)
            hooks->progress(hooks->context, (uint64_t)(layer + 2), (uint64_t)layers + 1);
        if (hooks->stop && hooks->stop(hooks->context)) {
            free(list);
            return error_set(e, ERR_INTERRUPTED, ERROR_NO_OFFSET, "interrupted");
        }
    }
    *rows = list;
    return 0;
}

double diff_sqnr(const struct diff_row *r)
{
    return 20 / 2.302585092994046 * (det_log(r->rms_a) - det_log(r->rms));
}
