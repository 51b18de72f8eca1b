/* SPDX-License-Identifier: MIT
 * Number patterns. */
#include "tests/patterns.h"

#include <math.h>
#include <string.h>

#include "tests/tap.h"

const char *const patterns[PATTERNS] = {"random",      "heavy-tailed", "all zero",         "all -0",        "one-hot",
                                       "alternating", "subnormal",    "nearly subnormal", "max magnitude", "constant",
                                       "above zero",  "below zero",   "quarters",         "ascending",     "any size"};
static float clamp(double v, float limit)
{
    return v > (double)limit ? limit : v < -(double)limit ? -limit : (float)v;
}

/* The i-th of n numbers of a pattern, within the type's range. */
static float number(int pattern, size_t i, size_t n, float limit, uint64_t *state)
{
    uint32_t bits = (uint32_t)rng_next(state);
    float f;
    switch (pattern) {
    case 0:
        return clamp(rng_gauss(state), limit);
    case 1:
        return clamp(ldexp(rng_gauss(state), (int)(bits % 40) - 25), limit);
    case 2:
        return 0;
    case 3:
        return -0.0f;
    case 4:
        return i == n / 3 ? -limit / 3 : 0;
    case 5:
        return i % 2 ? 1.0f : -1.0f;
    case 6:
    case 7: /* exponents 0, or 0 to 11 by block: around the place where 1 / d of a block's scale d becomes infinite */
        bits = (bits & 0x807fffff) | (pattern == 6 ? 0 : (uint32_t)(i / 32 % 12) << 23);
        memcpy(&f, &bits, sizeof f);
        return f;
    case 8:
        return bits & 1 ? limit : -limit;
    case 9: /* by group of sixteen, of either sign */
        return (float)((int)(i / 16 % 5) - 2) / 3;
    case 10:
        return clamp(1 + 0.1 * fabsf(rng_gauss(state)), limit);
    case 11:
        return clamp(-1e4 - fabsf(rng_gauss(state)), limit);
    case 12:
        return (float)((int)(bits % 9) - 4) / 4;
    case 13:
        return (float)(i % 32) - 12.5f;
    default: /* by group of sixteen, a fifth of them 0 */
        return i / 16 % 5 == 3 ? 0 : clamp(ldexp(rng_gauss(state), (int)(i / 16 * 53 % 270) - 149), limit);
    }
}

void fill_floats(float *x, size_t n, int pattern, float limit, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        x[i] = number(pattern, i, n, limit, &seed);
}
