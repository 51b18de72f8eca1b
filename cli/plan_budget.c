/* SPDX-License-Identifier: MIT
 * pare plan with a budget. */
#include "cli/plan_budget.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "convert/engine_memory.h"
#include "convert/planner.h"

enum { GAIN_TOKENS = 4096 };

int has_budget(const struct options *o)
{
    return options_get(o, "size") || options_get(o, "bpw") || options_get(o, "fit");
}

/* ---- options */

int read_bits(const char *text, double *bpw)
{
    char *end;
    *bpw = strtod(text, &end);
    return end != text && !*end && *bpw > 0 && *bpw <= 64;
}

static int read_pool(const struct options *o, const struct plan *p, struct planner_options *po, struct error *e)
{
    const char *list = options_get(o, "pool");
    char word[64];
    for (size_t n; list && *list; list += n + (list[n] == ',')) {
        n = strcspn(list, ",");
        snprintf(word, sizeof word, "%.*s", (int)n, list);
        const struct quant_type *type = recipe_find_type(&p->options.recipe, word, e);
        if (!type)
            return -1;
        if (po->n_pool == POOL_MOST)
            return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--pool: more than %d types", POOL_MOST);
        po->pool[po->n_pool++] = type;
    }
    return list && !po->n_pool ? error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--pool: no type") : 0;
}

/* A role, or the roles of a class. */
static uint64_t roles_of(const char *word)
{
    static const struct {
        const char *word;
        enum role_class class;
    } classes[] = {{"embeddings", CLASS_EMBEDDING}, {"attention", CLASS_ATTENTION}, {"dense", CLASS_DENSE}, {"shared", CLASS_SHARED},
                   {"experts", CLASS_EXPERTS}};
    enum tensor_role role = role_find(word);
    uint64_t bits = role == ROLE_COUNT || roles[role].flags & ROLE_ALWAYS_F32 ? 0 : UINT64_C(1) << role;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        for (int r = 0; r < ROLE_COUNT && !strcmp(word, classes[i].word); r++)
            if (roles[r].class == classes[i].class && !(roles[r].flags & ROLE_ALWAYS_F32))
                bits |= UINT64_C(1) << r;
    return bits;
}

static int read_floors(const struct options *o, const struct plan *p, struct planner_options *po, struct error *e)
{
    const char *text;
    for (size_t i = 0; (text = options_each(o, "floor", i)); i++) {
        char word[64];
        const char *eq = strchr(text, '=');
        struct planner_floor *f = &po->floors[po->n_floors];
        if (po->n_floors == FLOORS_MOST)
            return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--floor: more than %d", FLOORS_MOST);
        if (!eq)
            return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--floor '%s' is no WHAT=TYPE", text);
        snprintf(word, sizeof word, "%.*s", (int)(eq - text), text);
        if (!(f->roles = roles_of(word)))
            return error_set(e, ERR_USAGE, ERROR_NO_OFFSET,
                             "--floor: '%s' is neither a role nor one of embeddings, attention, dense, shared, experts", word);
        if (!(f->least = recipe_find_type(&p->options.recipe, eq + 1, e)))
            return -1;
        po->n_floors++;
    }
    return 0;
}

static int read_size(const struct options *o, const struct plan *p, struct planner_options *po, struct engine_memory *beside, struct error *e)
{
    const char *bpw = options_get(o, "bpw");
    long ctx = 8192;
    uint64_t fit = 0;
    if ((options_get(o, "size") != NULL) + (bpw != NULL) + (options_get(o, "fit") != NULL) > 1)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--size, --bpw and --fit are one budget: give one of them");
    if (options_size(o, "size", &po->size, e) || options_size(o, "fit", &fit, e) || options_int(o, "ctx", 1, 1L << 30, &ctx, e))
        return -1;
    if (bpw && !read_bits(bpw, &po->bpw))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--bpw: '%s' is no number of bits", bpw);
    if (!fit)
        return po->size || bpw ? 0 : error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--size 0 is no budget");
    char a[SIZE_TEXT], b[SIZE_TEXT];
    *beside = engine_memory(&p->model->params, (uint64_t)ctx);
    if (fit <= beside->kv_cache + beside->buffers)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--fit %s: the KV cache and buffers of %ld tokens alone take %s", size_text(fit, a), ctx,
                         size_text(beside->kv_cache + beside->buffers, b));
    po->size = fit - beside->kv_cache - beside->buffers;
    return 0;
}

static int read_budget(const struct options *o, const struct plan *p, struct planner_options *po, struct engine_memory *beside, struct error *e)
{
    static const char *const others[] = {"recipe", "pure", "sequential", "fold", "via", "part", "consume", "compress"};
    long tokens = GAIN_TOKENS, layers = -1;
    *po = (struct planner_options){.tool = "pare " PARE_VERSION};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (options_get(o, others[i]))
            return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--%s does not go with a budget, which makes a recipe", others[i]);
    if (!options_get(o, "calib"))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "a budget asks for --calib DIR: types are chosen by what 'pare calibrate' saw");
    if (!options_get(o, "out"))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "a budget asks for -o FILE, the recipe");
    if (options_int(o, "gain-tokens", 1, 1L << 30, &tokens, e) || options_int(o, "gain-layers", 0, 1L << 20, &layers, e))
        return -1;
    po->gain_tokens = (size_t)tokens;
    po->gain_layers = (int)layers;
    return read_pool(o, p, po, e) || read_floors(o, p, po, e) || read_size(o, p, po, beside, e) ? -1 : 0;
}

