/* SPDX-License-Identifier: MIT
 * Q4_K and Q5_K: 256 weights in eight blocks of 32, with codes of 4 or 5 bits.
 *
 * Q4_K: 144 bytes, 4.5 bits per weight.
 *   0   2      4            16                       144
 *   | d | dmin | scales[12] | qs[128]                |     d, dmin: F16
 * Q5_K: 176 bytes, 5.5 bits per weight.
 *   0   2      4            16         48            176
 *   | d | dmin | scales[12] | qh[32]   | qs[128]      |
 *   qs: byte 32c + l: low four bits of weight 64c + l | those of weight 64c + 32 + l << 4 (c = 0..3, l = 0..31)
 *   qh: bit b of byte l: the fifth bit of weight 32b + l (b = 0..7)
 *   scales: 6 bits each, s of the eight blocks and m of the eight blocks:
 *     byte 0..3    s[0..3] | high two bits of s[4..7] << 6
 *     byte 4..7    m[0..3] | high two bits of m[4..7] << 6
 *     byte 8..11   low four bits of s[4..7] | low four bits of m[4..7] << 4
 *
 * x = d * s * code - dmin * m.
 * Encoding: per block search.h's affine search. Without importance the weights are rms(block) + |x|, with 21 candidates
 * (Q5_K: 16); s and m are scale and min in 63rds of the largest. With importance they are
 * importance * sqrt(sigma2 + x * x), sigma2 twice the mean square of the superblock, with 37 candidates; s and m by
 * search.h's positive search with the blocks' weights. Then codes are taken anew for the scales that are stored; blocks
 * with d * s = 0 keep theirs.
 * Source: ggml-org/ggml, src/ggml-common.h block_q4_K, block_q5_K, src/ggml-quants.c quantize_row_q4_K_ref,
 * quantize_row_q4_K_impl and the same of q5_K. */
#ifndef PARE_QUANT_Q4_K_H
#define PARE_QUANT_Q4_K_H

#include "quant/types.h"

quant_encode_fn q4_k_encode, q5_k_encode, q4_k_improve, q5_k_improve;
quant_decode_fn q4_k_decode, q5_k_decode;
quant_simd_fn q4_k_simd, q5_k_simd;
extern const struct best q4_k_best, q5_k_best;

#endif
