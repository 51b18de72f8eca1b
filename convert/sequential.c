/* SPDX-License-Identifier: MIT
 * Sequential conversion. */
#include "convert/sequential.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "convert/calibrate.h"

/* Of --memory: what the activations of the two streams of the original weights may take, and those of the quantized model. */
enum { ORIGINAL_SHARE = 2, QUANTIZED_SHARE = 4 };

struct sequence {
    const struct plan *p;
    const char *partial;
    struct outputs *out;
    struct keeper *keeper;
    struct stream_state *state;
    const struct stream_hooks *hooks;
    struct source *source; /* OUT.partial */
    struct model *model;
    struct panel_store store;
    struct forward *quantized;
};

/* Whether a tensor's units are made together with this half. The output goes with what belongs to no layer that is walked. */
static int belongs(const struct sequence *q, const struct plan_tensor *t, int layer, enum half half)
{
    int walked = t->weight.layer >= 0 && t->weight.layer < (int)q->p->model->params.num_hidden_layers;
    return layer < 0 ? !walked : t->weight.layer == layer && role_half(t->weight.role) == half;
}

/* The units of a half, in runs of neighbouring tensors. */
static int quantize(struct sequence *q, int layer, enum half half, struct error *e)
{
    const struct plan *p = q->p;
    const struct rung rung = {p, q->out, q->keeper, q->state};
    for (size_t i = 0, end; i < p->n_tensors; i = end) {
        end = i + 1;
        if (!belongs(q, &p->tensors[i], layer, half))
            continue;
        while (end < p->n_tensors && belongs(q, &p->tensors[end], layer, half))
            end++;
        uint64_t to = end < p->n_tensors ? p->tensors[end].first_unit : p->n_units;
        if (stream_run(&rung, 1, p->tensors[i].first_unit, to, q->hooks, e))
            return -1;
    }
    return 0;
}

/* The quantized model, beginning where f's second stream is. */
static int open_quantized(struct sequence *q, const struct forward *f, struct error *e)
{
    struct forward_options o = {f->options.threads, 1, f->options.group_routing, &q->store, NULL};
    if (!(q->source = source_open(q->partial, e)) || !(q->model = model_open(q->source, e)) ||
        !(q->quantized = forward_new(q->model, &f->tokens, &o, e)))
        return -1;
    return 0;
}

static size_t stream_floats(const struct forward *one)
{
    return one->tiles * one->hidden.rows * LANES;
}

static int follow(void *sequence, struct forward *f, int layer, enum half half, struct error *e)
{
    struct sequence *q = sequence;
    struct calibration *c = q->p->options.calib;
    int rc = calibration_load(c, layer, half, e) || quantize(q, layer, half, e);
    calibration_unload(c, layer, half);
    if (rc || layer < 0)
        return rc;
    /* the states that are saved behind a layer must not be ahead of the journal */
    if (half == HALF_MLP && keeper_flush(q->keeper, e))
        return -1;
    if ((half == HALF_MLP ? forward_mlp(q->quantized, layer, e) : forward_attention(q->quantized, layer, e)))
        return -1;
    memcpy(panel_row(&f->hidden, q->quantized->tiles, 0), q->quantized->hidden.data, stream_floats(q->quantized) * sizeof(float));
    return 0;
}

/* Whether all units of the layers before `first` are in the journal. */
static int all_there(const struct sequence *q, int first)
{
    const struct plan *p = q->p;
    for (size_t i = 0; i < p->n_tensors; i++) {
        uint64_t to = i + 1 < p->n_tensors ? p->tensors[i + 1].first_unit : p->n_units;
        for (uint64_t u = p->tensors[i].first_unit; u < to && p->tensors[i].weight.layer >= 0 && p->tensors[i].weight.layer < first; u++)
            if (!q->state->done[u])
                return 0;
    }
    return 1;
}

/* Before the first layer of a run: the quantized model's states are those of the second stream. */
static int begin(void *sequence, struct forward *f, int first, struct error *e)
{
    struct sequence *q = sequence;
    if (!all_there(q, first)) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the journal lacks units of layers that the interrupted run was through with (--restart)");
        return error_at_file(e, q->p->options.sequential.folder);
    }
    if (open_quantized(q, f, e))
        return -1;
    memcpy(q->quantized->hidden.data, panel_row(&f->hidden, q->quantized->tiles, 0), stream_floats(q->quantized) * sizeof(float));
    return 0;
}

