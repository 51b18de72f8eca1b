/* SPDX-License-Identifier: MIT
 * Forward pass: state, embeddings, norms, the order of a layer. */
#include "model/forward/forward.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/forward/gemm.h"
#include "model/forward/parts.h"
#include "quant/scan.h"

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the forward pass");
}

static int check_tokens(const struct forward *f, struct error *e)
{
    size_t n = f->tokens.chunks * f->tokens.ctx;
    for (size_t i = 0; i < n; i++)
        if (f->tokens.ids[i] < 0 || (uint64_t)f->tokens.ids[i] >= f->model->params.vocab_size)
            return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "token %zu is %" PRId32 ", the vocabulary has %" PRIu64, i,
                             f->tokens.ids[i], f->model->params.vocab_size);
    return 0;
}

struct forward *forward_new(const struct model *m, const struct forward_tokens *t, const struct forward_options *o,
                            struct error *e)
{
    if (model_require_whole(m, e))
        return NULL;
    struct forward *f = calloc(1, sizeof *f);
    if (!f) {
        no_memory(e);
        return NULL;
    }
    f->model = m;
    f->tokens = *t;
    f->options = *o;
    f->tiles_per_chunk = (t->ctx + LANES - 1) / LANES;
    f->tiles = f->most_tiles = f->tiles_per_chunk * t->chunks * o->streams;
    size_t tokens = f->tiles * LANES, used = (size_t)m->params.num_experts_per_tok;
    f->chosen = calloc(tokens * used + 1, sizeof *f->chosen);
    f->gates = calloc(tokens * used + 1, sizeof *f->gates);
    if (!f->chosen || !f->gates)
        no_memory(e);
    else if (!check_tokens(f, e) && !rope_init(f, e) &&
             !panels_init(&f->hidden, o->store, f->tiles, (size_t)m->params.hidden_size, e))
        return f;
    forward_free(f);
    return NULL;
}

void forward_free(struct forward *f)
{
    if (!f)
        return;
    f->hidden.tiles = f->most_tiles;
    panels_clear(&f->hidden, f->options.store);
    free(f->rope_cos);
    free(f->rope_sin);
    free(f->chosen);
    free(f->gates);
    free(f);
}

void forward_set_streams(struct forward *f, size_t n)
{
    f->options.streams = n;
    f->tiles = f->hidden.tiles = f->tiles_per_chunk * f->tokens.chunks * n;
}

int need_weight(const struct forward *f, enum tensor_role role, int layer, struct weight *w, struct error *e)
{
    char name[TENSOR_NAME];
    if (model_weight(f->model, role, layer, w))
        return 0;
    error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the forward pass needs a tensor that the model does not have");
    return error_at_tensor(e, role_gguf_name(role, layer, name));
}

float *read_vector(const struct forward *f, enum tensor_role role, int layer, struct error *e)
{
    struct weight w;
    if (need_weight(f, role, layer, &w, e))
        return NULL;
    float *v = malloc((size_t)w.cols * sizeof *v);
    void *scratch = malloc(weight_scratch(f->model, &w, 1) + 64);
    int rc = v && scratch ? weight_read(f->model, &w, 0, 0, 1, v, scratch, NULL, e) : no_memory(e);
    free(scratch);
    if (!rc)
        return v;
    free(v);
    return NULL;
}

/* Where token i of chunk c of a stream lies. */
static size_t tile_of(const struct forward *f, size_t stream, size_t chunk, size_t i)
{
    return (stream * f->tokens.chunks + chunk) * f->tiles_per_chunk + i / LANES;
}

/* Token positions by id, so that each embedding row is read once. */
struct by_id {
    int32_t id;
    uint32_t at; /* index into tokens.ids */
};

static int compare_ids(const void *a, const void *b)
{
    const struct by_id *s = a, *t = b;
    return s->id != t->id ? (s->id < t->id ? -1 : 1) : (s->at > t->at) - (s->at < t->at);
}

/* Writes embedding rows into `to`, for the token `ahead` places behind each position (0 or 1); where there is none, zeros. */
static int embed(const struct forward *f, const struct weight *w, size_t ahead, struct panels *to, struct error *e)
{
    size_t n = f->tokens.chunks * f->tokens.ctx, D = (size_t)w->cols, count = 0;
    struct by_id *order = malloc((n + 1) * sizeof *order);
    float *row = malloc(D * sizeof *row);
    void *scratch = malloc(weight_scratch(f->model, w, 1) + 64);
    int rc = order && row && scratch ? 0 : no_memory(e);
    for (size_t i = 0; !rc && i < n; i++)
        if (i % f->tokens.ctx + ahead < f->tokens.ctx)
            order[count++] = (struct by_id){f->tokens.ids[i + ahead], (uint32_t)i};
    if (!rc)
        qsort(order, count, sizeof *order, compare_ids);
    for (size_t k = 0; !rc && k < count; k++) {
        if (k == 0 || order[k].id != order[k - 1].id)
            rc = weight_read(f->model, w, 0, (uint64_t)order[k].id, 1, row, scratch, NULL, e);
        size_t chunk = order[k].at / f->tokens.ctx, i = order[k].at % f->tokens.ctx;
        for (size_t s = 0; !rc && s < f->options.streams; s++)
            for (size_t d = 0; d < D; d++)
                panel_row(to, tile_of(f, s, chunk, i), d)[i % LANES] = row[d];
    }
    free(order);
    free(row);
    free(scratch);
    return rc;
}

int forward_embed(struct forward *f, struct error *e)
{
    struct weight w;
    return need_weight(f, ROLE_TOKEN_EMBD, -1, &w, e) || embed(f, &w, 0, &f->hidden, e) ? -1 : 0;
}

