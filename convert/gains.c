/* SPDX-License-Identifier: MIT
 * Gains: the pass with many streams. */
#include "convert/gains.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "convert/sensitivity.h"
#include "model/forward/head.h"

/* Where the errors of real choices lie. */
static const double whole_levels[MEASURED_WHOLES] = {0.125, 0.35, 1};
enum { ANY_LAYER = -2, MOST_OF_STREAM = ROLE_COUNT };
#define LEAST_POWER 0.5 /* what decisions that flip would give alone; above 1 is noise */

/* What a copy of the model has wrong. */
struct fault {
    uint64_t roles;
    int layer; /* ANY_LAYER: all */
    float level;
    struct weight_filter filter;
    struct model model;
};

struct stream {
    int layer;       /* -1: the embedding, or the output */
    uint64_t roles;
    size_t weights[MOST_OF_STREAM], n; /* of m */
    double kl;
};

struct gaining {
    const struct model *model;
    struct measured *m;
    const struct gains_options *o;
    const struct stream_hooks *hooks;
    struct panel_store store;
    struct stream *streams; /* the embedding's, those of layers by layer, the output's */
    size_t n, born;         /* born: streams of f but the first, in the order of `streams` */
    struct forward *f;      /* stream 0: nothing is wrong */
    struct fault whole[MEASURED_WHOLES];
    struct forward *walks[MEASURED_WHOLES];
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for gains");
}

/* ---- weights that are off */

static void change(void *fault, const struct weight *w, uint64_t slab, uint64_t row0, uint64_t n, float *rows)
{
    enum { STEP = 32 };
    const struct fault *f = fault;
    float rounded[STEP];
    (void)slab;
    (void)row0;
    if (!(f->roles >> w->role & 1) || (f->layer != ANY_LAYER && f->layer != w->layer) || w->cols % STEP)
        return;
    for (float *x = rows; x < rows + n * w->cols; x += STEP) {
        coarse_round(x, STEP, rounded);
        for (size_t i = 0; i < STEP; i++)
            x[i] += f->level * (rounded[i] - x[i]);
    }
}

/* kv_b is read as its halves. */
static void fault_init(struct fault *f, const struct model *m, uint64_t role_bits, int layer, double level)
{
    *f = (struct fault){.roles = role_bits, .layer = layer, .level = (float)level, .model = *m};
    if (role_bits >> ROLE_ATTN_KV_B & 1)
        f->roles |= UINT64_C(1) << ROLE_ATTN_K_B | UINT64_C(1) << ROLE_ATTN_V_B;
    f->filter = (struct weight_filter){f, change};
    f->model.filter = &f->filter;
}

/* ---- which streams there are */

static int is_chosen(const struct arch_params *p, int some, int layer)
{
    const int n = (int)p->num_hidden_layers, dense = (int)p->first_k_dense_replace;
    if (layer < 0 || !some)
        return 1;
    if (layer < dense)
        return layer == dense / 2;
    for (int i = 0; i < some; i++)
        if (layer == dense + (some > 1 ? (n - 1 - dense) * i / (some - 1) : (n - dense) / 2))
            return 1;
    return 0;
}

/* Matrices that share a stream where not all layers are measured. */
static int kind_of(enum tensor_role role)
{
    const int down = role == ROLE_FFN_DOWN_EXPS || role == ROLE_FFN_DOWN;
    return (int)roles[role].class * 2 + down;
}

static int joins(const struct gaining *g, const struct stream *s, const struct measured_weight *w)
{
    return g->o->layers && s->layer == w->layer && w->layer >= 0 && kind_of(g->m->weights[s->weights[0]].role) == kind_of(w->role);
}

static int add_stream(struct gaining *g, size_t i, struct error *e)
{
    const struct measured_weight *w = &g->m->weights[i];
    struct stream *s = NULL;
    for (size_t k = 0; k < g->n; k++)
        if (joins(g, &g->streams[k], w))
            s = &g->streams[k];
    if (!s) {
        struct stream *more = realloc(g->streams, (g->n + 1) * sizeof *more);
        if (!more)
            return no_memory(e);
        g->streams = more;
        s = &g->streams[g->n++];
        *s = (struct stream){.layer = w->layer};
    }
    s->roles |= UINT64_C(1) << w->role;
    s->weights[s->n++] = i;
    return 0;
}

static int is_wanted(const struct arch_params *p, int layers, const struct measured_weight *w)
{
    return w->kl < 0 && measured_coarse(w) > 0 && is_chosen(p, layers, w->layer);
}

/* Weights are sorted by layer: globals come first, of which the output must be last. */
static int list_streams(struct gaining *g, struct error *e)
{
    const struct measured *m = g->m;
    for (int output = 0; output < 2; output++)
        for (size_t i = 0; i < m->n; i++)
            if ((m->weights[i].role == ROLE_OUTPUT) == output && is_wanted(&g->model->params, g->o->layers, &m->weights[i]) && add_stream(g, i, e))
                return -1;
    return 0;
}

