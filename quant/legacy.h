/* SPDX-License-Identifier: MIT
 * Q4_0, Q4_1, Q5_0, Q5_1: 32 weights with codes of 4 or 5 bits and one scale; the "_1" types have a minimum, too.
 *
 *   Q4_0   18 bytes, 4.5 bits per weight    | d             | qs |     x = d * (code - 8)
 *   Q4_1   20 bytes, 5 bits per weight      | d | m         | qs |     x = d * code + m
 *   Q5_0   22 bytes, 5.5 bits per weight    | d     | qh    | qs |     x = d * (code - 16)
 *   Q5_1   24 bytes, 6 bits per weight      | d | m | qh    | qs |     x = d * code + m
 *            2   2   4   16
 *   d, m   F16
 *   qs     byte j: low four bits of the code of x[j] | those of x[j+16] << 4
 *   qh     u32, bit j: the fifth bit of the code of x[j]
 *
 * Encoding without importance. "_0": v = the element of largest magnitude (the first of equals) with its sign,
 * d = v / -half in F32 (half = 8 or 16), code = min(2 * half - 1, trunc(x * (1 / d) + half + 0.5)); d = 0 gives codes of
 * half. "_1": m = the smallest, d = (largest - m) / top (top = 15 or 31), code = min(top, trunc((x - m) * (1 / d) + 0.5)).
 * Then d and m are stored as F16. A d so small that 1 / d is infinite (d is 0 as F16) gives codes of 0, as llama.cpp's
 * come out on x86-64.
 * With importance: weights importance * sqrt(sigma2 + x * x), sigma2 the mean square of the row; then search.h's symmetric
 * search, or its affine one with 37 candidates.
 * Source: ggml-org/ggml, src/ggml-common.h block_q4_0 ff., src/ggml-quants.c quantize_row_q4_0_ref, .._impl ff. */
#ifndef PARE_QUANT_LEGACY_H
#define PARE_QUANT_LEGACY_H

#include "quant/types.h"

quant_encode_fn q4_0_encode, q4_1_encode, q5_0_encode, q5_1_encode;
quant_encode_fn q4_0_improve, q4_1_improve, q5_0_improve, q5_1_improve;
quant_decode_fn q4_0_decode, q4_1_decode, q5_0_decode, q5_1_decode;
quant_simd_fn q4_0_simd, q4_1_simd, q5_0_simd, q5_1_simd;
extern const struct best q4_0_best, q4_1_best, q5_0_best, q5_1_best;

#endif
