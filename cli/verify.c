/* SPDX-License-Identifier: MIT
 * pare verify: perplexity of one model, or what a candidate lost against a base. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/report.h"
#include "model/tokenizer.h"

static const struct option_row rows[] = {
    {0, "text", "FILE", "text to score (UTF-8)"},
    {0, "tokens", "FILE", "token ids to score: 32-bit integers, little-endian"},
    {0, "ctx", "N", "tokens per chunk (default 512)"},
    {0, "chunks", "N", "score the first N chunks (default: all)"},
    {0, "all-positions", NULL, "score every position, not the second half"},
    {0, "align", "llama", "put BOS before the text, as llama-perplexity does"},
    {0, "mtp", NULL, "judge the MTP layer too"},
    {0, "group-routing", "on|off", "off: ignore expert groups, as some clients do"},
    {0, "no-local", NULL, "leave out each layer's own error (a third faster)"},
    {0, "tensors", NULL, "compare the tensors too (reads everything twice)"},
    {0, "memory", "SIZE", "activations beyond this go to disk (default 4G)"},
    {0, "save-logits", "FILE", "write the base's logits of all positions as F32"},
    {0, "max-kld", "X", ""},
    {0, "max-kld-p99", "X", ""},
    {0, "max-ppl-ratio", "X", ""},
    {0, "min-top1", "X", ""},
    {0, "max-tensor-error", "X", ""},
    {0, "gate", "FILE", ""},
    {0, "confidence", "PERCENT", ""},
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
    .epilog = "Gates: --max-kld, --max-kld-p99, --max-ppl-ratio, --min-top1 (0..1) and\n"
              "--max-tensor-error X, or --gate FILE (JSON of these); with --confidence 95 a\n"
              "value whose error bar holds the bound is undecided. Exit 1: a gate failed.",
};

struct input { /* what is scored */
    int32_t *ids;
    size_t chunks;
};

static int read_raw(const char *path, struct token_ids *ids, struct error *e)
{
    char *bytes;
    size_t n;
    if (io_read_all(path, (uint64_t)1 << 33, &bytes, &n, e))
        return -1;
    if (n % 4) {
        free(bytes);
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the file's size is no multiple of 4");
        return error_at_file(e, path);
    }
    ids->ids = (int32_t *)(void *)bytes;
    ids->n = n / 4;
    return 0;
}

static int read_text(const char *path, const struct tokenizer *t, int with_bos, struct token_ids *ids, struct error *e)
{
    char *text;
    size_t n;
    if (io_read_all(path, (uint64_t)1 << 32, &text, &n, e))
        return -1;
    if (with_bos && n && text[n - 1] == '\n') /* as llama-perplexity reads its file */
        n--;
    int rc = tokenizer_encode(t, text, n, 0, ids, e);
    free(text);
    return rc;
}

/* Cuts into chunks; the first token of each becomes BOS. */
static int cut(const struct options *o, struct token_ids *ids, int64_t bos, int shift, size_t ctx, struct input *in,
               struct error *e)
{
    long most = 0;
    size_t total = ids->n + (size_t)shift;
    if (options_int(o, "chunks", 1, 1L << 40, &most, e))
        return -1;
    in->chunks = total / ctx;
    if (most && in->chunks > (size_t)most)
        in->chunks = (size_t)most;
    if (!in->chunks)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "%zu tokens are less than one chunk of %zu", total, ctx);
    if (!(in->ids = malloc(in->chunks * ctx * sizeof *in->ids)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t i = 0; i < in->chunks * ctx; i++)
        in->ids[i] = i % ctx == 0 && bos >= 0 ? (int32_t)bos : ids->ids[i - (size_t)shift];
    return 0;
}

static int read_input(const struct options *o, const struct opened *base, size_t ctx, struct input *in, struct error *e)
{
    const char *text = options_get(o, "text"), *raw = options_get(o, "tokens"), *align = options_get(o, "align");
    struct token_ids ids = {0};
    struct error none;
    if (!text == !raw)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "either --text or --tokens is needed");
    if (align && strcmp(align, "llama"))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--align: '%s' is not llama", align);
    /* ids that came as such need a tokenizer for the id of BOS only */
    struct tokenizer *t = tokenizer_open(base->source, &base->model->params, text ? e : &none);
    int64_t bos = t ? tokenizer_vocab(t)->special[SPECIAL_BOS] : -1;
    int rc = text && !t ? -1 : raw ? read_raw(raw, &ids, e) : read_text(text, t, align != NULL, &ids, e);
    if (!rc)
        rc = cut(o, &ids, bos, align && bos >= 0, ctx, in, e);
    free(ids.ids);
    tokenizer_close(t);
    return rc;
}

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
    return 0;
}

static int bad_gate(const char *option, struct error *e)
{
    return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "gate %s: the limit is no number", option);
}

/* The limit of a gate from the command line or the gate file; 0 not given, 1 given, -1. */
static int gate_limit(const struct options *o, const struct json *file, const char *option, double *limit,
                      struct error *e)
{
    const char *text = options_get(o, option);
    char *end;
    if (text) {
        *limit = strtod(text, &end);
        return end == text || *end || !isfinite(*limit) ? bad_gate(option, e) : 1;
    }
    const struct json *v = json_get(file, option);
    if (!v)
        return 0;
    return json_f64(v, limit) ? bad_gate(option, e) : 1;
}

