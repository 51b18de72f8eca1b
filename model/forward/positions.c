/* SPDX-License-Identifier: MIT
 * Scored positions: online softmax, Kullback-Leibler sum and best tokens. */
#include "model/forward/positions.h"

#include "model/forward/det_math.h"

void top_add(struct top_list *t, float logit, int32_t id)
{
    if (t->n == TOP && logit <= t->logit[TOP - 1])
        return;
    int i = t->n < TOP ? t->n++ : TOP - 1;
    for (; i > 0 && logit > t->logit[i - 1]; i--) {
        t->logit[i] = t->logit[i - 1];
        t->id[i] = t->id[i - 1];
    }
    t->logit[i] = logit;
    t->id[i] = id;
}

/* Moves a running sum to a new maximum; *extra, unless NULL, scales with it. */
static void raise(struct softmax_sum *s, double max, int is_first, double *extra)
{
    if (is_first) {
        s->max = max;
        return;
    }
    if (max <= s->max)
        return;
    double f = det_exp(s->max - max);
    s->sum *= f;
    if (extra)
        *extra *= f;
    s->max = max;
}

static double block_max(const float *x, size_t n, size_t stride)
{
    float max = x[0];
    for (size_t i = 1; i < n; i++)
        max = x[i * stride] > max ? x[i * stride] : max;
    return (double)max;
}

void position_add(struct position *p, int32_t row0, size_t n, const float *b, const float *c, size_t stride)
{
    raise(&p->base, block_max(b, n, stride), row0 == 0, &p->cross);
    if (c)
        raise(&p->cand, block_max(c, n, stride), row0 == 0, NULL);
    for (size_t i = 0; i < n; i++) {
        float lb = b[i * stride];
        double eb = det_exp((double)lb - p->base.max);
        p->base.sum += eb;
        top_add(&p->base_top, lb, row0 + (int32_t)i);
        if (row0 + (int32_t)i == p->target)
            p->base_target = lb;
        if (!c)
            continue;
        float lc = c[i * stride];
        p->cand.sum += det_exp((double)lc - p->cand.max);
        p->cross += eb * ((double)lb - (double)lc);
        top_add(&p->cand_top, lc, row0 + (int32_t)i);
        if (row0 + (int32_t)i == p->target)
            p->cand_target = lc;
    }
}

double softmax_log(const struct softmax_sum *s)
{
    return s->max + det_log(s->sum);
}

double position_kld(const struct position *p)
{
    /* sum p_b (b - c) - log_b + log_c; rounding may leave a hair below zero */
    double kld = p->cross / p->base.sum - softmax_log(&p->base) + softmax_log(&p->cand);
    return kld > 0 ? kld : 0;
}
