/* SPDX-License-Identifier: MIT
 * Compare: the walk. With a candidate the base advances first; the candidate's pass carries two streams, its own hidden
 * states and, put in before each layer, the base's, so that a layer's own error is known without a second decoding. */
#include "verify/compare.h"

#include <fcntl.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/forward/det_math.h"
#include "model/forward/forward.h"
#include "verify/head.h"

struct walk {
    const struct compare_options *o;
    const struct check_hooks *hooks;
    struct comparison *c;
    const int32_t *tokens;
    struct panel_store store;
    struct forward *base, *cand;
    uint8_t *changed;        /* [chunks * ctx] routing differed in some layer */
    struct head_list list;   /* positions that get logits */
    uint32_t *places;        /* list.token */
    struct position *positions;
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the comparison");
}

static int same_architecture(const struct arch_params *a, const struct arch_params *b)
{
    return a->vocab_size == b->vocab_size && a->hidden_size == b->hidden_size &&
           a->num_hidden_layers == b->num_hidden_layers && a->n_routed_experts == b->n_routed_experts &&
           a->num_experts_per_tok == b->num_experts_per_tok && a->first_k_dense_replace == b->first_k_dense_replace;
}

/* Panel place of position i of chunk c in stream 0. */
static uint32_t place(const struct walk *w, size_t c, size_t i)
{
    return (uint32_t)((c * w->base->tiles_per_chunk + i / LANES) * LANES + i % LANES);
}

static size_t first_scored(const struct walk *w)
{
    return w->o->all_positions ? 0 : w->c->ctx / 2;
}

/* Logits are needed at the scored positions; for the MTP layer and for saving, at all. */
static int choose_positions(struct walk *w, struct error *e)
{
    int wide = w->o->mtp || w->o->save_logits;
    size_t from = wide ? 0 : first_scored(w), to = wide ? w->c->ctx : w->c->ctx - 1;
    w->places = malloc((w->c->chunks * w->c->ctx + 1) * sizeof *w->places);
    w->positions = calloc(w->c->chunks * w->c->ctx + 1, sizeof *w->positions);
    if (!w->places || !w->positions)
        return no_memory(e);
    for (size_t c = 0; c < w->c->chunks; c++)
        for (size_t i = from; i < to; i++) {
            w->positions[w->list.n].target = i + 1 < w->c->ctx ? w->tokens[c * w->c->ctx + i + 1] : -1;
            w->places[w->list.n++] = place(w, c, i);
        }
    w->list.token = w->places;
    return 0;
}

static struct forward *start(struct walk *w, const struct model *m, size_t streams, struct error *e)
{
    struct forward_tokens t = {w->tokens, w->c->chunks, w->c->ctx};
    struct forward_options o = {w->o->threads, streams, w->o->group_routing, &w->store};
    struct forward *f = forward_new(m, &t, &o, e);
    if (f && forward_embed(f, e)) {
        forward_free(f);
        return NULL;
    }
    return f;
}

/* sqrt(sum |x - y|^2 / sum |y|^2) over the tokens of x's stream `stream` and y's stream 0; lanes without a token hold
 * equal things in both and add nothing to the difference. */
static double relative_error(const struct forward *x, size_t stream, const struct forward *y)
{
    size_t tiles = y->tiles_per_chunk * y->tokens.chunks, D = y->hidden.rows;
    double difference = 0, size = 0;
    for (size_t t = 0; t < tiles; t++) {
        const float *a = panel_row(&x->hidden, stream * tiles + t, 0), *b = panel_row(&y->hidden, t, 0);
        double d2 = 0, s2 = 0;
        size_t lanes = y->tokens.ctx - t % y->tiles_per_chunk * LANES;
        lanes = lanes > LANES ? LANES : lanes;
        for (size_t r = 0; r < D; r++)
            for (size_t l = 0; l < lanes; l++) {
                double d = (double)a[r * LANES + l] - (double)b[r * LANES + l];
                d2 += d * d;
                s2 += (double)b[r * LANES + l] * (double)b[r * LANES + l];
            }
        difference += d2;
        size += s2;
    }
    return size > 0 ? sqrt(difference / size) : 0;
}

static size_t common(const int16_t *a, const int16_t *b, size_t k)
{
    size_t n = 0;
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++)
            n += a[i] == b[j];
    return n;
}

