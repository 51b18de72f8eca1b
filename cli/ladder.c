/* SPDX-License-Identifier: MIT
 * Ladders. */
#include "cli/ladder.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/plan_budget.h"
#include "convert/convert.h"

struct step { /* one rung */
    char *name, *path;
    const char *word; /* of the command line, while it is read */
    char *recipe_path; /* of a budget: the recipe that keeps it, written beside the output; NULL: none */
    double bpw, kl;    /* of a budget, and what the planner predicts */
    struct recipe recipe;
    struct plan *plan;
    int there; /* an earlier run has finished it */
    struct convert_options options;
    struct convert_result result;
};

struct ladder {
    struct planned base;
    struct step steps[STREAM_RUNGS];
    size_t n;
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

/* A recipe's name for file names: of "x/y.json" y, of 3.5 3.5bpw. */
static char *short_name(const char *recipe)
{
    const char *base = io_base_name(recipe);
    double bpw;
    if (read_bits(recipe, &bpw))
        return io_append(recipe, "bpw");
    size_t n = strlen(base);
    return strndup(base, n > 5 && !strcmp(base + n - 5, ".json") ? n - 5 : n);
}

/* "m.gguf" and "Q4_K_M" make "m-Q4_K_M.gguf". */
static char *step_path(const char *out, const char *name)
{
    const char *dot = strrchr(io_base_name(out), '.');
    size_t stem = dot && dot > io_base_name(out) ? (size_t)(dot - out) : strlen(out), n = strlen(out) + strlen(name) + 2;
    char *path = malloc(n);
    if (path)
        snprintf(path, n, "%.*s-%s%s", (int)stem, out, name, out + stem);
    return path;
}

static int add_step(struct ladder *l, const char *out, char *word, struct error *e)
{
    if (!*word)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--ladder: an empty name");
    if (l->n == STREAM_RUNGS)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--ladder: more than %d outputs in one pass", STREAM_RUNGS);
    struct step *s = &l->steps[l->n++];
    if (!read_bits(word, &s->bpw))
        s->bpw = 0;
    s->word = word;
    if (!(s->name = short_name(word)) || !(s->path = step_path(out, s->name)))
        return no_memory(e);
    for (size_t i = 0; i + 1 < l->n; i++)
        if (!strcmp(l->steps[i].name, s->name))
            return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--ladder: '%s' stands twice", s->name);
    return 0;
}

/* The recipe of a budget, in a file beside the output. What is measured for the first budget serves them all. */
static int choose_types(const struct options *o, struct ladder *l, struct step *s, struct error *e)
{
    struct planned_recipe r = {.kl = 0};
    int rc = 0;
    if (!l->base.calib || options_get(o, "sequential"))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--ladder: bits per weight ask for --calib DIR: types are chosen by what 'pare calibrate' saw");
    if (!l->base.plan && !(l->base.plan = plan_new(l->base.in.model, l->base.target, &l->base.options, e)))
        return -1;
    if (!(s->recipe_path = io_append(s->path, ".json")))
        return no_memory(e);
    rc = write_budget_recipe(o, l->base.plan, s->bpw, s->recipe_path, &r, e);
    s->kl = r.kl;
    planned_recipe_clear(&r);
    return rc;
}

/* Memory is shared out evenly; each plan keeps below its share. */
static int plan_step(const struct options *o, struct ladder *l, struct step *s, struct error *e)
{
    struct plan_options po = l->base.options;
    if (s->bpw > 0 && choose_types(o, l, s, e))
        return -1;
    if (read_recipe(o, l->base.target, s->recipe_path ? s->recipe_path : s->word, &s->recipe, e))
        return -1;
    po.recipe = s->recipe;
    po.recipe.group = l->base.recipe.group;
    po.memory /= l->n;
    if (!(s->plan = plan_new(l->base.in.model, l->base.target, &po, e)))
        return -1;
    s->options = (struct convert_options){.path = s->path, .tool = "pare " PARE_VERSION, .force = options_get(o, "force") != NULL,
                                          .restart = options_get(o, "restart") != NULL, .rehash = options_get(o, "rehash") != NULL,
                                          .with_paths = options_get(o, "record-paths") != NULL};
    return 0;
}

static int make_steps(const struct options *o, struct ladder *l, const char *out, struct error *e)
{
    char *list = strdup(options_get(o, "ladder")), *at = list;
    int rc = list ? 0 : no_memory(e);
    for (char *word; !rc && (word = strsep(&at, ","));)
        rc = add_step(l, out, word, e);
    for (size_t i = 0; !rc && i < l->n; i++)
        rc = plan_step(o, l, &l->steps[i], e);
    for (size_t i = 0; i < l->n; i++)
        l->steps[i].word = NULL;
    free(list);
    return rc;
}

/* Steps that are still to do, checked. */
static int choose(struct ladder *l, struct conversion *list, size_t *n, struct error *e)
{
    *n = 0;
    for (size_t i = 0; i < l->n; i++) {
        struct step *s = &l->steps[i];
        s->there = !s->options.force && convert_is_done(s->plan, &s->options);
        if (s->there)
            continue;
        if (convert_check_output(s->plan, &s->options, e))
            return -1;
        list[(*n)++] = (struct conversion){s->plan, &s->options, &s->result};
    }
    return 0;
}

static uint64_t weights_of(const struct plan *p)
{
    uint64_t n = 0;
    for (size_t i = 0; i < p->n_tensors; i++)
        n += p->tensors[i].verbatim || (p->tensors[i].layout && p->tensors[i].part != PART_CODES)
                 ? 0 : p->tensors[i].weight.slabs * p->tensors[i].weight.rows * p->tensors[i].weight.cols;
    return n;
}

static double bits_per_weight(const struct plan *p)
{
    uint64_t n = weights_of(p);
    return n ? 8.0 * (double)plan_tensor_bytes(p) / (double)n : 0;
}

static int report_json(const struct ladder *l, double seconds, struct error *e)
{
    struct json *root = json_new_object(), *list = json_add_array(root, "outputs");
    for (size_t i = 0; i < l->n; i++) {
        const struct step *s = &l->steps[i];
        struct json *j = json_add_object(list, NULL);
        json_add_string(j, "output", io_base_name(s->path));
        json_add_string(j, "recipe", s->plan->options.recipe.name);
        json_add_u64(j, "bytes", s->plan->part_bytes);
        json_add_f64(j, "bits_per_weight", bits_per_weight(s->plan));
        if (s->recipe_path)
            json_add_f64(j, "predicted_kl", s->kl);
        json_add_u64(j, "units", s->plan->unit_to - s->plan->unit_from);
        json_add_u64(j, "units_reused", s->there ? s->plan->unit_to - s->plan->unit_from : s->result.units_reused);
    }
    json_add_f64(root, "seconds", seconds);
    return print_json(root, e);
}

static int report(const struct options *o, const struct ladder *l, double seconds, struct error *e)
{
    struct buffer b = {0};
    int width = 6;
    if (options_get(o, "json"))
        return report_json(l, seconds, e);
    for (size_t i = 0; i < l->n; i++) {
        int n = (int)strlen(io_base_name(l->steps[i].path));
        width = n > width ? n : width;
    }
    buffer_printf(&b, "| %-*s | %9s | %15s | %15s | %12s |\n|%.*s|----------:|----------------:|----------------:|-------------:|\n", width, "output", "size",
                  "bytes", "bits per weight", "predicted KL", width + 2,
                  "--------------------------------------------------------------------------------------------------------------");
    for (size_t i = 0; i < l->n; i++) {
        const struct step *s = &l->steps[i];
        char size[SIZE_TEXT], kl[24] = "";
        if (s->recipe_path)
            snprintf(kl, sizeof kl, "%.5f", s->kl);
        buffer_printf(&b, "| %-*s | %9s | %15" PRIu64 " | %15.3f | %12s |%s\n", width, io_base_name(s->path), size_text(s->plan->part_bytes, size), s->plan->part_bytes,
                      bits_per_weight(s->plan), kl, s->there ? " was there already" : "");
    }
    buffer_printf(&b, "%zu outputs in %.1f s\n", l->n, seconds);
    return print_buffer(&b, e);
}

static int run_steps(const struct options *o, struct ladder *l, struct error *e)
{
    struct conversion list[STREAM_RUNGS];
    struct display d;
    struct stream_hooks hooks = {display_update, interrupted, &d};
    uint64_t total = 0;
    size_t n;
    if (choose(l, list, &n, e))
        return -1;
    for (size_t i = 0; i < n; i++)
        total += list[i].plan->part_bytes;
    catch_interrupts();
    display_start(&d, "converting", total, options_get(o, "quiet") != NULL);
    int rc = n ? convert_run(list, n, &hooks, e) : 0;
    display_end(&d);
    return rc ? -1 : report(o, l, progress_elapsed(&d.progress), e);
}

static void clear_ladder(struct ladder *l)
{
    for (size_t i = 0; i < l->n; i++) {
        plan_free(l->steps[i].plan);
        recipe_clear(&l->steps[i].recipe);
        free(l->steps[i].name);
        free(l->steps[i].path);
        free(l->steps[i].recipe_path);
    }
    clear_plan(&l->base);
}

int ladder_run(const struct options *o, const char *out, struct error *e)
{
    struct ladder *l = calloc(1, sizeof *l);
    if (!l)
        return no_memory(e);
    int rc = options_get(o, "recipe") ? error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--ladder names the recipes: --recipe does not go with it")
             : open_planned(o, &l->base, e) || make_steps(o, l, out, e) || run_steps(o, l, e) ? -1 : 0;
    clear_ladder(l);
    free(l);
    return rc;
}
