/* SPDX-License-Identifier: MIT
 * pare convert: a source becomes another layout in one pass. */
#include <inttypes.h>
#include <stdio.h>

#include "base/json.h"
#include "cli/plan_options.h"
#include "convert/convert.h"

static const struct option_row rows[] = {
    {'o', "out", "PATH", "write to PATH (PATH.partial until it is complete)"},
    PLAN_OPTION_ROWS,
    {'f', "force", NULL, "replace an existing output"},
    OPTION_JSON,
    OPTION_QUIET,
    OPTION_END,
};
static const struct option_table table = {
    .command = "convert",
    .operands = "SOURCE",
    .summary = "convert a checkpoint or GGUF to another layout in one pass",
    .min_operands = 1,
    .max_operands = 1,
    .rows = rows,
};

static int report(const struct options *o, const struct plan *p, const char *out, double seconds, struct error *e)
{
    if (options_get(o, "json")) {
        struct json *root = json_new_object();
        json_add_string(root, "output", io_base_name(out));
        json_add_string(root, "recipe", p->options.recipe.name);
        json_add_u64(root, "bytes", p->total);
        json_add_u64(root, "tensors", p->n_tensors);
        json_add_f64(root, "seconds", seconds);
        return print_json(root, e);
    }
    struct buffer b = {0};
    char size[SIZE_TEXT], rate[SIZE_TEXT];
    buffer_printf(&b, "%s: %s, %zu tensors, %.1f s (%s/s)\n", out, size_text(p->total, size), p->n_tensors, seconds,
                  size_text((uint64_t)((double)p->total / (seconds > 0 ? seconds : 1)), rate));
    return print_buffer(&b, e);
}

static int convert(const struct options *o, const struct plan *p, const char *out, struct error *e)
{
    struct display d;
    struct stream_hooks hooks = {display_update, interrupted, &d};
    catch_interrupts();
    display_start(&d, "converting", p->total, options_get(o, "quiet") != NULL);
    int rc = convert_run(p, out, "pare " PARE_VERSION, &hooks, e);
    display_end(&d);
    return rc ? -1 : report(o, p, out, progress_elapsed(&d.progress), e);
}

static int run(const struct options *o, struct error *e)
{
    struct planned p = {.plan = NULL};
    const char *out = options_get(o, "out");
    if (!out || !*out)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "-o PATH is needed (see 'pare convert --help')");
    int rc = make_plan(o, &p, e);
    if (!rc)
        print_notes("convert", p.plan->notes, p.plan->n_notes);
    if (!rc)
        rc = convert_check_output(p.plan, out, options_get(o, "force") != NULL, e);
    if (!rc)
        rc = convert(o, p.plan, out, e);
    clear_plan(&p);
    return rc;
}

const struct command cmd_convert = {&table, run};
