/* SPDX-License-Identifier: MIT
 * Sampled rows of logits: the largest are kept as they are, of the rest some are drawn, so that sums over the whole vocabulary are estimated
 * without bias (order sampling: E. Cohen, "Bottom-k sketches", with exponential ranks).
 *
 * Every token has a number u in (0, 1) of its own, a hash of position and id. Its key is ln p - ln(-ln(1 - u)). Of those that are not
 * among the best, the `drawn` with the largest keys are kept; the threshold t is the next largest key (minus infinity: there is none).
 * Given t, a token is kept with probability 1 - exp(-exp(ln p - t)), and divided by that its terms add up to the sum over all
 * tokens in the mean over u. The divergence is taken as
 *     sum over tokens of p (ln p - ln q) - p + q
 * which is the same as its usual form, as p and q add up to 1, but has no negative terms: each adds about p (ln p - ln q)^2 / 2. That is also
 * why codes do for ln p: a step of 2^-11 changes the sum by its square. */
#ifndef PARE_VERIFY_BASE_SAMPLE_H
#define PARE_VERIFY_BASE_SAMPLE_H

#include <stddef.h>
#include <stdint.h>

struct base_sample { /* of one position */
    int32_t *ids;     /* [best + drawn], -1: none */
    uint16_t *codes;  /* of each, -2048 ln p */
    float *threshold; /* one */
};

enum { BASE_CODE_STEPS = 2048, BASE_SAMPLE_MOST = 480 }; /* codes per 1 of ln p; best + drawn at most */

/* row: logits, log_sum ln of their softmax's denominator; seed: one of a kind for each position. */
void base_sample_draw(const float *row, size_t vocab, double log_sum, size_t best, size_t drawn, uint64_t seed, const struct base_sample *to);

/* The estimate, of a candidate's row and its ln of the softmax's denominator; not below 0. */
double base_sample_kld(const struct base_sample *s, size_t best, size_t drawn, const float *row, double row_log_sum);

#endif
