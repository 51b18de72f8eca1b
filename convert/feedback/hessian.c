/* SPDX-License-Identifier: MIT
 * Curvatures: moments, blending, damping, factor. */
#include "convert/feedback/hessian.h"

#include <stdlib.h>
#include <string.h>

#include "convert/feedback/ldl.h"
#include "model/forward/forward.h"

const char *const column_order_names[ORDER_COUNT + 1] = {[ORDER_IMPORTANCE] = "importance", [ORDER_NATURAL] = "natural", [ORDER_BY_TYPE] = "by type"};

/* An expert's tokens are taken so many at a time. */
enum { PIECE = 1024 };

struct sums { /* over tokens */
    double weight;       /* of gate^2 */
    double size, size2;  /* of |gate x|^2 and of its square */
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for second moments");
}

void curvature_clear(struct curvature *c)
{
    square_clear(&c->h);
    square_clear(&c->u);
    square_clear(&c->cross);
    free(c->d);
    free(c->order);
    c->d = NULL;
    c->order = NULL;
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

static void scale_all(struct square *s, double by)
{
    for (size_t i = 0; i < square_floats(s->n); i++)
        s->data[i] = (float)((double)s->data[i] * by);
}

static double trace(const struct square *s)
{
    double sum = 0;
    for (size_t i = 0; i < s->n; i++)
        sum += (double)*square_at(s, i, i);
    return sum;
}

/* ---- experts */

/* Tokens [at, at + n) as rows, each times its gate. */
static void weigh(const struct panels *x, const float *gate, size_t at, size_t n, float *rows, int threads)
{
#pragma omp parallel for num_threads(threads)
    for (size_t r = 0; r < x->rows; r++)
        for (size_t i = 0; i < n; i++)
            rows[r * MOMENT_TOKENS + i] = panel_row(x, (at + i) / LANES, r)[(at + i) % LANES] * gate[at + i];
}

struct expert { /* whose inputs are wanted */
    const struct calibration *cal;
    const struct weight *w;
    uint64_t slab;
    struct forward f; /* model and options only */
    struct panel_store store;
    int inner;
};

static void combine(struct panels *to, const struct panels *from, float by)
{
    for (size_t i = 0; i < to->tiles * to->rows * LANES; i++)
        to->data[i] += by * from->data[i];
}

/* Inputs of n tokens: the layer's, or of down what gate and up make of them. original: not those behind what is quantized. */
static int inputs_of(struct expert *x, const uint32_t *token, size_t n, int original, struct panels *out, struct error *e)
{
    struct panels in = {0}, changes = {0};
    struct weight w[2];
    size_t tiles = (n + LANES - 1) / LANES, D = (size_t)x->cal->model->params.hidden_size;
    int rc = panels_init(&in, &x->store, tiles, D, e) || calibration_inputs(x->cal, x->w->layer, token, n, &in, e);
    if (!rc && original)
        rc = panels_init(&changes, &x->store, tiles, D, e) || calibration_changes(x->cal, x->w->layer, token, n, &changes, e);
    if (!rc && original)
        combine(&in, &changes, 1);
    panels_clear(&changes, &x->store);
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

/* Of the tokens that weigh() has laid out. */
static void add_sizes(const float *rows, size_t cols, size_t n, struct sums *sums)
{
    double size[MOMENT_TOKENS] = {0};
    for (size_t r = 0; r < cols; r++)
        for (size_t i = 0; i < n; i++)
            size[i] += (double)rows[r * MOMENT_TOKENS + i] * (double)rows[r * MOMENT_TOKENS + i];
    for (size_t i = 0; i < n; i++) {
        sums->size += size[i];
        sums->size2 += size[i] * size[i];
    }
}

/* Adds a piece's tokens to h, and to cross when there is one. */
static int add_piece(struct expert *x, const uint32_t *token, const float *gate, size_t n, struct square *h, struct square *cross,
                     struct sums *sums, float *rows, int threads, struct error *e)
{
    struct panels in = {0}, original = {0};
    gemm_fn *gemm = gemm_for(x->cal->model->cpu);
    float *changes = rows + h->n * MOMENT_TOKENS;
    int rc = inputs_of(x, token, n, 0, &in, e) || (cross->n && inputs_of(x, token, n, 1, &original, e));
    if (!rc && cross->n)
        combine(&original, &in, -1);
    for (size_t at = 0, some; !rc && at < n; at += some) {
        some = n - at < MOMENT_TOKENS ? n - at : MOMENT_TOKENS;
        weigh(&in, gate, at, some, rows, threads);
        square_add_moment(h, gemm, rows, MOMENT_TOKENS, some, threads);
        add_sizes(rows, h->n, some, sums);
        if (!cross->n)
            continue;
        weigh(&original, gate, at, some, changes, threads);
        square_add_cross(cross, gemm, rows, changes, MOMENT_TOKENS, some, threads);
    }
    panels_clear(&in, &x->store);
    panels_clear(&original, &x->store);
    return rc ? -1 : 0;
}

static int add_expert(struct expert *x, struct square *h, struct square *cross, struct sums *sums, int threads, struct error *e)
{
    uint32_t *token = NULL;
    float *gate = NULL, *rows = malloc(2 * h->n * MOMENT_TOKENS * sizeof *rows);
    size_t n = 0;
    int rc = rows ? calibration_routed(x->cal, x->w->layer, (int)x->slab, &token, &gate, &n, e) : no_memory(e);
    for (size_t at = 0; !rc && at < n; at += PIECE) {
        size_t some = n - at < PIECE ? n - at : PIECE;
        rc = add_piece(x, token + at, gate + at, some, h, cross, sums, rows, threads, e);
    }
    for (size_t i = 0; i < n; i++)
        sums->weight += (double)gate[i] * (double)gate[i];
    free(token);
    free(gate);
    free(rows);
    return rc ? -1 : 0;
}

/* Adds k / (n + k) of the layer's mean to n / (n + k) of the expert's. */
static int blend_layer(const struct calibration *cal, int layer, double n, double k, struct square *h, struct square *cross,
                       int threads, struct error *e)
{
    double all = (double)cal->tokens;
    struct square of_layer = {0};
    if (cross->n) {
        int rc = square_init(&of_layer, cross->n, e) || calibration_cross(cal, INPUT_FFN, layer, 0, &of_layer, e);
        for (size_t i = 0; !rc && i < square_floats(h->n); i++)
            cross->data[i] = (float)((n * (double)cross->data[i] + k / all * (double)of_layer.data[i]) / (n + k));
        square_clear(&of_layer);
        if (rc)
            return -1;
    }
    scale_lower(h, n / k * all, threads); /* in the layer's units, which are sums over its tokens */
    if (calibration_moment(cal, INPUT_FFN, layer, 0, h, e))
        return -1;
    scale_lower(h, k / (n + k) / all, threads);
    return 0;
}

/* All but the diagonal. */
static void shrink_pairs(struct square *s, double by, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (size_t p = 0; p < square_panels(s->n); p++)
        for (size_t i = p * LANES; i < s->n; i++)
            for (size_t l = 0; l < LANES; l++)
                if (i != p * LANES + l)
                    square_row(s, p, i)[l] = (float)((double)square_row(s, p, i)[l] * by);
}

/* The mean of a routed expert's inputs, blended. */
static int expert_mean(const struct calibration *cal, const struct weight *w, uint64_t slab, const struct hessian_options *o,
                       int threads, struct square *h, struct square *cross, struct hessian_facts *facts, struct error *e)
{
    struct expert x = {.cal = cal, .w = w, .slab = slab, .store = {.room = UINT64_MAX}, .inner = input_of(w->role) == INPUT_EXPERT_INNER};
    struct sums sums = {0};
    double k = o->blend * (double)h->n;
    x.f = (struct forward){.model = cal->model, .options = {.threads = threads, .streams = 1, .store = &x.store}};
    if (add_expert(&x, h, cross, &sums, threads, e))
        return -1;
    double n = sums.size2 > 0 ? sums.size * sums.size / sums.size2 : 0, known = n / (n + k);
    *facts = (struct hessian_facts){.tokens = n, .known = x.inner && n > 0 ? known : 1};
    if (sums.weight > 0)
        scale_lower(h, 1 / sums.weight, threads);
    if (sums.weight > 0 && cross->n)
        scale_all(cross, 1 / sums.weight);
    if (!x.inner)
        return k > 0 ? blend_layer(cal, w->layer, n, k, h, cross, threads, e) : 0;
    shrink_pairs(h, facts->known, threads);
    if (cross->n)
        scale_all(cross, facts->known);
    return 0;
}

static int mean(const struct calibration *cal, const struct weight *w, uint64_t slab, const struct hessian_options *o, int threads,
                struct square *h, struct square *cross, struct hessian_facts *facts, struct error *e)
{
    enum input input = input_of(w->role);
    if (input == INPUT_EXPERT || input == INPUT_EXPERT_INNER)
        return expert_mean(cal, w, slab, o, threads, h, cross, facts, e);
    const double n = (double)cal->tokens;
    const uint64_t own = roles[w->role].flags & ROLE_PER_HEAD ? slab : 0;
    *facts = (struct hessian_facts){.tokens = n, .known = n / (n + o->blend * (double)h->n)};
    if (calibration_moment(cal, input, w->layer, own, h, e) || (cross->n && calibration_cross(cal, input, w->layer, own, cross, e)))
        return -1;
    scale_lower(h, 1 / n, threads);
    shrink_pairs(h, facts->known, threads);
    if (cross->n)
        scale_all(cross, facts->known / n);
    return 0;
}

int hessian_mean(const struct calibration *cal, const struct weight *w, uint64_t slab, const struct hessian_options *o, int threads,
                 struct square *h, struct square *cross, struct hessian_facts *facts, struct error *e)
{
    if (mean(cal, w, slab, o, threads, h, cross, facts, e))
        return -1;
    square_mirror(h, threads);
    return 0;
}

/* Rows and columns follow the matrix's columns: all of s, both halves. */
static int follow_columns(struct square *s, const struct column_change *change, int threads, struct error *e)
{
    struct square to;
    if (square_init(&to, s->n, e))
        return -1;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (size_t j = 0; j < s->n; j++) {
        size_t c = change->from ? change->from[j] : j;
        for (size_t i = 0; i < s->n; i++) {
            size_t r = change->from ? change->from[i] : i;
            double by = change->scale ? (double)change->scale[r] * (double)change->scale[c] : 1;
            *square_at(&to, i, j) = (float)((double)*square_at(s, r, c) / by);
        }
    }
    square_clear(s);
    *s = to;
    return 0;
}

int curvature_factor(struct curvature *c, unsigned cpu, int threads, struct error *e)
{
    const size_t n = c->h.n;
    memcpy(c->u.data, c->h.data, square_floats(n) * sizeof *c->u.data);
    if (!c->order)
        return ldl_factor(&c->u, c->d, NULL, cpu, threads, e);
    float *d = malloc(n * sizeof *d);
    int rc = d ? ldl_factor(&c->u, d, c->order, cpu, threads, e) : no_memory(e);
    for (size_t j = 0; !rc && j < n; j++)
        c->d[c->order[j]] = d[j];
    free(d);
    return rc;
}

/* Damps and factors; more damping where that is not enough. */
static int factor(struct curvature *c, double damping, int threads, unsigned cpu, struct error *e)
{
    double unit = trace(&c->h) / (double)c->h.n, added = 0;
    for (int attempt = 0; attempt < 6; attempt++, damping *= 10) {
        for (size_t i = 0; i < c->h.n; i++)
            *square_at(&c->h, i, i) += (float)((damping - added) * unit);
        added = damping;
        int rc = curvature_factor(c, cpu, threads, e);
        if (rc <= 0)
            return rc;
    }
    return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the second moments of a matrix's inputs have no factor");
}

static double damping_for(double damping, double known)
{
    return damping * (known * known > 0.1 ? 1 / (known * known) : 10);
}

int hessian_make(const struct calibration *cal, const struct weight *w, uint64_t slab, const struct column_change *change,
                 const struct hessian_options *o, int threads, struct curvature *c, struct hessian_facts *facts, struct error *e)
{
    const size_t n = (size_t)w->cols;
    *c = (struct curvature){.d = NULL};
    if (square_init(&c->h, n, e) || (cal->following && square_init(&c->cross, n, e)) ||
        hessian_mean(cal, w, slab, o, threads, &c->h, &c->cross, facts, e))
        goto fail;
    if ((change->scale || change->from) &&
        (follow_columns(&c->h, change, threads, e) || (c->cross.n && follow_columns(&c->cross, change, threads, e))))
        goto fail;
    if (!(trace(&c->h) > 0)) {
        curvature_clear(c);
        return 1;
    }
    if (square_init(&c->u, n, e) || (!(c->d = malloc(n * sizeof *c->d)) && no_memory(e)) ||
        (o->order == ORDER_IMPORTANCE && !(c->order = malloc(n * sizeof *c->order)) && no_memory(e)) ||
        factor(c, damping_for(o->damping, facts->known), threads, cal->model->cpu, e))
        goto fail;
    double kept = 0;
    for (size_t i = 0; i < n; i++)
        kept += (double)c->d[i];
    facts->explained = kept / trace(&c->h);
    return 0;
fail:
    curvature_clear(c);
    return -1;
}

/* Of a routed expert: its tokens, their inputs piece by piece as panels and as rows, and the threads that multiply them. */
static uint64_t expert_bytes(const struct calibration *cal, uint64_t n, int threads)
{
    const struct arch_params *p = &cal->model->params;
    uint64_t routed = cal->tokens * (6 * p->num_experts_per_tok + 8);
    uint64_t panels = PIECE * (cal->following ? 3 * (p->hidden_size + n) : p->hidden_size + 2 * n) * sizeof(float);
    return routed + panels + 2 * n * MOMENT_TOKENS * sizeof(float) + (uint64_t)threads * FORWARD_PRODUCT_BYTES;
}

uint64_t hessian_bytes(const struct calibration *cal, const struct weight *w, int threads)
{
    enum input input = input_of(w->role);
    uint64_t n = w->cols, panel = n * LANES * sizeof(float), squares = (cal->following ? 3 : 2) * square_floats((size_t)n) * sizeof(float);
    return squares + 2 * panel + (input == INPUT_EXPERT || input == INPUT_EXPERT_INNER ? expert_bytes(cal, n, threads) : 0);
}
