/* SPDX-License-Identifier: MIT
 * Multi-head latent attention, head by head: a worker decodes one head's weights once and takes all chunks through it.
 *
 *   q = Wq x (through q_a and its norm, or directly)            [nope + rope] per head, rope part rotated
 *   c = Wkv_a x: first kv_lora_rank normed, the rest is k_rope, rotated, shared by all heads
 *   k_nope = Wk c, v = Wv c                                      per head
 *   score(i, j) = (q_nope . k_nope + q_rope . k_rope) * scale    one sum over nope and rope
 *   o_i = sum_j softmax_j(score) v_j;  result = Wo [o of all heads]
 *
 * Where a pass rounds as llama.cpp does, K and V halves are absorbed, so that what meets the weights is what meets them there:
 *   q' = Wk' q_nope, score = (q' . c + q_rope . k_rope) * scale, v_i = Wv (sum_j softmax_j(score) c_j)
 * Scores and values are products of gemm.h: queries are lanes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/forward/gemm.h"
#include "model/forward/lanes.h"
#include "model/forward/parts.h"

struct mla { /* one layer's attention */
    const struct forward *f;
    gemm_fn *gemm;
    const struct lanes *lanes;
    size_t nope, rope, value, lora, ctx_padded;
    struct weight q, k, v;
    const struct panels *q_in, *latent, *k_rope; /* inputs of q; normed c; rotated k_rope */
    int absorbed;
    const struct rounding *q_nope, *query, *mixed; /* absorbed: what is rounded before k_b, the cache and v_b; NULL: not */
    struct panels *out;                          /* [heads * value] */
    const struct indexer_mask *mask;
    int layer;
};

struct head { /* a worker's buffers */
    float *wq, *wk_t, *wk, *wv; /* decoded weights; wk_t as stored, [lora][nope] */
    float *q, *k, *v;           /* panels of one chunk; k and v of all its tiles */
    float *k_rows, *v_t;        /* [token][nope + rope], absorbed [token][lora + rope]; [value][token] */
    float *absorbed;            /* queries in the latent space, [lora + rope][LANES] */
    float *c_t, *mixed;         /* absorbed and for an observer: latents [lora][token], mixed by attention [lora][LANES] */
    float *s, *o;               /* scores [token][LANES], output [value][LANES] */
    void *scratch;
};

static void *get(size_t floats, int *failed)
{
    void *p = NULL;
    *failed |= posix_memalign(&p, 64, floats * sizeof(float) + 64);
    return p;
}

static int head_init(struct head *h, const struct mla *m)
{
    size_t dq = m->nope + m->rope, dc = m->lora + m->rope, ctx = m->ctx_padded, tiles = ctx / LANES, sq, sk, sv;
    int failed = 0, latents = m->absorbed || m->f->options.observer;
    memset(h, 0, sizeof *h);
    h->wq = get(dq * (size_t)m->q.cols, &failed);
    h->wk_t = get(m->lora * m->nope, &failed);
    h->wk = get(m->nope * m->lora, &failed);
    h->wv = get(m->value * m->lora, &failed);
    h->q = get(dq * LANES, &failed);
    h->k = get(tiles * m->nope * LANES, &failed);
    h->v = get(tiles * m->value * LANES, &failed);
    h->k_rows = get(ctx * (m->absorbed ? dc : dq), &failed);
    h->absorbed = get(m->absorbed ? dc * LANES : 0, &failed);
    h->v_t = get(m->value * ctx, &failed);
    h->c_t = get(latents ? m->lora * ctx : 0, &failed);
    h->mixed = get(latents ? m->lora * LANES : 0, &failed);
    h->s = get(ctx * LANES, &failed);
    h->o = get(m->value * LANES, &failed);
    sq = weight_scratch(m->f->model, &m->q, dq);
    sk = weight_scratch(m->f->model, &m->k, m->lora);
    sv = weight_scratch(m->f->model, &m->v, m->value);
    sk = sk > sv ? sk : sv;
    h->scratch = get((sq > sk ? sq : sk) / sizeof(float) + 16, &failed);
    return failed;
}

