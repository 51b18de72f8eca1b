/* SPDX-License-Identifier: MIT
 * pare report: reports of earlier runs side by side. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/gates.h"

static const struct option_row rows[] = {
    {0, "html", "FILE", "a page with all of them and size against divergence"},
    {0, "junit", "FILE", "their gates as test results, for CI"},
    OPTION_END,
};
static const struct option_table table = {
    .command = "report",
    .operands = "REPORT ...",
    .summary = "reports that 'pare verify --json' printed, side by side",
    .min_operands = 1,
    .max_operands = -1,
    .rows = rows,
    .epilog = "Exit 1: a gate failed in one of them, when they were made.",
};

static double number(const struct json *o, const char *key)
{
    double v;
    return json_f64(json_get(o, key), &v) ? 0 : v;
}

static int load(const char *path, const struct json **report, struct error *e)
{
    struct json *r = json_parse_file(path, (uint64_t)1 << 30, e);
    *report = r;
    if (!r)
        return error_at_file(e, path);
    if (json_type(json_get(r, "layers")) != JSON_ARRAY || !json_string(json_get(r, "base_name")) || json_type(json_get(r, "base")) != JSON_OBJECT) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "this is no report of pare verify");
        return error_at_file(e, path);
    }
    return 0;
}

static void add_line(const struct json *r, struct buffer *b)
{
    const struct json *kld = json_get(r, "kld"), *list = json_get(r, "gates");
    const char *name = json_string(json_get(r, "candidate_name"));
    const size_t failed = report_outcomes(r, "failed"), undecided = report_outcomes(r, "undecided");
    char size[SIZE_TEXT], shown[64];
    escape_controls(name ? name : json_string(json_get(r, "base_name")), shown, sizeof shown);
    buffer_printf(b, "%-28.28s %10s %10.6f +- %.6f %8.4f  %s\n", shown, size_text((uint64_t)number(r, "candidate_bytes"), size), number(kld, "mean"),
                  number(kld, "stderr"), number(r, "top1_agreement"),
                  failed ? "FAILED" : undecided ? "undecided" : json_count(list) ? "passed" : "-");
}

static int run(const struct options *o, struct error *e)
{
    const size_t n = (size_t)o->n_operands;
    const struct json **reports = calloc(n, sizeof *reports);
    struct buffer b = {0};
    size_t failed = 0;
    int rc = reports ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t i = 0; !rc && i < n; i++)
        rc = load(o->operands[i], &reports[i], e);
    rc = rc || gates_write_files(o, reports, n, e) ? -1 : 0;
    if (!rc)
        buffer_printf(&b, "%-28s %10s %22s %8s  %s\n", "candidate", "size", "mean KL", "same best", "gates");
    for (size_t i = 0; !rc && i < n; i++) {
        add_line(reports[i], &b);
        failed += report_outcomes(reports[i], "failed");
    }
    rc = rc ? -1 : print_buffer(&b, e);
    buffer_clear(&b);
    for (size_t i = 0; reports && i < n; i++)
        json_free((struct json *)reports[i]);
    free(reports);
    if (!rc && failed) {
        e->code = ERR_CHECK;
        return -1;
    }
    return rc;
}

const struct command cmd_report = {&table, run};