/* Expert use of stream 0, and agreement of the two routers. */
static void compare_routing(struct walk *w, struct layer_error *le, struct expert_use *use)
{
    size_t k = (size_t)w->base->model->params.num_experts_per_tok, tokens = w->c->chunks * w->c->ctx, same = 0, sum = 0;
    for (size_t i = 0; i < tokens; i++) {
        size_t at = place(w, i / w->c->ctx, i % w->c->ctx) * k, n;
        for (size_t j = 0; j < k; j++) {
            use[w->base->chosen[at + j]].tokens_base++;
            use[w->base->chosen[at + j]].gate_base += (double)w->base->gates[at + j];
            if (w->cand) {
                use[w->cand->chosen[at + j]].tokens_cand++;
                use[w->cand->chosen[at + j]].gate_cand += (double)w->cand->gates[at + j];
            }
        }
        if (!w->cand)
            continue;
        n = common(w->base->chosen + at, w->cand->chosen + at, k);
        sum += n;
        same += n == k;
        w->changed[i] |= n != k;
    }
    le->is_moe = 1;
    le->same_set = (double)same / (double)tokens;
    le->overlap = (double)sum / (double)(tokens * k);
}

static int one_layer(struct walk *w, size_t i, struct error *e)
{
    struct layer_error *le = &w->c->layers[i];
    const struct arch_params *p = &w->base->model->params;
    size_t floats = w->base->hidden.tiles * w->base->hidden.rows * LANES;
    *le = (struct layer_error){.layer = (int)i};
    if (w->cand && w->o->local)
        memcpy(panel_row(&w->cand->hidden, w->base->tiles, 0), w->base->hidden.data, floats * sizeof(float));
    if (forward_layer(w->base, (int)i, e) || (w->cand && forward_layer(w->cand, (int)i, e)))
        return -1;
    if (w->cand) {
        le->accumulated = relative_error(w->cand, 0, w->base);
        le->local = w->o->local ? relative_error(w->cand, 1, w->base) : 0;
    }
    if (i >= p->first_k_dense_replace)
        compare_routing(w, le, w->c->experts + i * w->c->n_experts);
    return 0;
}

static int walk_layers(struct walk *w, struct error *e)
{
    for (size_t i = 0; i < w->c->n_layers; i++) {
        if (w->hooks->stop && w->hooks->stop(w->hooks->context))
            return error_set(e, ERR_INTERRUPTED, ERROR_NO_OFFSET, "interrupted");
        if (one_layer(w, i, e))
            return -1;
        if (w->store.spilled > w->c->spilled)
            w->c->spilled = w->store.spilled;
        if (w->hooks->progress)
            w->hooks->progress(w->hooks->context, i + 1, w->c->n_layers + 1);
    }
    return 0;
}

