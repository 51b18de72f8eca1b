/* SPDX-License-Identifier: MIT
 * What a pack's choice of experts covers: of the text that it was made by, and of another one (--coverage). */
#ifndef PARE_CLI_COVERAGE_H
#define PARE_CLI_COVERAGE_H

#include "base/json.h"
#include "cli/plan_options.h"

/* Appends lines to b, or to root a list "coverage", when --profile or --coverage are given. */
int add_coverage(const struct options *o, const struct planned *p, struct buffer *b, struct json *root, struct error *e);

#endif
