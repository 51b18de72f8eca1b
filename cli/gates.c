/* SPDX-License-Identifier: MIT
 * Gates: reading bounds and judging a report by them. */
#include "cli/gates.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "cli/cli.h"

int gates_need_tensors(const struct options *o, const struct json *file)
{
    return options_get(o, "max-tensor-error") || json_get(file, "max-tensor-error");
}

int gates_need_candidate(const struct options *o, const struct json *file)
{
    int found = options_get(o, "baseline") || gates_need_tensors(o, file);
    for (const struct gate *g = gates; g->option; g++)
        found |= options_get(o, g->option) || json_get(file, g->option);
    return found;
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
    const struct json *v = text ? NULL : json_get(file, option);
    char *end;
    if (!text && !v)
        return 0;
    if (text)
        *limit = strtod(text, &end);
    if (text ? end == text || *end || !isfinite(*limit) : json_f64(v, limit))
        return bad_gate(option, e);
    if (*limit < 0 || (*limit > 1 && !strncmp(option, "min-", 4)))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "gate %s: the limit %g is %s", option, *limit, *limit < 0 ? "below 0" : "above 1: it is a share");
    return 1;
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
    if (file && json_type(file) != JSON_OBJECT)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "the gate file is no list of {\"gate\": limit}");
    for (const struct json *v = json_child(file); v; v = json_next(v)) {
        const struct gate *g = gates;
        while (g->option && strcmp(g->option, json_key(v)))
            g++;
        if (!g->option && strcmp(json_key(v), "max-tensor-error"))
            return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "the gate file has an unknown gate '%s'", json_key(v));
    }
    return 0;
}

/* --max-regression: how much worse than the baseline is allowed, of itself. */
static int regression_share(const struct options *o, double *share, struct error *e)
{
    const char *text = options_get(o, "max-regression");
    char *end = NULL;
    *share = text ? strtod(text, &end) : 0.05;
    if (text && (end == text || *end || !(*share >= 0) || !isfinite(*share)))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--max-regression: '%s' is no share such as 0.05", text);
    if (text && !options_get(o, "baseline"))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--max-regression is for --baseline");
    return 0;
}

static struct json *read_baseline(const struct options *o, struct error *e)
{
    return json_parse_file(options_get(o, "baseline"), (uint64_t)1 << 30, e);
}

static int check_folders(const struct options *o, struct error *e)
{
    static const char *const files[] = {"html", "junit"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const char *path = options_get(o, files[i]);
        char *folder = path ? io_folder(path) : NULL;
        if (path && !folder)
            return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        const int there = !folder || io_kind(folder) == 2;
        free(folder);
        if (there)
            continue;
        error_set(e, ERR_IO, ERROR_NO_OFFSET, "there is no folder for --%s", files[i]);
        return error_at_file(e, path);
    }
    return 0;
}

/* All that can be wrong with the options, before anything is judged. */
static int check_options(const struct options *o, const struct json *file, struct error *e)
{
    double unused;
    if (check_folders(o, e) || confidence(o, &unused, e) || known_gates_only(file, e) || regression_share(o, &unused, e) ||
        gate_limit(o, file, "max-tensor-error", &unused, e) < 0)
        return -1;
    for (const struct gate *g = gates; g->option; g++)
        if (gate_limit(o, file, g->option, &unused, e) < 0)
            return -1;
    struct json *old = options_get(o, "baseline") ? read_baseline(o, e) : NULL;
    const int rc = options_get(o, "baseline") && !old ? -1 : 0;
    json_free(old);
    return rc;
}

int gates_read_file(const struct options *o, struct json **file, struct error *e)
{
    const char *path = options_get(o, "gate");
    *file = NULL;
    if (path && !(*file = json_parse_file(path, 1 << 20, e)))
        return -1;
    if (!check_options(o, *file, e))
        return 0;
    json_free(*file);
    *file = NULL;
    return -1;
}

/* A number of a report by its dotted path; NaN: not there. */
static double number_at(const struct json *root, const char *path)
{
    double v;
    char word[64];
    for (const char *dot; (dot = strchr(path, '.')) && (size_t)(dot - path) < sizeof word; path = dot + 1) {
        memcpy(word, path, (size_t)(dot - path));
        word[dot - path] = '\0';
        root = json_get(root, word);
    }
    return json_f64(json_get(root, path), &v) ? NAN : v;
}

