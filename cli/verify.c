/* SPDX-License-Identifier: MIT
 * pare verify: perplexity of one model, or what a candidate lost against a base, a model or a base file. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "cli/base_option.h"
#include "cli/card.h"
#include "cli/cli.h"
#include "cli/gates.h"
#include "cli/report.h"
#include "cli/tokens.h"
#include "formats/manifest.h"
#include "model/tokenizer.h"
#include "verify/closeups.h"
#include "verify/part.h"
#include "verify/server.h"

#define ACTS "q8_k|q8_0|fp8-1x128|int8-token"
#define CACHES "f16|q8_0|fp8"
static const struct option_row rows[] = {
    OPTION_TOKENS,
    {0, "all-positions", NULL, "score every position, not the second half", 1},
    {0, "mtp", NULL, "judge the MTP layer too", 1},
    {0, "group-routing", "on|off", "off: ignore expert groups, as some clients do", 1},
    {0, "by-layer", "N", "the KL of each layer alone, on the first N chunks", 1},
    {0, "no-local", NULL, "leave out each layer's own error (a third faster)", 1},
    {0, "tensors", NULL, "compare the tensors too (reads everything twice)"},
    {0, "memory", "SIZE", "activations beyond this go to disk (default 4G)", 1},
    {0, "part", "I/N", "score the I-th of N parts into -o FILE (see merge)", 1},
    {'o', "out", "FILE", ""},
    {0, "save-logits", "FILE", "the base's logits of all positions, F32, for small\nmodels", 1},
    {0, "save-base", "FILE", "keep of BASE what later runs give in its place"},
    {0, "base-form", "sampled|exact|llama", "what FILE holds (default: sampled)", 1},
    {'f', "force", NULL, "replace an existing FILE", 1},
    {0, "act", ACTS, "round activations as the candidate's engine does", 1},
    {0, "kv", CACHES, "round the candidate's cache too", 1},
    {0, "act-base", ACTS, "the same as --act for the base", 1},
    {0, "server", "URL", "judge a running server against a base FILE"},
    {0, "server-kind", "llama.cpp|vllm|sglang", "what it is (default: found by asking)", 1},
    {0, "server-model", "NAME", "its model (default: the first that it lists)", 1},
    {0, "server-top", "N", "tokens to ask for at a position (default: 200 of llama.cpp,\nelse 20)", 1},
    {0, "server-parallel", "N", "requests at a time (default 1)", 1},
    {0, "server-timeout", "S", "seconds to wait for an answer (default 300)", 1},
    {0, "card", NULL, "write what was measured into CANDIDATE's README.md", 1},
    GATE_OPTION_ROWS,
    REPORT_OPTION_ROWS,
    OPTION_THREADS,
    OPTION_QUIET,
    OPTION_END,
};
static const struct option_table table = {
    .command = "verify",
    .operands = "BASE|FILE [CANDIDATE]",
    .summary = "perplexity of a model; KL divergence and errors of a candidate",
    .min_operands = 1,
    .max_operands = 2,
    .rows = rows,
    .epilog = GATE_EPILOG,
};

/* Of one model: how its engine rounds. */
static int read_act(const struct options *o, const char *option, const struct act_rounding **act, struct error *e)
{
    const char *name = options_get(o, option);
    if (name && !(*act = act_rounding_find(name)))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--%s: '%s' is none of " ACTS, option, name);
    return 0;
}

/* The candidate is rounded, the base stays exact; a single model is rounded itself. */
static int read_rounding(const struct options *o, struct compare_options *c, struct error *e)
{
    struct pass_rounding *rounded = o->n_operands > 1 ? &c->cand : &c->base;
    const char *kv = options_get(o, "kv");
    if (kv && !(rounded->cache = cache_rounding_find(kv)))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--kv: '%s' is none of " CACHES, kv);
    if (options_get(o, "act-base") && o->n_operands < 2)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--act-base is for a comparison with a candidate");
    return read_act(o, "act", &rounded->act, e) || read_act(o, "act-base", &c->base.act, e) ? -1 : 0;
}

