/* SPDX-License-Identifier: MIT
 * pare calibrate: what a model's weights are multiplied with, for imatrix and error feedback. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/calibration_text.h"
#include "cli/cli.h"
#include "cli/tokens.h"
#include "convert/calibrate.h"

static const struct option_row rows[] = {
    {'o', "out", "DIR", "the folder to make"},
    OPTION_TOKENS,
    {0, "group-routing", "on|off", "off: ignore expert groups, as some clients do", 1},
    {0, "memory", "SIZE", "activations beyond go to disk, in DIR (default 4G)"},
    {0, "part", "I/N", "the I-th of N parts of the chunks (see merge)"},
    {0, "plan", NULL, "say what it takes; nothing is run"},
    {0, "restart", NULL, "throw away what lies in DIR"},
    OPTION_THREADS,
    OPTION_JSON,
    OPTION_QUIET,
    OPTION_END,
};
static const struct option_table table = {
    .command = "calibrate",
    .operands = "SOURCE",
    .summary = "collect what 'pare convert --calib' needs, and an imatrix",
    .min_operands = 1,
    .max_operands = 1,
    .rows = rows,
    .epilog = "An interrupted run goes on with the layer that it was at.",
};

static int read_options(const struct options *o, struct calibrate_options *c, struct error *e)
{
    const char *text = options_get(o, "text"), *raw = options_get(o, "tokens"), *routing = options_get(o, "group-routing");
    long ctx = 512;
    *c = (struct calibrate_options){.group_routing = !routing || strcmp(routing, "off"), .memory = 4000000000u,
                                    .tool = "pare " PARE_VERSION, .text = io_base_name(text ? text : raw ? raw : ""),
                                    .restart = options_get(o, "restart") != NULL};
    if (!options_get(o, "out") && !options_get(o, "plan"))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "-o DIR is needed");
    if (routing && strcmp(routing, "on") && strcmp(routing, "off"))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--group-routing: '%s' is neither on nor off", routing);
    if (options_int(o, "ctx", 4, 1 << 20, &ctx, e) || options_size(o, "memory", &c->memory, e) || threads_option(o, &c->threads, e))
        return -1;
    c->tokens.ctx = (size_t)ctx;
    return 0;
}

static int print_plan(const struct options *o, const struct calibrate_plan *p, uint64_t bound, int threads, struct error *e)
{
    const double rate = calibrate_rate(threads), hours = p->flops / rate / 3600;
    char a[SIZE_TEXT], c[SIZE_TEXT];
    if (options_get(o, "json")) {
        struct json *j = json_new_object(), *root = json_add_object(j, "plan");
        json_add_u64(root, "memory", p->memory);
        json_add_u64(root, "least_memory", p->least);
        json_add_u64(root, "moments", p->moments);
        json_add_u64(root, "activations", p->activations);
        json_add_u64(root, "scratch", p->scratch);
        json_add_u64(root, "disk", p->disk);
        json_add_u64(root, "folder", p->folder);
        json_add_f64(root, "flops", p->flops);
        json_add_f64(root, "flops_per_second", rate);
        json_add_f64(root, "hours", hours);
        return print_json(j, e);
    }
    struct buffer b = {0};
    buffer_printf(&b, "memory       %10s of %s\n", size_text(p->memory, a), size_text(bound, c));
    buffer_printf(&b, "  moments    %10s at their most\n", size_text(p->moments, a));
    buffer_printf(&b, "activations  %10s at their most", size_text(p->activations, a));
    buffer_printf(&b, ", %s of them on disk\n", size_text(p->scratch, a));
    buffer_printf(&b, "folder       %10s\n", size_text(p->folder, a));
    buffer_printf(&b, "disk         %10s at its most\n", size_text(p->disk, a));
    buffer_printf(&b, "arithmetic   %10.3g floating point operations\n", p->flops);
    buffer_printf(&b, "time         %10.2f hours at this machine's %.1f GFLOP/s by %d threads\n", hours, rate / 1e9, threads);
    return print_buffer(&b, e);
}

/* What --memory leaves for activations. */
static int give_memory(struct calibrate_options *c, const struct calibrate_plan *p, struct error *e)
{
    char least[SIZE_TEXT], bound[SIZE_TEXT];
    if (c->memory < p->least)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--memory %s is too little: %s are needed", size_text(c->memory, bound),
                         size_text(p->least, least));
    c->memory -= p->least;
    return 0;
}

static int calibrate(const struct options *o, const struct opened *in, struct calibrate_options *c, struct error *e)
{
    struct display d;
    struct stream_hooks hooks = {display_update, interrupted, &d};
    struct calibrate_result r;
    char size[SIZE_TEXT];
    catch_interrupts();
    display_start(&d, "calibrating", 0, options_get(o, "quiet") != NULL);
    d.progress.unit = "layers";
    int rc = calibrate_run(in->model, c, options_get(o, "out"), &hooks, &r, e);
    display_end(&d);
    if (rc)
        return -1;
    if (options_get(o, "json"))
        return print_calibration(options_get(o, "out"), 1, e);
    if (r.layers_reused)
        printf("%d layers are of an earlier run\n", r.layers_reused);
    printf("%s of statistics\n", size_text(r.bytes, size));
    return print_calibration(options_get(o, "out"), 0, e);
}

static int choose_part(const struct options *o, struct tokens *in, struct calibrate_options *c, struct error *e)
{
    size_t count = in->chunks, first = 0;
    struct calibrate_part *p = &c->part;
    p->all = (struct forward_tokens){in->ids, in->chunks, c->tokens.ctx};
    if (options_get(o, "part") && tokens_part(options_get(o, "part"), in->chunks, &p->i, &p->n, &first, &count, e))
        return -1;
    p->first_chunk = first;
    c->tokens = (struct forward_tokens){in->ids + first * c->tokens.ctx, count, c->tokens.ctx};
    return 0;
}

static int run(const struct options *o, struct error *e)
{
    struct opened in = {0};
    struct tokens tokens = {0};
    struct calibrate_options c;
    struct calibrate_plan plan;
    struct tokens_from from;
    int rc = read_options(o, &c, e) || open_model(o->operands[0], &in, e) || tokens_from_options(o, &from, e) ||
             read_tokens(&from, &in, c.tokens.ctx, &tokens, e) || choose_part(o, &tokens, &c, e);
    if (!rc) {
        const uint64_t bound = c.memory;
        print_notes("calibrate", in.model->notes, in.model->n_notes);
        calibrate_plan(in.model, &c, &plan);
        rc = give_memory(&c, &plan, e) || (options_get(o, "plan") ? print_plan(o, &plan, bound, c.threads, e) : calibrate(o, &in, &c, e));
    }
    free(tokens.ids);
    close_model(&in);
    return rc ? -1 : 0;
}

const struct command cmd_calibrate = {&table, run};