struct difference {
    double mean, standard_error;
};

/* Whether a report is of the same text and scoring, with a number for each chunk. */
static int same_text(const struct json *old, const struct report *r, const char *key)
{
    const char *text = json_string(json_get(old, "tokens_xxh3_128"));
    return text && !strcmp(text, r->tokens_hash) && json_count(json_get(json_get(old, "by_chunk"), key)) == r->c->chunks &&
           number_at(old, "positions") == r->summary.positions;
}

/* One base, exact or kept in a file, over one text loses the same on every chunk but for what a file's form rounds. A report without such
 * losses is held against as it is. */
static int same_base(const struct json *old, const struct report *r, struct error *e)
{
    static const double rounds = 0.01;
    const struct json *v = json_child(json_get(json_get(old, "by_chunk"), "nll_base"));
    double was;
    if (!same_text(old, r, "nll_base"))
        return 0;
    for (size_t i = 0; i < r->c->chunks; i++, v = json_next(v)) {
        const double now = metrics_of_chunk(r->c, i).nll_base;
        if (!json_f64(v, &was) && fabs(now - was) > rounds)
            return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--baseline: its base is another model, or ran otherwise: it loses %.4f on chunk %zu, this one %.4f", was, i, now);
    }
    return 0;
}

/* New minus old, chunk by chunk; 0 when that is not possible. */
static int paired(const struct json *old, const struct report *r, const char *key, double (*mean)(const struct chunk_means *), struct difference *d)
{
    const struct json *list = json_get(json_get(old, "by_chunk"), key), *v = json_child(list);
    const size_t n = r->c->chunks;
    double sum = 0, squares = 0, was;
    if (n < 2 || !same_text(old, r, key))
        return 0;
    for (size_t i = 0; i < n; i++, v = json_next(v)) {
        const struct chunk_means m = metrics_of_chunk(r->c, i);
        if (json_f64(v, &was))
            return 0;
        sum += mean(&m) - was;
        squares += (mean(&m) - was) * (mean(&m) - was);
    }
    d->mean = sum / (double)n;
    const double variance = squares / (double)n - d->mean * d->mean;
    d->standard_error = sqrt((variance > 0 ? variance : 0) / (double)(n - 1));
    return 1;
}

static double mean_kld(const struct chunk_means *m) { return m->kld; }
static double mean_top1(const struct chunk_means *m) { return m->top1; }

/* What may not become larger by more than a share of itself: the divergence, and 1 - the agreement (sign -1). */
static const struct regression {
    const char *title, *path, *chunks;
    double sign;
    double (*mean)(const struct chunk_means *);
} regressions[] = {{"baseline kld.mean", "kld.mean", "kld", 1, mean_kld}, {"baseline top1_agreement", "top1_agreement", "top1", -1, mean_top1}};

/* Independent error bars when the texts differ. */
static int judge_regression(const struct json *old, struct report *r, const struct regression *g, double share, double z, struct error *e)
{
    const struct metric *m = metric_find(g->path);
    const double was = number_at(old, g->path), now = metric_value(&r->summary, m);
    const double n = number_at(old, "positions");
    double old_error = g->sign > 0 ? number_at(old, "kld.stderr") : sqrt(was * (1 - was) / n);
    if (!isfinite(was) || !(old_error >= 0) || !isfinite(old_error))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--baseline: this is no report of pare verify with a candidate");
    struct difference d = {now - was, sqrt(old_error * old_error + metric_stderr(&r->summary, m) * metric_stderr(&r->summary, m))};
    paired(old, r, g->chunks, g->mean, &d);
    const double room = share * (g->sign > 0 ? fabs(was) : 1 - was), excess = g->sign * d.mean - room;
    struct gate_result *x = &r->gates[r->n_gates++];
    *x = (struct gate_result){g->title, was + g->sign * room, now, d.standard_error, GATE_PASSED};
    x->outcome = excess == 0 ? GATE_PASSED : fabs(excess) < z * d.standard_error ? GATE_UNDECIDED : excess > 0 ? GATE_FAILED : GATE_PASSED;
    return 0;
}

