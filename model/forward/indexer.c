/* SPDX-License-Identifier: MIT
 * V3.2's indexer (DSA): which keys each query attends to.
 *
 *   q_I = wq_b q_a   [heads][dim]     k_I = LayerNorm(wk x)   [dim]      first rope dims rotated by halves (j, j + rope/2)
 *   w = weights_proj x * heads^-0.5
 *   score(i, j) = sum over heads, in order, of w_h * relu(q_I[h] . k_I[j] * dim^-0.5);   keep the index_topk best, j <= i
 *
 * Of equal scores the earlier key is kept. Up to index_topk tokens every visible key is kept, so nothing is computed.
 * The released Hadamard rotation is orthogonal and matters for FP8 scores only: left out.
 * Source: huggingface/transformers modeling_deepseek_v32.py; DeepSeek-V3.2-Exp inference/model.py. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/forward/gemm.h"
#include "model/forward/parts.h"

static const double norm_eps = 1e-6;

struct indexer {
    const struct forward *f;
    gemm_fn *gemm;
    size_t heads, dim, rope, topk, ctx_padded;
    struct panels q, k, w; /* [heads * dim], [dim], [heads] */
    uint8_t *allowed;
};

/* Half-split rotation of the first rope rows of one tile. */
static void rotate_halves(const struct forward *f, float *rows, size_t rope, size_t position)
{
    size_t pairs = rope / 2, positions = f->tiles_per_chunk * LANES;
    for (size_t j = 0; j < pairs; j++) {
        const float *c = f->rope_cos + j * positions + position, *s = f->rope_sin + j * positions + position;
        float *x0 = rows + j * LANES, *x1 = rows + (j + pairs) * LANES;
        for (size_t l = 0; l < LANES; l++) {
            float a = x0[l], b = x1[l];
            x0[l] = a * c[l] - b * s[l];
            x1[l] = b * c[l] + a * s[l];
        }
    }
}

static void layer_norm_tile(float *x, const float *w, const float *b, size_t rows)
{
    for (size_t l = 0; l < LANES; l++) {
        double mean = 0, var = 0;
        for (size_t r = 0; r < rows; r++)
            mean += (double)x[r * LANES + l];
        mean /= (double)rows;
        for (size_t r = 0; r < rows; r++)
            var += ((double)x[r * LANES + l] - mean) * ((double)x[r * LANES + l] - mean);
        double scale = 1 / sqrt(var / (double)rows + norm_eps);
        for (size_t r = 0; r < rows; r++)
            x[r * LANES + l] = (float)(((double)x[r * LANES + l] - mean) * scale) * w[r] + b[r];
    }
}

static int project(struct forward *f, enum tensor_role role, int layer, const struct panels *x, struct panels *y,
                   struct error *e)
{
    struct weight w;
    return need_weight(f, role, layer, &w, e) || panels_init(y, f->options.store, x->tiles, (size_t)w.rows, e) ||
                   forward_product(f, &w, 0, 0, w.rows, x, y, 0, e)
               ? -1
               : 0;
}

static int inputs(struct forward *f, int layer, const struct panels *x, const struct panels *q_a, struct indexer *in,
                  struct error *e)
{
    float *w = read_vector(f, ROLE_INDEXER_K_NORM, layer, e), *b = NULL;
    int rc = !w || !(b = read_vector(f, ROLE_INDEXER_K_NORM_BIAS, layer, e)) ||
             project(f, ROLE_INDEXER_Q_B, layer, q_a, &in->q, e) || project(f, ROLE_INDEXER_K, layer, x, &in->k, e) ||
             project(f, ROLE_INDEXER_PROJ, layer, x, &in->w, e);
    for (size_t t = 0; !rc && t < f->tiles; t++) {
        size_t position = t % f->tiles_per_chunk * LANES;
        layer_norm_tile(panel_row(&in->k, t, 0), w, b, in->dim);
        rotate_halves(f, panel_row(&in->k, t, 0), in->rope, position);
        for (size_t h = 0; h < in->heads; h++)
            rotate_halves(f, panel_row(&in->q, t, h * in->dim), in->rope, position);
    }
    free(w);
    free(b);
    return rc ? -1 : 0;
}

