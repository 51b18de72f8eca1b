/* SPDX-License-Identifier: MIT
 * Calibration: the pass. */
#include "convert/calibrate.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "convert/calibrate_files.h"
#include "quant/types.h"

enum { MOMENT_TILES = MOMENT_TOKENS / LANES };

struct pass {
    const struct calibrate_options *o;
    const struct stream_hooks *hooks;
    const char *folder;
    struct panel_store store;
    struct forward *f;
    struct forward_observer observer;
    gemm_fn *gemm;
    size_t tiles; /* of one stream; what is collected are the last stream's, held against the first's when there are two */
    struct calibration_layout layout;
    struct io_out out;
    struct heads { /* of INPUT_Q_NOPE and of INPUT_MIXED_LATENT, per head */
        struct square *moments, *cross;
        float *original; /* [heads][tiles][n][LANES]: the first stream's, until the second's come */
        size_t n;
    } heads[2];
    float *counts; /* [experts] */
    int layer;     /* the one at work */
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the calibration");
}

static int write_part(struct pass *p, enum input input, const char *kind, uint64_t at, const void *bytes, uint64_t n, struct error *e)
{
    return io_out_write(&p->out, calibration_tensor(&p->layout, input, kind)->offset + at, bytes, (size_t)n, e);
}

static int following(const struct pass *p)
{
    return p->o->follower != NULL;
}

/* The first tile of the stream that is collected. */
static size_t first_tile(const struct pass *p)
{
    return following(p) ? p->tiles : 0;
}

/* Asked at every input and every tile of a head: a layer may take an hour. */
static int interrupted(const struct pass *p, struct error *e)
{
    const struct stream_hooks *h = p->hooks;
    if (!h->stop || !h->stop(h->context))
        return 0;
    return error_set(e, ERR_INTERRUPTED, ERROR_NO_OFFSET, p->layer ? "interrupted; the same command goes on with layer %d" : "interrupted", p->layer);
}

/* ---- second moments */

/* A token whose state is farther than this from the original's, as a part of its size, went another way: other experts somewhere before.
 * What the weights can make good is the small and common error, so such tokens do not count in the changes. */
#define FAR 0.1

/* Which tokens of a tile count: 1 or 0 by lane. */
static void near_tokens(const float *x, const float *original, size_t rows, float counts[LANES])
{
    double size[LANES] = {0}, change[LANES] = {0};
    for (size_t r = 0; r < rows; r++)
        for (size_t l = 0; l < LANES; l++) {
            double v = (double)x[r * LANES + l], d = (double)original[r * LANES + l] - v;
            size[l] += v * v;
            change[l] += d * d;
        }
    for (size_t l = 0; l < LANES; l++)
        counts[l] = change[l] <= FAR * FAR * size[l] ? 1 : 0;
}

/* Features of up to MOMENT_TILES tiles as rows of tokens, less those of the tiles from `other` on (-1: none); lanes that are no tokens
 * are 0. */
static void gather(const struct forward *f, const struct panels *x, size_t tile, long other, size_t tiles, float *rows)
{
    float counts[MOMENT_TILES][LANES];
    for (size_t t = 0; t < tiles && other >= 0; t++)
        near_tokens(panel_row(x, (size_t)other + t, 0), panel_row(x, tile + t, 0), x->rows, counts[t]);
#pragma omp parallel for num_threads(f->options.threads)
    for (size_t r = 0; r < x->rows; r++)
        for (size_t t = 0; t < tiles; t++) {
            const float *from = panel_row(x, tile + t, r);
            const float *less = other < 0 ? NULL : panel_row(x, (size_t)other + t, r);
            float *to = rows + r * MOMENT_TOKENS + t * LANES;
            for (size_t l = 0; l < LANES; l++)
                to[l] = forward_is_token(f, tile + t, l) ? (less ? (from[l] - less[l]) * counts[t][l] : from[l]) : 0;
        }
}

static int write_moment(struct pass *p, enum input input, uint64_t slab, const struct square *s, struct error *e)
{
    uint64_t at = slab * square_lower_floats(s->n) * sizeof(float);
    for (size_t i = 0; i < square_panels(s->n); i++) {
        uint64_t bytes = square_lower_part(s->n, i) * sizeof(float);
        if (write_part(p, input, "moment", at, square_row(s, i, i * LANES), bytes, e))
            return -1;
        at += bytes;
    }
    return 0;
}