/* Whether there is an engine of this kind for the model. */
static int fits(const struct act_rounding *act, const struct model *m, struct error *e)
{
    if (!act || !m || act_rounding_fits(act, m))
        return 0;
    error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "%s (%s) has a rule for none of its weights", act->name, act->engine);
    return error_at_file(e, m->source->path);
}

static int read_options(const struct options *o, struct compare_options *c, struct error *e)
{
    const char *routing = options_get(o, "group-routing"), *tmp = getenv("TMPDIR");
    long ctx = 512, by_layer = 0;
    *c = (struct compare_options){.group_routing = 1, .memory = 4000000000u, .scratch = tmp && *tmp ? tmp : "/tmp"};
    if (routing && strcmp(routing, "on") && strcmp(routing, "off"))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--group-routing: '%s' is neither on nor off", routing);
    if (options_int(o, "ctx", 4, 1 << 20, &ctx, e) || options_size(o, "memory", &c->memory, e) || options_int(o, "by-layer", 1, 1 << 20, &by_layer, e) ||
        threads_option(o, &c->threads, e))
        return -1;
    c->ctx = (size_t)ctx;
    c->group_routing = !routing || strcmp(routing, "off");
    c->all_positions = options_get(o, "all-positions") != NULL;
    c->local = options_get(o, "no-local") == NULL;
    c->mtp = options_get(o, "mtp") != NULL;
    c->by_layer = (size_t)by_layer;
    if (by_layer && (!c->local || o->n_operands < 2))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--by-layer is for a comparison with a candidate, without --no-local");
    c->save_logits = options_get(o, "save-logits");
    if (read_rounding(o, c, e))
        return -1;
    if (options_get(o, "card") && (o->n_operands < 2 || options_get(o, "part")))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--card is for a whole comparison with a candidate");
    if (options_get(o, "card") && io_kind(o->operands[1]) != 2)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--card is for a CANDIDATE that is a folder, which has a README.md");
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

/* The models of a run: either may be missing, the base when a file stands in for it. */
struct sides {
    struct opened base, cand;
    struct base_file *file;
};

static int hash_models(const struct sides *s, char out[HASH_TEXT], struct error *e)
{
    if (!s->file)
        return part_hash_models(s->base.model, s->cand.model, out, e);
    char cand[HASH_TEXT];
    struct hash *h;
    if (part_hash_models(NULL, s->cand.model, cand, e))
        return -1;
    if (!(h = hash_new()))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    hash_add(h, base_about(s->file)->models_hash, HASH_TEXT);
    hash_add(h, cand, HASH_TEXT);
    hash_finish(h, out);
    return 0;
}

static int save_part(const struct options *o, const struct sides *s, const struct compare_options *co, const struct tokens *in,
                     const struct report *r, struct error *e)
{
    struct part_info info = {.base_name = r->base_name, .cand_name = r->cand_name, .settings = r->settings, .base_bytes = r->base_bytes,
                             .cand_bytes = r->cand_bytes};
    if (part_hash_tokens(in->ids, co->total_chunks * co->ctx, info.tokens_hash, e) || hash_models(s, info.models_hash, e))
        return -1;
    return part_save(r->c, &info, options_get(o, "out"), e);
}

/* What --memory leaves for activations: less what the models' names take, and each worker's buffers (up to 8 MB of rows
 * and what they are decoded from, one head of attention over a chunk). */
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

/* Texts for the worst positions, by whichever side has a tokenizer. */
static int tell_closeups(const struct sides *s, const int32_t *tokens, struct comparison *c, struct error *e)
{
    struct error none;
    const struct opened *with = s->base.model ? &s->base : &s->cand;
    struct tokenizer *t = tokenizer_open(with->source, &with->model->params, &none);
    int rc = t ? closeups_tell(c, tokens, t, e) : 0;
    tokenizer_close(t);
    return rc;
}

/* The walk, and the base file that it leaves. */
static int walk(const struct options *o, const struct sides *s, const struct compare_options *co, const struct tokens *in, struct comparison *c,
                struct error *e)
{
    struct display d;
    struct check_hooks hooks = {display_update, interrupted, &d};
    struct compare_options bounded = *co;
    const int32_t *tokens = in->ids + co->first_chunk * co->ctx;
    bounded.memory = activation_room(co);
    bounded.base_file = s->file;
    if (options_get(o, "save-base") && base_start(o, &s->base, &s->cand, co, in, &bounded.save_base, e))
        return -1;
    catch_interrupts();
    display_start(&d, "judging", 0, options_get(o, "quiet") != NULL);
    d.progress.unit = "layers";
    int rc = compare_run(s->base.model, s->cand.model, tokens, in->chunks, &bounded, &hooks, c, e);
    display_end(&d);
    rc = rc || (bounded.save_base && base_finish(bounded.save_base, e)) || tell_closeups(s, tokens, c, e) ? -1 : 0;
    base_writer_free(bounded.save_base);
    return rc;
}

/* What the options say of a server. */
static int server_options(const struct options *o, struct server_options *s, struct error *e)
{
    const char *key = getenv("OPENAI_API_KEY");
    long top = 0, timeout = 300, parallel = 1;
    if (options_int(o, "server-top", 1, 1 << 20, &top, e) || options_int(o, "server-timeout", 1, 86400, &timeout, e) ||
        options_int(o, "server-parallel", 1, 256, &parallel, e))
        return -1;
    *s = (struct server_options){.url = options_get(o, "server"), .kind = options_get(o, "server-kind"), .model = options_get(o, "server-model"),
                                 .key = key && *key ? key : NULL, .top = (size_t)top, .timeout = (double)timeout, .parallel = (size_t)parallel};
    return 0;
}

/* A server against a base file. */
static int verify_server(const struct options *o, struct base_file *b, const struct tokens *in, const struct json *gate_file, struct error *e)
{
    struct display d;
    struct check_hooks hooks = {display_update, interrupted, &d};
    struct comparison c = {0};
    struct server_options so;
    char *model = NULL;
    struct report r = {.settings = base_about(b)->settings, .tokens_hash = base_about(b)->tokens_hash, .base_bytes = base_about(b)->bytes, .base_name = base_about(b)->name, .c = &c};
    if (server_options(o, &so, e))
        return -1;
    catch_interrupts();
    display_start(&d, "judging", in->chunks, options_get(o, "quiet") != NULL);
    d.progress.unit = "chunks";
    int rc = server_compare(b, in->ids, in->chunks, &so, &hooks, &c, &model, e);
    display_end(&d);
    r.cand_name = model;
    if (!rc && metrics_summarize(&c, &r.summary))
        rc = error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc)
        rc = gates_judge(o, gate_file, &r, e) || gates_print_report(o, &r, e) ? -1 : 0;
    comparison_clear(&c);
    free(model);
    return rc;
}

