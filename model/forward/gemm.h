/* SPDX-License-Identifier: MIT
 * The matrix product of the forward pass, defined so that every instruction set gives the same bits.
 *
 * For one output row and one token, with w and x of K elements:
 *
 *   y = 0
 *   for each block of GEMM_BLOCK elements (the last may be shorter), in order:
 *       p = 0;  for k in the block, in order:  p = fmaf(w[k], x[k], p)
 *       y = y + p
 *
 * SIMD runs across tokens (lanes), never across k. Blocks keep long sums accurate and give the tiling its size. */
#ifndef PARE_MODEL_FORWARD_GEMM_H
#define PARE_MODEL_FORWARD_GEMM_H

#include <stddef.h>

#include "model/forward/panels.h"

enum { GEMM_BLOCK = 256 };

/* One block of the sum for `rows` output rows and the first `lanes` (a multiple of 16) tokens of a tile.
 *   w     [rows][ldw], of which n <= GEMM_BLOCK columns are used
 *   x     [n][LANES]
 *   y     [rows][LANES]; first: y = p, else y = y + p
 * No alignment is asked for; thread-safe. */
typedef void gemm_fn(const float *w, size_t ldw, size_t rows, const float *x, size_t n, size_t lanes, float *y, int first);

gemm_fn gemm_scalar, gemm_avx2, gemm_avx512;
/* The best variant for these CPU features (base/cpu.h). */
gemm_fn *gemm_for(unsigned cpu);

/* The whole product: y[r] = sum over k of w[r][k] * x[k], K columns. */
void gemm_rows(gemm_fn *gemm, const float *w, size_t ldw, size_t rows, const float *x, size_t k, size_t lanes, float *y);

#endif
