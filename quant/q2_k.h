/* SPDX-License-Identifier: MIT
 * Q2_K: 256 weights in 84 bytes, 2.625 bits per weight.
 *
 *   0            16             80  82     84
 *   | scales[16] | qs[64]       | d | dmin |     d, dmin: F16
 *   scales[g]: s | m << 4 of group g = 0..15 of 16 weights
 *   qs: byte 32h + l holds, at bit 2j, the code of weight 128h + 32j + l (h = 0..1, j = 0..3, l = 0..31)
 *
 * x = d * s * code - dmin * m.
 * Encoding: per group search.h's affine search: without importance by sum |x| |x - y|, sixteen candidates, with importance
 * by the square, 37 candidates and weights importance * sqrt(sigma2 + x * x), sigma2 the mean square of the superblock. s
 * and m: scale and min in fifteenths of the largest, or by search_positive with the groups' weights. Then codes are taken
 * anew for the scales that are stored; groups with d * s = 0 keep theirs.
 * Source: ggml-org/ggml, src/ggml-common.h block_q2_K, src/ggml-quants.c quantize_row_q2_K_ref, quantize_row_q2_K_impl. */
#ifndef PARE_QUANT_Q2_K_H
#define PARE_QUANT_Q2_K_H

#include "quant/types.h"

quant_encode_fn q2_k_encode, q2_k_improve;
quant_decode_fn q2_k_decode;
quant_simd_fn q2_k_simd;
extern const struct best q2_k_best;

#endif
