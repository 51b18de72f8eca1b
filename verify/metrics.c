/* SPDX-License-Identifier: MIT
 * Metrics: the table and the sums behind it. Sums run in the order of the positions, in double. */
#include "verify/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/forward/det_math.h"

#define AT(field) offsetof(struct summary, field)

const struct metric metrics[] = {
    {"positions", "scored positions", "%.0f", AT(positions), 0, 0},
    {"base.ppl", "perplexity", "%.6f", AT(base_ppl), AT(base_ppl_stderr), 0},
    {"base.ppl_stderr", NULL, "%.6f", AT(base_ppl_stderr), 0, 0},
    {"base.nll", NULL, "%.8f", AT(base_nll), 0, 0},
    {"candidate.ppl", "perplexity of the candidate", "%.6f", AT(cand_ppl), AT(cand_ppl_stderr), METRIC_PAIR | METRIC_TARGET},
    {"candidate.ppl_stderr", NULL, "%.6f", AT(cand_ppl_stderr), 0, METRIC_PAIR | METRIC_TARGET},
    {"candidate.nll", NULL, "%.8f", AT(cand_nll), 0, METRIC_PAIR | METRIC_TARGET},
    {"ppl_ratio", "their ratio (paired)", "%.6f", AT(ppl_ratio), AT(ppl_ratio_stderr), METRIC_PAIR | METRIC_TARGET},
    {"ln_ppl_ratio.mean", "   its logarithm", "%+.6f", AT(ln_ratio), AT(ln_ratio_stderr), METRIC_PAIR | METRIC_TARGET},
    {"ln_ppl_ratio.stderr", NULL, "%.6f", AT(ln_ratio_stderr), 0, METRIC_PAIR | METRIC_TARGET},
    {"kld.mean", "KL(base || candidate), mean", "%.6f", AT(kld), AT(kld_stderr), METRIC_PAIR},
    {"kld.stderr", NULL, "%.6f", AT(kld_stderr), 0, METRIC_PAIR},
    {"kld.median", "   median", "%.6f", AT(kld_median), 0, METRIC_PAIR},
    {"kld.p90", "   90 %", "%.6f", AT(kld_p90), 0, METRIC_PAIR},
    {"kld.p95", "   95 %", "%.6f", AT(kld_p95), 0, METRIC_PAIR},
    {"kld.p99", "   99 %", "%.6f", AT(kld_p99), 0, METRIC_PAIR},
    {"kld.p999", "   99.9 %", "%.6f", AT(kld_p999), 0, METRIC_PAIR},
    {"kld.max", "   largest", "%.6f", AT(kld_max), 0, METRIC_PAIR},
    {"top1_agreement", "same best token", "%.4f", AT(top1), AT(top1_stderr), METRIC_PAIR},
    {"top5_agreement", "common among the five best", "%.4f", AT(top5), 0, METRIC_PAIR},
    {"dp.mean", "change of p(right token), mean", "%+.6f", AT(dp_mean), 0, METRIC_PAIR | METRIC_TARGET},
    {"dp.rms", "   RMS", "%.6f", AT(dp_rms), 0, METRIC_PAIR | METRIC_TARGET},
    {"dp.p1", "   1 %", "%+.6f", AT(dp_p1), 0, METRIC_PAIR | METRIC_TARGET},
    {"dp.p5", "   5 %", "%+.6f", AT(dp_p5), 0, METRIC_PAIR | METRIC_TARGET},
    {"dp.p95", "   95 %", "%+.6f", AT(dp_p95), 0, METRIC_PAIR | METRIC_TARGET},
    {"dp.p99", "   99 %", "%+.6f", AT(dp_p99), 0, METRIC_PAIR | METRIC_TARGET},
    {"routing.changed", "positions with other experts", "%.4f", AT(changed_share), 0, METRIC_PAIR | METRIC_ROUTING},
    {"routing.kld_share", "   their share of the KL", "%.4f", AT(kld_changed_share), 0, METRIC_PAIR | METRIC_ROUTING},
    {0},
};

