/* SPDX-License-Identifier: MIT
 * Scored positions: what is kept of the logits of one position while the vocabulary streams by in blocks, for one model or
 * a pair. Nothing of the size of the vocabulary is stored. Sums are in double, in the order of the vocabulary. */
#ifndef PARE_MODEL_FORWARD_POSITIONS_H
#define PARE_MODEL_FORWARD_POSITIONS_H

#include <stddef.h>
#include <stdint.h>

enum { TOP = 5 };

struct softmax_sum { /* sum of e^(logit - max) over the vocabulary so far */
    double max, sum;
};

struct top_list { /* the TOP largest logits so far, largest first; the lower id of equals first */
    float logit[TOP];
    int32_t id[TOP];
    int n;
};

/* Takes a token in if it is among them; offered by ascending ids. */
void top_add(struct top_list *t, float logit, int32_t id);

struct position {
    int32_t target; /* the token to be predicted */
    struct softmax_sum base, cand;
    double cross; /* sum of e^(b - base.max) * (b - c) */
    float base_target, cand_target;
    struct top_list base_top, cand_top;
};

/* Adds the logits of vocabulary rows [row0, row0 + n): b[i * stride], and c[i * stride] unless c is NULL. */
void position_add(struct position *p, int32_t row0, size_t n, const float *b, const float *c, size_t stride);

/* log of the softmax's denominator: max + ln sum. */
double softmax_log(const struct softmax_sum *s);

/* The divergence of the candidate from the base, not below 0. */
double position_kld(const struct position *p);

#endif
