/* SPDX-License-Identifier: MIT
 * Calibration: the pass. */
#include "convert/calibrate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
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
    struct calibration_layout layout;
    struct io_out out;
    struct square *heads[2]; /* of INPUT_Q_NOPE and INPUT_MIXED_LATENT, one per head */
    float *counts;           /* [experts] */
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the calibration");
}

static int write_part(struct pass *p, enum input input, const char *kind, uint64_t at, const void *bytes, uint64_t n, struct error *e)
{
    return io_out_write(&p->out, calibration_tensor(&p->layout, input, kind)->offset + at, bytes, (size_t)n, e);
}

/* ---- second moments */

/* Features of MOMENT_TILES tiles as rows of tokens; lanes that are no tokens are 0. Returns the tokens' room. */
static size_t gather(const struct forward *f, const struct panels *x, size_t tile, float *rows)
{
    size_t tiles = x->tiles - tile < MOMENT_TILES ? x->tiles - tile : MOMENT_TILES;
#pragma omp parallel for num_threads(f->options.threads)
    for (size_t r = 0; r < x->rows; r++)
        for (size_t t = 0; t < tiles; t++) {
            const float *from = panel_row(x, tile + t, r);
            float *to = rows + r * MOMENT_TOKENS + t * LANES;
            for (size_t l = 0; l < LANES; l++)
                to[l] = forward_is_token(f, tile + t, l) ? from[l] : 0;
        }
    return tiles * LANES;
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

/* Of an input that all tokens have. */
static int moment_of_all(struct pass *p, const struct input_seen *what, struct error *e)
{
    struct square s = {0};
    float *rows = malloc(what->x->rows * MOMENT_TOKENS * sizeof *rows);
    int rc = rows ? square_init(&s, what->x->rows, e) : no_memory(e);
    for (size_t t = 0; !rc && t < what->x->tiles; t += MOMENT_TILES)
        square_add_moment(&s, p->gemm, rows, gather(p->f, what->x, t, rows), p->o->threads);
    rc = rc || write_moment(p, what->input, 0, &s, e);
    square_clear(&s);
    free(rows);
    return rc ? -1 : 0;
}

static int seen_head(void *pass, const struct forward *f, enum input input, int layer, size_t head, size_t tile, const float *x,
                     struct error *e)
{
    struct pass *p = pass;
    struct square *s = &p->heads[input == INPUT_MIXED_LATENT][head];
    float *rows = malloc(s->n * MOMENT_TOKENS * sizeof *rows);
    (void)layer;
    if (!rows)
        return no_memory(e);
    for (size_t r = 0; r < s->n; r++)
        for (size_t l = 0; l < LANES; l++)
            rows[r * MOMENT_TOKENS + l] = forward_is_token(f, tile, l) ? x[r * LANES + l] : 0;
    square_add_moment(s, p->gemm, rows, LANES, 1);
    free(rows);
    return 0;
}

static int begin_heads(struct pass *p, int which, enum input input, int layer, struct error *e)
{
    uint64_t heads, n;
    input_shape(input, &p->f->model->params, layer, &heads, &n);
    if (!(p->heads[which] = calloc((size_t)heads, sizeof **p->heads)))
        return no_memory(e);
    for (size_t h = 0; h < heads; h++)
        if (square_init(&p->heads[which][h], (size_t)n, e))
            return -1;
    return 0;
}

static void clear_heads(struct pass *p)
{
    for (int which = 0; which < 2; which++) {
        for (size_t h = 0; p->heads[which] && h < p->f->model->params.num_attention_heads; h++)
            square_clear(&p->heads[which][h]);
        free(p->heads[which]);
        p->heads[which] = NULL;
    }
}

static int end_heads(struct pass *p, struct error *e)
{
    for (size_t h = 0; h < p->f->model->params.num_attention_heads; h++)
        if (write_moment(p, INPUT_Q_NOPE, h, &p->heads[0][h], e) || write_moment(p, INPUT_MIXED_LATENT, h, &p->heads[1][h], e))
            return -1;
    return 0;
}

/* ---- experts */

/* One tile of MLP inputs as rows of BF16. */
static int write_inputs(struct pass *p, const struct panels *x, size_t tile, uint16_t *codes, float *row, struct error *e)
{
    const struct forward *f = p->f;
    const size_t D = x->rows, in_chunk = tile % f->tiles_per_chunk * LANES;
    size_t lanes = f->tokens.ctx - in_chunk < LANES ? f->tokens.ctx - in_chunk : LANES;
    uint64_t first = tile / f->tiles_per_chunk * f->tokens.ctx + in_chunk;
    for (size_t l = 0; l < lanes; l++) {
        for (size_t d = 0; d < D; d++)
            row[d] = panel_row(x, tile, d)[l];
        quant_type_find("BF16")->ref.encode(row, NULL, codes + l * D, D);
    }
    return write_part(p, INPUT_FFN, "inputs", first * D * sizeof *codes, codes, lanes * D * sizeof *codes, e);
}

static int write_routing(struct pass *p, size_t tile, struct error *e)
{
    const struct forward *f = p->f;
    const size_t used = (size_t)f->model->params.num_experts_per_tok, in_chunk = tile % f->tiles_per_chunk * LANES;
    size_t n = (f->tokens.ctx - in_chunk < LANES ? f->tokens.ctx - in_chunk : LANES) * used;
    uint64_t first = (tile / f->tiles_per_chunk * f->tokens.ctx + in_chunk) * used;
    return write_part(p, INPUT_EXPERT, "chosen", first * sizeof *f->chosen, f->chosen + tile * LANES * used, n * sizeof *f->chosen, e) ||
           write_part(p, INPUT_EXPERT, "gates", first * sizeof *f->gates, f->gates + tile * LANES * used, n * sizeof *f->gates, e);
}

static int seen_ffn(struct pass *p, const struct input_seen *what, struct error *e)
{
    int rc = moment_of_all(p, what, e);
    if (rc || !calibration_tensor(&p->layout, INPUT_FFN, "inputs"))
        return rc;
    uint16_t *codes = malloc(what->x->rows * LANES * sizeof *codes);
    float *row = malloc(what->x->rows * sizeof *row);
    rc = codes && row ? 0 : no_memory(e);
    for (size_t t = 0; !rc && t < what->x->tiles; t++)
        rc = write_inputs(p, what->x, t, codes, row, e) || write_routing(p, t, e);
    free(codes);
    free(row);
    return rc ? -1 : 0;
}

static int seen_expert(struct pass *p, const struct input_seen *what, struct error *e)
{
    const struct panels *x = what->x;
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
    if (what->input == INPUT_EXPERT || what->input == INPUT_EXPERT_INNER)
        return seen_expert(p, what, e);
    return what->input == INPUT_FFN ? seen_ffn(p, what, e) : moment_of_all(p, what, e);
}

/* ---- layers */

static int begin_file(struct pass *p, int layer, struct error *e)
{
    char *path = calibration_path(p->folder, layer);
    int rc = !path ? no_memory(e)
                   : calibration_layout(&p->f->model->params, layer, p->o->tokens.chunks * p->o->tokens.ctx, &p->layout, e) ||
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

static int one_layer(struct pass *p, int layer, struct error *e)
{
    int rc = begin_file(p, layer, e);
    if (rc)
        return end_file(p, rc, e);
    rc = clear_experts(p, e) || begin_heads(p, 0, INPUT_Q_NOPE, layer, e) || begin_heads(p, 1, INPUT_MIXED_LATENT, layer, e) ||
         forward_layer(p->f, layer, e) || end_heads(p, e);
    const struct tensor *counts = calibration_tensor(&p->layout, INPUT_EXPERT, "counts");
    rc = rc || (counts && io_out_write(&p->out, counts->offset, p->counts, (size_t)counts->bytes, e));
    clear_heads(p);
    return end_file(p, rc, e);
}

static int output_file(struct pass *p, struct error *e)
{
    struct panels y = {0};
    int rc = begin_file(p, -1, e) || panels_init(&y, &p->store, p->f->tiles, p->f->hidden.rows, e) ||
             forward_norm(p->f, ROLE_OUTPUT_NORM, -1, &p->f->hidden, &y, e) ||
             moment_of_all(p, &(struct input_seen){INPUT_OUTPUT, -1, &y}, e);
    panels_clear(&y, &p->store);
    return end_file(p, rc, e);
}

static int stopped(const struct pass *p, uint64_t done, struct error *e)
{
    const struct stream_hooks *h = p->hooks;
    if (h->progress)
        h->progress(h->context, done, p->f->model->params.num_hidden_layers);
    return h->stop && h->stop(h->context) ? error_set(e, ERR_INTERRUPTED, ERROR_NO_OFFSET, "interrupted") : 0;
}

static int all_layers(struct pass *p, const struct calibrate_state *state, int first, struct error *e)
{
    int n = (int)p->f->model->params.num_hidden_layers;
    for (int layer = first; layer < n; layer++)
        if (stopped(p, (uint64_t)layer, e) || one_layer(p, layer, e) || calibrate_state_save(state, p->f, layer, e))
            return -1;
    return stopped(p, (uint64_t)n, e) || output_file(p, e) ? -1 : 0;
}

static int start(struct pass *p, const struct model *m, struct error *e)
{
    struct forward_options fo = {p->o->threads, 1, p->o->group_routing, &p->store, &p->observer};
    p->observer = (struct forward_observer){p, seen, seen_head};
    p->counts = calloc((size_t)m->params.n_routed_experts + 1, sizeof *p->counts);
    if (!p->counts)
        return no_memory(e);
    return (p->f = forward_new(m, &p->o->tokens, &fo, e)) ? 0 : -1;
}

int calibrate_run(const struct model *m, const struct calibrate_options *o, const char *folder, const struct stream_hooks *hooks,
                  struct calibrate_result *r, struct error *e)
{
    struct pass p = {.o = o, .hooks = hooks, .folder = folder, .store = {.room = o->memory, .scratch = folder}, .gemm = gemm_for(m->cpu),
                     .out = {.fd = -1}};
    struct calibrate_state state = {0};
    int first = 0;
    *r = (struct calibrate_result){0};
    int rc = calibrate_state_open(&state, m, o, folder, e) || start(&p, m, e);
    if (!rc)
        rc = (first = calibrate_state_load(&state, p.f, e)) < 0 || (!first && forward_embed(p.f, e)) || all_layers(&p, &state, first, e);
    r->layers_reused = first > 0 ? first : 0;
    rc = rc || calibrate_finish(&state, m, o, r, e);
    calibrate_state_close(&state);
    forward_free(p.f);
    free(p.counts);
    return rc ? -1 : 0;
}