static int judge_baseline(const struct options *o, struct report *r, double z, struct error *e)
{
    double share;
    if (regression_share(o, &share, e))
        return -1;
    if (!options_get(o, "baseline"))
        return 0;
    if (!r->cand_name)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--baseline is for a comparison with a candidate");
    struct json *old = read_baseline(o, e);
    int rc = old ? 0 : -1;
    if (old && (json_get(old, "untold") != NULL) != r->c->is_bound)
        rc = error_set(e, ERR_USAGE, ERROR_NO_OFFSET,
                       "--baseline: a served model's divergence is a bound, which is not held against one that is whole");
    rc = rc || same_base(old, r, e) ? -1 : 0;
    for (size_t i = 0; !rc && i < sizeof regressions / sizeof *regressions; i++)
        rc = judge_regression(old, r, &regressions[i], share, z > 0 ? z : 1.9599640, e);
    if (rc)
        error_at_file(e, options_get(o, "baseline"));
    json_free(old);
    return rc;
}

int gates_judge(const struct options *o, const struct json *file, struct report *r, struct error *e)
{
    double limit, z;
    int given;
    r->strict = options_get(o, "strict") != NULL;
    if (confidence(o, &z, e))
        return -1;
    for (const struct gate *g = gates; g->option; g++) {
        const struct metric *m = metric_find(g->path);
        if ((given = gate_limit(o, file, g->option, &limit, e)) < 0)
            return -1;
        if (!given)
            continue;
        if (!metric_known(m, r->c))
            return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "gate %s: this comparison does not tell it", g->option);
        struct gate_result *x = &r->gates[r->n_gates++];
        *x = (struct gate_result){g->option, limit, metric_value(&r->summary, m), metric_stderr(&r->summary, m), 0};
        x->outcome = gate_judge(g, x->value, x->standard_error, limit, z);
    }
    if ((given = gate_limit(o, file, "max-tensor-error", &limit, e)) < 0)
        return -1;
    if (given) {
        double v = largest_tensor_error(r);
        r->gates[r->n_gates++] = (struct gate_result){"max-tensor-error", limit, v, 0, v <= limit ? GATE_PASSED : GATE_FAILED};
    }
    return judge_baseline(o, r, z, e);
}

int gates_write_files(const struct options *o, const struct json *const *reports, size_t n, struct error *e)
{
    static const struct {
        const char *option;
        void (*make)(const struct json *const *, size_t, struct buffer *);
    } files[] = {{"html", report_html}, {"junit", report_junit}};
    int rc = 0;
    for (size_t i = 0; !rc && i < sizeof files / sizeof *files; i++) {
        const char *path = options_get(o, files[i].option);
        struct buffer b = {0};
        if (!path)
            continue;
        files[i].make(reports, n, &b);
        rc = b.failed ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the report") : io_write_all(path, b.data, b.size, e);
        buffer_clear(&b);
    }
    return rc;
}

/* --html and --junit of one report: made of its text, as those of earlier runs are. */
static int write_files(const struct options *o, const struct json *root, struct error *e)
{
    if (!options_get(o, "html") && !options_get(o, "junit"))
        return 0;
    char *text = json_print(root);
    struct json *read = text ? json_parse(text, strlen(text), e) : NULL;
    int rc = read ? gates_write_files(o, (const struct json *const[]){read}, 1, e) : text ? -1 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the report");
    json_free(read);
    free(text);
    return rc;
}

/* The report may be worth hours: it is printed also when a file of it cannot be written. */
int gates_print_report(const struct options *o, const struct report *r, struct error *e)
{
    struct buffer b = {0};
    struct error second;
    struct json *root = report_json(r);
    int failed = 0, rc = write_files(o, root, e);
    struct error *to = rc ? &second : e;
    if (options_get(o, "json")) {
        rc |= print_json(root, to);
    } else {
        json_free(root);
        report_text(r, print_colours(), &b);
        rc |= print_buffer(&b, to);
    }
    for (size_t i = 0; i < r->n_gates; i++)
        failed |= r->gates[i].outcome == GATE_FAILED || (r->gates[i].outcome == GATE_UNDECIDED && r->strict);
    if (!rc && failed) {
        e->code = ERR_CHECK;
        return -1;
    }
    return rc;
}
