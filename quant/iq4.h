/* SPDX-License-Identifier: MIT
 * IQ4_NL and IQ4_XS: codes of 4 bits that stand for sixteen unequally spaced values,
 *   -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113.
 *
 * IQ4_NL: 32 weights in 18 bytes, 4.5 bits per weight; x = d * value[code].
 *   0   2                                                     18
 *   | d | byte j: code of x[j] | code of x[j+16] << 4          |     d: F16
 *
 * IQ4_XS: 256 weights in 136 bytes, 4.25 bits per weight; x = d * (s[b] - 32) * value[code] in block b = 0..7 of 32.
 *   0   2          4           8                             136
 *   | d | scales_h | scales_l  | 8 times 16 bytes as in IQ4_NL |
 *   s[b]: low four bits in nibble b of scales_l, high two in bits 2b of scales_h (u16)
 *
 * Encoding: a scale per block of 32 by search.h's iq4_scale, with x * x or importance * sqrt(sigma2 + x * x) for weights,
 * sigma2 twice the mean square of the block or superblock. IQ4_NL stores it as d and takes the codes nearest to x / scale.
 * IQ4_XS: D = -(scale of largest magnitude) / 32, s - 32 = scale / D rounded, codes nearest to x / (D * (s - 32)), D not
 * yet rounded to the F16 that is stored.
 * Source: ggml-org/ggml, src/ggml-common.h block_iq4_nl, block_iq4_xs, src/ggml-quants.c quantize_row_iq4_nl_impl. */
#ifndef PARE_QUANT_IQ4_H
#define PARE_QUANT_IQ4_H

#include "quant/types.h"

enum { IQ4_LEN = 32 };

extern const float iq4_values[16];
extern const float iq4_middles[15]; /* between neighbours */

/* The code whose value is nearest, the larger of two; 15 for NaN. */
static inline int iq4_code(float v)
{
    int c = v < iq4_middles[7] ? 0 : 8;
    c += v < iq4_middles[c + 3] ? 0 : 4;
    c += v < iq4_middles[c + 1] ? 0 : 2;
    return c + (v < iq4_middles[c] ? 0 : 1);
}

quant_encode_fn iq4_nl_encode, iq4_xs_encode, iq4_nl_improve, iq4_xs_improve;
quant_decode_fn iq4_nl_decode, iq4_xs_decode;
quant_simd_fn iq4_nl_simd, iq4_xs_simd;
extern const struct best iq4_nl_best, iq4_xs_best;

#endif
