/* SPDX-License-Identifier: MIT
 * Planner: items, budget, recipe. */
#include "convert/planner.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "convert/gains.h"
#include "convert/knapsack.h"
#include "convert/planner_rules.h"
#include "convert/sensitivity.h"

enum { MOST_HALVES = 17 }; /* of bits per weight in the curve */

static const char *const gguf_pool[] = {"Q2_K", "Q3_K", "Q4_0", "IQ4_NL", "IQ4_XS", "Q4_K", "Q5_0", "Q5_K", "Q6_K", "Q8_0", "BF16", NULL};
static const char *const checkpoint_pool[] = {"INT4-G128", "INT4-G64", "INT4-G32", "INT8-G128", "FP8-BLOCK", "BF16", NULL};

const char *const *planner_pool(const struct target *t)
{
    return t->form ? checkpoint_pool : gguf_pool;
}

struct member { /* a maker, and which item it belongs to */
    size_t maker;
    int layer, role, expert; /* the item's key */
};

struct choosing {
    const struct planner_options *o;
    struct candidates c;
    struct measured m;
    struct member *members; /* sorted by item */
    size_t n_members, n_items;
    size_t *first;          /* [n_items + 1] of members */
    size_t *pool_of;        /* [n_items][n_pool] which pool types an item's options are */
    struct knapsack_option *options; /* [n_items][n_pool] */
    struct knapsack_item *items;
    size_t *choice;         /* [n_items] */
    uint64_t grouped0;      /* bytes of all items with pool type 0 */
    struct gains_curve curve;
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the choice of types");
}

static const struct arch_params *params(const struct choosing *s)
{
    return &s->c.base->model->params;
}

/* ---- items */

/* Roles that engines join, or need alike, have the key of one of them. */
static enum tensor_role joined_role(enum tensor_role role)
{
    if (roles[role].flags & ROLE_EXPERT)
        return ROLE_FFN_GATE_EXPS;
    enum tensor_role with = role_partner(role);
    return with < role ? with : role;
}

/* An MTP layer is not seen by KL: it goes with the last layer, and what it alone has with what is most like it. */
static void mtp_key(const struct choosing *s, struct member *m)
{
    const int last = (int)params(s)->num_hidden_layers - 1;
    if (m->layer <= last)
        return;
    m->layer = last;
    if (m->role == ROLE_NEXTN_EH_PROJ)
        m->role = ROLE_ATTN_OUTPUT;
    if (m->role == ROLE_NEXTN_EMBED_TOKENS || m->role == ROLE_NEXTN_SHARED_HEAD_HEAD) {
        m->role = m->role == ROLE_NEXTN_EMBED_TOKENS ? ROLE_TOKEN_EMBD : ROLE_OUTPUT;
        m->layer = -1;
    }
    /* dense roles that the last layer does not have stand alone */
}

static struct member member_of(const struct choosing *s, size_t maker)
{
    const struct plan_tensor *t = candidate(&s->c, 0, maker);
    const int alone = !s->c.base->target->form && roles[t->weight.role].flags & ROLE_EXPERT && t->weight.slabs == 1;
    struct member m = {.maker = maker, .layer = t->weight.layer, .role = (int)t->weight.role, .expert = alone ? (int)t->slab0 : -1};
    if (s->c.base->target->form)
        m.role = (int)joined_role(t->weight.role);
    mtp_key(s, &m);
    return m;
}

static int by_key(const struct member *a, const struct member *b)
{
    if (a->layer != b->layer)
        return a->layer < b->layer ? -1 : 1;
    if (a->role != b->role)
        return a->role < b->role ? -1 : 1;
    return (a->expert > b->expert) - (a->expert < b->expert);
}

static int by_item(const void *a, const void *b)
{
    const struct member *m = a, *n = b;
    int c = by_key(m, n);
    return c ? c : (m->maker > n->maker) - (m->maker < n->maker);
}

static int list_items(struct choosing *s, struct error *e)
{
    s->members = malloc((s->c.n_makers + 1) * sizeof *s->members);
    s->first = malloc((s->c.n_makers + 2) * sizeof *s->first);
    if (!s->members || !s->first)
        return no_memory(e);
    for (size_t i = 0; i < s->c.n_makers; i++)
        if (!(roles[candidate(&s->c, 0, i)->weight.role].flags & ROLE_ALWAYS_F32)) {
            s->members[s->n_members++] = member_of(s, i);
            s->grouped0 += candidate_bytes(&s->c, 0, i);
        }
    qsort(s->members, s->n_members, sizeof *s->members, by_item);
    for (size_t i = 0; i < s->n_members; i++)
        if (!i || by_key(&s->members[i - 1], &s->members[i]))
            s->first[s->n_items++] = i;
    s->first[s->n_items] = s->n_members;
    return 0;
}

