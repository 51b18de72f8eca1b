/* SPDX-License-Identifier: MIT
 * The factor that error feedback rounds by. For a symmetric positive definite H (n x n)
 *
 *   H = U D U'     U unit upper triangular, D diagonal and positive
 *
 * the loss of a row's errors e is e H e' = sum over columns j of D[j] * (e[j] + sum over k < j of e[k] * U[k][j])^2: rounding
 * column j not to w[j] but to w[j] + sum_k<j e[k] * U[k][j], e = w - y, makes each term as small as rounding can. D[j] is what of
 * column j's variance the later columns do not explain. (The rule is LDLQ's, and GPTQ's, which takes U from an inverse.)
 * Source: Chee et al., QuIP (arXiv 2307.13304), section 3; Frantar et al., GPTQ (arXiv 2210.17323). */
#ifndef PARE_CONVERT_FEEDBACK_LDL_H
#define PARE_CONVERT_FEEDBACK_LDL_H

#include "convert/feedback/square.h"

/* Factors the lower half of s in place: s[j][k] = U[k][j] for k < j, s[j][j] = 1; d [n]. Sums have a fixed order (gemm.h, and F64
 * within the squares on the diagonal), so the bits depend on nothing but the input. Returns 0, or -1 with ERR_MEMORY; 1 when a pivot
 * is not positive: then s is spoilt. cpu: features that may be used (base/cpu.h). */
int ldl_factor(struct square *s, float *d, unsigned cpu, int threads, struct error *e);

#endif
