/* SPDX-License-Identifier: MIT
 * Elementary functions by range reduction and Taylor polynomials; no libm but rint. */
#include "model/forward/det_math.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static double from_bits(uint64_t u)
{
    double d;
    memcpy(&d, &u, sizeof d);
    return d;
}

/* 2^n for n in -1022..1023 */
static double power_of_two(int n)
{
    return from_bits((uint64_t)(n + 1023) << 52);
}

double det_exp(double x)
{
    static const double ln2_hi = 0x1.62e42fee00000p-1, ln2_lo = 0x1.a39ef35793c76p-33, inv_ln2 = 0x1.71547652b82fep+0;
    if (!(x > -745.2))
        return x != x ? x : 0;
    if (x > 709.7)
        return (double)INFINITY;
    double n = rint(x * inv_ln2), r = (x - n * ln2_hi) - n * ln2_lo, p = 1.0 / 87178291200.0; /* 1/14! */
    /* |r| <= 0.35: the next term is below 2^-60 */
    static const double inverse_factorial[] = {1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0,
                                               1.0 / 362880.0, 1.0 / 40320.0, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0,
                                               1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0};
    for (int i = 0; i < 14; i++)
        p = p * r + inverse_factorial[i];
    int k = (int)n;
    /* two steps, so that subnormal results are rounded once, at the end */
    return k < -1000 ? p * power_of_two(k + 200) * power_of_two(-200) : p * power_of_two(k);
}

double det_log(double x)
{
    static const double ln2_hi = 0x1.62e42fee00000p-1, ln2_lo = 0x1.a39ef35793c76p-33;
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    int k = (int)(u >> 52) - 1023;
    double m = from_bits((u & 0xfffffffffffff) | 0x3ff0000000000000);
    if (m > 1.4142135623730951) {
        m /= 2;
        k++;
    }
    /* log m = 2 atanh f, |f| <= 0.172: f^25 is below 2^-63 */
    double f = (m - 1) / (m + 1), g = f * f, p = 0;
    for (int i = 23; i >= 3; i -= 2)
        p = (p + 1.0 / i) * g;
    return k * ln2_hi + (k * ln2_lo + 2 * (f + f * p));
}

void det_sincos(double x, double *s, double *c)
{
    /* pi/2 in three parts of 33 bits: their products with the quotient are exact */
    static const double part1 = 0x1.921fb54400000p+0, part2 = 0x1.0b4611a600000p-34, part3 = 0x1.3198a2e037073p-69;
    double n = rint(x * 0x1.45f306dc9c883p-1), r = ((x - n * part1) - n * part2) - n * part3, g = r * r;
    double p = 0, q = 0;
    for (int i = 19; i >= 3; i -= 2)
        p = (p + 1) * -g / (i * (i - 1));
    for (int i = 20; i >= 2; i -= 2)
        q = (q + 1) * -g / (i * (i - 1));
    double sine = r + r * p, cosine = 1 + q;
    switch ((int64_t)n & 3) {
    case 0: *s = sine, *c = cosine; break;
    case 1: *s = cosine, *c = -sine; break;
    case 2: *s = -sine, *c = -cosine; break;
    default: *s = -cosine, *c = sine; break;
    }
}

float det_sigmoid(float x)
{
    return (float)(1 / (1 + det_exp(-(double)x)));
}

float det_silu(float x)
{
    return (float)((double)x / (1 + det_exp(-(double)x)));
}
