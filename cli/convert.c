/* SPDX-License-Identifier: MIT
 * pare convert: a source becomes another layout in one pass. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/imatrix_text.h"
#include "cli/ladder.h"
#include "cli/plan_options.h"
#include "convert/consume.h"
#include "convert/convert.h"

static const struct option_row rows[] = {
    {'o', "out", "PATH", "write to PATH (PATH.partial until it is complete)"},
    PLAN_OPTION_ROWS,
    {0, "ladder", "R,R,..", "an output for each of these recipes, or bits per weight\n(3.5, with --calib; --pool as in plan), in one pass:\nof -o m.gguf m-Q4_K_M.gguf, m-3.5bpw.gguf and so on", 1},
    {0, "pool", "TYPE,TYPE", "", 1},
    {'f', "force", NULL, "replace an existing output"},
    {'y', "yes", NULL, "do not ask before --consume removes anything", 1},
    {0, "restart", NULL, "throw an interrupted run's work away", 1},
    {0, "rehash", NULL, "before going on, read all that an interrupted run\nread and wrote, and hold it against its hashes", 1},
    {0, "record-paths", NULL, "name source and output folder in the manifest", 1},
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
    .epilog = "The same command goes on with an interrupted or failed run; 'pare status PATH'.",
};

static int report(const struct options *o, const struct plan *p, const char *out, const struct convert_result *r,
                  double seconds, struct error *e)
{
    size_t tensors = 0;
    for (size_t i = p->file_from; i < p->file_to; i++)
        tensors += p->files[i].n;
    if (options_get(o, "json")) {
        struct json *root = json_new_object();
        json_add_string(root, "output", io_base_name(out));
        json_add_string(root, "recipe", p->options.recipe.name);
        json_add_u64(root, "bytes", r->bytes_written);
        json_add_u64(root, "files", p->file_to - p->file_from);
        json_add_u64(root, "tensors", tensors);
        json_add_u64(root, "units", r->units);
        json_add_u64(root, "units_reused", r->units_reused);
        json_add_u64(root, "units_redone", r->units_redone);
        json_add_u64(root, "blocks_carried", r->blocks_carried);
        json_add_u64(root, "blocks_not_carried", r->blocks_not_carried);
        json_add_u64(root, "shards_removed", r->shards_removed);
        json_add_f64(root, "seconds", seconds);
        if (r->cost.size > 0) {
            json_add_f64(root, "error_ue8m0", sqrt(r->cost.error / r->cost.size));
            json_add_f64(root, "error_f32_scales", sqrt(r->cost.error_f32 / r->cost.size));
        }
        add_weighed_json(p, root);
        return print_json(root, e);
    }
    struct buffer b = {0};
    char size[SIZE_TEXT], rate[SIZE_TEXT];
    buffer_printf(&b, "%s: %s, ", out, size_text(r->bytes_written, size));
    if (p->options.parts > 1)
        buffer_printf(&b, "part %d of %d, ", p->options.part, p->options.parts);
    if (p->n_files > 1)
        buffer_printf(&b, "%zu of %zu files, ", p->file_to - p->file_from, p->n_files);
    buffer_printf(&b, "%zu tensors, %.1f s (%s/s)", tensors, seconds,
                  size_text((uint64_t)((double)r->bytes_written / (seconds > 0 ? seconds : 1)), rate));
    if (r->units_reused)
        buffer_printf(&b, ", %" PRIu64 " of %" PRIu64 " units kept from an earlier run", r->units_reused, r->units);
    if (r->blocks_carried || r->blocks_not_carried)
        buffer_printf(&b, ", %" PRIu64 " of %" PRIu64 " blocks carried over without loss", r->blocks_carried,
                      r->blocks_carried + r->blocks_not_carried);
    if (r->shards_removed)
        buffer_printf(&b, ", %" PRIu64 " source shards removed (%s)", r->shards_removed, size_text(r->bytes_freed, size));
    buffer_text(&b, "\n");
    if (r->cost.size > 0)
        buffer_printf(&b, "scales that are powers of two: weights are off by %.3e of their size, with F32 scales by %.3e%s\n",
                      sqrt(r->cost.error / r->cost.size), sqrt(r->cost.error_f32 / r->cost.size),
                      r->units_reused ? " (of what this run encoded)" : "");
    add_weighed_text(p, &b);
    return print_buffer(&b, e);
}

/* An error line that also tells what is kept. */
static void tell_kept(const struct plan *p, const struct convert_result *r, struct error *e)
{
    char a[SIZE_TEXT], b[SIZE_TEXT];
    size_t n = strlen(e->text);
    if (r->resumable && r->bytes_durable)
        snprintf(e->text + n, sizeof e->text - n, " (%s of %s are kept: the same command goes on from there)",
                 size_text(r->bytes_durable, a), size_text(p->part_bytes, b));
}

