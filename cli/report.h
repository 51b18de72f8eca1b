/* SPDX-License-Identifier: MIT
 * The report of pare verify: a table for people, JSON for machines (schemas/report.json). */
#ifndef PARE_CLI_REPORT_H
#define PARE_CLI_REPORT_H

#include "base/buffer.h"
#include "base/json.h"
#include "verify/compare.h"
#include "verify/diff.h"
#include "verify/metrics.h"

struct gate_result {
    const char *option;
    double limit, value, standard_error;
    enum gate_outcome outcome;
};

enum { REPORT_GATES = 16 };
struct report {
    const char *base_name, *cand_name; /* cand NULL: one model */
    const struct comparison *c;
    struct summary summary;
    const char *settings;   /* how it was scored */
    const char *tokens_hash;
    uint64_t base_bytes, cand_bytes; /* of the tensors; 0: not known */
    double predicted_kl; /* as the candidate's manifest has it; 0: not */
    const struct diff_row *tensors; /* NULL: not asked for */
    size_t n_tensors;
    struct gate_result gates[REPORT_GATES];
    size_t n_gates;
    int strict; /* undecided gates count as failed */
};

/* Appends the text, at most 80 columns; colour: the outcomes of gates for a terminal. */
void report_text(const struct report *r, int colour, struct buffer *out);
/* A new document; NULL when out of memory. */
struct json *report_json(const struct report *r);

/* The same for others, made of such documents: a page by itself for people (report_html.c), a file of test results for CI (report_junit.c). */
void report_html(const struct json *const *reports, size_t n, struct buffer *out);
void report_junit(const struct json *const *reports, size_t n, struct buffer *out);
extern const char html_style[]; /* of the page */

#endif
