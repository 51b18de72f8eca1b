/* SPDX-License-Identifier: MIT
 * What the report's forms share: reading a report as JSON, gates in words, names that fit a column. */
#ifndef PARE_CLI_REPORT_FACTS_H
#define PARE_CLI_REPORT_FACTS_H

#include "base/buffer.h"
#include "base/json.h"
#include "verify/metrics.h"

double report_number(const struct json *o, const char *key); /* NAN: there is none */
const char *report_string(const struct json *o, const char *key, const char *otherwise);
uint64_t report_bytes(const struct json *report); /* of the candidate's weights; 0: not known */
/* The candidate, else the base. */
const char *report_title(const struct json *report);

/* Whether all were made with one base over one text. */
int report_comparable(const struct json *const *reports, size_t n);

enum { OUTCOMES = GATE_UNDECIDED + 1, OUTCOMES_TEXT = 96 };
extern const char *const outcome_words[OUTCOMES]; /* as in JSON */
/* The outcome of one gate; a word that is none of them is undecided. */
enum gate_outcome report_outcome(const struct json *gate);
struct outcomes {
    size_t n, of[OUTCOMES];
};
struct outcomes report_outcomes(const struct json *report);
/* Failed when one failed, else undecided when one is. Not for n == 0. */
enum gate_outcome outcomes_worst(const struct outcomes *o);
/* "3 gates: 2 passed, 1 undecided". Returns out. */
const char *outcomes_text(const struct outcomes *o, char out[OUTCOMES_TEXT]);
/* The word for a terminal or a file: FAILED stands out without colour, too. */
void outcome_print(enum gate_outcome outcome, int colour, struct buffer *b);

/* Columns that text takes on a terminal: two for wide characters, none for marks that combine. */
size_t name_columns(const char *text);
enum { NAME_SHORT = 512 };
/* A name in at most `columns` columns (up to 100), control bytes as \xNN, the middle left out where it is longer. Returns out. */
const char *name_shorten(const char *name, size_t columns, char out[NAME_SHORT]);

#endif
