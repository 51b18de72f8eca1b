/* SPDX-License-Identifier: MIT
 * pare verify: perplexity of one model, or what a candidate lost against a base. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/card.h"
#include "cli/cli.h"
#include "cli/gates.h"
#include "cli/report.h"
#include "cli/tokens.h"
#include "formats/manifest.h"
#include "verify/part.h"

static const struct option_row rows[] = {
    OPTION_TOKENS,
    {0, "all-positions", NULL, "score every position, not the second half"},
    {0, "mtp", NULL, "judge the MTP layer too"},
    {0, "group-routing", "on|off", "off: ignore expert groups, as some clients do"},
    {0, "no-local", NULL, "leave out each layer's own error (a third faster)"},
    {0, "tensors", NULL, "compare the tensors too (reads everything twice)"},
    {0, "memory", "SIZE", "activations beyond this go to disk (default 4G)"},
    {0, "part", "I/N", "score the I-th of N parts into -o FILE (see merge)"},
    {'o', "out", "FILE", ""},
    {0, "save-logits", "FILE", "the base's logits of all positions, F32, for small\nmodels", 1},
    {0, "card", NULL, "write what was measured into CANDIDATE's README.md", 1},
    GATE_OPTION_ROWS,
    OPTION_THREADS,
    OPTION_JSON,
    OPTION_QUIET,
    OPTION_END,
};
static const struct option_table table = {
    .command = "verify",
    .operands = "BASE [CANDIDATE]",
    .summary = "perplexity of a model; KL divergence and errors of a candidate",
    .min_operands = 1,
    .max_operands = 2,
    .rows = rows,
    .epilog = GATE_EPILOG,
};

static int read_options(const struct options *o, struct compare_options *c, struct error *e)
{
    const char *routing = options_get(o, "group-routing"), *tmp = getenv("TMPDIR");
    long ctx = 512;
    *c = (struct compare_options){.group_routing = 1, .memory = 4000000000u, .scratch = tmp && *tmp ? tmp : "/tmp"};
    if (routing && strcmp(routing, "on") && strcmp(routing, "off"))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--group-routing: '%s' is neither on nor off", routing);
    if (options_int(o, "ctx", 4, 1 << 20, &ctx, e) || options_size(o, "memory", &c->memory, e) ||
        threads_option(o, &c->threads, e))
        return -1;
    c->ctx = (size_t)ctx;
    c->group_routing = !routing || strcmp(routing, "off");
    c->all_positions = options_get(o, "all-positions") != NULL;
    c->local = options_get(o, "no-local") == NULL;
    c->mtp = options_get(o, "mtp") != NULL;
    c->save_logits = options_get(o, "save-logits");
    if (options_get(o, "card") && (o->n_operands < 2 || options_get(o, "part")))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--card is for a whole comparison with a candidate");
    return 0;
}

/* "2/4": narrows the input to the second of four parts. */
static int choose_part(const struct options *o, struct tokens *in, struct compare_options *co, struct error *e)
{
    const char *text = options_get(o, "part");
    size_t i, n, count;
    co->total_chunks = in->chunks;
    if (!text)
        return 0;
    if (tokens_part(text, in->chunks, &i, &n, &co->first_chunk, &count, e))
        return -1;
    if (!options_get(o, "out"))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--part needs -o FILE");
    in->chunks = count;
    return 0;
}

static int save_part(const struct options *o, const struct opened *base, const struct opened *cand,
                     const struct compare_options *co, const struct tokens *in, const struct report *r, struct error *e)
{
    char settings[128];
    struct part_info info = {.base_name = r->base_name, .cand_name = r->cand_name, .settings = settings};
    snprintf(settings, sizeof settings, "scored %s, group routing %s, local %s", co->all_positions ? "all" : "half",
             co->group_routing ? "on" : "off", co->local ? "on" : "off");
    if (part_hash_tokens(in->ids, co->total_chunks * co->ctx, info.tokens_hash, e) ||
        part_hash_models(base->model, cand->model, info.models_hash, e))
        return -1;
    return part_save(r->c, &info, options_get(o, "out"), e);
}