const struct gate gates[] = {
    {"max-kld", "kld.mean", 1},          {"max-kld-p99", "kld.p99", METRIC_PAIR},
    {"max-ppl-ratio", "ppl_ratio", 1}, {"min-top1", "top1_agreement", 0},
    {0},
};

double metric_value(const struct summary *s, const struct metric *m)
{
    return *(const double *)((const char *)s + m->offset);
}

double metric_stderr(const struct summary *s, const struct metric *m)
{
    return m->stderr_offset ? *(const double *)((const char *)s + m->stderr_offset) : 0;
}

int metric_known(const struct metric *m, const struct comparison *c)
{
    const unsigned known = (c->has_candidate ? METRIC_PAIR : 0) | (c->has_routing ? METRIC_ROUTING : 0) | (c->untold_targets ? 0 : METRIC_TARGET);
    return !(m->needs & ~known);
}

const struct metric *metric_find(const char *path)
{
    const struct metric *m = metrics;
    while (m->path && strcmp(m->path, path))
        m++;
    return m->path ? m : NULL;
}

enum gate_outcome gate_judge(const struct gate *g, double value, double standard_error, double limit, double z)
{
    if (z > 0 && fabs(value - limit) < z * standard_error)
        return GATE_UNDECIDED;
    return (g->upper ? value <= limit : value >= limit) ? GATE_PASSED : GATE_FAILED;
}

struct moments {
    double mean, stderr_of_mean;
};

/* Of n numbers, the i-th being get(score). */
static struct moments moments_of(const struct comparison *c, double (*get)(const struct score *))
{
    double n = (double)c->n_scores, sum = 0, squares = 0;
    for (size_t i = 0; i < c->n_scores; i++)
        sum += get(&c->scores[i]);
    double mean = sum / n;
    for (size_t i = 0; i < c->n_scores; i++)
        squares += (get(&c->scores[i]) - mean) * (get(&c->scores[i]) - mean);
    return (struct moments){mean, n > 1 ? sqrt(squares / n / (n - 1)) : 0};
}

