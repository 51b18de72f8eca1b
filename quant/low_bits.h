/* SPDX-License-Identifier: MIT
 * Types of one code per weight and one scale, with codes of 1 to 2 bits. Read, not written.
 *
 * Q1_0: 128 weights in 18 bytes, 1.125 bits per weight; x = d where the bit is set, else -d.
 *   | d | qs[16] |     bit j % 8 of byte j / 8
 * Q2_0: 64 weights in 18 bytes, 2.25 bits per weight; x = (code - 1) * d.
 *   | d | qs[16] |     bits 2 * (j % 4) of byte j / 4
 * TQ2_0: 256 weights in 66 bytes, 2.0625 bits per weight; x = (code - 1) * d.
 *   | qs[64] | d |     byte 32c + l, bits 2j: weight 128c + 32j + l (c = 0..1, j = 0..3, l = 0..31)
 * TQ1_0: 256 weights in 54 bytes, 1.6875 bits per weight; x = (digit - 1) * d.
 *   | qs[48] | qh[4] | d |
 *   a byte v holds five ternary digits as the fraction v / 256, rounded up; digit n = floor(3 * frac(3^n * v / 256))
 *   qs[l], l = 0..31: weights 32n + l; qs[32 + l], l = 0..15: weights 160 + 16n + l; qh[l]: weights 240 + 4n + l, n = 0..3
 * d is F16 everywhere.
 * Source: ggml-org/ggml, src/ggml-common.h block_q1_0, block_q2_0, block_tq1_0, block_tq2_0 and their dequantize_row_*. */
#ifndef PARE_QUANT_LOW_BITS_H
#define PARE_QUANT_LOW_BITS_H

#include "quant/types.h"

quant_decode_fn q1_0_decode, q2_0_decode, tq1_0_decode, tq2_0_decode;

#endif
