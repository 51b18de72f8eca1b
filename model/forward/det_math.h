/* SPDX-License-Identifier: MIT
 * exp, log, sin and cos of our own: fixed polynomials in double, the same bits on every machine and libm. Errors are below
 * 2 units in the last place of a double, so that results rounded to F32 are as good as correctly rounded. */
#ifndef PARE_MODEL_FORWARD_DET_MATH_H
#define PARE_MODEL_FORWARD_DET_MATH_H

#include <stdint.h>
#include <string.h>

/* 2^n of the low bits of a number that 1.5 * 2^52 was added to. */
static inline double det_power_of_two(double shifted)
{
    uint64_t bits;
    double scale;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 1023) << 52;
    memcpy(&scale, &bits, sizeof scale);
    return scale;
}

/* e^x for |x| <= 708, without branches so that loops over it vectorize: x = n ln 2 + r, |r| <= 0.35, Taylor to r^14 (the
 * next term is below 2^-60). Adding 1.5 * 2^52 rounds to the nearest integer, ties to even, and leaves n in the low bits. */
static inline double det_exp_core(double x)
{
    const double ln2_hi = 0x1.62e42fee00000p-1, ln2_lo = 0x1.a39ef35793c76p-33, inv_ln2 = 0x1.71547652b82fep+0;
    const double magic = 6755399441055744.0;
    double shifted = x * inv_ln2 + magic, n = shifted - magic, r = (x - n * ln2_hi) - n * ln2_lo;
    double p = 1.0 / 87178291200.0;
    p = p * r + 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    return p * det_power_of_two(shifted);
}

/* The same for results that are rounded to F32: to r^8, the next term is below 2^-32. */
static inline double det_exp_short(double x)
{
    const double ln2 = 0x1.62e42fefa39efp-1, inv_ln2 = 0x1.71547652b82fep+0, magic = 6755399441055744.0;
    double shifted = x * inv_ln2 + magic, r = x - (shifted - magic) * ln2;
    double p = 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    return p * det_power_of_two(shifted);
}

/* e^x: 0 below -745, infinity above 709.7; NaN stays NaN. */
double det_exp(double x);
/* Natural logarithm of a positive normal number. */
double det_log(double x);
/* For |x| below 2^20. */
void det_sincos(double x, double *s, double *c);

/* 1 / (1 + e^-x), computed in double and rounded once. */
float det_sigmoid(float x);

#endif
