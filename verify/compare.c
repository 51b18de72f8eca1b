/* SPDX-License-Identifier: MIT
 * Compare: the walk. With a candidate the base advances first; the candidate's pass carries two streams, its own hidden
 * states and, put in before each layer, the base's, so that a layer's own error is known without a second decoding. With a
 * base file only the candidate walks. A third pass is alone.c's. */
#include "verify/compare.h"

#include <stdlib.h>
#include <string.h>

#include "verify/walk.h"

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

static struct forward *start(struct walk *w, const struct model *m, size_t streams, const struct pass_rounding *r, struct error *e)
{
    struct forward_tokens t = {w->tokens, w->c->chunks, w->c->ctx};
    struct forward_options o = {w->o->threads, streams, w->o->group_routing, &w->store, .rounding = *r, .stop = w->hooks->stop, .stop_context = w->hooks->context};
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

/* The base's experts of a token: of its pass, or as its file has them. NULL: not known. */
static const int16_t *base_chosen(const struct walk *w, size_t layer, size_t chunk, size_t i)
{
    size_t k = w->c->experts_used;
    if (w->base)
        return w->base->chosen + walk_place(w, chunk, i) * k;
    return w->routing ? w->routing[chunk] + ((layer - w->c->n_dense) * w->c->ctx + i) * k : NULL;
}

/* Expert use of stream 0, and agreement of the two routers, in one chunk. */
static void compare_routing(struct walk *w, size_t layer, size_t chunk, struct layer_sums *sums, struct expert_use *use)
{
    size_t k = w->c->experts_used;
    for (size_t i = 0; i < w->c->ctx; i++) {
        const int16_t *base = base_chosen(w, layer, chunk, i);
        size_t at = walk_place(w, chunk, i) * k, n;
        for (size_t j = 0; j < k; j++) {
            if (base)
                use[base[j]].tokens_base++;
            if (w->base)
                use[base[j]].gate_base += (double)w->base->gates[at + j];
            if (w->cand) {
                use[w->cand->chosen[at + j]].tokens_cand++;
                use[w->cand->chosen[at + j]].gate_cand += (double)w->cand->gates[at + j];
            }
        }
        if (!w->cand || !base)
            continue;
        n = common(base, w->cand->chosen + at, k);
        sums->common += n;
        sums->same_set += n == k;
        w->changed[chunk * w->c->ctx + i] |= n != k;
    }
}

/* The base's experts into the file that is being made. */
static int save_routing(const struct walk *w, size_t layer, size_t chunk)
{
    size_t k = w->c->experts_used;
    int16_t *chosen = malloc((w->c->ctx * k + 1) * sizeof *chosen);
    if (!chosen)
        return -1;
    for (size_t i = 0; i < w->c->ctx; i++)
        memcpy(chosen + i * k, base_chosen(w, layer, chunk, i), k * sizeof *chosen);
    base_put_routing(w->o->save_base, chunk, layer, chosen);
    free(chosen);
    return 0;
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

enum { BASE, CAND, ALONE, PASSES };

/* A layer's runs, of the passes that there are. */
struct runs {
    struct forward *f[PASSES];
    struct layer_run *of[PASSES];
};

/* One expert of all of them, one after the other, so that what is read twice is still in memory. */
static int run_expert(struct walk *w, struct runs *r, int layer, int expert, struct error *e)
{
    struct expert_output out[PASSES];
    for (int i = 0; i < PASSES; i++)
        if (r->of[i] && forward_layer_expert(r->f[i], r->of[i], expert, &out[i], e))
            return -1;
    return r->of[BASE] && r->of[CAND] && w->o->local ? compare_expert(w, &out[BASE], &out[CAND], (size_t)layer, (size_t)expert, e) : 0;
}

/* All passes through one layer, expert by expert. */
static int run_layer(struct walk *w, int layer, struct error *e)
{
    struct runs r = {{w->base, w->cand, w->alone}, {0}};
    int moe = (size_t)layer >= w->c->n_dense, rc = 0;
    for (int i = 0; !rc && i < PASSES; i++)
        rc = r.f[i] && !(r.of[i] = forward_layer_begin(r.f[i], layer, e));
    for (int x = 0; !rc && moe && x < (int)w->c->n_experts; x++)
        rc = run_expert(w, &r, layer, x, e);
    for (int i = 0; i < PASSES; i++) {
        if (!rc && r.of[i])
            rc = forward_layer_end(r.f[i], r.of[i], e);
        else if (r.of[i])
            forward_layer_abandon(r.f[i], r.of[i]);
    }
    return rc ? -1 : 0;
}

static int one_layer(struct walk *w, size_t i, struct error *e)
{
    size_t floats = w->any->hidden.tiles * w->any->hidden.rows * LANES;
    int failed = 0;
    if (w->base && w->cand && w->o->local)
        memcpy(panel_row(&w->cand->hidden, w->base->tiles, 0), w->base->hidden.data, floats * sizeof(float));
    if (run_layer(w, (int)i, e))
        return -1;
    if (w->alone)
        alone_add(w, i);
#pragma omp parallel for num_threads(w->o->threads) reduction(| : failed)
    for (size_t chunk = 0; chunk < w->c->chunks; chunk++) {
        if (w->base && w->cand)
            layer_chunk(w, chunk, layer_sums(w, chunk, i));
        if (i < w->c->n_dense)
            continue;
        compare_routing(w, i, chunk, layer_sums(w, chunk, i), expert_sums(w, chunk, i));
        failed |= w->o->save_base && save_routing(w, i, chunk);
    }
    return failed ? no_memory(e) : 0;
}

static int walk_layers(struct walk *w, struct error *e)
{
    for (size_t i = 0; i < w->c->n_layers; i++) {
        if (one_layer(w, i, e))
            return -1;
        if (w->store.spilled > w->c->spilled)
            w->c->spilled = w->store.spilled;
        if (w->hooks->progress)
            w->hooks->progress(w->hooks->context, i + 1, w->c->n_layers + 1);
    }
    return 0;
}

/* The experts of all chunks that a base file has. */
static int load_routing(struct walk *w, struct error *e)
{
    if (!base_about(w->o->base_file)->n_experts)
        return 0;
    if (!(w->routing = calloc(w->c->chunks + 1, sizeof *w->routing)))
        return no_memory(e);
    for (size_t i = 0; i < w->c->chunks; i++)
        if (base_routing(w->o->base_file, w->o->first_chunk + i, &w->routing[i], e))
            return -1;
    return 0;
}

static int start_passes(struct walk *w, const struct model *base, const struct model *cand, struct error *e)
{
    if ((base && !(w->base = start(w, base, 1, &w->o->base, e))) ||
        (cand && !(w->cand = start(w, cand, w->base && w->o->local ? 2 : 1, &w->o->cand, e))))
        return -1;
    w->any = w->base ? w->base : w->cand;
    return alone_start(w, base, e);
}

static int prepare(struct walk *w, const struct model *base, const struct model *cand, struct error *e)
{
    const struct arch_params *p = base ? &base->params : &cand->params;
    struct comparison *c = w->c;
    c->has_candidate = cand != NULL;
    c->has_hidden = base && cand;
    c->has_routing = !w->o->base_file || base_about(w->o->base_file)->n_experts;
    c->n_layers = (size_t)p->num_hidden_layers;
    c->n_experts = (size_t)p->n_routed_experts;
    c->n_dense = (size_t)p->first_k_dense_replace;
    c->experts_used = (size_t)p->num_experts_per_tok;
    c->first_chunk = w->o->first_chunk;
    c->total_chunks = w->o->total_chunks;
    c->by_layer = w->o->by_layer < c->total_chunks ? w->o->by_layer : c->total_chunks;
    c->base = w->o->base;
    c->cand = w->o->cand;
    if (base && cand && !same_architecture(p, &cand->params))
        return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "the two models have different shapes");
    if (w->o->base_file && base_fits(w->o->base_file, p, e))
        return -1;
    if (c->ctx < 4)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--ctx must be at least 4");
    w->changed = calloc(c->chunks * c->ctx + 1, 1);
    if (!w->changed)
        return no_memory(e);
    if (comparison_init(c, e) || (w->o->base_file && load_routing(w, e)) || start_passes(w, base, cand, e))
        return -1;
    return walk_positions(w, e);
}

int compare_run(const struct model *base, const struct model *cand, const int32_t *tokens, size_t chunks,
                const struct compare_options *o, const struct check_hooks *hooks, struct comparison *c, struct error *e)
{
    struct walk w = {.o = o, .hooks = hooks, .c = c, .tokens = tokens, .store = {.room = o->memory, .scratch = o->scratch, .threads = o->threads, .keeps = 1}};
    *c = (struct comparison){.chunks = chunks, .ctx = o->ctx};
    int rc = prepare(&w, base, cand, e) || walk_layers(&w, e) || walk_scores(&w, e);
    if (!rc)
        comparison_finish(c);
    forward_free(w.base);
    forward_free(w.cand);
    forward_free(w.alone);
    panel_store_clear(&w.store);
    for (size_t i = 0; w.routing && i < chunks; i++)
        free(w.routing[i]);
    free(w.routing);
    free(w.changed);
    free(w.places);
    free(w.positions);
    free(w.kld);
    return rc ? -1 : 0;
}