int gains_complete(const struct model *model, const struct measured *m, int layers)
{
    for (size_t i = 0; i < m->n; i++)
        if (is_wanted(&model->params, layers, &m->weights[i]))
            return 0;
    return m->n_whole != 0;
}

static int is_output(const struct stream *s)
{
    return s->roles == UINT64_C(1) << ROLE_OUTPUT;
}

/* ---- the pass */

static size_t stream_tiles(const struct gaining *g)
{
    return g->f->tiles_per_chunk * g->o->tokens.chunks;
}

static float *states(const struct gaining *g, struct forward *f, size_t stream)
{
    return panel_row(&f->hidden, stream * stream_tiles(g), 0);
}

static void copy_states(const struct gaining *g, float *to, const float *from)
{
    memcpy(to, from, stream_tiles(g) * g->f->hidden.rows * LANES * sizeof *to);
}

static struct forward *walk_with(struct gaining *g, const struct model *m, size_t streams, struct error *e)
{
    const struct forward_options o = {g->o->threads, streams, g->o->group_routing, &g->store, .stop = g->hooks->stop, .stop_context = g->hooks->context};
    return forward_new(m, &g->o->tokens, &o, e);
}

/* A stream behind its layer (or the embedding) of a model with its fault: into the place of f's stream `at`, which is not in use. */
static int bear(struct gaining *g, const struct stream *s, size_t at, struct error *e)
{
    struct fault fault;
    fault_init(&fault, g->model, s->roles, s->layer, 1);
    struct forward *one = walk_with(g, &fault.model, 1, e);
    int rc = one ? 0 : -1;
    if (!rc && s->layer < 0)
        rc = forward_embed(one, e);
    if (!rc && s->layer >= 0) {
        copy_states(g, states(g, one, 0), states(g, g->f, 0));
        rc = forward_layer(one, s->layer, e);
    }
    if (!rc)
        copy_states(g, states(g, g->f, at), states(g, one, 0));
    forward_free(one);
    return rc ? -1 : 0;
}

/* Streams of a layer are made from the states before it, then all older ones take it. */
static int one_layer(struct gaining *g, int layer, struct error *e)
{
    size_t now = g->born;
    while (now < g->n && g->streams[now].layer == layer && !is_output(&g->streams[now])) {
        if (bear(g, &g->streams[now], now + 1, e))
            return -1;
        now++;
    }
    if (layer >= 0) {
        forward_set_streams(g->f, g->born + 1);
        if (forward_layer(g->f, layer, e))
            return -1;
        for (int i = 0; i < MEASURED_WHOLES; i++)
            if (g->walks[i] && forward_layer(g->walks[i], layer, e))
                return -1;
    }
    g->born = now;
    return 0;
}

static int start(struct gaining *g, struct error *e)
{
    if (!(g->f = walk_with(g, g->model, g->n + 1, e)))
        return -1;
    forward_set_streams(g->f, 1);
    if (forward_embed(g->f, e))
        return -1;
    uint64_t all = 0;
    for (size_t i = 0; i < g->m->n; i++)
        all |= UINT64_C(1) << g->m->weights[i].role;
    for (int i = 0; i < MEASURED_WHOLES && !g->m->n_whole; i++) {
        fault_init(&g->whole[i], g->model, all, ANY_LAYER, whole_levels[i]);
        if (!(g->walks[i] = walk_with(g, &g->whole[i].model, 1, e)) || forward_embed(g->walks[i], e))
            return -1;
    }
    return 0;
}

static int walk(struct gaining *g, struct error *e)
{
    const int n = (int)g->model->params.num_hidden_layers;
    for (int layer = -1; layer < n; layer++) {
        if (g->hooks->progress)
            g->hooks->progress(g->hooks->context, (uint64_t)(layer + 1), (uint64_t)n + 2);
        if (one_layer(g, layer, e))
            return -1;
    }
    return 0;
}

/* ---- the head */

static double mean_kld(const struct position *p, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += position_kld(&p[i]);
    return sum / (double)n;
}

static void take_results(struct gaining *g, const struct position *positions, size_t n)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct stream *s = &g->streams[i];
        double off = 0;
        for (size_t k = 0; k < s->n; k++)
            off += measured_coarse(&g->m->weights[s->weights[k]]);
        for (size_t k = 0; k < s->n; k++) {
            g->m->weights[s->weights[k]].kl = (double)(float)mean_kld(positions + i * n, n);
            g->m->weights[s->weights[k]].off = (double)(float)off;
        }
    }
    for (int i = 0; i < MEASURED_WHOLES && g->walks[i]; i++)
        g->m->whole[g->m->n_whole++] = (struct measured_whole){whole_levels[i], (double)(float)mean_kld(positions + (g->n + (size_t)i) * n, n)};
    g->m->gain_tokens = n;
    g->m->gain_streams += g->n;
}

/* All positions of a stream. */
static int list_positions(const struct gaining *g, struct head_list *list, uint32_t **places, struct error *e)
{
    *places = malloc(stream_tiles(g) * LANES * sizeof **places);
    *list = (struct head_list){.token = *places};
    for (size_t t = 0; *places && t < stream_tiles(g); t++)
        for (size_t l = 0; l < LANES; l++)
            if (forward_is_token(g->f, t, l))
                (*places)[list->n++] = (uint32_t)(t * LANES + l);
    return *places ? 0 : no_memory(e);
}

