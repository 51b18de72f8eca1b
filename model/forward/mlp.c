/* SPDX-License-Identifier: MIT
 * Dense MLP and mixture of experts.
 *   mlp(x) = down(silu(gate x) * (up x))
 *   moe(x) = sum over the chosen experts, in the order of their numbers, of gate_e * mlp_e(x), then + mlp_shared(x)
 * Routing: DeepSeek-V3 (sigmoid, correction bias for the choice only, groups by the sum of their two best) and V2 (softmax,
 * groups by their best). Ties go to the lower number. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/forward/det_math.h"
#include "model/forward/parts.h"

static void gate_and_up(const struct forward *f, struct panels *gate, const struct panels *up)
{
#pragma omp parallel for num_threads(f->options.threads)
    for (size_t t = 0; t < gate->tiles; t++) {
        float *g = panel_row(gate, t, 0);
        const float *u = panel_row(up, t, 0);
        for (size_t i = 0; i < gate->rows * LANES; i++)
            g[i] = det_silu(g[i]) * u[i];
    }
}

int mlp_product(const struct forward *f, const struct weight w[3], uint64_t slab, const struct panels *x,
                struct panels *y, struct error *e)
{
    struct panel_store *store = f->options.store;
    struct panels gate = {0}, up = {0};
    size_t F = (size_t)w[0].rows;
    int rc = panels_init(&gate, store, x->tiles, F, e) || panels_init(&up, store, x->tiles, F, e);
    gate.last_lanes = up.last_lanes = x->last_lanes;
    rc = rc || forward_product(f, &w[0], slab, 0, F, x, &gate, 0, e) ||
         forward_product(f, &w[1], slab, 0, F, x, &up, 0, e);
    if (!rc) {
        gate_and_up(f, &gate, &up);
        rc = forward_product(f, &w[2], slab, 0, w[2].rows, &gate, y, 0, e);
    }
    panels_clear(&gate, store);
    panels_clear(&up, store);
    return rc ? -1 : 0;
}

static int need_three(const struct forward *f, enum tensor_role gate, int layer, struct weight w[3], struct error *e)
{
    for (int i = 0; i < 3; i++) /* gate, up, down stand in this order in the table of roles */
        if (need_weight(f, (enum tensor_role)(gate + i), layer, &w[i], e))
            return -1;
    return 0;
}

int mlp_add(struct forward *f, int layer, const struct panels *x, struct error *e)
{
    struct weight w[3];
    struct panels y = {0};
    int rc = need_three(f, ROLE_FFN_GATE, layer, w, e) ||
             panels_init(&y, f->options.store, x->tiles, f->hidden.rows, e) || mlp_product(f, w, 0, x, &y, e);
    if (!rc)
        panels_add(f, &f->hidden, &y);
    panels_clear(&y, f->options.store);
    return rc ? -1 : 0;
}

/* Index of the largest value that is not taken yet; the lowest of equals. */
static int best_of(const float *v, const uint8_t *taken, int n)
{
    int best = -1;
    for (int i = 0; i < n; i++)
        if (!taken[i] && (best < 0 || v[i] > v[best]))
            best = i;
    return best;
}

/* Marks the experts of all groups but the topk_group best as taken. `pick` is what the choice is made by. */
static void limit_groups(const struct arch_params *p, const float *pick, uint8_t *taken)
{
    int groups = (int)p->n_group, size = (int)p->n_routed_experts / groups;
    float score[1024];
    uint8_t chosen[1024] = {0};
    for (int g = 0; g < groups; g++) {
        uint8_t none[1024] = {0};
        int first = best_of(pick + g * size, none, size);
        score[g] = pick[g * size + first];
        none[first] = 1;
        int second = p->topk_method == TOPK_NOAUX_TC ? best_of(pick + g * size, none, size) : -1;
        if (second >= 0)
            score[g] += pick[g * size + second];
    }
    for (int k = 0; k < (int)p->topk_group; k++)
        chosen[best_of(score, chosen, groups)] = 1;
    for (int i = 0; i < (int)p->n_routed_experts; i++)
        taken[i] = !chosen[i / size];
}

