/* SPDX-License-Identifier: MIT
 * The factor that error feedback rounds by. For a symmetric positive definite H (n x n)
 *
 *   H = U D U'     U unit upper triangular, D diagonal and positive
 *
 * the loss of a row's errors e is e H e' = sum over columns j of D[j] * (e[j] + sum over k < j of e[k] * U[k][j])^2: rounding
 * column j not to w[j] but to w[j] + sum_k<j e[k] * U[k][j], e = w - y, makes each term as small as rounding can. D[j] is what of
 * column j's variance the later columns do not explain. (The rule is LDLQ's, and GPTQ's, which takes U from an inverse.)
 *
 * Columns may be taken in any order. D's product is always H's determinant, its sum, which is what is lost, becomes small where its
 * elements are alike: so the last column is the one of least variance, and each before it the one of which least is left.
 * Source: Chee et al., QuIP (arXiv 2307.13304), section 3; Frantar et al., GPTQ (arXiv 2210.17323); for the order Chen et al., The Geometry
 * of LLM Quantization (arXiv 2507.18553), "min-pivot". */
#ifndef PARE_CONVERT_FEEDBACK_LDL_H
#define PARE_CONVERT_FEEDBACK_LDL_H

#include <stdint.h>

#include "convert/feedback/square.h"

/* Factors the lower half of s in place: s[j][k] = U[k][j] for k < j, s[j][j] = 1; d [n].
 *   order  NULL: columns stay as they are. Else [n], which gets the columns of s in the order of the factor, chosen as above, of equal
 *          ones the last first
 * Sums have a fixed order (gemm.h, and F64 within the squares on the diagonal), so the bits depend on nothing but the input. Returns 0, or
 * -1 with ERR_MEMORY; 1 when a pivot is not positive: then s is spoilt. cpu: features that may be used (base/cpu.h). */
int ldl_factor(struct square *s, float *d, uint32_t *order, unsigned cpu, int threads, struct error *e);

#endif
