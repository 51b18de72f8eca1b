/* SPDX-License-Identifier: MIT
 * Metrics: numbers over the scored positions of a comparison, and the gates that hold some of them to a bound. A metric is a
 * row in metrics.c; the text report, the JSON report and the gates walk the table. */
#ifndef PARE_VERIFY_METRICS_H
#define PARE_VERIFY_METRICS_H

#include <stddef.h>

#include "verify/compare.h"

struct summary { /* all natural logarithms; probabilities are of the right token */
    double positions;
    double base_ppl, base_ppl_stderr, base_nll;
    double cand_ppl, cand_ppl_stderr, cand_nll;
    double ppl_ratio, ppl_ratio_stderr;
    double ln_ratio, ln_ratio_stderr; /* mean of nll_cand - nll_base; its paired standard error */
    double kld, kld_stderr, kld_median, kld_p90, kld_p95, kld_p99, kld_p999, kld_max;
    double top1, top1_stderr, top5;
    double dp_mean, dp_rms, dp_p1, dp_p5, dp_p95, dp_p99; /* of p_cand - p_base */
    double kld_changed_share; /* share of the KL on positions whose experts changed in some layer */
    double changed_share;     /* share of such positions */
};

enum { METRIC_PAIR = 1, METRIC_ROUTING = 2, METRIC_TARGET = 4 }; /* a candidate; the base's routing; the candidate's p of every token that follows */
struct metric {
    const char *path;   /* in the JSON report: "kld.mean" */
    const char *label;  /* for people; NULL: JSON only */
    const char *format; /* printf of one double */
    size_t offset;      /* in struct summary */
    size_t stderr_offset; /* of its standard error; 0: none (positions stands at 0) */
    unsigned needs;     /* METRIC_ bits: what it is known with only */
};
extern const struct metric metrics[]; /* ends with a row whose path is NULL */
double metric_value(const struct summary *s, const struct metric *m);
double metric_stderr(const struct summary *s, const struct metric *m); /* 0: none */
int metric_known(const struct metric *m, const struct comparison *c);
const struct metric *metric_find(const char *path);

/* 0, or -1 when out of memory. */
int metrics_summarize(const struct comparison *c, struct summary *s);

/* KL by the base's confidence: bins [0, .25), [.25, .5), [.5, .75), [.75, .9), [.9, 1]. */
enum { CONFIDENCE_BINS = 5 };
struct confidence_bin {
    double from, to;
    size_t positions;
    double kld;
};
void metrics_by_confidence(const struct comparison *c, struct confidence_bin bins[CONFIDENCE_BINS]);

/* How the divergence is spread: the first bin from 0, the others half a decade wide, the last open. */
enum { HISTOGRAM_BINS = 15 };
extern const double histogram_edges[HISTOGRAM_BINS]; /* from where each bin begins */
void metrics_histogram(const struct comparison *c, size_t positions[HISTOGRAM_BINS]);

/* Means of one chunk, the unit by which two reports over the same text are compared. */
struct chunk_means {
    double kld, nll_base, nll_cand, top1;
};
struct chunk_means metrics_of_chunk(const struct comparison *c, size_t chunk);

/* A gate: an option, the metric that it bounds and on which side. */
struct gate {
    const char *option; /* "max-kld" */
    const char *path;
    int upper; /* 1: the value must not be above the limit; 0: not below */
};
extern const struct gate gates[]; /* ends with a row whose option is NULL */
enum gate_outcome { GATE_PASSED, GATE_FAILED, GATE_UNDECIDED };
/* z: half-width of the error bar in standard errors; 0: none. Inside the bar the outcome is undecided. */
enum gate_outcome gate_judge(const struct gate *g, double value, double standard_error, double limit, double z);

#endif
