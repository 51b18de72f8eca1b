/* SPDX-License-Identifier: MIT
 * Charts of the report's page: SVG made of a report as JSON. What a report does not have gives nothing. */
#ifndef PARE_CLI_REPORT_CHARTS_H
#define PARE_CLI_REPORT_CHARTS_H

#include "base/buffer.h"
#include "base/json.h"

/* Size against mean divergence of all reports that have both, with error bars and the line of those that no other beats. */
void chart_pareto(const struct json *const *reports, size_t n, struct buffer *b);
void chart_histogram(const struct json *report, struct buffer *b);
/* Two numbers of each layer as lines. `log`: decades. Layers without the first key are left out. */
void chart_layers(const struct json *report, const char *const keys[2], const char *const titles[2], int log, const char *label, struct buffer *b);
/* Experts as a field of colours: error of the output, or tokens where errors are not known. */
void chart_experts(const struct json *report, struct buffer *b);

#endif