/* Gain times what a maker loses with pool type k, as a part of the output of all that its role has in the layer. */
static double cost_of(const struct choosing *s, size_t maker, size_t k)
{
    const struct plan_tensor *t = candidate(&s->c, k, maker);
    const struct measured_weight *w = measured_find(&s->m, t->weight.role, t->weight.layer);
    const double *error = w ? measured_errors(w, t->type) : NULL;
    double off = 0, all = 0;
    for (uint64_t i = 0; error && i < t->weight.slabs; i++)
        off += error[t->slab0 + i];
    for (size_t i = 0; error && i < w->slabs; i++)
        all += w->output[i];
    return all > 0 ? off / all * gains_of(&s->m, t->weight.role, t->weight.layer) : 0;
}

static int above_floors(const struct choosing *s, const struct plan_tensor *t)
{
    for (size_t i = 0; i < s->o->n_floors; i++)
        if (s->o->floors[i].roles >> t->weight.role & 1 && quant_type_bpw(t->type) < quant_type_bpw(s->o->floors[i].least))
            return 0;
    return 1;
}

/* Whether the item may have pool type k. The indexer's choice of keys shows in long contexts alone, which no measure here sees: it has the
 * best of the pool. */
static int may_have(const struct choosing *s, size_t item, size_t k)
{
    for (size_t i = s->first[item]; i < s->first[item + 1]; i++) {
        const struct plan_tensor *t = candidate(&s->c, k, s->members[i].maker);
        if (!above_floors(s, t))
            return 0;
        for (size_t other = 0; roles[t->weight.role].class == CLASS_INDEXER && other < s->c.n_pool; other++)
            if (candidate(&s->c, other, s->members[i].maker)->out.bytes > t->out.bytes)
                return 0;
    }
    return 1;
}

static int no_option(const struct choosing *s, size_t item, struct error *e)
{
    error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "no type of the pool is above the floor");
    return error_at_tensor(e, candidate(&s->c, 0, s->members[s->first[item]].maker)->out.name);
}

static int price(struct choosing *s, struct error *e)
{
    const size_t room = s->n_items * s->c.n_pool + 1;
    s->options = calloc(room, sizeof *s->options);
    s->pool_of = calloc(room, sizeof *s->pool_of);
    s->items = calloc(s->n_items + 1, sizeof *s->items);
    s->choice = calloc(s->n_items + 1, sizeof *s->choice);
    if (!s->options || !s->pool_of || !s->items || !s->choice)
        return no_memory(e);
    for (size_t i = 0; i < s->n_items; i++) {
        struct knapsack_option *o = s->options + i * s->c.n_pool;
        size_t n = 0;
        for (size_t k = 0; k < s->c.n_pool; k++) {
            if (!may_have(s, i, k))
                continue;
            s->pool_of[i * s->c.n_pool + n] = k;
            for (size_t m = s->first[i]; m < s->first[i + 1]; m++) {
                o[n].bytes += candidate_bytes(&s->c, k, s->members[m].maker);
                o[n].cost += cost_of(s, s->members[m].maker, k);
            }
            n++;
        }
        s->items[i] = (struct knapsack_item){o, n};
        if (!n)
            return no_option(s, i, e);
    }
    return 0;
}

/* The pool type that a member has. */
static size_t chosen(const struct choosing *s, size_t item)
{
    return s->pool_of[item * s->c.n_pool + s->choice[item]];
}

/* ---- recipe */

/* What GGUF's recipe gives to all else: the type of the most bytes. */
static const struct quant_type *most_used(const struct choosing *s)
{
    const struct quant_type *best = NULL;
    uint64_t most = 0;
    for (const struct quant_type *t = quant_types; t->name; t++) {
        uint64_t bytes = 0;
        for (size_t i = 0; i < s->n_items; i++)
            for (size_t m = s->first[i]; m < s->first[i + 1]; m++)
                if (candidate(&s->c, chosen(s, i), s->members[m].maker)->type == t)
                    bytes += candidate_bytes(&s->c, chosen(s, i), s->members[m].maker);
        if (bytes > most) {
            most = bytes;
            best = t;
        }
    }
    return best ? best : quant_type_find("Q8_0");
}

