/* SPDX-License-Identifier: MIT
 * One report on the page: a section with its numbers, gates, charts and worst places. */
#ifndef PARE_CLI_REPORT_SECTION_H
#define PARE_CLI_REPORT_SECTION_H

#include "base/buffer.h"
#include "base/json.h"

/* The index-th report as <section id=rINDEX>; `alone`: it is the page's only one, whose name the page has said. */
void report_section(const struct json *report, size_t index, int alone, struct buffer *out);

#endif