static int write_cross(struct pass *p, enum input input, uint64_t slab, const struct square *s, struct error *e)
{
    uint64_t bytes = square_floats(s->n) * sizeof *s->data;
    return write_part(p, input, "cross", slab * bytes, s->data, bytes, e);
}

/* Of an input that all tokens have. */
static int moment_of_all(struct pass *p, const struct input_seen *what, struct error *e)
{
    const size_t n = what->x->rows, first = first_tile(p);
    struct square s = {0}, cross = {0};
    float *rows = calloc(2 * n * MOMENT_TOKENS, sizeof *rows), *changes = rows ? rows + n * MOMENT_TOKENS : NULL;
    int rc = rows ? square_init(&s, n, e) || (following(p) && square_init(&cross, n, e)) : no_memory(e);
    for (size_t t = 0, some; !rc && t < p->tiles; t += some) {
        some = p->tiles - t < MOMENT_TILES ? p->tiles - t : MOMENT_TILES;
        gather(p->f, what->x, first + t, -1, some, rows);
        square_add_moment(&s, p->gemm, rows, MOMENT_TOKENS, some * LANES, p->o->threads);
        if (!following(p))
            continue;
        gather(p->f, what->x, t, (long)(first + t), some, changes);
        square_add_cross(&cross, p->gemm, rows, changes, MOMENT_TOKENS, some * LANES, p->o->threads);
    }
    rc = rc || write_moment(p, what->input, 0, &s, e) || (following(p) && write_cross(p, what->input, 0, &cross, e));
    square_clear(&s);
    square_clear(&cross);
    free(rows);
    return rc ? -1 : 0;
}

/* One tile of one head, and with two streams the same tile of the original; rows: room for both. */
static void add_head(struct pass *p, struct heads *h, size_t head, size_t tile, const float *x, const float *original, float *rows)
{
    float *changes = rows + h->n * LANES, counts[LANES] = {0};
    if (original)
        near_tokens(x, original, h->n, counts);
    for (size_t r = 0; r < h->n; r++)
        for (size_t l = 0; l < LANES; l++) {
            int is = forward_is_token(p->f, tile, l);
            rows[r * LANES + l] = is ? x[r * LANES + l] : 0;
            changes[r * LANES + l] = is && original ? (original[r * LANES + l] - x[r * LANES + l]) * counts[l] : 0;
        }
    square_add_moment(&h->moments[head], p->gemm, rows, LANES, LANES, 1);
    if (original)
        square_add_cross(&h->cross[head], p->gemm, rows, changes, LANES, LANES, 1);
}

static int seen_head(void *pass, const struct forward *f, enum input input, int layer, size_t head, size_t tile, const float *x,
                     struct error *e)
{
    struct pass *p = pass;
    struct heads *h = &p->heads[input == INPUT_MIXED_LATENT];
    const size_t floats = h->n * LANES;
    (void)f;
    (void)layer;
    if (interrupted(p, e))
        return -1;
    if (tile < first_tile(p)) {
        memcpy(h->original + (head * p->tiles + tile) * floats, x, floats * sizeof *x);
        return 0;
    }
    float *rows = malloc(2 * floats * sizeof *rows);
    if (!rows)
        return no_memory(e);
    add_head(p, h, head, tile, x, h->original ? h->original + (head * p->tiles + tile - first_tile(p)) * floats : NULL, rows);
    free(rows);
    return 0;
}

static int begin_heads(struct pass *p, int which, enum input input, int layer, struct error *e)
{
    struct heads *h = &p->heads[which];
    uint64_t heads, n;
    input_shape(input, &p->f->model->params, layer, &heads, &n);
    h->n = (size_t)n;
    h->moments = calloc((size_t)heads, sizeof *h->moments);
    h->cross = calloc((size_t)heads, sizeof *h->cross);
    if (following(p))
        h->original = malloc((size_t)(heads * n) * p->tiles * LANES * sizeof *h->original);
    if (!h->moments || !h->cross || (following(p) && !h->original))
        return no_memory(e);
    for (size_t k = 0; k < heads; k++)
        if (square_init(&h->moments[k], h->n, e) || (following(p) && square_init(&h->cross[k], h->n, e)))
            return -1;
    return 0;
}

