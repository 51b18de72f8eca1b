/* SPDX-License-Identifier: MIT
 * exp, log, sin and cos of our own: fixed polynomials in double, the same bits on every machine and libm. Errors are below
 * 2 units in the last place of a double, so that results rounded to F32 are as good as correctly rounded. */
#ifndef PARE_MODEL_FORWARD_DET_MATH_H
#define PARE_MODEL_FORWARD_DET_MATH_H

/* e^x: 0 below -745, infinity above 709.7; NaN stays NaN. */
double det_exp(double x);
/* Natural logarithm of a positive normal number. */
double det_log(double x);
/* For |x| below 2^20. */
void det_sincos(double x, double *s, double *c);

/* x * sigmoid(x), and 1 / (1 + e^-x), computed in double and rounded once. */
float det_silu(float x);
float det_sigmoid(float x);

#endif
