/* SPDX-License-Identifier: MIT
 * Gates: reading bounds and judging a report by them. */
#include "cli/gates.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

int gates_read_file(const struct options *o, struct json **file, struct error *e)
{
    const char *path = options_get(o, "gate");
    *file = NULL;
    return path && !(*file = json_parse_file(path, 1 << 20, e)) ? -1 : 0;
}

int gates_need_tensors(const struct options *o, const struct json *file)
{
    return options_get(o, "max-tensor-error") || json_get(file, "max-tensor-error");
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

int gates_judge(const struct options *o, const struct json *file, struct report *r, struct error *e)
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

int gates_print_report(const struct options *o, const struct report *r, struct error *e)
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