static void clear_heads(struct pass *p)
{
    for (struct heads *h = p->heads; h < p->heads + 2; h++) {
        for (size_t k = 0; h->moments && h->cross && k < p->f->model->params.num_attention_heads; k++) {
            square_clear(&h->moments[k]);
            square_clear(&h->cross[k]);
        }
        free(h->moments);
        free(h->cross);
        free(h->original);
        *h = (struct heads){0};
    }
}

static int end_heads(struct pass *p, struct error *e)
{
    static const enum input inputs[2] = {INPUT_Q_NOPE, INPUT_MIXED_LATENT};
    for (int which = 0; which < 2; which++)
        for (size_t k = 0; k < p->f->model->params.num_attention_heads; k++)
            if (write_moment(p, inputs[which], k, &p->heads[which].moments[k], e) ||
                (following(p) && write_cross(p, inputs[which], k, &p->heads[which].cross[k], e)))
                return -1;
    return 0;
}

/* ---- experts */

/* Where a tile's tokens lie among those of one stream, and how many they are. */
static uint64_t tokens_of(const struct pass *p, size_t tile, size_t *n)
{
    const struct forward *f = p->f;
    const size_t in_chunk = tile % f->tiles_per_chunk * LANES;
    *n = f->tokens.ctx - in_chunk < LANES ? f->tokens.ctx - in_chunk : LANES;
    return tile / f->tiles_per_chunk * f->tokens.ctx + in_chunk;
}

/* One tile of MLP inputs, or of the changes, as rows of BF16. */
static int write_inputs(struct pass *p, const struct panels *x, size_t tile, int changes, uint16_t *codes, float *row, struct error *e)
{
    const size_t D = x->rows, from = first_tile(p) + tile;
    size_t n;
    uint64_t first = tokens_of(p, tile, &n);
    const struct quant_kernels bf16 = quant_kernels_for(quant_type_find("BF16"), p->f->model->cpu);
    float counts[LANES];
    if (changes)
        near_tokens(panel_row(x, from, 0), panel_row(x, tile, 0), D, counts);
    for (size_t l = 0; l < n; l++) {
        for (size_t d = 0; d < D; d++)
            row[d] = changes ? (panel_row(x, tile, d)[l] - panel_row(x, from, d)[l]) * counts[l] : panel_row(x, from, d)[l];
        bf16.encode(row, NULL, codes + l * D, D);
    }
    return write_part(p, INPUT_FFN, changes ? "changes" : "inputs", first * D * sizeof *codes, codes, n * D * sizeof *codes, e);
}

static int write_routing(struct pass *p, size_t tile, struct error *e)
{
    const struct forward *f = p->f;
    const size_t used = (size_t)f->model->params.num_experts_per_tok, from = (first_tile(p) + tile) * LANES * used;
    size_t n;
    uint64_t first = tokens_of(p, tile, &n) * used;
    n *= used;
    return write_part(p, INPUT_EXPERT, "chosen", first * sizeof *f->chosen, f->chosen + from, n * sizeof *f->chosen, e) ||
           write_part(p, INPUT_EXPERT, "gates", first * sizeof *f->gates, f->gates + from, n * sizeof *f->gates, e);
}

static int seen_ffn(struct pass *p, const struct input_seen *what, struct error *e)
{
    int rc = moment_of_all(p, what, e);
    if (rc || !calibration_tensor(&p->layout, INPUT_FFN, "inputs"))
        return rc;
    uint16_t *codes = malloc(what->x->rows * LANES * sizeof *codes);
    float *row = malloc(what->x->rows * sizeof *row);
    rc = codes && row ? 0 : no_memory(e);
    for (size_t t = 0; !rc && t < p->tiles; t++)
        rc = write_inputs(p, what->x, t, 0, codes, row, e) || (following(p) && write_inputs(p, what->x, t, 1, codes, row, e)) ||
             write_routing(p, t, e);
    free(codes);
    free(row);
    return rc ? -1 : 0;
}

