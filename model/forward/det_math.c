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

double det_exp(double x)
{
    if (!(x > -745.2))
        return x != x ? x : 0;
    if (x > 709.7)
        return (double)INFINITY;
    /* two steps near the ends of the range, so that subnormal results are rounded once, at the end */
    if (x < -700)
        return det_exp_core(x + 200 * 0.6931471805599453) * 0x1p-200;
    return x > 708 ? det_exp_core(x - 0.6931471805599453) * 2 : det_exp_core(x);
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
