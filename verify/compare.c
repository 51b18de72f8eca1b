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
#include "model/forward/head.h"

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

static struct forward *start(struct walk *w, const struct model *m, size_t streams, const struct pass_rounding *r, struct error *e)
{
    struct forward_tokens t = {w->tokens, w->c->chunks, w->c->ctx};
    struct forward_options o = {w->o->threads, streams, w->o->group_routing, &w->store, .rounding = *r};
    struct forward *f = forward_new(m, &t, &o, e);
    if (f && forward_embed(f, e)) {
        forward_free(f);
        return NULL;
    }
    return f;
}

/* Sums of one chunk. Lanes behind its end are left out. */
static void layer_chunk(const struct walk *w, size_t chunk, struct layer_sums *sums)
{
    const struct forward *y = w->base, *x = w->cand;
    size_t D = y->hidden.rows, first = chunk * y->tiles_per_chunk;
    for (size_t t = 0; t < y->tiles_per_chunk; t++) {
        const float *b = panel_row(&y->hidden, first + t, 0), *own = panel_row(&x->hidden, first + t, 0);
        const float *local = w->o->local ? panel_row(&x->hidden, y->tiles + first + t, 0) : b;
        size_t lanes = w->c->ctx - t * LANES < LANES ? w->c->ctx - t * LANES : LANES;
        for (size_t r = 0; r < D; r++)
            for (size_t i = r * LANES; i < r * LANES + lanes; i++) {
                double v = (double)b[i], d = (double)own[i] - v, dl = (double)local[i] - v;
                sums->accumulated2 += d * d;
                sums->local2 += dl * dl;
                sums->size2 += v * v;
            }
    }
}

static size_t common(const int16_t *a, const int16_t *b, size_t k)
{
    size_t n = 0;
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++)
            n += a[i] == b[j];
    return n;
}

static struct layer_sums *layer_sums(const struct walk *w, size_t chunk, size_t layer)
{
    return &w->c->layer_sums[chunk * w->c->n_layers + layer];
}

static struct expert_use *expert_sums(const struct walk *w, size_t chunk, size_t layer)
{
    return &w->c->expert_sums[(chunk * w->c->n_layers + layer) * w->c->n_experts];
}

/* Expert use of stream 0, and agreement of the two routers, in one chunk. */
static void compare_routing(struct walk *w, size_t chunk, struct layer_sums *sums, struct expert_use *use)
{
    size_t k = w->c->experts_used;
    for (size_t i = 0; i < w->c->ctx; i++) {
        size_t at = place(w, chunk, i) * k, n;
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
        sums->common += n;
        sums->same_set += n == k;
        w->changed[chunk * w->c->ctx + i] |= n != k;
    }
}

/* Adds what one expert's outputs differ by, on the tokens that it gets from both: the base's, and the candidate's second
 * stream, which lies `tiles` tiles behind. */
static int compare_expert(struct walk *w, const struct expert_output *b, const struct expert_output *c, size_t layer,
                          size_t expert, struct error *e)
{
    uint32_t shift = (uint32_t)(w->base->tiles * LANES), per_chunk = (uint32_t)(w->base->tiles_per_chunk * LANES);
    size_t pairs = 0, j = 0;
    size_t(*pair)[3] = malloc((b->n + 1) * sizeof *pair);
    double(*sums)[2] = malloc((b->n + 1) * sizeof *sums);
    int rc = pair && sums ? 0 : no_memory(e);
    for (size_t i = 0; !rc && i < b->n; i++) {
        while (j < c->n && c->token[j] < b->token[i] + shift)
            j++;
        if (j < c->n && c->token[j] == b->token[i] + shift) {
            pair[pairs][0] = b->place[i];
            pair[pairs][1] = c->place[j];
            pair[pairs++][2] = b->token[i] / per_chunk;
        }
    }
#pragma omp parallel for num_threads(w->o->threads)
    for (size_t i = 0; i < pairs; i++) {
        const float *x = b->y->data + pair[i][0], *y = c->y->data + pair[i][1];
        double d2 = 0, s2 = 0;
        for (size_t r = 0; r < b->y->rows; r++) {
            double v = (double)x[r * LANES], d = (double)y[r * LANES] - v;
            d2 += d * d;
            s2 += v * v;
        }
        sums[i][0] = d2;
        sums[i][1] = s2;
    }
    for (size_t i = 0; i < pairs; i++) {
        struct expert_use *use = expert_sums(w, pair[i][2], layer) + expert;
        use->error2 += sums[i][0];
        use->output2 += sums[i][1];
    }
    free(pair);
    free(sums);
    return rc;
}

/* Both models through one layer, expert by expert. */
static int layer_pair(struct walk *w, int layer, struct error *e)
{
    struct layer_run *b = forward_layer_begin(w->base, layer, e), *c = b ? forward_layer_begin(w->cand, layer, e) : NULL;
    int moe = (uint64_t)layer >= w->base->model->params.first_k_dense_replace, rc = c ? 0 : -1;
    for (int x = 0; !rc && moe && x < (int)w->c->n_experts; x++) {
        struct expert_output ob, oc;
        rc = forward_layer_expert(w->base, b, x, &ob, e) || forward_layer_expert(w->cand, c, x, &oc, e) ||
             (w->o->local && compare_expert(w, &ob, &oc, (size_t)layer, (size_t)x, e));
    }
    if (rc) {
        forward_layer_abandon(w->base, b);
        forward_layer_abandon(w->cand, c);
        return -1;
    }
    if (forward_layer_end(w->base, b, e)) {
        forward_layer_abandon(w->cand, c);
        return -1;
    }
    return forward_layer_end(w->cand, c, e);
}

