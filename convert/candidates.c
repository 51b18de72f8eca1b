/* SPDX-License-Identifier: MIT
 * Candidates: plans by pool type. */
#include "convert/candidates.h"

#include <stdlib.h>
#include <string.h>

#include "convert/target_checkpoint.h"
#include "quant/tiled.h"

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the choice of types");
}

const struct plan_tensor *candidate(const struct candidates *c, size_t k, size_t i)
{
    return &c->plans[k]->tensors[c->makers[k][i]];
}

uint64_t candidate_bytes(const struct candidates *c, size_t k, size_t i)
{
    const struct plan_tensor *t = candidate(c, k, i);
    uint64_t bytes = t->out.bytes;
    for (int part = 1; part < t->n_parts; part++)
        bytes += t[part].out.bytes;
    return bytes;
}

int candidates_of_checkpoint(const struct recipe *r)
{
    return r->of_schemes && !r->of_packs;
}

int candidates_recipe(const struct candidates *c, struct recipe *r, size_t more_rules, struct error *e)
{
    const struct recipe *base = &c->base->options.recipe;
    *r = *base;
    r->rules = calloc(base->n_given + more_rules + 1, sizeof *r->rules);
    if (!r->rules)
        return no_memory(e);
    if (base->n_given)
        memcpy(r->rules, base->rules, base->n_given * sizeof *r->rules);
    r->n_rules = r->n_given = base->n_given;
    r->preset = NULL;
    r->scheme = NULL;
    r->file = NULL;
    r->pure = 0;
    if (candidates_of_checkpoint(r))
        recipe_set_base(r, "BF16");
    return 0;
}

struct plan *candidates_plan(const struct candidates *c, const struct recipe *r, int sizes_only, struct error *e)
{
    struct plan_options o = c->base->options;
    o.recipe = *r;
    o.sizes_only = sizes_only;
    return plan_new(c->base->model, c->base->target, &o, e);
}

/* Roles of checkpoints that may have a type other than what they are: engines take kv_b apart, for which they know FP8 only. */
static uint64_t checkpoint_roles(const struct quant_type *type)
{
    uint64_t bits = 0;
    for (int r = 0; r < ROLE_COUNT; r++) {
        const int class = roles[r].class, linear = class == CLASS_ATTENTION || class == CLASS_DENSE || class == CLASS_SHARED || class == CLASS_EXPERTS;
        if (linear && !(roles[r].flags & (ROLE_ALWAYS_F32 | ROLE_GGUF_SPLIT)) && (r != ROLE_ATTN_KV_B || (type->tiling && type->tiling->is_float)))
            bits |= UINT64_C(1) << r;
    }
    return bits;
}

static int is_plain(const struct quant_type *type)
{
    return type->flags & QT_FLOAT && !(type->flags & QT_TILED);
}

static int plan_pure(struct candidates *c, size_t k, struct error *e)
{
    struct recipe r;
    const struct quant_type *type = c->pool[k];
    if (candidates_recipe(c, &r, 1, e))
        return -1;
    r.all = candidates_of_checkpoint(&r) ? NULL : type;
    if (candidates_of_checkpoint(&r) && !is_plain(type))
        r.rules[r.n_rules++] = (struct recipe_rule){.text = type->name, .roles = checkpoint_roles(type), .type = type, .may_miss = 1};
    c->plans[k] = recipe_find_type(&r, type->name, e) ? candidates_plan(c, &r, 1, e) : NULL;
    free(r.rules);
    return c->plans[k] ? 0 : -1;
}

static int find_makers(struct candidates *c, size_t k, struct error *e)
{
    const struct plan *p = c->plans[k];
    size_t n = 0;
    if (!(c->makers[k] = malloc((p->n_tensors + 1) * sizeof *c->makers[k])))
        return no_memory(e);
    for (size_t i = 0; i < p->n_tensors; i++)
        if (!p->tensors[i].layout || p->tensors[i].units != UNITS_OF_PREVIOUS)
            c->makers[k][n++] = i;
    if (k && n != c->n_makers)
        return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "with %s the target has other matrices than with %s", c->pool[k]->name, c->pool[0]->name);
    c->n_makers = n;
    return 0;
}

int candidates_make(struct candidates *c, const struct plan *base, const struct quant_type *const *pool, size_t n, struct error *e)
{
    *c = (struct candidates){.base = base};
    if (base->options.fold)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "a budget is for weights as they are: without --fold");
    if (base->target->form && (base->target->form->one_type || base->target->form->bf16))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "a %s checkpoint has one type for all: there is nothing to choose", base->target->name);
    for (size_t k = 0; k < n; k++) {
        c->pool[c->n_pool++] = pool[k];
        if (plan_pure(c, k, e) || find_makers(c, k, e))
            return -1;
    }
    return 0;
}

void candidates_clear(struct candidates *c)
{
    for (size_t k = 0; k < c->n_pool; k++) {
        plan_free(c->plans[k]);
        free(c->makers[k]);
    }
    *c = (struct candidates){.base = NULL};
}
