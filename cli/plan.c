/* SPDX-License-Identifier: MIT
 * pare plan: what a conversion would write, before a weight is read. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/coverage.h"
#include "cli/imatrix_text.h"
#include "cli/plan_budget.h"
#include "convert/fold.h"

static const struct option_row rows[] = {
    PLAN_OPTION_ROWS,
    {'o', "out", "PATH", "where it would go; with a budget: the recipe to write"},
    BUDGET_OPTION_ROWS,
    OPTION_JSON,
    OPTION_QUIET,
    OPTION_END,
};
static const struct option_table table = {
    .command = "plan",
    .operands = "SOURCE",
    .summary = "print what a conversion would write, exact to the byte",
    .min_operands = 1,
    .max_operands = 1,
    .rows = rows,
};

static int free_space(const struct options *o, uint64_t *bytes, struct error *e)
{
    const char *out = options_get(o, "out");
    return io_free_space(out ? out : "./x", bytes, e);
}

/* Columns of the table that fit its longest words. */
struct widths {
    int name, type;
};

/* Of parts that stand beside codes, and of what is copied, how their numbers are stored. */
static const char *shown_type(const struct plan_tensor *t)
{
    return t->verbatim || (t->layout && t->part != PART_CODES) ? t->out.type->name : t->type->name;
}

static const char *shown_source(const struct plan *p, const struct plan_tensor *t, char out[TENSOR_NAME])
{
    return t->verbatim ? t->verbatim->name : weight_source_name(p->model, &t->weight, t->slab0, out);
}

static struct widths find_widths(const struct plan *p)
{
    struct widths w = {34, 5};
    for (size_t i = 0; i < p->n_tensors; i++) {
        int name = (int)strlen(p->tensors[i].out.name), type = (int)strlen(shown_type(&p->tensors[i]));
        w.name = name > w.name ? name : w.name;
        w.type = type > w.type ? type : w.type;
    }
    return w;
}

static void print_tensor(const struct plan *p, const struct plan_tensor *t, const struct widths *w, struct buffer *b)
{
    char shape[SHAPE_TEXT], source[TENSOR_NAME];
    buffer_printf(b, "%-*s %-*s %-20s %13" PRIu64 " %14" PRIu64 "  %s%s%s\n", w->name, t->out.name, w->type, shown_type(t),
                  shape_text(t->out.dims, t->out.n_dims, shape), t->out.bytes, t->out.offset,
                  shown_source(p, t, source),
                  t->weight.slabs > 1 && !t->weight.from_kv_b && !p->model->source->meta ? " ..." : "",
                  t->verbatim ? ", as it is" : feedback_applies(p->options.calib, &t->weight, t->type) ? ", with error feedback" : "");
    if (t->note)
        buffer_printf(b, "%-34s ^ %s\n", "", t->note);
}

static void print_files(const struct plan *p, const char *out, struct buffer *b)
{
    for (size_t i = 0; p->n_files > 1 && i < p->n_files; i++) {
        char *name = plan_file_name(p, out ? out : p->target->form ? "OUT" : "OUT.gguf", i);
        buffer_printf(b, "%s%s: %zu tensors, %" PRIu64 " bytes\n", i ? "" : "\n", name ? name : "?", p->files[i].n,
                      p->files[i].bytes);
        free(name);
    }
}

/* How many tensors each rule of the recipe gave their type. */
static void print_rules(const struct plan *p, struct buffer *b)
{
    const struct recipe *r = &p->options.recipe;
    if (r->n_rules)
        buffer_text(b, "\ntensors by rule, the first that matches:\n");
    for (size_t i = 0; i < r->n_rules; i++) {
        char number[32], option[32];
        const struct recipe_rule *rule = &r->rules[i];
        snprintf(number, sizeof number, "rule %zu", rule->number);
        snprintf(option, sizeof option, "--%s", rule->option ? rule->option : "");
        buffer_printf(b, "%8" PRIu64 "  %s %s\n", p->hits[i].tensors, rule->option ? option : number, rule->text);
    }
}

static void print_feedback(const struct plan *p, struct buffer *b)
{
    char text[FEEDBACK_TEXT];
    size_t n = 0;
    for (size_t i = 0; i < p->n_tensors; i++)
        n += !(p->tensors[i].layout && p->tensors[i].units == UNITS_OF_PREVIOUS) && feedback_applies(p->options.calib, &p->tensors[i].weight, p->tensors[i].type) != 0;
    if (p->options.calib)
        buffer_printf(b, "error feedback for %zu tensors: %s\n", n, feedback_text(p->options.calib, &p->options.feedback, text));
}