static void head_clear(struct head *h)
{
    void *all[] = {h->wq, h->wk_t, h->wk, h->wv, h->q, h->k, h->v, h->k_rows, h->v_t, h->absorbed, h->c_t, h->mixed, h->s, h->o, h->scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static int read_head(const struct mla *m, struct head *h, uint64_t n, struct error *e)
{
    const struct model *model = m->f->model;
    size_t dq = m->nope + m->rope;
    if (weight_read(model, &m->q, 0, n * dq, dq, h->wq, h->scratch, NULL, e) ||
        weight_read(model, &m->k, n, 0, m->lora, h->wk_t, h->scratch, NULL, e) ||
        weight_read(model, &m->v, n, 0, m->value, h->wv, h->scratch, NULL, e))
        return -1;
    for (size_t d = 0; d < m->nope; d++)
        for (size_t c = 0; c < m->lora; c++)
            h->wk[d * m->lora + c] = h->wk_t[c * m->nope + d];
    return 0;
}

/* Rows r and k of a tile, rows and rope of them, become rows of its tokens. */
static void turn_keys(const struct mla *m, const float *k, size_t rows, const float *r, float *out)
{
    size_t width = rows + m->rope;
    for (size_t l = 0; l < LANES; l++, out += width) {
        for (size_t d = 0; d < rows; d++)
            out[d] = k[d * LANES + l];
        for (size_t d = 0; d < m->rope; d++)
            out[rows + d] = r[d * LANES + l];
    }
}

/* Keys as rows of tokens, values as rows of features, for the chunk that begins at `tile`. */
static void keys_and_values(const struct mla *m, struct head *h, size_t tile)
{
    size_t dq = m->nope + m->rope, ctx = m->ctx_padded;
    for (size_t t = 0; t < ctx / LANES; t++) {
        float *k = h->k + t * m->nope * LANES, *v = h->v + t * m->value * LANES;
        const float *c = panel_row(m->latent, tile + t, 0), *r = panel_row(m->k_rope, tile + t, 0);
        gemm_rows(m->gemm, h->wk, m->lora, m->nope, c, m->lora, LANES, k);
        gemm_rows(m->gemm, h->wv, m->lora, m->value, c, m->lora, LANES, v);
        turn_keys(m, k, m->nope, r, h->k_rows + t * LANES * dq);
        for (size_t d = 0; d < m->value; d++)
            memcpy(h->v_t + d * ctx + t * LANES, v + d * LANES, LANES * sizeof(float));
        for (size_t d = 0; m->f->options.observer && d < m->lora; d++)
            memcpy(h->c_t + d * ctx + t * LANES, c + d * LANES, LANES * sizeof(float));
    }
}

/* The latents themselves, as rows of tokens and of features. */
static void latent_keys(const struct mla *m, struct head *h, size_t tile)
{
    size_t ctx = m->ctx_padded;
    for (size_t t = 0; t < ctx / LANES; t++) {
        const float *c = panel_row(m->latent, tile + t, 0);
        turn_keys(m, c, m->lora, panel_row(m->k_rope, tile + t, 0), h->k_rows + t * LANES * (m->lora + m->rope));
        for (size_t d = 0; d < m->lora; d++)
            memcpy(h->c_t + d * ctx + t * LANES, c + d * LANES, LANES * sizeof(float));
    }
}

/* Whether query lane l of the chunk's tile t sees key j. */
static int visible(const uint8_t *allowed, size_t t, size_t l, size_t j)
{
    return j <= t * LANES + l && (!allowed || allowed[j * LANES + l]);
}

/* In place: scores [n][LANES] to probabilities; invisible keys become 0. (Each query sees a key at least: the indexer keeps one.) */
static void softmax_lanes(const struct mla *m, float *s, size_t t, size_t n, const uint8_t *allowed)
{
    float scale = (float)m->f->softmax_scale, max[LANES];
    double sum[LANES] = {0};
    for (size_t l = 0; l < LANES; l++)
        max[l] = -INFINITY;
    for (size_t j = 0; j < n; j++)
        for (size_t l = 0; l < LANES; l++) {
            float v = visible(allowed, t, l, j) ? s[j * LANES + l] * scale : -INFINITY;
            s[j * LANES + l] = v;
            max[l] = v > max[l] ? v : max[l];
        }
    for (size_t j = 0; j < n; j++) {
        for (size_t l = 0; l < LANES; l++)
            s[j * LANES + l] -= max[l];
        m->lanes->exp(s + j * LANES, LANES);
        for (size_t l = 0; l < LANES; l++)
            sum[l] += (double)s[j * LANES + l];
    }
    for (size_t j = 0; j < n; j++)
        for (size_t l = 0; l < LANES; l++)
            s[j * LANES + l] = (float)((double)s[j * LANES + l] / sum[l]);
}

static int observe_head(const struct mla *m, enum input input, size_t head_no, size_t tile, const float *x,
                        struct error *e)
{
    const struct forward_observer *o = m->f->options.observer;
    return o ? o->head(o->context, m->f, input, m->layer, head_no, tile, x, e) : 0;
}

/* The head's queries of the chunk's tile t, the rope part rotated. */
static int project_queries(const struct mla *m, struct head *h, size_t tile, size_t t, size_t head_no, struct error *e)
{
    gemm_rows(m->gemm, h->wq, (size_t)m->q.cols, m->nope + m->rope, panel_row(m->q_in, tile + t, 0), (size_t)m->q.cols, LANES, h->q);
    if (observe_head(m, INPUT_Q_NOPE, head_no, tile + t, h->q, e))
        return -1;
    rope_rotate(m->f, h->q + m->nope * LANES, t * LANES);
    return 0;
}

/* Softmaxed scores of the tile's queries q, as wide as the rows of keys. */
static void score(const struct mla *m, struct head *h, const float *q, size_t width, size_t tile, size_t t)
{
    const uint8_t *allowed = m->mask->allowed;
    size_t n = (t + 1) * LANES;
    if (allowed)
        allowed += (tile + t) * m->ctx_padded * LANES;
    gemm_rows(m->gemm, h->k_rows, width, n, q, width, LANES, h->s);
    softmax_lanes(m, h->s, t, n, allowed);
}

static int mix_latents(const struct mla *m, struct head *h, size_t tile, size_t t, size_t head_no, struct error *e)
{
    gemm_rows(m->gemm, h->c_t, m->ctx_padded, m->lora, h->s, (t + 1) * LANES, LANES, h->mixed);
    return observe_head(m, INPUT_MIXED_LATENT, head_no, tile + t, h->mixed, e);
}

static int queries(const struct mla *m, struct head *h, size_t tile, size_t t, size_t head_no, struct error *e)
{
    if (project_queries(m, h, tile, t, head_no, e))
        return -1;
    score(m, h, h->q, m->nope + m->rope, tile, t);
    gemm_rows(m->gemm, h->v_t, m->ctx_padded, m->value, h->s, (t + 1) * LANES, LANES, panel_row(m->out, tile + t, head_no * m->value));
    return m->f->options.observer ? mix_latents(m, h, tile, t, head_no, e) : 0;
}

static void round_tile(const struct rounding *r, float *x, size_t rows)
{
    if (r)
        rounding_apply(r, x, rows);
}

static int absorbed_queries(const struct mla *m, struct head *h, size_t tile, size_t t, size_t head_no, struct error *e)
{
    if (project_queries(m, h, tile, t, head_no, e))
        return -1;
    round_tile(m->q_nope, h->q, m->nope);
    gemm_rows(m->gemm, h->wk_t, m->nope, m->lora, h->q, m->nope, LANES, h->absorbed);
    memcpy(h->absorbed + m->lora * LANES, h->q + m->nope * LANES, m->rope * LANES * sizeof(float));
    round_tile(m->query, h->absorbed, m->lora + m->rope);
    score(m, h, h->absorbed, m->lora + m->rope, tile, t);
    if (mix_latents(m, h, tile, t, head_no, e))
        return -1;
    round_tile(m->mixed, h->mixed, m->lora);
    gemm_rows(m->gemm, h->wv, m->lora, m->value, h->mixed, m->lora, LANES, panel_row(m->out, tile + t, head_no * m->value));
    return 0;
}

static int run_head(const struct mla *m, struct head *h, size_t head_no, struct error *e)
{
    size_t per_chunk = m->f->tiles_per_chunk;
    for (size_t tile = 0; tile < m->f->tiles; tile += per_chunk) {
        if (check_stop(m->f, e))
            return -1;
        (m->absorbed ? latent_keys : keys_and_values)(m, h, tile);
        for (size_t t = 0; t < per_chunk; t++)
            if ((m->absorbed ? absorbed_queries : queries)(m, h, tile, t, head_no, e))
                return -1;
    }
    return 0;
}

static int run_heads(const struct mla *m, struct error *e)
{
    int rc = 0, heads = (int)m->f->model->params.num_attention_heads;
#pragma omp parallel num_threads(m->f->options.threads)
    {
        struct head h;
        int failed = head_init(&h, m);
#pragma omp for schedule(dynamic)
        for (int n = 0; n < heads; n++) {
            struct error why = {0};
            int bad = failed ? error_set(&why, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for attention")
                             : read_head(m, &h, (uint64_t)n, &why);
            if (bad || run_head(m, &h, (size_t)n, &why)) {
#pragma omp critical(attention_error)
                {
                    if (!rc && e)
                        *e = why;
                    rc = -1;
                }
            }
        }
        head_clear(&h);
    }
    return rc;
}

/* What the cache will hold. A block of its rounding lies in one of both parts: latents are whole blocks, or the last is cut. */
static void round_cache(const struct forward *f, const struct panels *latent, const struct panels *k_rope)
{
    const struct rounding *r = f->options.rounding.cache->stored;
#pragma omp parallel for num_threads(f->options.threads)
    for (size_t t = 0; t < latent->tiles; t++) {
        rounding_apply(r, panel_row(latent, t, 0), latent->rows);
        rounding_apply(r, panel_row(k_rope, t, 0), k_rope->rows);
    }
}

/* c = kv_a x, split into the normed latent and the rotated k_rope. */
static int compress(struct forward *f, int layer, const struct panels *x, struct panels *latent, struct panels *k_rope,
                    struct error *e)
{
    struct panels raw = {0};
    struct weight w;
    int rc = need_weight(f, ROLE_ATTN_KV_A_MQA, layer, &w, e) ||
             panels_init(&raw, f->options.store, x->tiles, latent->rows, e) ||
             forward_product(f, &w, 0, 0, latent->rows, x, &raw, 0, e) ||
             forward_product(f, &w, 0, latent->rows, k_rope->rows, x, k_rope, 0, e) ||
             forward_norm(f, ROLE_ATTN_KV_A_NORM, layer, &raw, latent, e);
    for (size_t t = 0; !rc && t < x->tiles; t++)
        rope_rotate(f, panel_row(k_rope, t, 0), t % f->tiles_per_chunk * LANES);
    if (!rc && f->options.rounding.cache)
        round_cache(f, latent, k_rope);
    panels_clear(&raw, f->options.store);
    return rc ? -1 : 0;
}

/* q_a = norm(Wq_a x); without q_lora_rank the queries come from x itself. */
static int query_input(struct forward *f, int layer, const struct panels *x, struct panels *q_a, struct error *e)
{
    struct panels raw = {0};
    struct weight w;
    int rc = need_weight(f, ROLE_ATTN_Q_A, layer, &w, e) ||
             panels_init(&raw, f->options.store, x->tiles, (size_t)w.rows, e) ||
             forward_product(f, &w, 0, 0, w.rows, x, &raw, 0, e) ||
             panels_init(q_a, f->options.store, x->tiles, (size_t)w.rows, e) ||
             forward_norm(f, ROLE_ATTN_Q_A_NORM, layer, &raw, q_a, e);
    panels_clear(&raw, f->options.store);
    return rc ? -1 : 0;
}

static int project_out(struct forward *f, int layer, const struct panels *out, struct error *e)
{
    struct panels y = {0};
    struct weight w;
    int rc = need_weight(f, ROLE_ATTN_OUTPUT, layer, &w, e) ||
             panels_init(&y, f->options.store, out->tiles, f->hidden.rows, e) ||
             forward_product(f, &w, 0, 0, w.rows, out, &y, 0, e);
    if (!rc)
        panels_add(f, &f->hidden, &y);
    panels_clear(&y, f->options.store);
    return rc ? -1 : 0;
}

/* Finds the weights of the heads, and how the pass rounds what they read. */
static int choose_weights(struct mla *m, int has_q_a, struct error *e)
{
    const struct pass_rounding *r = &m->f->options.rounding;
    if (need_weight(m->f, has_q_a ? ROLE_ATTN_Q_B : ROLE_ATTN_Q, m->layer, &m->q, e) ||
        need_weight(m->f, ROLE_ATTN_K_B, m->layer, &m->k, e) || need_weight(m->f, ROLE_ATTN_V_B, m->layer, &m->v, e))
        return -1;
    m->absorbed = r->act && r->act->as_ggml && !m->k.from_kv_b;
    if (!m->absorbed)
        return 0;
    m->q_nope = act_rounding_of(r->act, m->f->model, &m->k, 0);
    m->mixed = act_rounding_of(r->act, m->f->model, &m->v, 0);
    m->query = r->cache ? r->cache->query : NULL;
    return 0;
}

/* All heads on inputs that are rounded where the pass does. */
static int attend(struct mla *m, struct error *e)
{
    struct panels q_copy = {0}, latent_copy = {0};
    m->q_in = round_input(m->f, &m->q, 0, m->q_in, &q_copy, e);
    if (m->q_in && !m->absorbed)
        m->latent = round_input(m->f, &m->k, 0, m->latent, &latent_copy, e);
    int rc = m->q_in && m->latent ? run_heads(m, e) : -1;
    panels_clear(&q_copy, m->f->options.store);
    panels_clear(&latent_copy, m->f->options.store);
    return rc;
}

int attention_add(struct forward *f, int layer, const struct panels *x, struct error *e)
{
    const struct arch_params *p = &f->model->params;
    struct panel_store *store = f->options.store;
    struct panels latent = {0}, k_rope = {0}, q_a = {0}, out = {0};
    struct indexer_mask mask = {0};
    int has_q_a = p->q_lora_rank != 0;
    struct mla m = {.f = f, .gemm = gemm_for(f->model->cpu), .lanes = lanes_for(f->model->cpu),
                    .nope = (size_t)p->qk_nope_head_dim,
                    .rope = (size_t)p->qk_rope_head_dim, .value = (size_t)p->v_head_dim, .lora = (size_t)p->kv_lora_rank,
                    .ctx_padded = f->tiles_per_chunk * LANES, .q_in = has_q_a ? &q_a : x, .latent = &latent,
                    .k_rope = &k_rope, .out = &out, .mask = &mask, .layer = layer};
    int rc = panels_init(&latent, store, x->tiles, m.lora, e) || panels_init(&k_rope, store, x->tiles, m.rope, e) ||
             compress(f, layer, x, &latent, &k_rope, e) || (has_q_a && query_input(f, layer, x, &q_a, e)) ||
             observe(f, &(struct input_seen){INPUT_KV_LATENT, layer, &latent}, e) ||
             (has_q_a && observe(f, &(struct input_seen){INPUT_Q_LATENT, layer, &q_a}, e)) ||
             choose_weights(&m, has_q_a, e) || indexer_select(f, layer, x, &q_a, &mask, e) ||
             panels_init(&out, store, x->tiles, (size_t)p->num_attention_heads * m.value, e) || attend(&m, e) ||
             observe(f, &(struct input_seen){INPUT_HEADS, layer, &out}, e) || project_out(f, layer, &out, e);
    panels_clear(&latent, store);
    panels_clear(&k_rope, store);
    panels_clear(&q_a, store);
    panels_clear(&out, store);
    panels_clear(&mask.memory, store);
    return rc ? -1 : 0;
}
