/* SPDX-License-Identifier: MIT
 * pare calibrate: what a model's weights are multiplied with, for imatrix and error feedback. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/tokens.h"
#include "convert/calibrate.h"

static const struct option_row rows[] = {
    {'o', "out", "DIR", "the folder to make"},
    OPTION_TOKENS,
    {0, "group-routing", "on|off", "off: ignore expert groups, as some clients do", 1},
    {0, "memory", "SIZE", "activations beyond go to disk, in DIR (default 4G)"},
    {0, "restart", NULL, "throw away what lies in DIR"},
    OPTION_THREADS,
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
    if (!options_get(o, "out"))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "-o DIR is needed");
    if (routing && strcmp(routing, "on") && strcmp(routing, "off"))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--group-routing: '%s' is neither on nor off", routing);
    if (options_int(o, "ctx", 4, 1 << 20, &ctx, e) || options_size(o, "memory", &c->memory, e) || threads_option(o, &c->threads, e))
        return -1;
    c->tokens.ctx = (size_t)ctx;
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
    if (r.layers_reused)
        printf("%d layers are of an earlier run\n", r.layers_reused);
    printf("%s: %zu chunks of %zu tokens, %s\n", options_get(o, "out"), c->tokens.chunks, c->tokens.ctx, size_text(r.bytes, size));
    return 0;
}

static int run(const struct options *o, struct error *e)
{
    struct opened in = {0};
    struct tokens tokens = {0};
    struct calibrate_options c;
    struct tokens_from from;
    int rc = read_options(o, &c, e) || open_model(o->operands[0], &in, e) || tokens_from_options(o, &from, e) ||
             read_tokens(&from, &in, c.tokens.ctx, &tokens, e);
    if (!rc) {
        c.tokens.ids = tokens.ids;
        c.tokens.chunks = tokens.chunks;
        print_notes("calibrate", in.model->notes, in.model->n_notes);
        rc = calibrate(o, &in, &c, e);
    }
    free(tokens.ids);
    close_model(&in);
    return rc ? -1 : 0;
}

const struct command cmd_calibrate = {&table, run};
