/* SPDX-License-Identifier: MIT
 * Q6_K: 256 weights in 210 bytes, 6.5625 bits per weight.
 *
 *   0           128        192          208 210
 *   | ql[128]   | qh[64]   | scales[16] | d |     scales: i8, d: F16
 *   of weight 128h + 32j + l (h = 0..1, j = 0..3, l = 0..31)
 *     low four bits: nibble j / 2 of ql[64h + 32 * (j % 2) + l]
 *     high two bits: at bit 2j of qh[32h + l]
 *
 * x = d * s * (code - 32), s the scale of its group of 16, codes 0..63.
 * Encoding: per group search.h's symmetric search with x * x, or the importance itself, for weights;
 * d = -(scale of largest magnitude) / 128, s = min(127, scale / d rounded). Then codes are taken anew for the scales that
 * are stored; groups with d * s = 0 keep theirs. A superblock without a scale of 1e-15 or more is all zero bytes.
 * Source: ggml-org/ggml, src/ggml-common.h block_q6_K, src/ggml-quants.c quantize_row_q6_K_ref, quantize_row_q6_K_impl. */
#ifndef PARE_QUANT_Q6_K_H
#define PARE_QUANT_Q6_K_H

#include "quant/types.h"

quant_encode_fn q6_k_encode, q6_k_improve;
quant_decode_fn q6_k_decode;
quant_simd_fn q6_k_simd;
extern const struct best q6_k_best;

#endif
