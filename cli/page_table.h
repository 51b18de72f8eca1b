/* SPDX-License-Identifier: MIT
 * Tables of the report's page: regions that scroll inside themselves and can be reached by keyboard. */
#ifndef PARE_CLI_PAGE_TABLE_H
#define PARE_CLI_PAGE_TABLE_H

#include "base/buffer.h"

/* heads: columns, ends with NULL; the first is aligned left. The label may not hold quotes. */
void table_open(const char *label, const char *const *heads, struct buffer *b);
void table_unfolds(const char *summary, const char *label, const char *const *heads, struct buffer *b); /* the same behind a line that opens it */
void table_row(struct buffer *b); /* begins one; the one before ends */
void table_number(const char *format, double v, struct buffer *b); /* not finite: an empty cell */
void table_text(const char *text, struct buffer *b);               /* escaped here */
void table_name(const char *name, struct buffer *b);               /* the same of what may be broken into lines */
void table_markup(const char *class, const char *markup, struct buffer *b); /* as it is; class may be NULL */
void table_close(int unfolds, struct buffer *b);

#endif
