/* SPDX-License-Identifier: MIT
 * Fold's choices: sums of squares of rows and columns, and what follows. */
#include "convert/fold_choice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "convert/importance.h"

/* Weights that are read at once. Routed experts whose gate and up ffn_norm's scales are chosen by: they share the norm's vector
 * with all others, which reading would double the time of a run. */
enum { CHUNK_FLOATS = 1 << 16, SAMPLED_EXPERTS = 8 };
enum { BLOCK = 16 }; /* the smallest group that shares a step, of K types */
/* Scales beyond are held to be accidents of the calibration text. */
#define MOST_SCALE 16.0

/* Rows of a kind: what is scaled down (its norm or the gate of its MLP), and the readers whose columns count. */
struct family_of_kind {
    enum tensor_role first;
    enum tensor_role readers[6];
    int n_readers;
};
static const struct family_of_kind kinds[FOLD_KIND_COUNT] = {
    [FOLD_KIND_DENSE] = {ROLE_FFN_GATE, {ROLE_FFN_DOWN}, 1},
    [FOLD_KIND_SHARED] = {ROLE_FFN_GATE_SHEXP, {ROLE_FFN_DOWN_SHEXP}, 1},
    [FOLD_KIND_EXPERT] = {ROLE_FFN_GATE_EXPS, {ROLE_FFN_DOWN_EXPS}, 1},
    [FOLD_KIND_VALUE] = {ROLE_ATTN_V_B, {ROLE_ATTN_OUTPUT}, 1},
    [FOLD_KIND_ATTN_NORM] = {ROLE_ATTN_NORM, {ROLE_ATTN_Q, ROLE_ATTN_Q_A, ROLE_ATTN_KV_A_MQA, ROLE_INDEXER_K}, 4},
    [FOLD_KIND_Q_A_NORM] = {ROLE_ATTN_Q_A_NORM, {ROLE_ATTN_Q_B, ROLE_INDEXER_Q_B}, 2},
    [FOLD_KIND_KV_A_NORM] = {ROLE_ATTN_KV_A_NORM, {ROLE_ATTN_V_B}, 1},
    [FOLD_KIND_FFN_NORM] = {ROLE_FFN_NORM,
                            {ROLE_FFN_GATE, ROLE_FFN_UP, ROLE_FFN_GATE_SHEXP, ROLE_FFN_UP_SHEXP, ROLE_FFN_GATE_EXPS,
                             ROLE_FFN_UP_EXPS}, 6},
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for scales of a fold");
}

uint64_t fold_channels(const struct model *m, enum fold_kind kind, int layer)
{
    struct weight w;
    if (!model_weight(m, kinds[kind].readers[0], layer, &w) && !model_weight(m, kinds[kind].first, layer, &w))
        return 0;
    return w.cols;
}

static uint64_t chunk_rows(const struct weight *w)
{
    return CHUNK_FLOATS / w->cols < 1 ? 1 : CHUNK_FLOATS / w->cols < w->rows ? CHUNK_FLOATS / w->cols : w->rows;
}

/* Sums of squares of a slab: of each column weighed by nothing, added to cols; of each row with column j weighed by by[j] (NULL: 1),
 * put into rows. Either may be NULL. */
static int sum_squares(const struct plan *p, const struct weight *w, uint64_t slab, double *cols, double *rows, const double *by,
                       struct error *e)
{
    uint64_t most = chunk_rows(w);
    float *x = malloc(most * w->cols * sizeof *x);
    void *scratch = malloc(weight_scratch(p->model, w, most) + 64);
    int rc = x && scratch ? 0 : no_memory(e);
    for (uint64_t at = 0; !rc && at < w->rows; at += most) {
        uint64_t n = w->rows - at < most ? w->rows - at : most;
        if ((rc = weight_read(p->model, w, slab, at, n, x, scratch, NULL, e)))
            break;
        for (uint64_t i = 0; i < n; i++) {
            const float *row = x + i * w->cols;
            double sum = 0;
            for (uint64_t j = 0; j < w->cols; j++) {
                double square = (double)row[j] * (double)row[j];
                if (cols)
                    cols[j] += square;
                sum += by ? square * by[j] : square;
            }
            if (rows)
                rows[at + i] = sum;
        }
    }
    free(x);
    free(scratch);
    return rc;
}

static const struct plan_tensor *tensor_of(const struct plan *p, enum tensor_role role, int layer)
{
    for (size_t i = 0; i < p->n_tensors; i++)
        if (p->tensors[i].weight.role == role && p->tensors[i].weight.layer == layer)
            return &p->tensors[i];
    return NULL;
}