int sequential_run(const struct plan *p, const char *partial, const char *tool, struct outputs *out, struct keeper *keeper,
                   struct stream_state *state, const struct stream_hooks *hooks, int anew, struct error *e)
{
    const struct sequential_options *s = &p->options.sequential;
    struct sequence q = {.p = p, .partial = partial, .out = out, .keeper = keeper, .state = state, .hooks = hooks,
                         .store = {.room = p->options.memory / QUANTIZED_SHARE, .scratch = s->folder}};
    const struct calibrate_follower follower = {&q, begin, follow};
    const struct calibrate_options o = {.tokens = s->tokens, .threads = p->threads, .group_routing = 1, .memory = p->options.memory / ORIGINAL_SHARE,
                                        .tool = tool, .text = s->text, .follower = &follower, .restart = anew};
    const struct stream_hooks silent = {NULL, hooks->stop, hooks->context};
    struct calibrate_result r;
    char *finished = io_join(s->folder, "calibration.json");
    int there = finished && io_kind(finished);
    free(finished);
    if (there) {
        error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "a finished calibration lies where this run would keep its state");
        return error_at_file(e, s->folder);
    }
    int rc = calibrate_run(p->model, &o, s->folder, &silent, &r, e);
    forward_free(q.quantized);
    model_close(q.model);
    source_close(q.source);
    return rc;
}

/* ---- memory */

static uint64_t padded_tokens(const struct forward_tokens *t)
{
    return t->chunks * ((t->ctx + LANES - 1) / LANES * LANES);
}

/* Bytes of activations that one stream's layer has at its most: hidden states, inputs, outputs, latents, heads, MLP inners. */
static uint64_t stream_bytes(const struct arch_params *p, uint64_t tokens)
{
    uint64_t inner = p->intermediate_size > p->moe_intermediate_size ? p->intermediate_size : p->moe_intermediate_size;
    uint64_t floats = 6 * p->hidden_size + p->num_attention_heads * p->v_head_dim + 2 * (p->q_lora_rank + p->kv_lora_rank) +
                      p->qk_rope_head_dim + 2 * inner;
    return tokens * (floats * sizeof(float) + p->num_experts_per_tok * 2 * sizeof(float));
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Moments, crossed ones and rows of tokens of an input; of heads, which are collected all at once, also the original's. */
static uint64_t input_bytes(enum input input, uint64_t slabs, uint64_t n, uint64_t tokens)
{
    uint64_t squares = 2 * square_floats((size_t)n) * sizeof(float), rows = 2 * n * MOMENT_TOKENS * sizeof(float);
    return input == INPUT_Q_NOPE || input == INPUT_MIXED_LATENT ? slabs * (squares + n * tokens * sizeof(float)) + rows : squares + rows;
}

static uint64_t moments_of_layer(const struct arch_params *p, int layer, uint64_t tokens)
{
    uint64_t heads = 0, largest = 0, slabs, n;
    for (int i = INPUT_NONE + 1; i < INPUT_COUNT; i++) {
        enum input input = (enum input)i;
        if (!input_shape(input, p, layer, &slabs, &n) || input == INPUT_EXPERT || input == INPUT_EXPERT_INNER)
            continue;
        uint64_t bytes = input_bytes(input, slabs, n, tokens);
        if (input == INPUT_Q_NOPE || input == INPUT_MIXED_LATENT)
            heads += bytes;
        else
            largest = most(largest, bytes);
    }
    return heads + largest;
}

struct sequential_memory sequential_memory(const struct plan *p, int threads)
{
    const struct sequential_options *s = &p->options.sequential;
    const struct arch_params *a = &p->model->params;
    struct sequential_memory m = {0, 0};
    if (!s->tokens.chunks)
        return m;
    uint64_t tokens = padded_tokens(&s->tokens), stream = stream_bytes(a, tokens);
    m.activations = least(2 * stream, p->options.memory / ORIGINAL_SHARE) + least(stream, p->options.memory / QUANTIZED_SHARE);
    for (size_t i = 0; i < p->n_files; i++) /* the quantized model's names and vocabulary */
        m.activations += 3 * p->files[i].header.size;
    for (int layer = -1; layer < (int)a->num_hidden_layers; layer++)
        m.moments = most(m.moments, moments_of_layer(a, layer, tokens));
    m.moments += (uint64_t)threads * FORWARD_PRODUCT_BYTES;
    return m;
}
