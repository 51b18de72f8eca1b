/* SPDX-License-Identifier: MIT
 * A layer, in the three steps that let two models advance side by side: attention and routing; the routed experts, one at
 * a time; the end.
 *   moe(x) = sum over the chosen experts, in the order of their numbers, of gate_e * mlp_e(x), then + mlp_shared(x) */
#include <stdlib.h>

#include "model/forward/parts.h"

struct layer_run {
    int layer, is_moe;
    struct panels x, y;   /* normed input of the MLP; sum of the experts */
    struct weight w[3];   /* gate, up, down of the experts */
    size_t n;             /* tokens of the current expert */
    uint32_t *token;      /* tile * LANES + lane, ascending */
    float *gate;
    size_t *from, *to;    /* their places in x or y (without the row) and in the packed panels */
    struct panels xe, ye; /* the current expert's packed input and output */
};

static void run_free(struct forward *f, struct layer_run *r)
{
    struct panel_store *store = f->options.store;
    panels_clear(&r->x, store);
    panels_clear(&r->y, store);
    panels_clear(&r->xe, store);
    panels_clear(&r->ye, store);
    free(r->token);
    free(r->gate);
    free(r->from);
    free(r->to);
    free(r);
}

static int begin_moe(struct forward *f, struct layer_run *r, struct error *e)
{
    size_t tokens = f->tiles * LANES;
    r->token = malloc(tokens * sizeof *r->token);
    r->gate = malloc(tokens * sizeof *r->gate);
    r->from = malloc(tokens * sizeof *r->from);
    r->to = malloc(tokens * sizeof *r->to);
    if (!r->token || !r->gate || !r->from || !r->to)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    return panels_init(&r->y, f->options.store, f->tiles, f->hidden.rows, e) || route_all(f, r->layer, &r->x, e) ||
                   need_three(f, ROLE_FFN_GATE_EXPS, r->layer, r->w, e)
               ? -1
               : 0;
}

int forward_attention(struct forward *f, int layer, struct error *e)
{
    struct panels x = {0};
    int rc = panels_init(&x, f->options.store, f->tiles, f->hidden.rows, e) ||
             forward_norm(f, ROLE_ATTN_NORM, layer, &f->hidden, &x, e) ||
             observe(f, &(struct input_seen){INPUT_ATTN, layer, &x}, e) || attention_add(f, layer, &x, e) ||
             check_finite(f, ROLE_ATTN_OUTPUT, layer, e);
    panels_clear(&x, f->options.store);
    return rc ? -1 : 0;
}

static struct layer_run *begin_mlp(struct forward *f, int layer, struct error *e)
{
    struct layer_run *r = calloc(1, sizeof *r);
    if (!r) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        return NULL;
    }
    r->layer = layer;
    r->is_moe = (uint64_t)layer >= f->model->params.first_k_dense_replace;
    if (panels_init(&r->x, f->options.store, f->tiles, f->hidden.rows, e) ||
        forward_norm(f, ROLE_FFN_NORM, layer, &f->hidden, &r->x, e) || (r->is_moe && begin_moe(f, r, e)) ||
        observe(f, &(struct input_seen){INPUT_FFN, layer, &r->x}, e)) {
        run_free(f, r);
        return NULL;
    }
    return r;
}

struct layer_run *forward_layer_begin(struct forward *f, int layer, struct error *e)
{
    return forward_attention(f, layer, e) ? NULL : begin_mlp(f, layer, e);
}

/* Tokens of one expert, and where their features are. */
static void collect(const struct forward *f, struct layer_run *r, int expert)
{
    size_t used = (size_t)f->model->params.num_experts_per_tok, D = f->hidden.rows;
    r->n = 0;
    for (size_t token = 0; token < f->tiles * LANES; token++)
        for (size_t k = 0; k < used && forward_is_token(f, token / LANES, token % LANES); k++)
            if (f->chosen[token * used + k] == expert) {
                r->from[r->n] = token / LANES * D * LANES + token % LANES;
                r->to[r->n] = r->n / LANES * D * LANES + r->n % LANES;
                r->token[r->n] = (uint32_t)token;
                r->gate[r->n++] = f->gates[token * used + k];
                break;
            }
}