/* Marks the best keys of one query. `order` has room for n indices. */
static void keep_best(const float *score, size_t lane, size_t n, size_t topk, uint8_t *allowed, uint32_t *heap)
{
    /* a heap of the topk best seen so far, its worst at the top: worse = lower score, later key of equals */
    size_t size = 0;
#define WORSE(a, b) (score[(a) * LANES + lane] < score[(b) * LANES + lane] || \
                     (score[(a) * LANES + lane] == score[(b) * LANES + lane] && (a) > (b)))
    for (uint32_t j = 0; j < n; j++) {
        if (size == topk) {
            if (!WORSE(heap[0], j))
                continue;
            heap[0] = j;
        } else {
            size_t i = size++;
            for (heap[i] = j; i && WORSE(heap[i], heap[(i - 1) / 2]); i = (i - 1) / 2) {
                uint32_t swap = heap[i];
                heap[i] = heap[(i - 1) / 2];
                heap[(i - 1) / 2] = swap;
            }
            continue;
        }
        for (size_t i = 0;;) {
            size_t c = 2 * i + 1;
            if (c >= size)
                break;
            if (c + 1 < size && WORSE(heap[c + 1], heap[c]))
                c++;
            if (!WORSE(heap[c], heap[i]))
                break;
            uint32_t swap = heap[i];
            heap[i] = heap[c];
            heap[c] = swap;
            i = c;
        }
    }
#undef WORSE
    for (size_t i = 0; i < size; i++)
        allowed[heap[i] * LANES + lane] = 1;
}

/* All queries of tile t of the chunk that begins at `tile`. Buffers: k_rows [ctx][dim], s and sum [ctx][LANES]. */
static void select_tile(const struct indexer *in, size_t tile, size_t t, const float *k_rows, float *s, float *sum,
                        uint32_t *heap)
{
    size_t n = (t + 1) * LANES;
    double head_scale = 1 / sqrt((double)in->heads);
    float dim_scale = (float)(1 / sqrt((double)in->dim));
    memset(sum, 0, n * LANES * sizeof *sum);
    for (size_t h = 0; h < in->heads; h++) {
        const float *w = panel_row(&in->w, tile + t, h);
        gemm_rows(in->gemm, k_rows, in->dim, n, panel_row(&in->q, tile + t, h * in->dim), in->dim, LANES, s);
        for (size_t j = 0; j < n; j++)
            for (size_t l = 0; l < LANES; l++) {
                float v = s[j * LANES + l] * dim_scale;
                sum[j * LANES + l] += (float)((double)w[l] * head_scale) * (v > 0 ? v : 0);
            }
    }
    uint8_t *allowed = in->allowed + (tile + t) * in->ctx_padded * LANES;
    for (size_t l = 0; l < LANES; l++)
        keep_best(sum, l, t * LANES + l + 1, in->topk, allowed, heap);
}

static int select_chunk(const struct indexer *in, size_t tile)
{
    size_t ctx = in->ctx_padded;
    float *k_rows = malloc(ctx * in->dim * sizeof *k_rows), *s = malloc(ctx * LANES * sizeof *s);
    float *sum = malloc(ctx * LANES * sizeof *sum);
    uint32_t *heap = malloc((in->topk + 1) * sizeof *heap);
    int rc = k_rows && s && sum && heap ? 0 : -1;
    for (size_t i = 0; !rc && i < ctx * in->dim; i++) {
        size_t token = i / in->dim;
        k_rows[i] = panel_row(&in->k, tile + token / LANES, i % in->dim)[token % LANES];
    }
    for (size_t t = 0; !rc && t < ctx / LANES; t++)
        select_tile(in, tile, t, k_rows, s, sum, heap);
    free(k_rows);
    free(s);
    free(sum);
    free(heap);
    return rc;
}

int indexer_select(struct forward *f, int layer, const struct panels *x, const struct panels *q_a,
                   struct indexer_mask *mask, struct error *e)
{
    const struct arch_params *p = &f->model->params;
    struct weight w;
    if (!p->index_n_heads || f->tokens.ctx <= p->index_topk || !model_weight(f->model, ROLE_INDEXER_K, layer, &w))
        return 0;
    struct indexer in = {.f = f, .gemm = gemm_for(f->model->cpu), .heads = (size_t)p->index_n_heads,
                         .dim = (size_t)p->index_head_dim, .rope = (size_t)p->qk_rope_head_dim,
                         .topk = (size_t)p->index_topk, .ctx_padded = f->tiles_per_chunk * LANES};
    int rc = inputs(f, layer, x, q_a, &in, e) || panels_init(&mask->memory, f->options.store, f->tiles, in.ctx_padded / sizeof(float), e) ? -1 : 0;
    if (!rc) {
        in.allowed = (uint8_t *)mask->memory.data;
#pragma omp parallel for schedule(dynamic) num_threads(f->options.threads)
        for (size_t tile = 0; tile < f->tiles; tile += f->tiles_per_chunk)
            if (select_chunk(&in, tile)) {
#pragma omp critical(indexer_error)
                rc = error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the indexer");
            }
    }
    panels_clear(&in.q, f->options.store);
    panels_clear(&in.k, f->options.store);
    panels_clear(&in.w, f->options.store);
    mask->allowed = rc ? NULL : in.allowed;
    return rc;
}