/* Half-width of the error bar for --confidence. */
static int confidence(const struct options *o, double *z, struct error *e)
{
    static const struct {
        const char *percent;
        double z;
    } levels[] = {{"90", 1.6448536}, {"95", 1.9599640}, {"99", 2.5758293}};
    const char *text = options_get(o, "confidence");
    *z = 0;
    for (size_t i = 0; text && i < sizeof levels / sizeof *levels; i++)
        if (!strcmp(levels[i].percent, text))
            *z = levels[i].z;
    if (text && *z == 0)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--confidence: '%s' is none of 90, 95, 99", text);
    return 0;
}

static double largest_tensor_error(const struct report *r)
{
    double worst = 0;
    for (size_t i = 0; i < r->n_tensors; i++) {
        const struct diff_row *t = &r->tensors[i];
        double v = t->in_a && t->in_b && t->rms_a > 0 ? t->rms / t->rms_a : 0;
        worst = v > worst ? v : worst;
    }
    return worst;
}

static int known_gates_only(const struct json *file, struct error *e)
{
    for (const struct json *v = json_child(file); v; v = json_next(v)) {
        const struct gate *g = gates;
        while (g->option && strcmp(g->option, json_key(v)))
            g++;
        if (!g->option && strcmp(json_key(v), "max-tensor-error"))
            return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "the gate file has an unknown gate '%s'", json_key(v));
    }
    return 0;
}

static int judge(const struct options *o, const struct json *file, struct report *r, struct error *e)
{
    double limit, z;
    int given;
    if (confidence(o, &z, e) || known_gates_only(file, e))
        return -1;
    for (const struct gate *g = gates; g->option; g++) {
        const struct metric *m = metric_find(g->path);
        if ((given = gate_limit(o, file, g->option, &limit, e)) < 0)
            return -1;
        if (!given)
            continue;
        struct gate_result *x = &r->gates[r->n_gates++];
        *x = (struct gate_result){g, g->option, limit, metric_value(&r->summary, m), metric_stderr(&r->summary, m), 0};
        x->outcome = gate_judge(g, x->value, x->standard_error, limit, z);
    }
    if ((given = gate_limit(o, file, "max-tensor-error", &limit, e)) <= 0)
        return given;
    double v = largest_tensor_error(r);
    r->gates[r->n_gates++] =
        (struct gate_result){NULL, "max-tensor-error", limit, v, 0, v <= limit ? GATE_PASSED : GATE_FAILED};
    return 0;
}

static int print_report(const struct options *o, const struct report *r, struct error *e)
{
    struct buffer b = {0};
    int rc, failed = 0;
    if (options_get(o, "json")) {
        rc = print_json(report_json(r), e);
    } else {
        report_text(r, &b);
        rc = print_buffer(&b, e);
    }
    for (size_t i = 0; i < r->n_gates; i++)
        failed |= r->gates[i].outcome == GATE_FAILED;
    if (!rc && failed) {
        e->code = ERR_CHECK;
        return -1;
    }
    return rc;
}

/* Everything behind the opened models: walk, tensors, gates, report. */
static int verify(const struct options *o, const struct opened *base, const struct opened *cand,
                  const struct compare_options *co, const struct input *in, const struct json *gate_file, struct error *e)
{
    struct display d;
    struct check_hooks hooks = {display_update, interrupted, &d}, quiet = {NULL, interrupted, NULL};
    struct comparison c = {0};
    struct diff_row *tensors = NULL;
    double ignored;
    struct report r = {.base_name = io_base_name(o->operands[0]), .model = base->model, .c = &c,
                       .cand_name = cand->model ? io_base_name(o->operands[1]) : NULL};
    int want = cand->model && (options_get(o, "tensors") || options_get(o, "max-tensor-error") ||
                               json_f64(json_get(gate_file, "max-tensor-error"), &ignored) == 0);
    catch_interrupts();
    display_start(&d, "judging", 0, options_get(o, "quiet") != NULL);
    d.progress.unit = "layers";
    int rc = compare_run(base->model, cand->model, in->ids, in->chunks, co, &hooks, &c, e);
    display_end(&d);
    if (!rc && want)
        rc = diff_models(base->model, cand->model, co->threads, &quiet, &tensors, &r.n_tensors, e);
    r.tensors = tensors;
    if (!rc && metrics_summarize(&c, &r.summary))
        rc = error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc)
        rc = judge(o, gate_file, &r, e) || print_report(o, &r, e) ? -1 : 0;
    free(tensors);
    comparison_clear(&c);
    return rc;
}

static int run(const struct options *o, struct error *e)
{
    struct opened base = {0}, cand = {0};
    struct compare_options co;
    struct input in = {0};
    const char *gate_path = options_get(o, "gate");
    struct json *gate_file = NULL;
    int rc = -1;
    if (read_options(o, &co, e) || (gate_path && !(gate_file = json_parse_file(gate_path, 1 << 20, e))) ||
        open_model(o->operands[0], &base, e) || (o->n_operands > 1 && open_model(o->operands[1], &cand, e)) ||
        read_input(o, &base, co.ctx, &in, e))
        goto out;
    print_notes("verify", base.model->notes, base.model->n_notes);
    rc = verify(o, &base, &cand, &co, &in, gate_file, e);
out:
    free(in.ids);
    json_free(gate_file);
    close_model(&base);
    close_model(&cand);
    return rc;
}

const struct command cmd_verify = {&table, run};