static int is_default(const struct recipe *r, const struct quant_type *type)
{
    return candidates_of_checkpoint(r) ? type->flags & QT_FLOAT && !(type->flags & QT_TILED) : type == r->all;
}

/* r->rules is the caller's to free, in either case. */
static int make_recipe(const struct choosing *s, struct recipe *r, struct arena *a, struct error *e)
{
    struct typed *list = malloc((s->n_members + 1) * sizeof *list);
    size_t n = 0;
    int rc = list ? candidates_recipe(&s->c, r, s->n_members, e) : no_memory(e);
    if (!rc)
        r->all = candidates_of_checkpoint(r) ? NULL : most_used(s);
    for (size_t i = 0; !rc && i < s->n_items; i++)
        for (size_t m = s->first[i]; m < s->first[i + 1]; m++) {
            const struct plan_tensor *t = candidate(&s->c, chosen(s, i), s->members[m].maker);
            if (is_default(r, t->type))
                continue;
            /* of a checkpoint's experts, which are alike, one speaks for all */
            const int expert = roles[t->weight.role].flags & ROLE_EXPERT && t->weight.slabs == 1;
            if (expert && candidates_of_checkpoint(r) && t->slab0)
                continue;
            list[n++] = (struct typed){t->type, t->weight.role, t->weight.layer, expert && !candidates_of_checkpoint(r) ? (int)t->slab0 : -1};
        }
    rc = rc || planner_rules(r, a, list, n, e) ? -1 : 0;
    free(list);
    return rc;
}

static uint64_t count_weights(const struct choosing *s)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s->c.n_makers; i++) {
        const struct plan_tensor *t = candidate(&s->c, 0, i);
        n += t->verbatim ? tensor_elements(t->verbatim) : t->weight.slabs * t->weight.rows * t->weight.cols;
    }
    return n;
}

/* ---- budget */

static int too_small(const struct choosing *s, uint64_t fixed, uint64_t budget, uint64_t weights, const struct knapsack *k, struct error *e)
{
    char a[SIZE_TEXT], b[SIZE_TEXT];
    uint64_t least = fixed + knapsack_least(k);
    if (s->o->size)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "the budget of %" PRIu64 " bytes (%s) is below the smallest size that the pool allows, %" PRIu64 " bytes (%s)",
                         budget, size_text(budget, a), least, size_text(least, b));
    return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "%.4g bits per weight are below the fewest that the pool allows, %.4f", s->o->bpw,
                     8.0 * (double)least / (double)weights + 5e-5);
}

/* The choice whose real plan keeps the budget: what headers and alignment make of it is taken off and the choice made again. */
static int choose(struct choosing *s, const struct knapsack *k, uint64_t weights, struct recipe *r, struct arena *a, struct plan **made,
                  struct knapsack_sum *sum, struct error *e)
{
    const struct plan *first = s->c.plans[0];
    const uint64_t limit = s->o->size ? s->o->size : (uint64_t)(s->o->bpw * (double)weights / 8);
    const uint64_t fixed = (s->o->size ? first->total : plan_tensor_bytes(first)) - s->grouped0;
    uint64_t budget = limit > fixed ? limit - fixed : 0;
    for (int round = 0; round < 16; round++) {
        int rc = knapsack_solve(k, budget, s->choice, sum, e);
        if (rc)
            return rc < 0 ? -1 : too_small(s, fixed, limit, weights, k, e);
        if (make_recipe(s, r, a, e) || !(*made = candidates_plan(&s->c, r, 0, e)))
            return -1;
        const uint64_t bytes = s->o->size ? (*made)->total : plan_tensor_bytes(*made);
        if (bytes <= limit)
            return 0;
        plan_free(*made);
        *made = NULL;
        free(r->rules);
        r->rules = NULL;
        if (bytes - limit > budget)
            break;
        budget -= bytes - limit;
    }
    return too_small(s, fixed, limit, weights, k, e);
}

