/* SPDX-License-Identifier: MIT
 * Expert profiles: counting over the routing of a calibration. */
#include "convert/expert_profile.h"

#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 4096 }; /* tokens */

/* Where a piece of a layer's tokens went. */
struct routing {
    size_t used;
    int16_t *chosen;
    float *gates;
};

static int routing_init(struct routing *r, const struct calibration *c, struct error *e)
{
    r->used = (size_t)c->model->params.num_experts_per_tok;
    r->chosen = malloc(AT_ONCE * r->used * sizeof *r->chosen + 1);
    r->gates = malloc(AT_ONCE * r->used * sizeof *r->gates + 1);
    return r->chosen && r->gates ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

static void routing_clear(struct routing *r)
{
    free(r->chosen);
    free(r->gates);
}

/* Calls `each` for pieces of a layer's tokens. */
static int each_piece(const struct calibration *c, int layer, struct routing *r, void (*each)(void *context, const struct routing *r, size_t n),
                      void *context, struct error *e)
{
    for (uint64_t at = 0; at < c->tokens; at += AT_ONCE) {
        const size_t n = c->tokens - at < AT_ONCE ? (size_t)(c->tokens - at) : AT_ONCE;
        if (calibration_routing(c, layer, at, n, r->chosen, r->gates, e))
            return -1;
        each(context, r, n);
    }
    return 0;
}

static int is_profiled(const struct calibration *c, int layer)
{
    const struct arch_params *a = &c->model->params;
    return layer < (int)c->n_layers && role_in_layer(ROLE_FFN_GATE_EXPS, c->model->family, a, layer, 0);
}

/* ---- the hottest */

struct heat {
    double gates;
    uint32_t expert;
};

static void add_heat(void *context, const struct routing *r, size_t n)
{
    struct heat *heat = context;
    for (size_t i = 0; i < n * r->used; i++)
        heat[r->chosen[i]].gates += (double)r->gates[i];
}

static int hotter(const void *a, const void *b)
{
    const struct heat *x = a, *y = b;
    return x->gates != y->gates ? (x->gates > y->gates ? -1 : 1) : (x->expert > y->expert) - (x->expert < y->expert);
}

/* "hot:16", "cold:90%" */
struct choice {
    int cold, percent;
    double amount;
};

static int read_choice(const char *text, struct choice *c)
{
    char *end;
    const char *number = strchr(text, ':');
    if (!number || (strncmp(text, "hot:", 4) && strncmp(text, "cold:", 5)))
        return -1;
    c->cold = text[0] == 'c';
    c->amount = strtod(number + 1, &end);
    c->percent = *end == '%';
    if (end == number + 1 || end[c->percent] || !(c->amount > 0))
        return -1;
    return c->percent ? -(c->amount > 100) : -(c->amount != (double)(uint32_t)c->amount);
}

int expert_set_is_profiled(const char *text)
{
    return text && (!strncmp(text, "hot:", 4) || !strncmp(text, "cold:", 5));
}

/* How many of the hottest, sorted, the choice takes. */
static uint64_t taken(const struct choice *c, const struct heat *heat, uint64_t experts)
{
    double all = 0, sum = 0;
    uint64_t n = 0;
    if (!c->percent)
        return c->amount < (double)experts ? (uint64_t)c->amount : experts;
    for (uint64_t x = 0; x < experts; x++)
        all += heat[x].gates;
    while (n < experts && sum < all * c->amount / 100)
        sum += heat[n++].gates;
    return n;
}

int expert_set_add_profiled(struct expert_set *s, const struct model *m, const struct calibration *profile, const char *text, struct error *e)
{
    struct choice choice = {0, 0, 0};
    struct routing r = {0, NULL, NULL};
    struct heat *heat = calloc((size_t)s->experts + 1, sizeof *heat);
    int rc = !heat ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory")
             : read_choice(text, &choice) ? error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--experts '%.60s' is neither hot:N nor hot:P%% nor cold: with one of them", text)
                                          : routing_init(&r, profile, e);
    for (uint64_t layer = 0; !rc && layer < s->layers; layer++) {
        unsigned char *has = s->has + layer * s->experts;
        if (!role_in_layer(ROLE_FFN_GATE_EXPS, m->family, &m->params, (int)layer, 0))
            continue;
        memset(has, !is_profiled(profile, (int)layer) || choice.cold, (size_t)s->experts);
        if (!is_profiled(profile, (int)layer))
            continue;
        for (uint64_t x = 0; x < s->experts; x++)
            heat[x] = (struct heat){0, (uint32_t)x};
        if ((rc = each_piece(profile, (int)layer, &r, add_heat, heat, e)))
            break;
        qsort(heat, (size_t)s->experts, sizeof *heat, hotter);
        for (uint64_t i = 0, n = taken(&choice, heat, s->experts); i < n; i++)
            has[heat[i].expert] = !choice.cold;
    }
    routing_clear(&r);
    free(heat);
    return rc;
}

/* ---- coverage */

struct counts {
    const unsigned char *has;
    double choices, gates, tokens;             /* covered */
    double all_choices, all_gates, all_tokens;
};

static void add_counts(void *context, const struct routing *r, size_t n)
{
    struct counts *c = context;
    for (size_t i = 0; i < n; i++) {
        size_t in = 0;
        for (size_t k = 0; k < r->used; k++) {
            const int has = c->has[r->chosen[i * r->used + k]];
            const double gate = (double)r->gates[i * r->used + k];
            in += (size_t)has;
            c->gates += has ? gate : 0;
            c->all_gates += gate;
        }
        c->choices += (double)in;
        c->tokens += in == r->used;
    }
    c->all_choices += (double)(n * r->used);
    c->all_tokens += (double)n;
}

int expert_coverage(const struct expert_set *s, const struct calibration *c, struct expert_coverage *out, struct error *e)
{
    struct routing r = {0, NULL, NULL};
    struct counts sum = {.has = NULL};
    int rc = routing_init(&r, c, e);
    *out = (struct expert_coverage){.least = 2, .layer = -1};
    for (int layer = 0; !rc && layer < (int)c->n_layers; layer++) {
        struct counts one = {.has = s->has + (uint64_t)layer * s->experts};
        if (!is_profiled(c, layer) || (rc = each_piece(c, layer, &r, add_counts, &one, e)))
            continue;
        sum.choices += one.choices;
        sum.gates += one.gates;
        sum.tokens += one.tokens;
        sum.all_choices += one.all_choices;
        sum.all_gates += one.all_gates;
        sum.all_tokens += one.all_tokens;
        if (one.choices < out->least * one.all_choices) {
            out->least = one.choices / one.all_choices;
            out->layer = layer;
        }
    }
    routing_clear(&r);
    if (rc || !(sum.all_choices > 0))
        return rc ? -1 : error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the calibration has no layer with experts");
    out->choices = sum.choices / sum.all_choices;
    out->gates = sum.gates / sum.all_gates;
    out->tokens = sum.tokens / sum.all_tokens;
    return 0;
}