/* Consuming destroys: ask, unless told not to. */
static int confirm_consume(const struct options *o, const struct plan *p, struct error *e)
{
    const char *first;
    char answer[16] = "";
    if (!p->options.consume || options_get(o, "yes"))
        return 0;
    if (!isatty(STDIN_FILENO))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--consume removes the source as it goes; without a terminal to ask on it needs --yes");
    uint64_t lost = consume_losses(p, &first);
    fprintf(stderr, "pare convert: the shards of '%s' will be removed as they are used up.\n", p->model->source->path);
    if (lost)
        fprintf(stderr, "%" PRIu64 " tensors that the output does not hold go with them, the first is '%s'.\n", lost, first);
    fprintf(stderr, "Type yes to go on: ");
    if (fgets(answer, sizeof answer, stdin) && !strcmp(answer, "yes\n"))
        return 0;
    return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "not confirmed; nothing was done");
}

static int convert(const struct options *o, const struct plan *p, const struct convert_options *co, struct error *e)
{
    struct display d;
    struct stream_hooks hooks = {display_update, interrupted, &d};
    struct convert_result r;
    catch_interrupts();
    display_start(&d, "converting", p->part_bytes, options_get(o, "quiet") != NULL);
    int rc = convert_run(&(struct conversion){p, co, &r}, 1, &hooks, e);
    display_end(&d);
    if (rc)
        tell_kept(p, &r, e);
    return rc ? -1 : report(o, p, co->path, &r, progress_elapsed(&d.progress), e);
}

/* The path that -o names, into *path, malloc'd. A folder's name may end with a slash; what lies beside it is named after it. */
static int output_path(const struct options *o, char **path, struct error *e)
{
    const char *given = options_get(o, "out");
    if (!given || !*given)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "-o PATH is needed (see 'pare convert --help')");
    *path = strdup(given);
    if (!*path)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t n = strlen(*path); n > 1 && (*path)[n - 1] == '/'; n--)
        (*path)[n - 1] = '\0';
    return 0;
}

static int run_one(const struct options *o, char *out, struct error *e)
{
    struct planned p = {.plan = NULL};
    struct convert_options co = {.tool = "pare " PARE_VERSION, .force = options_get(o, "force") != NULL,
                                 .restart = options_get(o, "restart") != NULL, .rehash = options_get(o, "rehash") != NULL,
                                 .with_paths = options_get(o, "record-paths") != NULL};
    int rc = make_plan(o, &p, e);
    co.path = out;
    if (!rc)
        print_notes("convert", p.plan->notes, p.plan->n_notes);
    if (!rc)
        rc = convert_check_output(p.plan, &co, e) || confirm_consume(o, p.plan, e) || convert(o, p.plan, &co, e) ? -1 : 0;
    clear_plan(&p);
    return rc;
}

static int run(const struct options *o, struct error *e)
{
    char *out = NULL;
    int rc = output_path(o, &out, e);
    if (!rc)
        rc = options_get(o, "ladder") ? ladder_run(o, out, e) : run_one(o, out, e);
    free(out);
    return rc;
}

const struct command cmd_convert = {&table, run};