static int run_head(struct walk *w, struct error *e)
{
    int fd = -1, rc;
    if (w->o->save_logits &&
        (fd = open(w->o->save_logits, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) < 0) {
        error_set(e, ERR_IO, ERROR_NO_OFFSET, "cannot create: %s", strerror(errno));
        return error_at_file(e, w->o->save_logits);
    }
    rc = head_run(w->base, w->cand, ROLE_OUTPUT_NORM, -1, &w->list, w->positions, fd, e);
    if (fd >= 0 && close(fd) && !rc)
        rc = error_set(e, ERR_IO, ERROR_NO_OFFSET, "cannot write the logits: %s", strerror(errno));
    return rc;
}

static uint8_t common_top5(const struct position *p)
{
    uint8_t n = 0;
    for (int i = 0; i < p->base_top.n; i++)
        for (int j = 0; j < p->cand_top.n; j++)
            n += p->base_top.id[i] == p->cand_top.id[j];
    return n;
}

static void score_one(const struct walk *w, const struct position *p, struct score *s)
{
    double log_b = softmax_log(&p->base), log_c;
    s->target = p->target;
    s->nll_base = (float)(log_b - (double)p->base_target);
    s->p_base = (float)det_exp(-(log_b - (double)p->base_target));
    s->confidence = (float)det_exp((double)p->base_top.logit[0] - log_b);
    s->top_base = p->base_top.id[0];
    if (!w->cand)
        return;
    log_c = softmax_log(&p->cand);
    s->nll_cand = (float)(log_c - (double)p->cand_target);
    s->p_cand = (float)det_exp(-(log_c - (double)p->cand_target));
    s->top_cand = p->cand_top.id[0];
    s->same_top5 = common_top5(p);
    /* sum p_b (b - c) - log_b + log_c; rounding may leave a hair below zero */
    double kld = p->cross / p->base.sum - log_b + log_c;
    s->kld = (float)(kld > 0 ? kld : 0);
}

static int fill_scores(struct walk *w, struct error *e)
{
    size_t first = first_scored(w), per_list = w->list.n / w->c->chunks, ctx = w->c->ctx;
    if (!(w->c->scores = calloc(w->c->chunks * ctx + 1, sizeof *w->c->scores)))
        return no_memory(e);
    for (size_t i = 0; i < w->list.n; i++) {
        size_t chunk = i / per_list, at = w->places[i] - place(w, chunk, 0);
        if (at < first || at + 2 > ctx)
            continue;
        struct score *s = &w->c->scores[w->c->n_scores++];
        s->chunk = (uint32_t)chunk;
        s->position = (uint32_t)at;
        s->routing_changed = w->changed[chunk * ctx + at];
        score_one(w, &w->positions[i], s);
    }
    return 0;
}

/* Loss and agreement of one model's MTP layer; `main` are its positions of the main head (all of them). */
static int run_mtp(struct walk *w, struct forward *f, int is_cand, double *loss, double *agreement, struct error *e)
{
    int layer = (int)f->model->params.num_hidden_layers;
    size_t ctx = w->c->ctx, n = 0, agree = 0;
    struct position *p = calloc(w->list.n + 1, sizeof *p);
    double sum = 0;
    if (!p)
        return no_memory(e);
    for (size_t i = 0; i < w->list.n; i++)
        p[i].target = i % ctx + 2 < ctx ? w->tokens[i + 2] : -1;
    int rc = forward_mtp_input(f, layer, e) || forward_layer(f, layer, e) ||
             head_run(f, NULL, ROLE_NEXTN_SHARED_HEAD_NORM, layer, &w->list, p, -1, e);
    for (size_t i = 0; !rc && i < w->list.n; i++) {
        if (p[i].target < 0)
            continue;
        const struct top_list *next = is_cand ? &w->positions[i + 1].cand_top : &w->positions[i + 1].base_top;
        sum += softmax_log(&p[i].base) - (double)p[i].base_target;
        agree += p[i].base_top.id[0] == next->id[0];
        n++;
    }
    *loss = n ? sum / (double)n : 0;
    *agreement = n ? (double)agree / (double)n : 0;
    free(p);
    return rc ? -1 : 0;
}

static int mtp(struct walk *w, struct error *e)
{
    struct mtp_score *m = &w->c->mtp;
    if (!w->base->model->params.num_nextn_predict_layers)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--mtp, but the model has no MTP layer");
    w->c->has_mtp = 1;
    if (run_mtp(w, w->base, 0, &m->loss_base, &m->agreement_base, e))
        return -1;
    if (!w->cand || !w->cand->model->params.num_nextn_predict_layers)
        return 0;
    return run_mtp(w, w->cand, 1, &m->loss_cand, &m->agreement_cand, e);
}

static int prepare(struct walk *w, const struct model *base, const struct model *cand, struct error *e)
{
    const struct arch_params *p = &base->params;
    struct comparison *c = w->c;
    c->has_candidate = cand != NULL;
    c->n_layers = (size_t)p->num_hidden_layers;
    c->n_experts = (size_t)p->n_routed_experts;
    if (cand && !same_architecture(p, &cand->params))
        return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "the two models have different shapes");
    if (c->ctx < 4)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--ctx must be at least 4");
    c->layers = calloc(c->n_layers, sizeof *c->layers);
    c->experts = calloc(c->n_layers * c->n_experts, sizeof *c->experts);
    w->changed = calloc(c->chunks * c->ctx + 1, 1);
    if (!c->layers || !c->experts || !w->changed)
        return no_memory(e);
    if (!(w->base = start(w, base, 1, e)) || (cand && !(w->cand = start(w, cand, w->o->local ? 2 : 1, e))))
        return -1;
    return choose_positions(w, e);
}

int compare_run(const struct model *base, const struct model *cand, const int32_t *tokens, size_t chunks,
                const struct compare_options *o, const struct check_hooks *hooks, struct comparison *c, struct error *e)
{
    struct walk w = {.o = o, .hooks = hooks, .c = c, .tokens = tokens, .store = {o->memory, o->scratch, 0}};
    *c = (struct comparison){.chunks = chunks, .ctx = o->ctx};
    int rc = prepare(&w, base, cand, e) || walk_layers(&w, e) || run_head(&w, e) || fill_scores(&w, e) ||
             (o->mtp && mtp(&w, e));
    forward_free(w.base);
    forward_free(w.cand);
    free(w.changed);
    free(w.places);
    free(w.positions);
    return rc ? -1 : 0;
}

void comparison_clear(struct comparison *c)
{
    free(c->scores);
    free(c->layers);
    free(c->experts);
    *c = (struct comparison){0};
}