/* ---- what it came to */

static double bits(uint64_t bytes, uint64_t weights)
{
    return weights ? 8.0 * (double)bytes / (double)weights : 0;
}

static int print_planned(const char *path, const struct planned_recipe *r, const struct engine_memory *beside, struct error *e)
{
    struct buffer b = {0};
    char a[SIZE_TEXT], c[SIZE_TEXT];
    buffer_printf(&b, "%-16s %14s %12s %12s\n", "class", "bytes", "bits/weight", "share of KL");
    for (int i = 0; i < CLASS_COUNT; i++)
        if (r->classes[i].weights)
            buffer_printf(&b, "%-16s %14" PRIu64 " %12.3f %10.1f %%\n", role_class_names[i], r->classes[i].bytes,
                          bits(r->classes[i].bytes, r->classes[i].weights), 100 * r->classes[i].share);
    buffer_printf(&b, "\n%16s %14s %12s\n", "bits/weight", "bytes", "predicted KL");
    for (size_t i = 0; i < r->n_curve; i++)
        buffer_printf(&b, "%16.3f %14" PRIu64 " %12.5f\n", r->curve[i].bpw, r->curve[i].bytes, r->curve[i].kl);
    buffer_printf(&b, "\nmeasured: %zu matrices and types, %" PRIu64 " streams of %" PRIu64 " tokens\n", r->measured, r->gain_streams, r->gain_tokens);
    if (beside->kv_cache)
        buffer_printf(&b, "beside the weights: KV cache %s, buffers %s\n", size_text(beside->kv_cache, a), size_text(beside->buffers, c));
    buffer_printf(&b, "%s: %zu rules, %.4f bits per weight, %" PRIu64 " bytes, %.3f %% of the budget; predicted KL %.5f\n", path, r->n_rules,
                  bits(r->tensor_bytes, r->weights), r->total, 100 * (double)r->total / (double)r->budget, r->kl);
    if (r->all)
        buffer_text(&b, "nothing of the pool is better: the budget is larger than it can use\n");
    return print_buffer(&b, e);
}

static int print_planned_json(const char *path, const struct planned_recipe *r, const struct engine_memory *beside, struct error *e)
{
    struct json *root = json_new_object();
    json_add_string(root, "recipe_file", path);
    json_add_u64(root, "budget_bytes", r->budget);
    json_add_u64(root, "total_bytes", r->total);
    json_add_u64(root, "tensor_bytes", r->tensor_bytes);
    json_add_u64(root, "weights", r->weights);
    json_add_f64(root, "bits_per_weight", bits(r->tensor_bytes, r->weights));
    json_add_f64(root, "predicted_kl", r->kl);
    json_add_u64(root, "rules", r->n_rules);
    json_add_u64(root, "measured", r->measured);
    json_add_u64(root, "gain_streams", r->gain_streams);
    json_add_u64(root, "gain_tokens", r->gain_tokens);
    if (beside->kv_cache) {
        json_add_u64(root, "kv_cache_bytes", beside->kv_cache);
        json_add_u64(root, "buffer_bytes", beside->buffers);
    }
    planned_recipe_json(r, root);
    return print_json(root, e);
}

static int choose_types(const struct plan *p, const struct planner_options *po, const char *out, int quiet, struct planned_recipe *r, struct error *e)
{
    struct display d;
    const struct stream_hooks hooks = {display_update, interrupted, &d};
    catch_interrupts();
    display_start(&d, "measuring", 0, quiet);
    d.progress.unit = "steps";
    int rc = planner_run(p, po, &hooks, r, e);
    display_end(&d);
    return rc || io_write_all(out, r->text.data, r->text.size, e) ? -1 : 0;
}

int write_budget_recipe(const struct options *o, const struct plan *base, double bpw, const char *path, struct planned_recipe *r,
                        struct error *e)
{
    struct planner_options po = {.bpw = bpw, .tool = "pare " PARE_VERSION, .gain_tokens = GAIN_TOKENS, .gain_layers = -1};
    return read_pool(o, base, &po, e) || choose_types(base, &po, path, options_get(o, "quiet") != NULL, r, e) ? -1 : 0;
}

int run_budget(const struct options *o, struct error *e)
{
    struct planned p;
    struct planner_options po;
    struct planned_recipe r = {.kl = 0};
    struct engine_memory beside = {0, 0};
    int rc = make_plan(o, &p, e) || read_budget(o, p.plan, &po, &beside, e);
    if (!rc)
        print_notes("plan", p.plan->notes, p.plan->n_notes);
    rc = rc || choose_types(p.plan, &po, options_get(o, "out"), options_get(o, "quiet") != NULL, &r, e);
    if (!rc)
        rc = options_get(o, "json") ? print_planned_json(options_get(o, "out"), &r, &beside, e) : print_planned(options_get(o, "out"), &r, &beside, e);
    planned_recipe_clear(&r);
    clear_plan(&p);
    return rc ? -1 : 0;
}