static int one_layer(struct walk *w, size_t i, struct error *e)
{
    size_t floats = w->base->hidden.tiles * w->base->hidden.rows * LANES;
    if (w->cand && w->o->local)
        memcpy(panel_row(&w->cand->hidden, w->base->tiles, 0), w->base->hidden.data, floats * sizeof(float));
    if (w->cand ? layer_pair(w, (int)i, e) : forward_layer(w->base, (int)i, e))
        return -1;
#pragma omp parallel for num_threads(w->o->threads)
    for (size_t chunk = 0; chunk < w->c->chunks; chunk++) {
        if (w->cand)
            layer_chunk(w, chunk, layer_sums(w, chunk, i));
        if (i >= w->c->n_dense)
            compare_routing(w, chunk, layer_sums(w, chunk, i), expert_sums(w, chunk, i));
    }
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
    rc = head_run(&(struct head_side){w->base, 0}, &(struct head_side){w->cand, 0}, w->cand != NULL, ROLE_OUTPUT_NORM, -1, &w->list,
                  w->positions, fd, e);
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
    s->kld = (float)position_kld(p);
}

static void fill_scores(struct walk *w)
{
    size_t first = first_scored(w), per_list = w->list.n / w->c->chunks, ctx = w->c->ctx;
    for (size_t i = 0; i < w->list.n; i++) {
        size_t chunk = i / per_list, at = w->places[i] - place(w, chunk, 0);
        if (at < first || at + 2 > ctx)
            continue;
        struct score *s = &w->c->scores[w->c->n_scores++];
        s->chunk = (uint32_t)(w->c->first_chunk + chunk);
        s->position = (uint32_t)at;
        s->routing_changed = w->changed[chunk * ctx + at];
        score_one(w, &w->positions[i], s);
    }
}

/* Loss and agreement of one model's MTP layer; the positions of the main head are all there. */
static int run_mtp(struct walk *w, struct forward *f, int is_cand, struct error *e)
{
    int layer = (int)f->model->params.num_hidden_layers;
    size_t ctx = w->c->ctx;
    struct position *p = calloc(w->list.n + 1, sizeof *p);
    if (!p)
        return no_memory(e);
    for (size_t i = 0; i < w->list.n; i++)
        p[i].target = i % ctx + 2 < ctx ? w->tokens[i + 2] : -1;
    int rc = forward_mtp_input(f, layer, e) || forward_layer(f, layer, e) ||
             head_run(&(struct head_side){f, 0}, NULL, 0, ROLE_NEXTN_SHARED_HEAD_NORM, layer, &w->list, p, -1, e);
    for (size_t i = 0; !rc && i < w->list.n; i++) {
        struct mtp_sums *m = &w->c->mtp_sums[i / ctx];
        const struct position *next = &w->positions[i + 1];
        if (p[i].target < 0)
            continue;
        double loss = softmax_log(&p[i].base) - (double)p[i].base_target;
        int agrees = p[i].base_top.id[0] == (is_cand ? next->cand_top.id[0] : next->base_top.id[0]);
        m->positions += !is_cand;
        *(is_cand ? &m->loss_cand : &m->loss_base) += loss;
        *(is_cand ? &m->agree_cand : &m->agree_base) += (uint64_t)agrees;
    }
    free(p);
    return rc ? -1 : 0;
}

static int mtp(struct walk *w, struct error *e)
{
    if (!w->base->model->params.num_nextn_predict_layers)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--mtp, but the model has no MTP layer");
    w->c->has_mtp = 1;
    if (run_mtp(w, w->base, 0, e))
        return -1;
    if (!w->cand || !w->cand->model->params.num_nextn_predict_layers)
        return 0;
    return run_mtp(w, w->cand, 1, e);
}

static int prepare(struct walk *w, const struct model *base, const struct model *cand, struct error *e)
{
    const struct arch_params *p = &base->params;
    struct comparison *c = w->c;
    c->has_candidate = cand != NULL;
    c->n_layers = (size_t)p->num_hidden_layers;
    c->n_experts = (size_t)p->n_routed_experts;
    c->n_dense = (size_t)p->first_k_dense_replace;
    c->experts_used = (size_t)p->num_experts_per_tok;
    c->first_chunk = w->o->first_chunk;
    c->total_chunks = w->o->total_chunks;
    c->base = w->o->base;
    c->cand = w->o->cand;
    if (cand && !same_architecture(p, &cand->params))
        return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "the two models have different shapes");
    if (c->ctx < 4)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--ctx must be at least 4");
    w->changed = calloc(c->chunks * c->ctx + 1, 1);
    if (!w->changed)
        return no_memory(e);
    if (comparison_init(c, e))
        return -1;
    if (!(w->base = start(w, base, 1, &w->o->base, e)) || (cand && !(w->cand = start(w, cand, w->o->local ? 2 : 1, &w->o->cand, e))))
        return -1;
    return choose_positions(w, e);
}

int compare_run(const struct model *base, const struct model *cand, const int32_t *tokens, size_t chunks,
                const struct compare_options *o, const struct check_hooks *hooks, struct comparison *c, struct error *e)
{
    struct walk w = {.o = o, .hooks = hooks, .c = c, .tokens = tokens, .store = {o->memory, o->scratch, 0}};
    *c = (struct comparison){.chunks = chunks, .ctx = o->ctx};
    int rc = prepare(&w, base, cand, e) || walk_layers(&w, e) || run_head(&w, e);
    if (!rc) {
        fill_scores(&w);
        rc = o->mtp && mtp(&w, e);
    }
    if (!rc)
        comparison_finish(c);
    forward_free(w.base);
    forward_free(w.cand);
    free(w.changed);
    free(w.places);
    free(w.positions);
    return rc ? -1 : 0;
}
