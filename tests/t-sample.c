/* SPDX-License-Identifier: MIT
 * Sampled rows of logits: the divergence that they give is without bias. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/forward/head.h"
#include "tests/tap.h"
#include "verify/base_sample.h"

enum { VOCAB = 1000, BEST = 16, DRAWN = 40, DRAWS = 6000 };

static uint64_t state = 7;

/* About normal: the sum of twelve. */
static float normal(void)
{
    double sum = -6;
    for (int i = 0; i < 12; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(state >> 40) * 0x1p-24;
    }
    return (float)sum;
}

static void estimate(float spread, float noise)
{
    static float base[VOCAB], cand[VOCAB];
    int32_t ids[BEST + DRAWN];
    uint16_t codes[BEST + DRAWN];
    float threshold;
    struct base_sample s = {ids, codes, &threshold};
    struct position p = {.target = 0};
    double sum = 0, squares = 0;
    for (int i = 0; i < VOCAB; i++) {
        base[i] = spread * normal();
        cand[i] = base[i] + noise * normal();
    }
    head_row(&p, base, cand, VOCAB);
    const double exact = position_kld(&p), log_sum = softmax_log(&p.base);
    for (int i = 0; i < DRAWS; i++) {
        base_sample_draw(base, VOCAB, log_sum, BEST, DRAWN, (uint64_t)i, &s);
        const double k = base_sample_kld(&s, BEST, DRAWN, cand, softmax_log(&p.cand));
        sum += k / exact;
        squares += k / exact * k / exact;
    }
    const double mean = sum / DRAWS, error = sqrt((squares / DRAWS - mean * mean) / DRAWS);
    ok(fabs(mean - 1) < 3 * error + 6e-4 && error < 5e-3, "logits of spread %g, changed by %g: the mean of %d draws is the divergence, off by %.3f +- %.3f %%", (double)spread,
       (double)noise, DRAWS, 100 * (mean - 1), 100 * error);
}

static void everything_kept(void)
{
    float base[10], cand[10], threshold;
    int32_t ids[BEST + DRAWN];
    uint16_t codes[BEST + DRAWN];
    struct base_sample s = {ids, codes, &threshold};
    struct position p = {.target = 0};
    for (int i = 0; i < 10; i++) {
        base[i] = (float)(i * 7 % 10);
        cand[i] = base[i] + 0.01F * (float)i;
    }
    head_row(&p, base, cand, 10);
    base_sample_draw(base, 10, softmax_log(&p.base), 4, DRAWN, 1, &s);
    ok(ids[0] == 7 && ids[1] == 4 && ids[2] == 1 && ids[3] == 8, "the best come first, largest first");
    ok(ids[4] == 0 && ids[9] == 9 && ids[10] == -1, "the others by their ids, then none");
    ok(threshold == -INFINITY && fabs(base_sample_kld(&s, 4, DRAWN, cand, softmax_log(&p.cand)) / position_kld(&p) - 1) < 0.01,
       "a vocabulary that fits is kept whole, but for the codes' steps");
    base_sample_draw(base, 10, softmax_log(&p.base), 4, 3, 1, &s);
    ok(isfinite(threshold) && ids[3] == 8 && ids[4] >= 0 && ids[4] < ids[5] && ids[5] < ids[6], "of a larger one so many are drawn as there is room for");
}

int main(void)
{
    plan(7);
    estimate(3, 0.1F);
    estimate(1, 0.05F);
    estimate(6, 0.5F);
    everything_kept();
    return done();
}