static int run_head(struct gaining *g, struct error *e)
{
    struct fault fault;
    struct forward *output = NULL;
    struct head_list list;
    uint32_t *places = NULL;
    size_t n = g->n;
    struct head_side *sides = calloc(n + MEASURED_WHOLES + 1, sizeof *sides);
    int rc = sides ? list_positions(g, &list, &places, e) : no_memory(e);
    struct position *positions = rc ? NULL : calloc((n + MEASURED_WHOLES + 1) * list.n, sizeof *positions);
    if (!rc && !positions)
        rc = no_memory(e);
    for (size_t i = 0; !rc && i < n; i++)
        sides[i] = (struct head_side){g->f, (i + 1) * stream_tiles(g)};
    if (!rc && n && is_output(&g->streams[n - 1])) {
        fault_init(&fault, g->model, g->streams[n - 1].roles, -1, 1);
        rc = (output = walk_with(g, &fault.model, 1, e)) ? 0 : -1;
        if (!rc)
            copy_states(g, states(g, output, 0), states(g, g->f, 0));
        sides[n - 1] = (struct head_side){output, 0};
    }
    for (int i = 0; i < MEASURED_WHOLES && g->walks[i]; i++)
        sides[n++] = (struct head_side){g->walks[i], 0};
    rc = rc || head_run(&(struct head_side){g->f, 0}, sides, n, ROLE_OUTPUT_NORM, -1, &list, positions, e);
    if (!rc)
        take_results(g, positions, list.n);
    forward_free(output);
    free(places);
    free(positions);
    free(sides);
    return rc ? -1 : 0;
}

int gains_measure(const struct model *model, struct measured *m, const struct gains_options *o, const struct stream_hooks *hooks, struct error *e)
{
    struct gaining g = {.model = model, .m = m, .o = o, .hooks = hooks, .store = {.room = o->memory, .scratch = o->scratch}};
    int rc = list_streams(&g, e);
    if (!rc)
        rc = start(&g, e) || walk(&g, e) || run_head(&g, e);
    for (int i = 0; i < MEASURED_WHOLES; i++)
        forward_free(g.walks[i]);
    forward_free(g.f);
    free(g.streams);
    return rc ? -1 : 0;
}

/* ---- what they say */

/* The slope of KL over the whole model's error, both on log scales, and what a sum of 1 would give. */
static struct gains_curve fit(const struct measured *m, double sum)
{
    double n = 0, x = 0, y = 0, xx = 0, xy = 0;
    for (int i = 0; i < m->n_whole && sum > 0; i++) {
        if (!(m->whole[i].kl > 0))
            continue;
        double a = log(sum * m->whole[i].level * m->whole[i].level), b = log(m->whole[i].kl);
        n++;
        x += a;
        y += b;
        xx += a * a;
        xy += a * b;
    }
    if (n < 2)
        return (struct gains_curve){1, 1};
    double power = (n * xy - x * y) / (n * xx - x * x);
    power = power < LEAST_POWER ? LEAST_POWER : power > 1 ? 1 : power;
    return (struct gains_curve){exp((y - power * x) / n), power};
}

static double own_gain(const struct measured_weight *w, double power)
{
    return w->kl >= 0 && w->off > 0 ? pow(w->kl, 1 / power) / w->off : -1;
}

static double gain_by(const struct measured *m, double power, enum tensor_role role, int layer)
{
    const struct measured_weight *below = NULL, *above = NULL;
    for (size_t i = 0; i < m->n; i++) {
        const struct measured_weight *w = &m->weights[i];
        if (w->role != role || own_gain(w, power) < 0)
            continue;
        if (w->layer <= layer)
            below = w;
        if (w->layer >= layer && !above)
            above = w;
    }
    if (!below || !above)
        return below ? own_gain(below, power) : above ? own_gain(above, power) : 0;
    double a = own_gain(below, power), b = own_gain(above, power);
    if (above->layer == below->layer || !(a > 0) || !(b > 0))
        return a > b ? a : b;
    double t = (double)(layer - below->layer) / (double)(above->layer - below->layer);
    return exp(log(a) * (1 - t) + log(b) * t);
}

double gains_of(const struct measured *m, enum tensor_role role, int layer)
{
    return gain_by(m, fit(m, 1).power, role, layer);
}

struct gains_curve gains_curve(const struct measured *m)
{
    const double power = fit(m, 1).power;
    double once = 0;
    for (size_t i = 0; i < m->n; i++) {
        const struct measured_weight *w = &m->weights[i];
        const int twice = w->role == ROLE_ATTN_KV_B && measured_find(m, ROLE_ATTN_K_B, w->layer); /* its halves are there too */
        once += twice ? 0 : gain_by(m, power, w->role, w->layer) * measured_coarse(w);
    }
    return fit(m, once);
}

double gains_predict(const struct gains_curve *c, double sum)
{
    return sum > 0 ? c->scale * pow(sum, c->power) : 0;
}
