/* SPDX-License-Identifier: MIT
 * Routing: which experts a token goes to, and their gates. DeepSeek-V3: sigmoid, a correction bias for the choice only,
 * groups by the sum of their two best. V2: softmax, groups by their best. Ties go to the lower number. */
#include <stdlib.h>

#include "model/forward/det_math.h"
#include "model/forward/parts.h"

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

int forward_is_token(const struct forward *f, size_t tile, size_t lane)
{
    return tile % f->tiles_per_chunk * LANES + lane < f->tokens.ctx;
}

int route_all(struct forward *f, int layer, const struct panels *x, struct error *e)
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
            if (forward_is_token(f, t, l))
                route(f, s, bias, f->chosen + (t * LANES + l) * used, f->gates + (t * LANES + l) * used);
        }
    free(bias);
    panels_clear(&logits, f->options.store);
    return rc ? -1 : 0;
}