/* Mean squares of a slab's inputs by the imatrix into h: 1, 0 when it has none, or -1. */
static int known_inputs(const struct plan *p, const struct plan_tensor *t, uint64_t slab, double *h, struct error *e)
{
    const struct importance *w = t ? t->importance : NULL;
    if (!w || !(w->has_data[w->one_for_all ? 0 : slab] || w->instead))
        return 0;
    float *row = malloc(t->weight.cols * sizeof *row);
    int rc = row ? importance_read(p, t, slab, row, e) : no_memory(e);
    for (uint64_t i = 0; !rc && i < t->weight.cols; i++)
        h[i] = (double)row[i];
    free(row);
    return rc ? -1 : 1;
}

/* Squares of a norm's weight: mean squares of what it gives, before anything is known. */
static int norm_squares(const struct plan *p, enum tensor_role norm, int layer, double *h, struct error *e)
{
    struct weight w;
    if (model_weight(p->model, norm, layer, &w))
        return sum_squares(p, &w, 0, h, NULL, NULL, e);
    return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the model lacks a norm that a fold needs");
}

/* Mean squares of an MLP's inner channels, silu(g) * u with independent normal g and u of these mean squares: silu's tends to g^2 / 4
 * for small g and to g^2 / 2 for large. */
static int inner_inputs(const struct plan *p, const struct weight *gate, const struct weight *up, uint64_t slab, double *h,
                        struct error *e)
{
    double *norm = calloc(gate->cols, sizeof *norm), *g = malloc(gate->rows * sizeof *g);
    int rc = norm && g ? 0 : no_memory(e);
    if (!rc)
        rc = norm_squares(p, ROLE_FFN_NORM, gate->layer, norm, e) || sum_squares(p, gate, slab, NULL, g, norm, e) ||
                     sum_squares(p, up, slab, NULL, h, norm, e) ? -1 : 0;
    for (uint64_t i = 0; !rc && i < gate->rows; i++)
        h[i] *= g[i] * (1 + 2 * g[i]) / (4 + 4 * g[i]);
    free(norm);
    free(g);
    return rc;
}

static int value_inputs(const struct plan *p, const struct weight *v, double *h, struct error *e)
{
    double *norm = calloc(v->cols, sizeof *norm);
    int rc = norm ? norm_squares(p, ROLE_ATTN_KV_A_NORM, v->layer, norm, e) : no_memory(e);
    for (uint64_t head = 0; !rc && head < v->slabs; head++)
        rc = sum_squares(p, v, head, NULL, h + head * v->rows, norm, e);
    free(norm);
    return rc;
}

/* h of a vector's channels: what the readers' inputs are known to be, else an estimate. h is zeroed. */
static int inputs_of(const struct plan *p, enum fold_kind kind, int layer, uint64_t slab, double *h, struct error *e)
{
    struct weight first, up;
    int known = 0;
    for (int i = 0; !known && i < kinds[kind].n_readers; i++)
        if (!(roles[kinds[kind].readers[i]].flags & ROLE_EXPERT) || kind == FOLD_KIND_EXPERT)
            known = known_inputs(p, tensor_of(p, kinds[kind].readers[i], layer), slab, h, e);
    if (known)
        return known < 0 ? -1 : 0;
    if (kind >= FOLD_KIND_ATTN_NORM)
        return norm_squares(p, kinds[kind].first, layer, h, e);
    model_weight(p->model, kinds[kind].first, layer, &first);
    if (kind == FOLD_KIND_VALUE)
        return value_inputs(p, &first, h, e);
    model_weight(p->model, (enum tensor_role)(kinds[kind].first + 1), layer, &up);
    return inner_inputs(p, &first, &up, slab, h, e);
}

/* Adds a reader's sums of squares by column to c, as shares of its output's mean square: readers count alike. `sum` [cols] is room. */
static int add_reader(const struct plan *p, enum fold_kind kind, const struct plan_tensor *t, uint64_t slab, const double *h,
                      double *sum, double *c, struct error *e)
{
    const struct weight *w = &t->weight;
    uint64_t from = kind == FOLD_KIND_EXPERT ? slab : 0, to = kind == FOLD_KIND_EXPERT ? slab + 1 : w->slabs, step = 1;
    if (kind == FOLD_KIND_FFN_NORM && w->slabs > SAMPLED_EXPERTS)
        step = (w->slabs + SAMPLED_EXPERTS - 1) / SAMPLED_EXPERTS;
    memset(sum, 0, w->cols * sizeof *sum);
    for (uint64_t s = from; s < to; s += step)
        if (sum_squares(p, w, s, sum, NULL, NULL, e))
            return -1;
    double all = 0;
    for (uint64_t j = 0; j < w->cols; j++)
        all += h[j] * sum[j];
    for (uint64_t j = 0; all > 0 && j < w->cols; j++)
        c[j] += sum[j] / all;
    return 0;
}

