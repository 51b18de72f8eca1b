/* SPDX-License-Identifier: MIT
 * Sequential conversion. */
#include "convert/sequential.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "convert/calibrate.h"

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

static enum half half_of(enum tensor_role role)
{
    enum role_class class = roles[role].class;
    return class == CLASS_ATTENTION || class == CLASS_INDEXER || role == ROLE_ATTN_NORM || role == ROLE_ATTN_Q_A_NORM ||
                   role == ROLE_ATTN_KV_A_NORM
               ? HALF_ATTENTION
               : HALF_MLP;
}

/* Whether a tensor's units are made together with this half. The output goes with what belongs to no layer that is walked. */
static int belongs(const struct sequence *q, const struct plan_tensor *t, int layer, enum half half)
{
    int walked = t->weight.layer >= 0 && t->weight.layer < (int)q->p->model->params.num_hidden_layers;
    return layer < 0 ? !walked : t->weight.layer == layer && half_of(t->weight.role) == half;
}

/* The units of a half, in runs of neighbouring tensors. */
static int quantize(struct sequence *q, int layer, enum half half, struct error *e)
{
    const struct plan *p = q->p;
    for (size_t i = 0, end; i < p->n_tensors; i = end) {
        end = i + 1;
        if (!belongs(q, &p->tensors[i], layer, half))
            continue;
        while (end < p->n_tensors && belongs(q, &p->tensors[end], layer, half))
            end++;
        uint64_t to = end < p->n_tensors ? p->tensors[end].first_unit : p->n_units;
        if (stream_run(p, p->tensors[i].first_unit, to, q->out, q->keeper, q->state, q->hooks, e))
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
                         .store = {.room = p->options.memory / 4, .scratch = s->folder}};
    const struct calibrate_follower follower = {&q, begin, follow};
    const struct calibrate_options o = {.tokens = s->tokens, .threads = p->threads, .group_routing = 1, .memory = p->options.memory / 2,
                                        .tool = tool, .text = s->text, .follower = &follower, .restart = anew};
    const struct stream_hooks silent = {NULL, hooks->stop, hooks->context};
    struct calibrate_result r;
    int rc = calibrate_run(p->model, &o, s->folder, &silent, &r, e);
    forward_free(q.quantized);
    model_close(q.model);
    source_close(q.source);
    return rc;
}
