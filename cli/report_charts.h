/* SPDX-License-Identifier: MIT
 * Charts of the report's page: SVG made of a report as JSON. What a report does not have gives nothing; those that return whether they drew let
 * their heading depend on it. */
#ifndef PARE_CLI_REPORT_CHARTS_H
#define PARE_CLI_REPORT_CHARTS_H

#include "base/buffer.h"
#include "base/json.h"

/* Size against mean divergence of all reports that have both, with error bars and the line of those that no other beats (report_pareto.c). */
void chart_pareto(const struct json *const *reports, size_t n, struct buffer *b);
void chart_histogram(const struct json *report, struct buffer *b);
/* Two numbers of each layer as lines; keys[1] NULL: one. Layers without the first are left out. */
struct layer_chart {
    const char *keys[2], *titles[2];
    const char *error;         /* key of the first's standard error; NULL: none */
    const char *label, *table; /* of the chart and its numbers */
    int log;        /* decades */
    int low_is_bad; /* shares, whose best is 1 */
};
int chart_layers(const struct json *report, const struct layer_chart *c, struct buffer *b);
/* Experts as a field of colours: error of the output, or tokens where errors are not known. */
int chart_experts(const struct json *report, struct buffer *b);

#endif