static int seen_expert(struct pass *p, const struct input_seen *what, struct error *e)
{
    const struct panels *x = what->x;
    if (following(p)) /* no imatrix is made */
        return 0;
    float *sums = malloc(x->rows * sizeof *sums);
    if (!sums)
        return no_memory(e);
#pragma omp parallel for num_threads(p->o->threads)
    for (size_t r = 0; r < x->rows; r++) {
        double sum = 0;
        for (size_t i = 0; i < what->n; i++) {
            double v = (double)panel_row(x, i / LANES, r)[i % LANES];
            sum += v * v;
        }
        sums[r] = (float)sum;
    }
    p->counts[what->expert] = (float)what->n;
    int rc = write_part(p, what->input, "sums2", what->expert * x->rows * sizeof *sums, sums, x->rows * sizeof *sums, e);
    free(sums);
    return rc;
}

static int seen(void *pass, const struct forward *f, const struct input_seen *what, struct error *e)
{
    struct pass *p = pass;
    (void)f;
    if (interrupted(p, e))
        return -1;
    if (what->input == INPUT_EXPERT || what->input == INPUT_EXPERT_INNER)
        return seen_expert(p, what, e);
    return what->input == INPUT_FFN ? seen_ffn(p, what, e) : moment_of_all(p, what, e);
}

/* ---- layers */

static int begin_file(struct pass *p, int layer, enum half half, struct error *e)
{
    char *path = calibration_path(p->folder, layer, half);
    uint64_t tokens = p->o->tokens.chunks * p->o->tokens.ctx;
    int rc = !path ? no_memory(e)
                   : calibration_layout(&p->f->model->params, layer, half, tokens, following(p), &p->layout, e) ||
                         io_out_create(&p->out, path, p->layout.bytes, e) ||
                         io_out_write(&p->out, 0, p->layout.header.data, p->layout.header.size, e);
    free(path);
    return rc ? -1 : 0;
}

/* Zeros everything that the observer may not get to: experts without tokens. */
static int clear_experts(struct pass *p, struct error *e)
{
    static const enum input inputs[] = {INPUT_EXPERT, INPUT_EXPERT_INNER};
    const uint64_t experts = p->f->model->params.n_routed_experts;
    memset(p->counts, 0, (size_t)experts * sizeof *p->counts);
    for (int i = 0; i < 2; i++) {
        const struct tensor *t = calibration_tensor(&p->layout, inputs[i], "sums2");
        void *zeros = t ? calloc(1, (size_t)(t->bytes / experts)) : NULL;
        if (t && !zeros)
            return no_memory(e);
        for (uint64_t x = 0; t && x < experts; x++)
            if (io_out_write(&p->out, t->offset + x * (t->bytes / experts), zeros, (size_t)(t->bytes / experts), e)) {
                free(zeros);
                return -1;
            }
        free(zeros);
    }
    return 0;
}

static int end_file(struct pass *p, int rc, struct error *e)
{
    buffer_clear(&p->layout.header);
    if (!rc)
        rc = io_out_finish(&p->out, e);
    if (rc)
        io_out_abandon(&p->out);
    return rc ? -1 : 0;
}

static int attention(struct pass *p, int layer, struct error *e)
{
    int rc = begin_heads(p, 0, INPUT_Q_NOPE, layer, e) || begin_heads(p, 1, INPUT_MIXED_LATENT, layer, e) ||
             forward_attention(p->f, layer, e) || end_heads(p, e);
    clear_heads(p);
    return rc ? -1 : 0;
}

static int mlp(struct pass *p, int layer, struct error *e)
{
    const struct tensor *counts = calibration_tensor(&p->layout, INPUT_EXPERT, "counts");
    return clear_experts(p, e) || forward_mlp(p->f, layer, e) ||
                   (counts && io_out_write(&p->out, counts->offset, p->counts, (size_t)counts->bytes, e))
               ? -1
               : 0;
}

static int output(struct pass *p, struct error *e)
{
    struct panels y = {0};
    int rc = panels_init(&y, &p->store, p->f->tiles, p->f->hidden.rows, e) ||
             forward_norm(p->f, ROLE_OUTPUT_NORM, -1, &p->f->hidden, &y, e) ||
             moment_of_all(p, &(struct input_seen){INPUT_OUTPUT, -1, &y}, e);
    panels_clear(&y, &p->store);
    return rc ? -1 : 0;
}

static int follow(struct pass *p, int layer, enum half half, struct error *e)
{
    const struct calibrate_follower *follower = p->o->follower;
    char *path = follower ? calibration_path(p->folder, layer, half) : NULL;
    if (!follower)
        return 0;
    int rc = path ? follower->follow(follower->context, p->f, layer, half, e) : no_memory(e);
    if (!rc)
        unlink(path);
    free(path);
    return rc;
}

