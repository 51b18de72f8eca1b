/* SPDX-License-Identifier: MIT
 * What the commands tell of importance matrices: what a file holds, and what a plan makes of one. */
#ifndef PARE_CLI_IMATRIX_TEXT_H
#define PARE_CLI_IMATRIX_TEXT_H

#include "base/buffer.h"
#include "base/json.h"
#include "convert/plan.h"
#include "formats/imatrix.h"

/* An open imatrix; `all` lists every entry, otherwise those with matrices without data. */
int print_imatrix(const struct imatrix *m, int all, int json, struct error *e);

/* What a plan does with its imatrix: one line or more, or "imatrix" in an object. Nothing without an imatrix. */
void add_weighed_text(const struct plan *p, struct buffer *b);
void add_weighed_json(const struct plan *p, struct json *root);

#endif