static void gather_row(const struct layer_run *r, size_t row, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        r->xe.data[r->to[i] + row * LANES] = r->x.data[r->from[i] + row * LANES];
}

static void scatter_add_row(const struct layer_run *r, size_t row, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        r->y.data[r->from[i] + row * LANES] += r->gate[i] * r->ye.data[r->to[i] + row * LANES];
}

/* One of these over all rows and tokens: a packed tile and some rows at a time, so that the tiles its tokens come from stay in the cache. */
static void for_rows(const struct forward *f, const struct layer_run *r, void (*move)(const struct layer_run *, size_t, size_t, size_t))
{
    enum { ROWS_TOGETHER = 64 };
    const size_t rows = r->x.rows; /* y has as many */
#pragma omp parallel for collapse(2) num_threads(f->options.threads)
    for (size_t first = 0; first < r->n; first += LANES)
        for (size_t row0 = 0; row0 < rows; row0 += ROWS_TOGETHER)
            for (size_t row = row0; row < rows && row < row0 + ROWS_TOGETHER; row++)
                move(r, row, first, first + LANES < r->n ? first + LANES : r->n);
}

int forward_layer_expert(struct forward *f, struct layer_run *r, int expert, struct expert_output *out, struct error *e)
{
    struct panel_store *store = f->options.store;
    panels_clear(&r->xe, store);
    panels_clear(&r->ye, store);
    r->n = 0;
    if (r->is_moe)
        collect(f, r, expert);
    if (out)
        *out = (struct expert_output){r->n, r->token, r->to, &r->ye};
    if (!r->n)
        return 0;
    size_t tiles = (r->n + LANES - 1) / LANES, last = (r->n - 1) % LANES + 1;
    if (panels_init(&r->xe, store, tiles, r->x.rows, e) || panels_init(&r->ye, store, tiles, r->y.rows, e))
        return -1;
    r->xe.last_lanes = r->ye.last_lanes = (last + 15) / 16 * 16;
    for_rows(f, r, gather_row);
    struct input_seen in = {INPUT_EXPERT, r->layer, &r->xe, (uint64_t)expert, r->n, r->token, r->gate}, inner = in;
    inner.input = INPUT_EXPERT_INNER;
    if (observe(f, &in, e) || mlp_product(f, r->w, (uint64_t)expert, &r->xe, &r->ye, inner, e))
        return -1;
    for_rows(f, r, scatter_add_row);
    return 0;
}

static int end_moe(struct forward *f, struct layer_run *r, struct error *e)
{
    struct panels shared = {0};
    struct weight w[3];
    int rc = 0;
    if (f->model->params.n_shared_experts) {
        rc = need_three(f, ROLE_FFN_GATE_SHEXP, r->layer, w, e) ||
             panels_init(&shared, f->options.store, f->tiles, f->hidden.rows, e) ||
             mlp_product(f, w, 0, &r->x, &shared, (struct input_seen){INPUT_SHEXP_INNER, r->layer}, e);
        if (!rc)
            panels_add(f, &r->y, &shared);
        panels_clear(&shared, f->options.store);
    }
    if (!rc)
        panels_add(f, &f->hidden, &r->y);
    return rc ? -1 : 0;
}

int forward_layer_end(struct forward *f, struct layer_run *r, struct error *e)
{
    int rc = r->is_moe ? end_moe(f, r, e) : mlp_add(f, r->layer, &r->x, e);
    rc = rc || check_finite(f, r->is_moe ? ROLE_FFN_DOWN_EXPS : ROLE_FFN_DOWN, r->layer, e);
    run_free(f, r);
    return rc ? -1 : 0;
}

void forward_layer_abandon(struct forward *f, struct layer_run *r)
{
    if (r)
        run_free(f, r);
}

int forward_mlp(struct forward *f, int layer, struct error *e)
{
    struct layer_run *r = begin_mlp(f, layer, e);
    if (!r)
        return -1;
    for (int x = 0; x < (int)f->model->params.n_routed_experts && r->is_moe; x++)
        if (forward_layer_expert(f, r, x, NULL, e)) {
            run_free(f, r);
            return -1;
        }
    return forward_layer_end(f, r, e);
}

int forward_layer(struct forward *f, int layer, struct error *e)
{
    return forward_attention(f, layer, e) || forward_mlp(f, layer, e) ? -1 : 0;
}
