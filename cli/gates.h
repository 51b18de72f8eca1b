/* SPDX-License-Identifier: MIT
 * Gates: bounds that a report must keep, from options and a gate file; shared by verify and merge. */
#ifndef PARE_CLI_GATES_H
#define PARE_CLI_GATES_H

#include "base/options.h"
#include "cli/report.h"

/* Told of in the epilog, to keep the help on one screen. */
#define GATE_OPTION_ROWS                                                                                             \
    {0, "max-kld", "X", ""}, {0, "max-kld-p99", "X", ""}, {0, "max-ppl-ratio", "X", ""}, {0, "min-top1", "X", ""},    \
        {0, "max-tensor-error", "X", ""}, {0, "gate", "FILE", ""}, {0, "confidence", "PERCENT", ""}, {0, "baseline", "REPORT", ""}, \
        {0, "max-regression", "X", ""}, {0, "strict", NULL, ""}

#define REPORT_OPTION_ROWS                                                                                           \
    {0, "html", "FILE", "a page with everything, for people"}, {0, "junit", "FILE", "the gates as test results, for CI"}, OPTION_JSON

#define GATE_EPILOG                                                                                                  \
    "Gates: --max-kld --max-kld-p99 --max-ppl-ratio --min-top1 --max-tensor-error X,\n"                               \
    "or --gate FILE; --baseline REPORT --max-regression X; --confidence 95, --strict\n"                               \
    "(docs/verify.md). Exit 1: a gate failed."

/* The gate file, or NULL; -1 on error, also in any other option of gates, so that no long run ends with it. */
int gates_read_file(const struct options *o, struct json **file, struct error *e);
/* Whether a bound on tensor errors was given, so that tensors must be compared. */
int gates_need_tensors(const struct options *o, const struct json *file);
/* Whether a bound was given: all of them are on what a candidate lost. */
int gates_need_candidate(const struct options *o, const struct json *file);
/* Fills r->gates. With --baseline the report of an earlier run is one more bound: the mean divergence may be larger by --max-regression of
 * its own, and so may the share of other best tokens. Over the same text the difference is taken chunk by chunk, so that its error bar is
 * that of what changed. */
int gates_judge(const struct options *o, const struct json *file, struct report *r, struct error *e);
/* Writes --html and --junit and prints the report (text or JSON) in any case; ERR_CHECK when a gate failed. */
int gates_print_report(const struct options *o, const struct report *r, struct error *e);
/* Writes --html and --junit of reports as JSON. */
int gates_write_files(const struct options *o, const struct json *const *reports, size_t n, struct error *e);

#endif
