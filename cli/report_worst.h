/* SPDX-License-Identifier: MIT
 * What is worst, on the report's page. Each appends nothing when the report does not have it. */
#ifndef PARE_CLI_REPORT_WORST_H
#define PARE_CLI_REPORT_WORST_H

#include "base/buffer.h"
#include "base/json.h"

void worst_experts(const struct json *report, struct buffer *b);   /* a table that unfolds */
void worst_tensors(const struct json *report, struct buffer *b);   /* a table */
void worst_positions(const struct json *report, struct buffer *b); /* their text, what both models held likely, unfolding */

#endif
