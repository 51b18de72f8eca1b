/* SPDX-License-Identifier: MIT
 * pare check: structure, sizes, values, hashes. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "model/parallel.h"
#include "verify/check_pack.h"
#include "verify/engine.h"

static const char *engine_value(size_t i)
{
    return engines[i] ? engines[i]->name : NULL;
}

static const struct option_row rows[] = {
    {'m', "manifest", "FILE", "hashes to hold the files against (default:\nthe manifest beside PATH, if there is one)"},
    {'t', "target", "ENGINE", "whether this engine will load PATH: vllm, sglang,\ntransformers, llama.cpp; reads scales, no other data", 0, engine_value},
    {'s', "structure", NULL, "structure and sizes only: read no tensor data"},
    OPTION_THREADS,
    OPTION_JSON,
    OPTION_QUIET,
    OPTION_END,
};
static const struct option_table table = {
    .command = "check",
    .operands = "PATH",
    .summary = "check structure, sizes, values (NaN, scales) and hashes of a model",
    .min_operands = 1,
    .max_operands = 1,
    .rows = rows,
    .epilog = "Exit: 0 all is well, 1 values, hashes or what an engine asks for are bad,\n3 the structure is damaged.",
};

/* What a report says that it has looked at. */
static const char *looked_at(const struct options *o, int hashed, int values)
{
    const struct engine *g = options_get(o, "target") ? engine_find(options_get(o, "target")) : NULL;
    return g && g->gguf                  ? "structure, keys and types"
           : g                           ? "structure, scales and configuration"
           : options_get(o, "structure") ? "structure"
           : !values                     ? "structure and hashes"
           : hashed                      ? "structure, values and hashes"
                                         : "structure and values";
}

static int print_as_json(const struct options *o, const struct check_report *r, int hashed, int values, struct error *e)
{
    struct json *root = json_new_object(), *list;
    json_add_string(root, "path", io_base_name(o->operands[0]));
    json_add_string(root, "checked", looked_at(o, hashed, values));
    if (options_get(o, "target")) {
        json_add_string(root, "target", options_get(o, "target"));
        list = json_add_array(root, "notes");
        for (size_t i = 0; i < r->n_notes; i++)
            json_add_string(list, NULL, r->notes[i]);
        list = json_add_array(root, "tensor_parallel");
        for (unsigned n = 1; n <= PARALLEL_MOST; n *= 2)
            if (r->parallel & n)
                json_add_u64(list, NULL, n);
    }
    json_add_u64(root, "problems", r->n_problems);
    list = json_add_array(root, "findings");
    for (size_t i = 0; i < r->n_findings; i++) {
        struct json *f = json_add_object(list, NULL);
        json_add_string(f, "tensor", r->findings[i].tensor);
        json_add_string(f, "text", r->findings[i].text);
    }
    return print_json(root, e);
}

static int print_report(const struct options *o, const struct check_report *r, int hashed, int values, struct error *e)
{
    char sizes[PARALLEL_TEXT];
    struct buffer b = {0};
    print_notes("check", r->notes, r->n_notes);
    if (options_get(o, "json"))
        return print_as_json(o, r, hashed, values, e);
    for (size_t i = 0; i < r->n_findings; i++)
        buffer_printf(&b, "%s: %s\n", r->findings[i].tensor, r->findings[i].text);
    if (r->n_problems > r->n_findings)
        buffer_printf(&b, "... and %" PRIu64 " more\n", r->n_problems - r->n_findings);
    if (r->parallel)
        buffer_printf(&b, "tensor-parallel sizes: %s\n", parallel_text(r->parallel, sizes));
    buffer_printf(&b, "%s: %s checked%s%s: ", o->operands[0], looked_at(o, hashed, values), options_get(o, "target") ? " for " : "",
                  options_get(o, "target") ? options_get(o, "target") : "");
    if (r->n_problems)
        buffer_printf(&b, "%" PRIu64 " problem%s\n", r->n_problems, r->n_problems == 1 ? "" : "s");
    else
        buffer_text(&b, "no problem found\n");
    return print_buffer(&b, e);
}

static int check_manifest(const struct options *o, const struct source *s, int threads, const struct check_hooks *hooks,
                          struct check_report *r, int *hashed, struct error *e)
{
    const char *given = options_get(o, "manifest");
    char *path = given ? strdup(given) : NULL, *folder = s->is_folder ? strdup(s->path) : io_folder(s->path);
    struct manifest *m = NULL;
    int rc = (path || !given) && folder ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc && s->pack && !given) { /* its own manifest, within, tells more than one beside it */
        rc = check_pack(s, threads, hooks, r, e);
        *hashed = 1;
    } else if (!rc && !given)
        rc = manifest_find(s->path, s->is_folder, &path, e);
    if (!rc && path) {
        rc = (m = manifest_load(path, e)) ? check_hashes(m, s, folder, threads, hooks, r, e) : -1;
        *hashed = 1;
    }
    manifest_free(m);
    free(path);
    free(folder);
    return rc;
}

static int check_target(const struct engine *g, const struct model *m, int threads, const struct check_hooks *hooks, struct check_report *r,
                        struct error *e)
{
    return engine_check(g, m, r, e) || (!g->gguf && check_scales(m, threads, hooks, r, e)) ? -1 : 0;
}

/* The engine of --target, or NULL in *g without it. */
static int target_option(const struct options *o, const struct engine **g, struct error *e)
{
    const char *name = options_get(o, "target");
    *g = name ? engine_find(name) : NULL;
    if (name && !*g)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--target: there is no engine '%.40s' (vllm, sglang, transformers, llama.cpp)", name);
    if (name && (options_get(o, "structure") || options_get(o, "manifest")))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--target goes without --structure and --manifest");
    return 0;
}

/* A model, or without one what has hashes at least. */
static int open_source(const char *path, int for_engine, struct opened *in, struct error *e)
{
    *in = (struct opened){.source = source_open(path, e)};
    if (!in->source)
        return -1;
    if (!for_engine && is_part_of_model(in->source))
        return 0;
    if ((in->model = model_open(in->source, e)))
        return 0;
    close_model(in);
    return -1;
}

static int run(const struct options *o, struct error *e)
{
    struct opened in;
    struct display d;
    struct check_hooks hooks = {display_update, interrupted, &d};
    struct check_report r = {.n_findings = 0};
    const struct engine *engine;
    int threads, hashed = 0, rc = -1;
    if (threads_option(o, &threads, e) || target_option(o, &engine, e) || open_source(o->operands[0], engine != NULL, &in, e))
        return -1;
    if (in.model)
        print_notes("check", in.model->notes, in.model->n_notes);
    catch_interrupts();
    display_start(&d, "checking", 0, options_get(o, "quiet") != NULL);
    if (engine)
        rc = check_target(engine, in.model, threads, &hooks, &r, e);
    else if (options_get(o, "structure"))
        rc = 0;
    else if (!in.model || !check_values(in.model, threads, &hooks, &r, e))
        rc = check_manifest(o, in.source, threads, &hooks, &r, &hashed, e);
    display_end(&d);
    if (!rc)
        rc = print_report(o, &r, hashed, in.model != NULL, e);
    if (!rc && r.n_problems) {
        e->code = ERR_CHECK;
        rc = -1;
    }
    check_report_clear(&r);
    close_model(&in);
    return rc;
}

const struct command cmd_check = {&table, run};
