/* SPDX-License-Identifier: MIT
 * pare diff: two models tensor by tensor. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/json.h"
#include "cli/cli.h"
#include "verify/diff.h"

static const struct option_row rows[] = {
    {'a', "all", NULL, "list equal tensors too"},
    OPTION_THREADS,
    OPTION_JSON,
    OPTION_QUIET,
    OPTION_END,
};
static const struct option_table table = {
    .command = "diff",
    .operands = "A B",
    .summary = "compare two models tensor by tensor, whatever their containers",
    .min_operands = 2,
    .max_operands = 2,
    .rows = rows,
    .epilog = "Values are compared as F32; rel is the RMS of B - A over the RMS of A.\n"
              "Exit: 0 no difference, 1 differences were found.",
};

static int is_different(const struct diff_row *r)
{
    return !r->in_a || !r->in_b || r->different || r->slabs_missing;
}

static double relative(const struct diff_row *r)
{
    return r->rms_a > 0 ? r->rms / r->rms_a : 0;
}

static void print_row(const struct diff_row *r, struct buffer *b)
{
    char name[TENSOR_NAME];
    role_gguf_name(r->role, r->layer, name);
    if (!r->in_a || !r->in_b)
        buffer_printf(b, "%-34s only in %s\n", name, r->in_a ? "A" : "B");
    else
        buffer_printf(b, "%-34s %-8s %-8s %9.3e %9.3e %6.2f\n", name, r->type_a, r->type_b, relative(r), r->max,
                      r->weights ? 100.0 * (double)r->different / (double)r->weights : 0);
    if (r->slabs_missing)
        buffer_printf(b, "%-34s ^ %" PRIu64 " experts are on one side only\n", "", r->slabs_missing);
}

static int print_rows(const struct options *o, const struct diff_row *list, size_t n, uint64_t differ, struct error *e)
{
    struct buffer b = {0};
    int all = options_get(o, "all") != NULL;
    if (differ || all)
        buffer_printf(&b, "%-34s %-8s %-8s %9s %9s %6s\n", "tensor", "A", "B", "rel", "max", "% diff");
    for (size_t i = 0; i < n; i++)
        if (all || is_different(&list[i]))
            print_row(&list[i], &b);
    buffer_printf(&b, "%" PRIu64 " of %zu tensors differ\n", differ, n);
    return print_buffer(&b, e);
}

static int print_rows_json(const struct diff_row *list, size_t n, uint64_t differ, int all, struct error *e)
{
    struct json *root = json_new_object(), *rows_json;
    char name[TENSOR_NAME];
    json_add_u64(root, "tensors", n);
    json_add_u64(root, "different", differ);
    rows_json = json_add_array(root, "rows");
    for (size_t i = 0; i < n; i++) {
        const struct diff_row *r = &list[i];
        if (!all && !is_different(r))
            continue;
        struct json *o = json_add_object(rows_json, NULL);
        json_add_string(o, "tensor", role_gguf_name(r->role, r->layer, name));
        json_add_string(o, "type_a", r->type_a);
        json_add_string(o, "type_b", r->type_b);
        json_add_u64(o, "weights", r->weights);
        json_add_u64(o, "different", r->different);
        if (r->slabs_missing)
            json_add_u64(o, "experts_missing", r->slabs_missing);
        json_add_f64(o, "rms", r->rms);
        json_add_f64(o, "relative_rms", relative(r));
        json_add_f64(o, "max", r->max);
        json_add_u64(o, "max_slab", r->max_slab);
        json_add_u64(o, "max_row", r->max_row);
        json_add_u64(o, "max_col", r->max_col);
    }
    return print_json(root, e);
}

static int run(const struct options *o, struct error *e)
{
    struct opened a = {0}, b = {0};
    struct display d;
    struct check_hooks hooks = {display_update, interrupted, &d};
    struct diff_row *list = NULL;
    size_t n = 0;
    uint64_t differ = 0;
    int threads, rc = -1;
    if (threads_option(o, &threads, e) || open_model(o->operands[0], &a, e) || open_model(o->operands[1], &b, e))
        goto out;
    catch_interrupts();
    display_start(&d, "comparing layers", 0, 1);
    if (diff_models(a.model, b.model, threads, &hooks, &list, &n, e))
        goto out;
    for (size_t i = 0; i < n; i++)
        differ += is_different(&list[i]) != 0;
    rc = options_get(o, "json") ? print_rows_json(list, n, differ, options_get(o, "all") != NULL, e)
                                : print_rows(o, list, n, differ, e);
    if (!rc && differ) {
        e->code = ERR_CHECK;
        rc = -1;
    }
out:
    free(list);
    close_model(&a);
    close_model(&b);
    return rc;
}

const struct command cmd_diff = {&table, run};