/* Half bits from the fewest to the most that the pool gives, 8.5 at most. */
static int make_curve(struct choosing *s, const struct knapsack *k, struct planned_recipe *out, struct error *e)
{
    size_t *choice = malloc((s->n_items + 1) * sizeof *choice);
    const uint64_t fixed = s->c.plans[0]->total - s->grouped0, data = plan_tensor_bytes(s->c.plans[0]) - s->grouped0;
    const double least = 8.0 * (double)(data + knapsack_least(k)) / (double)out->weights;
    const double most = 8.0 * (double)(data + knapsack_most(k)) / (double)out->weights;
    int rc = choice ? 0 : no_memory(e);
    for (int half = 1; !rc && half <= MOST_HALVES && out->n_curve < CURVE_MOST; half++) {
        struct knapsack_sum sum;
        const double bpw = half / 2.0;
        if (bpw < least || bpw > most)
            continue;
        rc = knapsack_solve(k, (uint64_t)(bpw * (double)out->weights / 8) - data, choice, &sum, e);
        if (!rc)
            out->curve[out->n_curve++] = (struct planner_point){fixed + sum.bytes, 8.0 * (double)(data + sum.bytes) / (double)out->weights,
                                                                gains_predict(&s->curve, sum.cost)};
    }
    free(choice);
    return rc < 0 ? -1 : 0;
}

static void add_classes(const struct choosing *s, struct planned_recipe *out)
{
    double all = 0;
    for (size_t i = 0; i < s->n_items; i++)
        all += s->items[i].options[s->choice[i]].cost;
    for (size_t i = 0; i < s->n_items; i++)
        for (size_t m = s->first[i]; m < s->first[i + 1]; m++) {
            const struct plan_tensor *t = candidate(&s->c, chosen(s, i), s->members[m].maker);
            const int mtp = t->weight.layer >= (int)params(s)->num_hidden_layers;
            struct planner_class *c = &out->classes[mtp ? CLASS_MTP : roles[t->weight.role].class];
            c->weights += t->weight.slabs * t->weight.rows * t->weight.cols;
            c->bytes += candidate_bytes(&s->c, chosen(s, i), s->members[m].maker);
            c->share += all > 0 ? cost_of(s, s->members[m].maker, chosen(s, i)) / all : 0;
        }
}

/* ---- the file */

static int print_recipe(const struct choosing *s, const struct recipe *r, struct planned_recipe *out, struct error *e)
{
    struct json *j = json_new_object();
    char *text;
    json_add_string(j, "tool", s->o->tool);
    json_add_string(j, "calibration_xxh3_128", s->c.base->options.calib->hash);
    json_add_string(j, "settings", s->m.settings);
    json_add_string(j, "gains", s->m.gain_settings);
    json_add_u64(j, "total_bytes", out->total);
    json_add_u64(j, "tensor_bytes", out->tensor_bytes);
    json_add_u64(j, "weights", out->weights);
    json_add_f64(j, "predicted_kl", out->kl);
    planned_recipe_json(out, j);
    if (!(text = json_print_line(j)))
        out->text.failed = 1;
    buffer_printf(&out->text, "{\n \"name\": \"planned, %.2f bits per weight\",\n \"%s\": \"%s\",\n \"rules\": [",
                  8.0 * (double)out->tensor_bytes / (double)out->weights, candidates_of_checkpoint(r) ? "base" : "default", recipe_base_name(r));
    planner_print_rules(r, r->n_given, &out->text);
    buffer_printf(&out->text, "\n ],\n \"planned\": %s\n}\n", text ? text : "");
    json_free(j);
    free(text);
    return out->text.failed ? no_memory(e) : 0;
}

/* ---- all of it */

static int solve(struct choosing *s, struct planned_recipe *out, struct error *e)
{
    struct recipe r = {.rules = NULL};
    struct arena a = {0};
    struct plan *made = NULL;
    struct knapsack_sum sum;
    struct knapsack *k = knapsack_new(s->items, s->n_items, e);
    out->weights = count_weights(s);
    s->curve = gains_curve(&s->m);
    int rc = k ? choose(s, k, out->weights, &r, &a, &made, &sum, e) || make_curve(s, k, out, e) : -1;
    if (!rc) {
        out->kl = gains_predict(&s->curve, sum.cost);
        out->total = made->total;
        out->tensor_bytes = plan_tensor_bytes(made);
        out->budget = s->o->size ? s->o->size : out->total - out->tensor_bytes + (uint64_t)(s->o->bpw * (double)out->weights / 8);
        out->all = sum.bytes >= knapsack_most(k);
        out->n_rules = r.n_rules - r.n_given;
        add_classes(s, out);
        rc = print_recipe(s, &r, out, e);
    }
    plan_free(made);
    knapsack_free(k);
    free(r.rules);
    arena_clear(&a);
    return rc ? -1 : 0;
}