/* Everything behind the opened models: walk, tensors, gates, report. */
static int verify(const struct options *o, const struct sides *s, const struct compare_options *co, const struct tokens *in,
                  const struct json *gate_file, struct error *e)
{
    struct check_hooks quiet = {NULL, interrupted, NULL};
    struct comparison c = {0};
    struct diff_row *tensors = NULL;
    char settings[128], text[HASH_TEXT];
    struct report r = {.settings = settings, .tokens_hash = text, .base_bytes = s->base.source ? s->base.source->tensor_bytes : s->file ? base_about(s->file)->bytes : 0,
                       .cand_bytes = s->cand.source ? s->cand.source->tensor_bytes : 0, .base_name = s->file ? base_about(s->file)->name : io_base_name(o->operands[0]), .c = &c,
                       .predicted_kl = predicted_kl(s->cand.source), .cand_name = s->cand.model ? io_base_name(o->operands[1]) : NULL};
    int want = s->base.model && s->cand.model && (options_get(o, "tensors") || gates_need_tensors(o, gate_file));
    base_settings(co, settings, sizeof settings);
    int rc = part_hash_tokens(in->ids, co->total_chunks * co->ctx, text, e) || walk(o, s, co, in, &c, e) ? -1 : 0;
    if (!rc && options_get(o, "part")) {
        rc = save_part(o, s, co, in, &r, e);
        comparison_clear(&c);
        return rc;
    }
    if (!rc && want)
        rc = diff_models(s->base.model, s->cand.model, co->threads, &quiet, &tensors, &r.n_tensors, e);
    r.tensors = tensors;
    if (!rc && metrics_summarize(&c, &r.summary))
        rc = error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc && options_get(o, "card"))
        rc = card_write(o->operands[1], &r, text_name(o, s->file), e);
    if (!rc)
        rc = gates_judge(o, gate_file, &r, e) || gates_print_report(o, &r, e) ? -1 : 0;
    free(tensors);
    comparison_clear(&c);
    return rc;
}