static int print_plan(const struct options *o, const struct planned *planned, struct error *e)
{
    const struct plan *p = planned->plan;
    struct buffer b = {0};
    uint64_t space;
    char a[SIZE_TEXT], c[SIZE_TEXT], fold[FOLD_TEXT];
    if (free_space(o, &space, e))
        return -1;
    const struct widths w = find_widths(p);
    buffer_printf(&b, "%-*s %-*s %-20s %13s %14s  %s\n", w.name, "tensor", w.type, "type", "shape", "bytes", "offset", "source");
    for (size_t i = 0; i < p->n_tensors; i++)
        print_tensor(p, &p->tensors[i], &w, &b);
    print_rules(p, &b);
    print_files(p, options_get(o, "out"), &b);
    buffer_printf(&b, "\nrecipe %s%s: %zu tensors in %zu file%s, header %zu bytes, total %" PRIu64 " bytes (%s)\n",
                  p->options.recipe.name, p->options.recipe.via_bf16 ? " via bf16" : "", p->n_tensors, p->n_files, p->n_files == 1 ? "" : "s", p->files[0].header.size,
                  p->total, size_text(p->total, a));
    if (p->options.recipe.is_planned)
        buffer_printf(&b, "the types were chosen by pare plan, which expects a KL divergence of %.5f%s\n", p->options.recipe.predicted_kl,
                      p->options.calib ? "" : " with the --calib that it was given");
    if (p->options.compress)
        buffer_text(&b, "--compress: these sizes are the most that tensors can take; offsets are known when they are written\n");
    if (p->parallel)
        buffer_printf(&b, "tensor-parallel sizes that the shapes allow: %s\n", p->parallel);
    add_weighed_text(p, &b);
    print_feedback(p, &b);
    if (p->options.fold)
        buffer_printf(&b, "folded: %s\n", fold_text(p->options.fold, fold));
    if (p->options.parts > 1)
        buffer_printf(&b, "part %d of %d: files %zu to %zu, %s\n", p->options.part, p->options.parts, p->file_from + 1,
                      p->file_to, size_text(p->part_bytes, a));
    buffer_printf(&b, "memory at most %s with %d thread%s; disk needed %s", size_text(p->peak_memory, a), p->threads,
                  p->threads == 1 ? "" : "s", size_text(p->disk_peak, c));
    buffer_printf(&b, ", free %s%s\n", size_text(space, a), space < p->disk_peak ? ": TOO LITTLE" : "");
    if (add_coverage(o, planned, &b, NULL, e)) {
        buffer_clear(&b);
        return -1;
    }
    return print_buffer(&b, e);
}

static int print_plan_json(const struct options *o, const struct planned *planned, struct error *e)
{
    const struct plan *p = planned->plan;
    struct json *root = json_new_object(), *list;
    char name[TENSOR_NAME], fold[FOLD_TEXT], feedback[FEEDBACK_TEXT];
    uint64_t space;
    if (free_space(o, &space, e)) {
        json_free(root);
        return -1;
    }
    json_add_string(root, "recipe", p->options.recipe.name);
    if (p->options.recipe.via_bf16)
        json_add_string(root, "via", "bf16");
    if (p->options.calib)
        json_add_string(root, "calibration", feedback_text(p->options.calib, &p->options.feedback, feedback));
    if (p->options.fold)
        json_add_string(root, "fold", fold_text(p->options.fold, fold));
    if (p->parallel)
        json_add_string(root, "tensor_parallel", p->parallel);
    json_add_u64(root, "header_bytes", p->files[0].header.size);
    json_add_u64(root, "total_bytes", p->total);
    json_add_u64(root, "peak_memory", p->peak_memory);
    json_add_u64(root, "disk_peak", p->disk_peak);
    json_add_u64(root, "units", p->n_units);
    json_add_u64(root, "files", p->n_files);
    json_add_u64(root, "threads", (uint64_t)p->threads);
    json_add_u64(root, "disk_free", space);
    add_weighed_json(p, root);
    list = json_add_array(root, "tensors");
    for (size_t i = 0; i < p->n_tensors; i++) {
        const struct plan_tensor *t = &p->tensors[i];
        struct json *j = json_add_object(list, NULL), *shape;
        json_add_string(j, "name", t->out.name);
        json_add_string(j, "role", roles[t->weight.role].name);
        json_add_string(j, "type", shown_type(t));
        shape = json_add_array(j, "shape");
        for (uint32_t d = 0; d < t->out.n_dims; d++)
            json_add_u64(shape, NULL, t->out.dims[d]);
        json_add_u64(j, "file", t->out.file);
        json_add_u64(j, "bytes", t->out.bytes);
        json_add_u64(j, "offset", t->out.offset);
        json_add_string(j, "source", shown_source(p, t, name));
        if (t->rule < p->options.recipe.n_rules)
            json_add_u64(j, "rule", t->rule + 1); /* of "rules", from 1 */
        if (feedback_applies(p->options.calib, &t->weight, t->type))
            json_add_bool(j, "feedback", 1);
        if (t->note)
            json_add_string(j, "note", t->note);
    }
    list = json_add_array(root, "rules");
    for (size_t i = 0; i < p->options.recipe.n_rules; i++) {
        const struct recipe_rule *rule = &p->options.recipe.rules[i];
        struct json *j = json_add_object(list, NULL);
        json_add_string(j, "from", rule->option ? rule->option : "recipe");
        json_add_string(j, "rule", rule->text);
        json_add_u64(j, "tensors", p->hits[i].tensors);
    }
    list = json_add_array(root, "notes");
    for (size_t i = 0; i < p->n_notes; i++)
        json_add_string(list, NULL, p->notes[i]);
    if (add_coverage(o, planned, NULL, root, e)) {
        json_free(root);
        return -1;
    }
    return print_json(root, e);
}

static int run(const struct options *o, struct error *e)
{
    struct planned p;
    if (has_budget(o))
        return run_budget(o, e);
    int rc = make_plan(o, &p, e);
    if (!rc) {
        print_notes("plan", p.plan->notes, p.plan->n_notes);
        rc = options_get(o, "json") ? print_plan_json(o, &p, e) : print_plan(o, &p, e);
    }
    clear_plan(&p);
    return rc;
}

const struct command cmd_plan = {&table, run};
