/* SPDX-License-Identifier: MIT
 * `--search best` against `--search compat`: no block of any type gets a larger error, whatever the numbers and the
 * importance, and ordinary rows get smaller ones. Errors are summed here, over what both decode to. */
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "quant/types.h"
#include "tests/patterns.h"
#include "tests/tap.h"

enum { N = 5120, MOST_BYTES = 4 * N };

/* Importances: none; some zero; all the same; all zero; of very unlike size. */
enum { NONE, SOME_ZERO, FLAT, ZERO, UNLIKE, IMPORTANCES };
static const char *const importances[IMPORTANCES] = {"none", "a fifth 0", "flat", "all 0", "from 2^-40 to 2^39"};

static void fill_importance(float *w, int kind, uint64_t seed)
{
    for (int i = 0; i < N; i++) {
        double u = rng_uniform(&seed);
        uint64_t bits = rng_next(&seed);
        w[i] = kind == SOME_ZERO ? (u < 0.2 ? 0 : (float)u) : kind == ZERO ? 0 : 1;
        if (kind == UNLIKE)
            w[i] = ldexpf(1 + (float)u, (int)(bits % 80) - 40);
    }
}

/* What weighs without importance: the block's root mean square + |x|. */
static void weigh_by_size(const float *x, size_t len, float *w)
{
    for (size_t at = 0; at < N; at += len) {
        float sum = 0;
        for (size_t i = at; i < at + len; i++)
            sum += x[i] * x[i];
        for (size_t i = at; i < at + len; i++)
            w[i] = sqrtf(sum / (float)len) + fabsf(x[i]);
    }
}

static double error_of(const struct quant_type *t, const float *x, const float *w, const uint8_t *block)
{
    float y[256];
    double sum = 0;
    t->ref.decode(block, y, 1);
    for (uint32_t i = 0; i < t->block_len; i++)
        sum += (double)w[i] * (((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]));
    return sum;
}

struct sums {
    double compat, best;
    int worse; /* blocks */
};

static struct sums compare(const struct quant_type *t, int pattern, int importance)
{
    static float x[N], w[N];
    static uint8_t compat[MOST_BYTES], best[MOST_BYTES];
    const struct quant_kernels k = quant_kernels_for(t, cpu_features());
    const size_t n = N / t->block_len;
    struct sums s = {0, 0, 0};
    fill_floats(x, N, pattern, t->max_abs, (uint64_t)pattern + 77);
    if (importance == NONE)
        weigh_by_size(x, t->block_len, w);
    else
        fill_importance(w, importance, (uint64_t)pattern);
    k.encode(x, importance == NONE ? NULL : w, compat, n);
    memcpy(best, compat, n * t->block_bytes);
    k.improve(x, importance == NONE ? NULL : w, best, n);
    for (size_t i = 0; i < n; i++) {
        double before = error_of(t, x + i * t->block_len, w + i * t->block_len, compat + i * t->block_bytes);
        double after = error_of(t, x + i * t->block_len, w + i * t->block_len, best + i * t->block_bytes);
        s.worse += !(after <= before) && !isnan(before);
        s.compat += before;
        s.best += after;
    }
    return s;
}

static void test_type(const struct quant_type *t)
{
    int worse = 0;
    for (int pattern = 0; pattern < PATTERNS; pattern++)
        for (int importance = 0; importance < IMPORTANCES; importance++) {
            struct sums s = compare(t, pattern, importance);
            if (s.worse && !worse)
                note("%s, importance %s: %d blocks", patterns[pattern], importances[importance], s.worse);
            worse += s.worse;
        }
    ok(!worse, "%s: of %d patterns with %d importances no block has a larger error", t->name, PATTERNS, IMPORTANCES);
    struct sums plain = compare(t, 0, NONE), weighted = compare(t, 0, SOME_ZERO), tails = compare(t, 1, NONE);
    const double most = strcmp(t->name, "MXFP4-CT") ? 0.98 : 1; /* whose plain scale is all but the best power of two already */
    if (!ok(plain.best < most * plain.compat && weighted.best < 0.99 * weighted.compat && tails.best < tails.compat,
            "%s: normal and heavy-tailed numbers have smaller errors", t->name))
        note("normal %g, with importance %g, heavy-tailed %g", plain.best / plain.compat,
             weighted.best / weighted.compat, tails.best / tails.compat);
}

int main(void)
{
    for (const struct quant_type *t = quant_types; t->name; t++)
        if (t->ref.improve)
            test_type(t);
    return done();
}
