/* SPDX-License-Identifier: MIT
 * IQ1_S to IQ3_S: 256 weights whose groups of eight (IQ3: four) are points of a codebook (iq_grids.h). Read, not written.
 * d is F16; u16 and u32 are little-endian; b = 0..7 counts blocks of 32 weights, l = 0..3 the eights in one.
 *
 *   type     bytes  bits    layout
 *   IQ1_S      50   1.5625  d, qs[32], u16 qh[8]
 *   IQ1_M      56   1.75    qs[32], qh[16], u16 scales[4]
 *   IQ2_XXS    66   2.0625  d, 8 times {index[4], u32 A}
 *   IQ2_XS     74   2.3125  d, u16 qs[32], scales[8]
 *   IQ2_S      82   2.5625  d, qs[32], signs[32], qh[8], scales[8]
 *   IQ3_XXS    98   3.0625  d, qs[64], u32 A[8]
 *   IQ3_S     110   3.4375  d, qs[64], qh[8], signs[32], scales[4]
 *
 * Signs are eight bits, bit j set: weight j is negative. In seven bits (IQ2_XXS, IQ2_XS, IQ3_XXS) the eighth is the
 * parity of the others.
 *   IQ2_XXS  x = d * (0.5 + (A >> 28)) * 0.25 * grid[index[l]] with signs A >> 7l
 *   IQ2_XS   low nine bits of qs[4b+l] are the index, the rest the signs; x = d * (0.5 + s) * 0.25 * grid,
 *            s the nibble l / 2 of scales[b]
 *   IQ2_S    the same with index qs[4b+l] + (two bits at 2l of qh[b]) << 8 and signs[4b+l]
 *   IQ3_XXS  two fours qs[8b+2l], qs[8b+2l+1]; x = d * (0.5 + (A[b] >> 28)) * 0.5 * grid with signs A[b] >> 7l
 *   IQ3_S    the ninth bit of qs[8b+k] is bit k of qh[b]; x = d * (1 + 2s) * grid, s the nibble b % 2 of scales[b/2]
 *   IQ1_S    index qs[4b+l] + (three bits at 3l of qh[b]) << 8; x = d * (2 * (three bits at 12) + 1) * (grid + delta),
 *            delta = -0.125 if bit 15 of qh[b] is set, else 0.125
 *   IQ1_M    nibble l % 2 of qh[2b+l/2]: three bits of the index and the sign of delta; d's four nibbles, lowest first, are
 *            the top ones of the scales; three-bit scales at 6 * (b % 2) + 3 * (l / 2) of scales[b/2]
 * Source: ggml-org/ggml, src/ggml-common.h block_iq2_xxs ff., src/ggml-quants.c dequantize_row_iq2_xxs ff. */
#ifndef PARE_QUANT_IQ_H
#define PARE_QUANT_IQ_H

#include "quant/types.h"

quant_decode_fn iq1_s_decode, iq1_m_decode, iq2_xxs_decode, iq2_xs_decode, iq2_s_decode, iq3_xxs_decode, iq3_s_decode;

#endif
