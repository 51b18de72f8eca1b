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
    const struct gate *gate; /* NULL: max-tensor-error */
    const char *option;
    double limit, value, standard_error;
    enum gate_outcome outcome;
};

struct report {
    const char *base_name, *cand_name; /* cand NULL: one model */
    const struct comparison *c;
    struct summary summary;
    double predicted_kl; /* as the candidate's manifest has it; 0: not */
    const struct diff_row *tensors; /* NULL: not asked for */
    size_t n_tensors;
    struct gate_result gates[16];
    size_t n_gates;
};

/* Appends the text, at most 80 columns. */
void report_text(const struct report *r, struct buffer *out);
/* A new document; NULL when out of memory. */
struct json *report_json(const struct report *r);

#endif
