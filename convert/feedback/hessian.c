/* SPDX-License-Identifier: MIT
 * Curvatures: moments, blending, damping, factor. */
#include "convert/feedback/hessian.h"

#include <stdlib.h>
#include <string.h>

#include "convert/feedback/ldl.h"
#include "model/forward/forward.h"

/* An expert's tokens are taken so many at a time. */
enum { PIECE = 1024 };

struct sums { /* over tokens */
    double weight, weight2; /* of gate^2 and of its square */
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for second moments");
}

void curvature_clear(struct curvature *c)
{
    square_clear(&c->h);
    square_clear(&c->u);
    free(c->d);
    c->d = NULL;
}

static void scale_lower(struct square *s, double by, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (size_t p = 0; p < square_panels(s->n); p++) {
        float *v = square_row(s, p, p * LANES);
        for (size_t i = 0; i < square_lower_part(s->n, p); i++)
            v[i] = (float)((double)v[i] * by);
    }
}

static double trace(const struct square *s)
{
    double sum = 0;
    for (size_t i = 0; i < s->n; i++)
        sum += (double)*square_at(s, i, i);
    return sum;
}

/* ---- experts */

static void weigh(const struct panels *x, const float *gate, size_t n, struct square *h, gemm_fn *gemm, float *rows, int threads)
{
    for (size_t at = 0; at < n; at += MOMENT_TOKENS) {
        size_t some = n - at < MOMENT_TOKENS ? n - at : MOMENT_TOKENS;
#pragma omp parallel for num_threads(threads)
        for (size_t r = 0; r < x->rows; r++)
            for (size_t i = 0; i < some; i++)
                rows[r * MOMENT_TOKENS + i] = panel_row(x, (at + i) / LANES, r)[(at + i) % LANES] * gate[at + i];
        square_add_moment(h, gemm, rows, some, threads);
    }
}

struct expert { /* whose inputs are wanted */
    const struct calibration *cal;
    const struct weight *w;
    uint64_t slab;
    struct forward f; /* model and options only */
    struct panel_store store;
    int inner;
};

/* Inputs of n tokens: *x, the layer's, or of down what gate and up make of them. */
static int inputs_of(struct expert *x, const uint32_t *token, size_t n, struct panels *out, struct error *e)
{
    struct panels in = {0};
    struct weight w[2];
    size_t tiles = (n + LANES - 1) / LANES, D = (size_t)x->cal->model->params.hidden_size;
    int rc = panels_init(&in, &x->store, tiles, D, e) || calibration_inputs(x->cal, x->w->layer, token, n, &in, e);
    if (!rc && !x->inner) {
        *out = in;
        return 0;
    }
    if (!rc && (!model_weight(x->cal->model, ROLE_FFN_GATE_EXPS, x->w->layer, &w[0]) ||
                !model_weight(x->cal->model, ROLE_FFN_UP_EXPS, x->w->layer, &w[1])))
        rc = error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the model lacks a layer's gate or up");
    rc = rc || panels_init(out, &x->store, tiles, (size_t)x->w->cols, e) || forward_mlp_inner(&x->f, w, x->slab, &in, out, e);
    panels_clear(&in, &x->store);
    return rc ? -1 : 0;
}

static int add_expert(struct expert *x, struct square *h, struct sums *sums, int threads, struct error *e)
{
    uint32_t *token = NULL;
    float *gate = NULL, *rows = malloc(h->n * MOMENT_TOKENS * sizeof *rows);
    size_t n = 0;
    int rc = rows ? calibration_routed(x->cal, x->w->layer, (int)x->slab, &token, &gate, &n, e) : no_memory(e);
    for (size_t at = 0; !rc && at < n; at += PIECE) {
        struct panels in = {0};
        size_t some = n - at < PIECE ? n - at : PIECE;
        rc = inputs_of(x, token + at, some, &in, e);
        if (!rc)
            weigh(&in, gate + at, some, h, gemm_for(x->cal->model->cpu), rows, threads);
        panels_clear(&in, &x->store);
    }
    for (size_t i = 0; i < n; i++) {
        double g2 = (double)gate[i] * (double)gate[i];
        sums->weight += g2;
        sums->weight2 += g2 * g2;
    }
    free(token);
    free(gate);
    free(rows);
    return rc ? -1 : 0;
}

/* Adds k / (n + k) of the layer's mean to n / (n + k) of the expert's. */
static int blend_layer(const struct calibration *cal, int layer, double n, double k, struct square *h, int threads, struct error *e)
{
    double all = (double)cal->tokens;
    scale_lower(h, n / k * all, threads); /* in the layer's units, which are sums over its tokens */
    if (calibration_moment(cal, INPUT_FFN, layer, 0, h, e))
        return -1;
    scale_lower(h, k / (n + k) / all, threads);
    return 0;
}

