/* SPDX-License-Identifier: MIT
 * Gates: bounds that a report must keep, from options and a gate file; shared by verify and merge. */
#ifndef PARE_CLI_GATES_H
#define PARE_CLI_GATES_H

#include "base/options.h"
#include "cli/report.h"

/* Told of in the epilog, to keep the help on one screen. */
#define GATE_OPTION_ROWS                                                                                             \
    {0, "max-kld", "X", ""}, {0, "max-kld-p99", "X", ""}, {0, "max-ppl-ratio", "X", ""}, {0, "min-top1", "X", ""},    \
        {0, "max-tensor-error", "X", ""}, {0, "gate", "FILE", ""}, {0, "confidence", "PERCENT", ""}

#define GATE_EPILOG                                                                                                  \
    "Gates: --max-kld, --max-kld-p99, --max-ppl-ratio, --min-top1 (0..1) and\n"                                      \
    "--max-tensor-error X, or --gate FILE (JSON of these); with --confidence 95 a\n"                                 \
    "value whose error bar holds the bound is undecided. Exit 1: a gate failed."

/* The gate file, or NULL; -1 on error. */
int gates_read_file(const struct options *o, struct json **file, struct error *e);
/* Whether a bound on tensor errors was given, so that tensors must be compared. */
int gates_need_tensors(const struct options *o, const struct json *file);
/* Fills r->gates. */
int gates_judge(const struct options *o, const struct json *file, struct report *r, struct error *e);
/* Prints the report (text or JSON); ERR_CHECK when a gate failed. */
int gates_print_report(const struct options *o, const struct report *r, struct error *e);

#endif
