/* SPDX-License-Identifier: MIT
 * Q4_0: 32 weights in 18 bytes, 4.5 bits per weight.
 *
 *   0   2                                   18
 *   | d | byte j: code of x[j] | code of x[j+16] << 4 |     d: F16, codes 0..15
 *
 * x = d * (code - 8).
 * Encoding: v = the element of largest magnitude (the first of equals) with its sign; d = v / -8 in F32;
 * code = min(15, trunc(x * (1 / d) + 8.5)); then d is stored as F16. d = 0 gives codes of 8; a d so small that 1 / d is
 * infinite (d is 0 as F16) gives codes of 0, as llama.cpp's come out on x86-64.
 * Source: ggml-org/ggml, src/ggml-common.h block_q4_0, src/ggml-quants.c quantize_row_q4_0_ref. */
#ifndef PARE_QUANT_Q4_0_H
#define PARE_QUANT_Q4_0_H

#include "quant/types.h"

void q4_0_encode(const float *x, void *blocks, size_t n);
void q4_0_decode(const void *blocks, float *x, size_t n);

#endif
