/* SPDX-License-Identifier: MIT
 * Q3_K: 256 weights in 110 bytes, 3.4375 bits per weight.
 *
 *   0           32             96           108 110
 *   | hmask[32] | qs[64]       | scales[12] | d |     d: F16
 *   qs: byte 32h + l holds, at bit 2j, the low two bits of weight 128h + 32j + l (h = 0..1, j = 0..3, l = 0..31)
 *   hmask: bit i / 32 of byte i % 32 is the third bit of weight i
 *   scales: s[g] of group g = 0..15 of 16 weights has its low four bits in nibble g / 8 of byte g % 8, its high two
 *   at bit 2 * (g / 4) of byte 8 + g % 4
 *
 * x = d * (s - 32) * (code - 4), codes 0..7.
 * Encoding without importance: per group search.h's descend; D = -(scale of largest magnitude) / 32, s - 32 = scale / D
 * rounded. With importance: search.h's symmetric search with weights importance * sqrt(sigma2 + x * x), sigma2 twice the
 * mean square of the superblock; d and s by the same search over the groups' scales. Then codes are taken anew for the
 * scales that are stored; groups with d * (s - 32) = 0 keep theirs.
 * Source: ggml-org/ggml, src/ggml-common.h block_q3_K, src/ggml-quants.c quantize_row_q3_K_ref, quantize_row_q3_K_impl. */
#ifndef PARE_QUANT_Q3_K_H
#define PARE_QUANT_Q3_K_H

#include "quant/types.h"

quant_encode_fn q3_k_encode, q3_k_improve;
quant_decode_fn q3_k_decode;
quant_simd_fn q3_k_simd;
extern const struct best q3_k_best;

#endif