static void softmax(float *s, int n)
{
    float max = s[0];
    double sum = 0;
    for (int i = 1; i < n; i++)
        max = s[i] > max ? s[i] : max;
    for (int i = 0; i < n; i++) {
        s[i] = (float)det_exp((double)(s[i] - max));
        sum += (double)s[i];
    }
    for (int i = 0; i < n; i++)
        s[i] = (float)((double)s[i] / sum);
}

/* Routes one token: s holds the router's logits and is overwritten. */
static void route(const struct forward *f, float *s, const float *bias, int16_t *chosen, float *gates)
{
    const struct arch_params *p = &f->model->params;
    int n = (int)p->n_routed_experts, used = (int)p->num_experts_per_tok;
    float pick[1024];
    uint8_t taken[1024] = {0};
    double sum = 0;
    if (p->scoring_func == SCORING_SOFTMAX)
        softmax(s, n);
    for (int i = 0; i < n; i++) {
        if (p->scoring_func == SCORING_SIGMOID)
            s[i] = det_sigmoid(s[i]);
        pick[i] = bias ? s[i] + bias[i] : s[i];
    }
    if (f->options.group_routing && p->n_group > 1 && p->topk_method != TOPK_GREEDY)
        limit_groups(p, pick, taken);
    for (int k = 0; k < used; k++) {
        int best = best_of(pick, taken, n);
        if (best < 0) /* fewer experts in the chosen groups than asked for */
            best = chosen[0];
        taken[best] = 1;
        chosen[k] = (int16_t)best;
        gates[k] = s[best];
        sum += (double)s[best];
    }
    for (int k = 0; k < used; k++) {
        double g = p->norm_topk_prob ? (double)gates[k] / (sum + 1e-20) : (double)gates[k];
        gates[k] = (float)(g * p->routed_scaling_factor);
    }
}

static int is_token(const struct forward *f, size_t tile, size_t lane)
{
    return tile % f->tiles_per_chunk * LANES + lane < f->tokens.ctx;
}

/* Fills f->chosen and f->gates. */
static int route_all(struct forward *f, int layer, const struct panels *x, struct error *e)
{
    const struct arch_params *p = &f->model->params;
    size_t E = (size_t)p->n_routed_experts, used = (size_t)p->num_experts_per_tok;
    struct panels logits = {0};
    struct weight w;
    float *bias = NULL;
    int rc = need_weight(f, ROLE_FFN_GATE_INP, layer, &w, e) ||
             panels_init(&logits, f->options.store, x->tiles, E, e) || forward_product(f, &w, 0, 0, E, x, &logits, 0, e);
    if (!rc && p->topk_method == TOPK_NOAUX_TC && !(bias = read_vector(f, ROLE_EXP_PROBS_B, layer, e)))
        rc = -1;
#pragma omp parallel for num_threads(f->options.threads)
    for (size_t t = 0; t < (rc ? 0 : x->tiles); t++)
        for (size_t l = 0; l < LANES; l++) {
            float s[1024];
            for (size_t i = 0; i < E; i++)
                s[i] = panel_row(&logits, t, i)[l];
            if (is_token(f, t, l))
                route(f, s, bias, f->chosen + (t * LANES + l) * used, f->gates + (t * LANES + l) * used);
        }
    free(bias);
    panels_clear(&logits, f->options.store);
    return rc ? -1 : 0;
}

/* Tokens of one expert: their panel places and gates. */
struct routed {
    uint32_t *token; /* tile * LANES + lane */
    float *gate;
    size_t n;
};