/* The first chunks of the text, as many tokens as are asked for. */
static int measure_gains(struct choosing *s, const struct stream_hooks *hooks, struct error *e)
{
    const struct calibration *cal = s->c.base->options.calib;
    const struct plan_options *po = &s->c.base->options;
    const int layers = s->o->gain_layers >= 0 ? s->o->gain_layers : params(s)->num_hidden_layers <= GAIN_LAYERS_ALL ? 0 : GAIN_LAYERS;
    uint64_t chunks = (s->o->gain_tokens + cal->ctx - 1) / cal->ctx;
    chunks = chunks > cal->chunks ? cal->chunks : chunks;
    if (gains_complete(s->c.base->model, &s->m, layers))
        return 0;
    int32_t *ids = calibration_read_tokens(cal->folder, cal->chunks, cal->ctx, 0, chunks, params(s)->vocab_size, e);
    if (!ids)
        return -1;
    const struct gains_options go = {.tokens = {ids, (size_t)chunks, (size_t)cal->ctx}, .threads = po->threads, .group_routing = 1,
                                     .memory = po->memory / 2, .scratch = cal->folder, .layers = layers};
    int rc = gains_measure(s->c.base->model, &s->m, &go, hooks, e) || measured_write(&s->m, cal->folder, e) ? -1 : 0;
    free(ids);
    return rc;
}

static int measure(struct choosing *s, struct planned_recipe *out, const struct stream_hooks *hooks, struct error *e)
{
    const struct plan_options *po = &s->c.base->options;
    char text[FEEDBACK_TEXT], settings[MEASURED_SETTINGS], gains[MEASURED_SETTINGS];
    snprintf(settings, sizeof settings, "%.60s, %.260s%s", s->o->tool, feedback_text(po->calib, &po->feedback, text), po->recipe.compat ? ", compat" : "");
    snprintf(gains, sizeof gains, "%.60s, %zu tokens, layers %d", s->o->tool, s->o->gain_tokens, s->o->gain_layers);
    if (measured_read(&s->m, po->calib->folder, settings, gains, e) || sensitivity_measure(&s->c, &s->m, &out->measured, hooks, e))
        return -1;
    if (measure_gains(s, hooks, e))
        return -1;
    out->gain_tokens = s->m.gain_tokens;
    out->gain_streams = s->m.gain_streams;
    return 0;
}

int planner_run(const struct plan *base, const struct planner_options *o, const struct stream_hooks *hooks, struct planned_recipe *out,
                struct error *e)
{
    struct choosing s = {.o = o};
    const struct quant_type *pool[POOL_MOST];
    size_t n = o->n_pool;
    memcpy(pool, o->pool, sizeof pool);
    for (const char *const *name = planner_pool(base->target); !o->n_pool && *name; name++)
        pool[n++] = quant_type_find(*name);
    *out = (struct planned_recipe){.kl = 0};
    int rc = candidates_make(&s.c, base, pool, n, e) || measure(&s, out, hooks, e) || list_items(&s, e) || price(&s, e) || solve(&s, out, e);
    candidates_clear(&s.c);
    measured_clear(&s.m);
    free(s.members);
    free(s.first);
    free(s.pool_of);
    free(s.options);
    free(s.items);
    free(s.choice);
    return rc ? -1 : 0;
}

void planned_recipe_json(const struct planned_recipe *p, struct json *object)
{
    struct json *list = json_add_array(object, "classes");
    for (int i = 0; i < CLASS_COUNT; i++) {
        struct json *c = p->classes[i].weights ? json_add_object(list, NULL) : NULL;
        if (!c)
            continue;
        json_add_string(c, "class", role_class_names[i]);
        json_add_u64(c, "bytes", p->classes[i].bytes);
        json_add_u64(c, "weights", p->classes[i].weights);
        json_add_f64(c, "kl_share", p->classes[i].share);
    }
    list = json_add_array(object, "curve");
    for (size_t i = 0; i < p->n_curve; i++) {
        struct json *c = json_add_object(list, NULL);
        json_add_u64(c, "total_bytes", p->curve[i].bytes);
        json_add_f64(c, "bits_per_weight", p->curve[i].bpw);
        json_add_f64(c, "predicted_kl", p->curve[i].kl);
    }
}

void planned_recipe_clear(struct planned_recipe *p)
{
    buffer_clear(&p->text);
    p->n_curve = 0;
}