/* Options that say how another is done, without the other. */
static int need_each_other(const struct options *o, struct error *e)
{
    static const char *const pairs[][2] = {{"base-form", "save-base"}, {"server-kind", "server"}, {"server-model", "server"}, {"server-top", "server"},
                                           {"server-timeout", "server"}, {"server-parallel", "server"}, {"out", "part"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (options_get(o, pairs[i][0]) && !options_get(o, pairs[i][1]))
            return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--%s is for --%s", pairs[i][0], pairs[i][1]);
    return 0;
}

static int check_base_options(const struct options *o, const struct sides *s, const struct json *gate_file, struct error *e)
{
    if (need_each_other(o, e))
        return -1;
    if (o->n_operands < 2 && !s->file && gates_need_candidate(o, gate_file))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "gates are for a comparison with a CANDIDATE");
    if (options_get(o, "part") && (gates_need_candidate(o, gate_file) || options_get(o, "html") || options_get(o, "junit")))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "gates and reports are for a whole text: 'pare merge' takes them, not --part");
    if (s->file && (options_get(o, "tensors") || gates_need_tensors(o, gate_file) || options_get(o, "mtp") || options_get(o, "by-layer") || options_get(o, "save-base") ||
                    options_get(o, "save-logits") || options_get(o, "act-base")))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET,
                         "--tensors, --max-tensor-error, --mtp, --by-layer, --save-base, --save-logits and --act-base need the base itself, not a base file");
    if (options_get(o, "server") && (!s->file || o->n_operands > 1 || options_get(o, "part") || options_get(o, "save-logits") ||
                                     options_get(o, "act") || options_get(o, "kv")))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--server is judged against a base file alone (see --save-base), without --part, --save-logits, --act and --kv");
    if (options_get(o, "server") && base_about(s->file)->form == BASE_LLAMA)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "llama-perplexity's file does not tell how its chunks begin, which a server must be told");
    if (s->file && o->n_operands < 2 && !options_get(o, "server"))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "a base file needs a CANDIDATE, or --server URL");
    if (options_get(o, "save-base") && options_get(o, "part"))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--save-base is for a whole text, not for --part");
    return 0;
}

static int run(const struct options *o, struct error *e)
{
    struct sides s = {{0}};
    struct compare_options co;
    struct tokens in = {0};
    struct json *gate_file = NULL;
    int from_file = base_probe(o->operands[0]), rc = -1;
    if (!read_options(o, &co, e) && !gates_read_file(o, &gate_file, e) &&
        !(from_file ? !(s.file = base_open(o->operands[0], e)) : open_model(o->operands[0], &s.base, e)) &&
        !check_base_options(o, &s, gate_file, e) && (o->n_operands < 2 || !open_model(o->operands[1], &s.cand, e)) &&
        !fits(co.base.act, s.base.model, e) && !fits(co.cand.act, s.cand.model, e) &&
        !(from_file ? base_input(o, s.file, &s.cand, &co, &in, e) : text_input(o, &s.base, co.ctx, &in, e)) && !choose_part(o, &in, &co, e)) {
        if (s.base.model)
            print_notes("verify", s.base.model->notes, s.base.model->n_notes);
        rc = options_get(o, "server") ? verify_server(o, s.file, &in, gate_file, e) : verify(o, &s, &co, &in, gate_file, e);
    }
    free(in.ids);
    json_free(gate_file);
    base_close(s.file);
    close_model(&s.base);
    close_model(&s.cand);
    return rc;
}

const struct command cmd_verify = {&table, run};