static void collect(const struct forward *f, int expert, struct routed *r)
{
    size_t used = (size_t)f->model->params.num_experts_per_tok;
    r->n = 0;
    for (size_t token = 0; token < f->tiles * LANES; token++)
        for (size_t k = 0; k < used && is_token(f, token / LANES, token % LANES); k++)
            if (f->chosen[token * used + k] == expert) {
                r->token[r->n] = (uint32_t)token;
                r->gate[r->n++] = f->gates[token * used + k];
                break;
            }
}

static void gather(const struct forward *f, const struct routed *r, const struct panels *x, struct panels *xe)
{
#pragma omp parallel for num_threads(f->options.threads)
    for (size_t row = 0; row < x->rows; row++)
        for (size_t i = 0; i < xe->tiles * LANES; i++)
            panel_row(xe, i / LANES, row)[i % LANES] =
                i < r->n ? panel_row(x, r->token[i] / LANES, row)[r->token[i] % LANES] : 0;
}

static void scatter_add(const struct forward *f, const struct routed *r, const struct panels *ye, struct panels *y)
{
#pragma omp parallel for num_threads(f->options.threads)
    for (size_t row = 0; row < y->rows; row++)
        for (size_t i = 0; i < r->n; i++)
            panel_row(y, r->token[i] / LANES, row)[r->token[i] % LANES] +=
                r->gate[i] * panel_row(ye, i / LANES, row)[i % LANES];
}

static int one_expert(const struct forward *f, const struct weight w[3], uint64_t expert, const struct routed *r,
                      const struct panels *x, struct panels *y, struct error *e)
{
    struct panel_store *store = f->options.store;
    struct panels xe = {0}, ye = {0};
    size_t tiles = (r->n + LANES - 1) / LANES, last = (r->n - 1) % LANES + 1;
    int rc = panels_init(&xe, store, tiles, x->rows, e) || panels_init(&ye, store, tiles, y->rows, e);
    if (!rc) {
        xe.last_lanes = ye.last_lanes = (last + 15) / 16 * 16;
        gather(f, r, x, &xe);
        rc = mlp_product(f, w, expert, &xe, &ye, e);
    }
    if (!rc)
        scatter_add(f, r, &ye, y);
    panels_clear(&xe, store);
    panels_clear(&ye, store);
    return rc ? -1 : 0;
}

static int routed_experts(struct forward *f, int layer, const struct panels *x, struct panels *y, struct error *e)
{
    struct weight w[3];
    size_t tokens = f->tiles * LANES;
    struct routed r = {malloc((tokens + 1) * sizeof *r.token), malloc((tokens + 1) * sizeof *r.gate), 0};
    int rc = r.token && r.gate ? need_three(f, ROLE_FFN_GATE_EXPS, layer, w, e)
                               : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (int x_no = 0; !rc && x_no < (int)f->model->params.n_routed_experts; x_no++) {
        collect(f, x_no, &r);
        if (r.n)
            rc = one_expert(f, w, (uint64_t)x_no, &r, x, y, e);
    }
    free(r.token);
    free(r.gate);
    return rc;
}

int moe_add(struct forward *f, int layer, const struct panels *x, struct error *e)
{
    struct panel_store *store = f->options.store;
    struct panels y = {0}, shared = {0};
    struct weight w[3];
    int has_shared = f->model->params.n_shared_experts > 0;
    int rc = panels_init(&y, store, x->tiles, f->hidden.rows, e) || route_all(f, layer, x, e) ||
             routed_experts(f, layer, x, &y, e);
    if (!rc && has_shared)
        rc = need_three(f, ROLE_FFN_GATE_SHEXP, layer, w, e) ||
             panels_init(&shared, store, x->tiles, f->hidden.rows, e) || mlp_product(f, w, 0, x, &shared, e);
    if (!rc && has_shared)
        panels_add(f, &y, &shared);
    if (!rc)
        panels_add(f, &f->hidden, &y);
    panels_clear(&y, store);
    panels_clear(&shared, store);
    return rc ? -1 : 0;
}