static int columns_of(const struct plan *p, enum fold_kind kind, int layer, uint64_t slab, const double *h, double *sum, double *c,
                      struct error *e)
{
    int rc = 0;
    for (int i = 0; !rc && i < kinds[kind].n_readers; i++) {
        const struct plan_tensor *t = tensor_of(p, kinds[kind].readers[i], layer);
        rc = t ? add_reader(p, kind, t, slab, h, sum, c, e) : 0;
    }
    return rc;
}

/* The product of sums that fold_choice.h speaks of is smallest for the fourth root of h / c. The step follows the largest weights more
 * than their sum of squares, an encoder's weighing does a part of the work already, and h is of another text: the eighth root was
 * the better one by measure (docs/fold.md). */
static void choose_scales(uint64_t n, const double *h, const double *c, float *scale)
{
    double all_h = 0, all_c = 0;
    for (uint64_t i = 0; i < n; i++) {
        all_h += h[i];
        all_c += c[i];
    }
    for (uint64_t i = 0; i < n; i++) {
        double s = h[i] > 0 && c[i] > 0 ? sqrt(sqrt(sqrt(h[i] / all_h * (all_c / c[i])))) : 1;
        scale[i] = (float)(s > MOST_SCALE ? MOST_SCALE : s < 1 / MOST_SCALE ? 1 / MOST_SCALE : s);
    }
}

struct channel {
    double weight;
    uint32_t index;
};

/* The largest first, of equals the one that was first. */
static int by_weight(const void *a, const void *b)
{
    const struct channel *x = a, *y = b;
    return x->weight != y->weight ? (x->weight < y->weight ? 1 : -1) : x->index < y->index ? -1 : x->index > y->index;
}

/* Deals the channels to blocks of BLOCK by their weight h * c, to and fro, so that all blocks get alike: of groups whose error is the
 * product of two sums, unlike ones have more in all. (Sorted blocks are the worst: docs/fold.md.) Without whole blocks the order stays. */
static int choose_order(uint64_t n, const double *h, const double *c, uint32_t *from, struct error *e)
{
    uint64_t blocks = n / BLOCK;
    struct channel *list = malloc((n + 1) * sizeof *list);
    if (!list)
        return no_memory(e);
    for (uint64_t i = 0; i < n; i++)
        list[i] = (struct channel){h[i] * c[i], (uint32_t)i};
    if (n % BLOCK == 0)
        qsort(list, n, sizeof *list, by_weight);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t round = blocks ? i / blocks : 0, block = blocks ? i % blocks : 0;
        from[n % BLOCK ? i : (round % 2 ? blocks - 1 - block : block) * BLOCK + round] = list[i].index;
    }
    free(list);
    return 0;
}

int fold_choose(const struct plan *p, enum fold_kind kind, int layer, uint64_t slab, float *scale, uint32_t *from, struct error *e)
{
    uint64_t n = fold_channels(p->model, kind, layer);
    double *h = calloc(3 * n, sizeof *h), *c = h + n, *sum = c + n;
    int rc = h ? 0 : no_memory(e);
    if (!rc)
        rc = inputs_of(p, kind, layer, slab, h, e) || columns_of(p, kind, layer, slab, h, sum, c, e) ? -1 : 0;
    if (!rc && scale)
        choose_scales(n, h, c, scale);
    if (!rc && from)
        rc = choose_order(n, h, c, from, e);
    free(h);
    return rc;
}

uint64_t fold_choose_memory(const struct plan *p)
{
    uint64_t most = 0;
    for (size_t i = 0; i < p->n_tensors; i++) {
        const struct weight *w = &p->tensors[i].weight;
        uint64_t rows = chunk_rows(w), bytes = rows * w->cols * sizeof(float) + weight_scratch(p->model, w, rows);
        uint64_t vectors = (4 * w->cols + 2 * w->rows) * sizeof(double);
        if (w->role != ROLE_ATTN_K_B) /* whose columns nothing is chosen by */
            most = bytes + vectors > most ? bytes + vectors : most;
    }
    return most;
}
