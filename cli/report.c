/* SPDX-License-Identifier: MIT
 * pare report: reports of earlier runs side by side. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/gates.h"
#include "cli/report_facts.h"

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

enum { NAME_WIDTH = 24 };

/* "-" where a report does not have one. */
static void add_number(const char *format, double v, int width, struct buffer *b)
{
    char text[400] = "-";
    if (isfinite(v))
        snprintf(text, sizeof text, format, v);
    buffer_printf(b, " %*s", width, text);
}

/* 80 columns, whatever the name, the size and the error are. */
static void add_line(const struct json *r, const struct outcomes *o, int colour, struct buffer *b)
{
    const struct json *kld = json_get(r, "kld");
    const uint64_t bytes = report_bytes(r);
    const double error = report_number(kld, "stderr");
    char size[SIZE_TEXT], name[NAME_SHORT];
    name_shorten(report_title(r), NAME_WIDTH, name);
    buffer_printf(b, "%s%*s %9s", name, (int)(NAME_WIDTH - name_columns(name)), "", bytes ? size_text(bytes, size) : "-");
    add_number(json_get(r, "untold") ? ">= %.6f" : "%.6f", report_number(kld, "mean"), 11, b);
    buffer_text(b, isfinite(error) ? " +-" : "   ");
    add_number("%.6f", error, 8, b);
    add_number("%.4f", report_number(r, "top1_agreement"), 9, b);
    buffer_text(b, "  ");
    if (o->n)
        outcome_print(outcomes_worst(o), colour, b);
    else
        buffer_text(b, "-");
    buffer_text(b, "\n");
}

static void add_table(const struct json *const *reports, size_t n, size_t *failed, struct buffer *b)
{
    const int colour = print_colours();
    buffer_printf(b, "%-*s %9s %23s %9s  %s\n", NAME_WIDTH, "candidate", "size", "mean KL", "same best", "gates");
    for (size_t i = 0; i < n; i++) {
        const struct outcomes o = report_outcomes(reports[i]);
        add_line(reports[i], &o, colour, b);
        *failed += o.of[GATE_FAILED];
    }
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
        add_table(reports, n, &failed, &b);
    if (!rc && !report_comparable(reports, n))
        print_notes("report", (const char *const[]){"these were not made with one base over one text: their numbers do not compare"}, 1);
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