static double get_nll_base(const struct score *s) { return (double)s->nll_base; }
static double get_nll_cand(const struct score *s) { return (double)s->nll_cand; }
static double get_ratio(const struct score *s) { return (double)s->nll_cand - (double)s->nll_base; }
static double get_kld(const struct score *s) { return (double)s->kld; }
static double get_dp(const struct score *s) { return (double)s->p_cand - (double)s->p_base; }
static double get_dp2(const struct score *s) { return get_dp(s) * get_dp(s); }
static double get_top1(const struct score *s) { return s->top_base == s->top_cand; }
static double get_top5(const struct score *s) { return s->same_top5 / 5.0; }
static double get_changed(const struct score *s) { return s->routing_changed; }

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Linear between the neighbours of f * (n - 1). */
static double percentile(const double *sorted, size_t n, double f)
{
    double at = f * (double)(n - 1);
    size_t i = (size_t)at;
    return i + 1 < n ? sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

static void percentiles(const struct comparison *c, double *buffer, struct summary *s)
{
    size_t n = c->n_scores;
    for (size_t i = 0; i < n; i++)
        buffer[i] = get_kld(&c->scores[i]);
    qsort(buffer, n, sizeof *buffer, ascending);
    s->kld_median = percentile(buffer, n, 0.5);
    s->kld_p90 = percentile(buffer, n, 0.9);
    s->kld_p95 = percentile(buffer, n, 0.95);
    s->kld_p99 = percentile(buffer, n, 0.99);
    s->kld_p999 = percentile(buffer, n, 0.999);
    s->kld_max = buffer[n - 1];
    for (size_t i = 0; i < n; i++)
        buffer[i] = get_dp(&c->scores[i]);
    qsort(buffer, n, sizeof *buffer, ascending);
    s->dp_p1 = percentile(buffer, n, 0.01);
    s->dp_p5 = percentile(buffer, n, 0.05);
    s->dp_p95 = percentile(buffer, n, 0.95);
    s->dp_p99 = percentile(buffer, n, 0.99);
}

static double changed_kld_share(const struct comparison *c)
{
    double all = 0, changed = 0;
    for (size_t i = 0; i < c->n_scores; i++) {
        all += (double)c->scores[i].kld;
        changed += c->scores[i].routing_changed ? (double)c->scores[i].kld : 0;
    }
    return all > 0 ? changed / all : 0;
}

int metrics_summarize(const struct comparison *c, struct summary *s)
{
    *s = (struct summary){.positions = (double)c->n_scores};
    if (!c->n_scores)
        return 0;
    struct moments m = moments_of(c, get_nll_base);
    s->base_nll = m.mean;
    s->base_ppl = det_exp(m.mean);
    s->base_ppl_stderr = s->base_ppl * m.stderr_of_mean;
    if (!c->has_candidate)
        return 0;
    m = moments_of(c, get_nll_cand);
    s->cand_nll = m.mean;
    s->cand_ppl = det_exp(m.mean);
    s->cand_ppl_stderr = s->cand_ppl * m.stderr_of_mean;
    m = moments_of(c, get_ratio);
    s->ln_ratio = m.mean;
    s->ln_ratio_stderr = m.stderr_of_mean;
    s->ppl_ratio = det_exp(m.mean);
    s->ppl_ratio_stderr = s->ppl_ratio * m.stderr_of_mean;
    m = moments_of(c, get_kld);
    s->kld = m.mean;
    s->kld_stderr = m.stderr_of_mean;
    m = moments_of(c, get_top1);
    s->top1 = m.mean;
    s->top1_stderr = m.stderr_of_mean;
    s->top5 = moments_of(c, get_top5).mean;
    s->dp_mean = moments_of(c, get_dp).mean;
    s->dp_rms = sqrt(moments_of(c, get_dp2).mean);
    s->changed_share = moments_of(c, get_changed).mean;
    s->kld_changed_share = changed_kld_share(c);
    double *buffer = malloc(c->n_scores * sizeof *buffer);
    if (!buffer)
        return -1;
    percentiles(c, buffer, s);
    free(buffer);
    return 0;
}

const double histogram_edges[HISTOGRAM_BINS] = {0,       1e-6, 3.1623e-6, 1e-5, 3.1623e-5, 1e-4,   3.1623e-4, 1e-3,
                                                3.1623e-3, 1e-2, 3.1623e-2, 1e-1, 3.1623e-1, 1, 3.1623};

void metrics_histogram(const struct comparison *c, size_t positions[HISTOGRAM_BINS])
{
    memset(positions, 0, HISTOGRAM_BINS * sizeof *positions);
    for (size_t i = 0; i < c->n_scores; i++) {
        int bin = HISTOGRAM_BINS - 1;
        while (bin && (double)c->scores[i].kld < histogram_edges[bin])
            bin--;
        positions[bin]++;
    }
}

struct chunk_means metrics_of_chunk(const struct comparison *c, size_t chunk)
{
    const size_t each = c->chunks ? c->n_scores / c->chunks : 0;
    struct chunk_means m = {0};
    for (size_t i = chunk * each; i < (chunk + 1) * each; i++) {
        m.kld += get_kld(&c->scores[i]) / (double)each;
        m.nll_base += get_nll_base(&c->scores[i]) / (double)each;
        m.nll_cand += get_nll_cand(&c->scores[i]) / (double)each;
        m.top1 += get_top1(&c->scores[i]) / (double)each;
    }
    return m;
}

void metrics_by_confidence(const struct comparison *c, struct confidence_bin bins[CONFIDENCE_BINS])
{
    static const double edges[CONFIDENCE_BINS + 1] = {0, 0.25, 0.5, 0.75, 0.9, 1};
    for (int b = 0; b < CONFIDENCE_BINS; b++) {
        bins[b] = (struct confidence_bin){.from = edges[b], .to = edges[b + 1]};
        for (size_t i = 0; i < c->n_scores; i++) {
            double p = (double)c->scores[i].confidence;
            if (p >= edges[b] && (p < edges[b + 1] || b + 1 == CONFIDENCE_BINS)) {
                bins[b].positions++;
                bins[b].kld += (double)c->scores[i].kld;
            }
        }
        if (bins[b].positions)
            bins[b].kld /= (double)bins[b].positions;
    }
}