/* What --memory leaves for activations: less what the models' names take, and each worker's buffers (a megabyte of decoded
 * rows, one head of attention over a chunk). */
static uint64_t activation_room(const struct compare_options *co)
{
    uint64_t peak, now, worker = (uint64_t)16 << 20, chunk = (uint64_t)co->ctx * 8192;
    process_memory(&peak, &now);
    uint64_t taken = now + (uint64_t)co->threads * (worker + chunk);
    return co->memory > taken ? co->memory - taken : 0;
}

/* What the candidate's manifest says that its planner expects; 0 without. A manifest that cannot be read is check's affair. */
static double predicted_kl(const struct source *s)
{
    struct error ignored = {0};
    char *path = NULL;
    struct manifest *m = s && !manifest_find(s->path, s->is_folder, &path, &ignored) && path ? manifest_load(path, &ignored) : NULL;
    double kl = m ? m->predicted_kl : 0;
    manifest_free(m);
    free(path);
    return kl;
}

/* Everything behind the opened models: walk, tensors, gates, report. */
static int verify(const struct options *o, const struct opened *base, const struct opened *cand,
                  const struct compare_options *co, const struct tokens *in, const struct json *gate_file, struct error *e)
{
    struct display d;
    struct check_hooks hooks = {display_update, interrupted, &d}, quiet = {NULL, interrupted, NULL};
    struct comparison c = {0};
    struct diff_row *tensors = NULL;
    struct report r = {.base_name = io_base_name(o->operands[0]), .c = &c,
                       .predicted_kl = predicted_kl(cand->source), .cand_name = cand->model ? io_base_name(o->operands[1]) : NULL};
    int want = cand->model && (options_get(o, "tensors") || gates_need_tensors(o, gate_file));
    struct compare_options bounded = *co;
    bounded.memory = activation_room(co);
    catch_interrupts();
    display_start(&d, "judging", 0, options_get(o, "quiet") != NULL);
    d.progress.unit = "layers";
    int rc = compare_run(base->model, cand->model, in->ids + co->first_chunk * co->ctx, in->chunks, &bounded, &hooks, &c, e);
    display_end(&d);
    if (!rc && options_get(o, "part")) {
        rc = save_part(o, base, cand, co, in, &r, e);
        comparison_clear(&c);
        return rc;
    }
    if (!rc && want)
        rc = diff_models(base->model, cand->model, co->threads, &quiet, &tensors, &r.n_tensors, e);
    r.tensors = tensors;
    if (!rc && metrics_summarize(&c, &r.summary))
        rc = error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc && options_get(o, "card"))
        rc = card_write(o->operands[1], &r, io_base_name(options_get(o, "text") ? options_get(o, "text") : options_get(o, "tokens")), e);
    if (!rc)
        rc = gates_judge(o, gate_file, &r, e) || gates_print_report(o, &r, e) ? -1 : 0;
    free(tensors);
    comparison_clear(&c);
    return rc;
}

static int run(const struct options *o, struct error *e)
{
    struct opened base = {0}, cand = {0};
    struct compare_options co;
    struct tokens in = {0};
    struct tokens_from from;
    struct json *gate_file = NULL;
    int rc = -1;
    if (!read_options(o, &co, e) && !gates_read_file(o, &gate_file, e) && !open_model(o->operands[0], &base, e) &&
        (o->n_operands < 2 || !open_model(o->operands[1], &cand, e)) && !tokens_from_options(o, &from, e) && !read_tokens(&from, &base, co.ctx, &in, e) &&
        !choose_part(o, &in, &co, e)) {
        print_notes("verify", base.model->notes, base.model->n_notes);
        rc = verify(o, &base, &cand, &co, &in, gate_file, e);
    }
    free(in.ids);
    json_free(gate_file);
    close_model(&base);
    close_model(&cand);
    return rc;
}

const struct command cmd_verify = {&table, run};