/* layer -1: the output */
static int one_half(struct pass *p, int layer, enum half half, struct error *e)
{
    int rc = begin_file(p, layer, half, e);
    if (!rc)
        rc = layer < 0 ? output(p, e) : half == HALF_MLP ? mlp(p, layer, e) : attention(p, layer, e);
    return end_file(p, rc, e) || follow(p, layer, half, e) ? -1 : 0;
}

static int stopped(struct pass *p, int layer, struct error *e)
{
    const struct stream_hooks *h = p->hooks;
    p->layer = layer;
    if (h->progress)
        h->progress(h->context, (uint64_t)layer, p->f->model->params.num_hidden_layers);
    return interrupted(p, e);
}

static int all_layers(struct pass *p, const struct calibrate_state *state, const char run[HASH_TEXT], int first, struct error *e)
{
    int n = (int)p->f->model->params.num_hidden_layers;
    for (int layer = first; layer < n; layer++)
        if (stopped(p, layer, e) || one_half(p, layer, HALF_ATTENTION, e) || one_half(p, layer, HALF_MLP, e) ||
            calibrate_state_save(state, run, p->f, layer, e))
            return -1;
    return stopped(p, n, e) || one_half(p, -1, HALF_ATTENTION, e) ? -1 : 0;
}

static int start(struct pass *p, const struct model *m, struct error *e)
{
    struct forward_options fo = {p->o->threads, following(p) ? 2 : 1, p->o->group_routing, &p->store, &p->observer};
    p->observer = (struct forward_observer){p, seen, seen_head};
    p->counts = calloc((size_t)m->params.n_routed_experts + 1, sizeof *p->counts);
    if (!p->counts)
        return no_memory(e);
    if (!(p->f = forward_new(m, &p->o->tokens, &fo, e)))
        return -1;
    p->tiles = p->f->tiles_per_chunk * p->o->tokens.chunks;
    return 0;
}

/* An interrupted run's files must still be there, before hours go into the rest. */
static int check_done(const struct pass *p, int layers, struct error *e)
{
    struct calibration *c = calibration_new(p->folder, p->f->model, p->o->tokens.chunks, p->o->tokens.ctx, 0, e);
    int rc = c ? 0 : -1;
    for (int layer = 0; !rc && layer < layers && !following(p); layer++)
        rc = calibration_load(c, layer, HALF_ATTENTION, e) || calibration_load(c, layer, HALF_MLP, e);
    calibration_close(c);
    return rc ? -1 : 0;
}

/* From the first layer that is to do: *first. */
static int run_layers(struct pass *p, const struct calibrate_state *state, const char run[HASH_TEXT], int *first, struct error *e)
{
    const struct calibrate_follower *follower = p->o->follower;
    *first = calibrate_state_load(state, run, p->f, e);
    if (*first < 0 || (*first ? check_done(p, *first, e) : forward_embed(p->f, e)))
        return -1;
    return (follower && follower->begin(follower->context, p->f, *first, e)) || all_layers(p, state, run, *first, e) ? -1 : 0;
}

int calibrate_run(const struct model *m, const struct calibrate_options *o, const char *folder, const struct stream_hooks *hooks,
                  struct calibrate_result *r, struct error *e)
{
    struct pass p = {.o = o, .hooks = hooks, .folder = folder, .store = {.room = o->memory, .scratch = folder}, .gemm = gemm_for(m->cpu),
                     .out = {.fd = -1}};
    struct calibrate_state state = {0};
    struct calibration_record record = {0};
    *r = (struct calibrate_result){0};
    int rc = calibrate_identity(m, o, &record, e) || calibrate_state_open(&state, folder, o->restart, e) || start(&p, m, e) ||
             run_layers(&p, &state, record.run, &r->layers_reused, e);
    forward_free(p.f);
    free(p.counts);
    if (!rc && !o->follower && !(rc = calibration_write_tokens(folder, o->tokens.ids, o->tokens.chunks, o->tokens.ctx, e) ||
                                      calibrate_finish(folder, m, &record, &r->bytes, e)))
        calibrate_state_remove(&state);
    calibrate_state_close(&state);
    record_clear(&record);
    return rc ? -1 : 0;
}