/* RMSNorm of one tile: sums in double, one token per lane. as_ggml: squares and scales in F32. */
static void norm_tile(const float *x, const float *w, size_t rows, double eps, int as_ggml, float *y)
{
    double sum[LANES] = {0};
    float scale[LANES];
    for (size_t r = 0; r < rows && as_ggml; r++)
        for (size_t l = 0; l < LANES; l++)
            sum[l] += (double)(x[r * LANES + l] * x[r * LANES + l]);
    for (size_t r = 0; r < rows && !as_ggml; r++)
        for (size_t l = 0; l < LANES; l++)
            sum[l] += (double)x[r * LANES + l] * (double)x[r * LANES + l];
    for (size_t l = 0; l < LANES; l++) {
        double mean = sum[l] / (double)rows;
        scale[l] = as_ggml ? 1 / sqrtf((float)mean + (float)eps) : (float)(1 / sqrt(mean + eps));
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t l = 0; l < LANES; l++)
            y[r * LANES + l] = w[r] * (x[r * LANES + l] * scale[l]);
}

int forward_norm(const struct forward *f, enum tensor_role role, int layer, const struct panels *x, struct panels *y,
                 struct error *e)
{
    float *w = read_vector(f, role, layer, e);
    int as_ggml = f->options.rounding.act && f->options.rounding.act->as_ggml;
    if (!w)
        return -1;
#pragma omp parallel for num_threads(f->options.threads)
    for (size_t t = 0; t < x->tiles; t++)
        norm_tile(panel_row(x, t, 0), w, x->rows, f->model->params.rms_norm_eps, as_ggml, panel_row(y, t, 0));
    free(w);
    return 0;
}

void panels_add(const struct forward *f, struct panels *to, const struct panels *from)
{
#pragma omp parallel for num_threads(f->options.threads)
    for (size_t t = 0; t < to->tiles; t++) {
        float *a = panel_row(to, t, 0);
        const float *b = panel_row(from, t, 0);
        for (size_t i = 0; i < to->rows * LANES; i++)
            a[i] += b[i];
    }
}

int check_stop(const struct forward *f, struct error *e)
{
    const struct forward_options *o = &f->options;
    return o->stop && o->stop(o->stop_context) ? error_set(e, ERR_INTERRUPTED, ERROR_NO_OFFSET, "interrupted") : 0;
}

int check_finite(const struct forward *f, enum tensor_role role, int layer, struct error *e)
{
    size_t D = f->hidden.rows, per_stream = f->tiles_per_chunk * f->tokens.chunks;
    char name[TENSOR_NAME];
    float amax;
    for (size_t t = 0; t < f->tiles; t++) {
        size_t at = scan_finite(panel_row(&f->hidden, t, 0), D * LANES, &amax), in_stream = t % per_stream;
        if (at == D * LANES)
            continue;
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET,
                  "the hidden state is NaN or infinite behind this part of layer %d, at token %zu of chunk %zu", layer,
                  in_stream % f->tiles_per_chunk * LANES + at % LANES, in_stream / f->tiles_per_chunk);
        error_at_file(e, f->model->source->path);
        return error_at_tensor(e, role_gguf_name(role, layer, name));
    }
    return 0;
}

/* z = [enorm(embedding of the next token), hnorm(norm(hidden))] */
static int mtp_concat(struct forward *f, int layer, struct panels *z, struct error *e)
{
    struct panel_store *store = f->options.store;
    struct panels a = {0}, b = {0};
    struct weight w;
    size_t D = f->hidden.rows;
    int rc = -1;
    if (!model_weight(f->model, ROLE_NEXTN_EMBED_TOKENS, layer, &w) && need_weight(f, ROLE_TOKEN_EMBD, -1, &w, e))
        return -1;
    if (panels_init(&a, store, f->tiles, D, e) || panels_init(&b, store, f->tiles, D, e) || embed(f, &w, 1, &a, e) ||
        forward_norm(f, ROLE_NEXTN_ENORM, layer, &a, &b, e))
        goto out;
    for (size_t t = 0; t < f->tiles; t++)
        memcpy(panel_row(z, t, 0), panel_row(&b, t, 0), D * LANES * sizeof(float));
    if (forward_norm(f, ROLE_OUTPUT_NORM, -1, &f->hidden, &a, e) || forward_norm(f, ROLE_NEXTN_HNORM, layer, &a, &b, e))
        goto out;
    for (size_t t = 0; t < f->tiles; t++)
        memcpy(panel_row(z, t, D), panel_row(&b, t, 0), D * LANES * sizeof(float));
    rc = 0;
out:
    panels_clear(&a, store);
    panels_clear(&b, store);
    return rc;
}

int forward_mtp_input(struct forward *f, int layer, struct error *e)
{
    struct panels z;
    struct weight w;
    size_t D = f->hidden.rows;
    if (need_weight(f, ROLE_NEXTN_EH_PROJ, layer, &w, e) || panels_init(&z, f->options.store, f->tiles, 2 * D, e))
        return -1;
    int rc = mtp_concat(f, layer, &z, e) || forward_product(f, &w, 0, 0, w.rows, &z, &f->hidden, 0, e);
    panels_clear(&z, f->options.store);
    return rc ? -1 : 0;
}

int forward_head(const struct forward *f, int mtp_layer, struct weight *w)
{
    return (mtp_layer >= 0 && model_weight(f->model, ROLE_NEXTN_SHARED_HEAD_HEAD, mtp_layer, w)) ||
           model_weight(f->model, ROLE_OUTPUT, -1, w) || model_weight(f->model, ROLE_TOKEN_EMBD, -1, w);
}