static void shrink_pairs(struct square *h, double by, int threads)
{
    float *diagonal = malloc(h->n * sizeof *diagonal);
    if (!diagonal)
        return;
    for (size_t i = 0; i < h->n; i++)
        diagonal[i] = *square_at(h, i, i);
    scale_lower(h, by, threads);
    for (size_t i = 0; i < h->n; i++)
        *square_at(h, i, i) = diagonal[i];
    free(diagonal);
}

/* The mean of a routed expert's inputs, blended. */
static int expert_mean(const struct calibration *cal, const struct weight *w, uint64_t slab, const struct hessian_options *o,
                       int threads, struct square *h, double *tokens, struct error *e)
{
    struct expert x = {.cal = cal, .w = w, .slab = slab, .store = {.room = UINT64_MAX}, .inner = input_of(w->role) == INPUT_EXPERT_INNER};
    struct sums sums = {0};
    double k = o->blend * (double)h->n;
    x.f = (struct forward){.model = cal->model, .options = {.threads = threads, .streams = 1, .store = &x.store}};
    if (add_expert(&x, h, &sums, threads, e))
        return -1;
    *tokens = sums.weight2 > 0 ? sums.weight * sums.weight / sums.weight2 : 0;
    if (sums.weight > 0)
        scale_lower(h, 1 / sums.weight, threads);
    if (!x.inner)
        return k > 0 ? blend_layer(cal, w->layer, *tokens, k, h, threads, e) : 0;
    if (*tokens > 0)
        shrink_pairs(h, *tokens / (*tokens + k), threads);
    return 0;
}

static int mean(const struct calibration *cal, const struct weight *w, uint64_t slab, const struct hessian_options *o, int threads,
                struct square *h, double *tokens, struct error *e)
{
    enum input input = input_of(w->role);
    if (input == INPUT_EXPERT || input == INPUT_EXPERT_INNER)
        return expert_mean(cal, w, slab, o, threads, h, tokens, e);
    *tokens = (double)cal->tokens;
    if (calibration_moment(cal, input, w->layer, roles[w->role].flags & ROLE_PER_HEAD ? slab : 0, h, e))
        return -1;
    scale_lower(h, 1 / *tokens, threads);
    return 0;
}

static void copy_lower(struct square *to, const struct square *from)
{
    memcpy(to->data, from->data, square_panels(to->n) * to->n * LANES * sizeof *to->data);
}

/* Damps and factors; more damping where that is not enough. */
static int factor(struct curvature *c, double damping, int threads, gemm_fn *gemm, struct error *e)
{
    double unit = trace(&c->h) / (double)c->h.n, added = 0;
    for (int attempt = 0; attempt < 6; attempt++, damping *= 10) {
        for (size_t i = 0; i < c->h.n; i++)
            *square_at(&c->h, i, i) += (float)((damping - added) * unit);
        added = damping;
        copy_lower(&c->u, &c->h);
        int rc = ldl_factor(&c->u, c->d, gemm, threads, e);
        if (rc <= 0)
            return rc;
    }
    return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the second moments of a matrix's inputs have no factor");
}

int hessian_make(const struct calibration *cal, const struct weight *w, uint64_t slab, const struct hessian_options *o, int threads,
                 struct curvature *c, struct hessian_facts *facts, struct error *e)
{
    const size_t n = (size_t)w->cols;
    *c = (struct curvature){.d = NULL};
    if (square_init(&c->h, n, e) || mean(cal, w, slab, o, threads, &c->h, &facts->tokens, e))
        goto fail;
    if (!(trace(&c->h) > 0)) {
        curvature_clear(c);
        return 1;
    }
    if (square_init(&c->u, n, e) || (!(c->d = malloc(n * sizeof *c->d)) && no_memory(e)) ||
        factor(c, o->damping, threads, gemm_for(cal->model->cpu), e))
        goto fail;
    double kept = 0;
    for (size_t i = 0; i < n; i++)
        kept += (double)c->d[i];
    facts->explained = kept / trace(&c->h);
    square_mirror(&c->h, threads);
    return 0;
fail:
    curvature_clear(c);
    return -1;
}

uint64_t hessian_bytes(const struct calibration *cal, const struct weight *w)
{
    uint64_t n = w->cols, squares = 2 * (n * (n + LANES) * sizeof(float)), D = cal->model->params.hidden_size;
    uint64_t expert = (PIECE * (D + 3 * n) + n * MOMENT_TOKENS) * sizeof(float) + cal->tokens * 24;
    return squares + (input_of(w->role) == INPUT_EXPERT || input_of(w->role) == INPUT_EXPERT_INNER ? expert : 0);
}
