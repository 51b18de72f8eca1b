/* SPDX-License-Identifier: MIT
 * MXFP4 and NVFP4: codes of 4 bits that are E2M1 numbers, with a scale that is a small float itself. F4 are the doubled
 * E2M1 values 0 1 2 3 4 6 8 12, then the same with a minus sign; scales are halved to make up for it.
 *
 * MXFP4: 32 weights in 17 bytes, 4.25 bits per weight; x = 2^(e - 128) * F4[code].
 *   0   1                                             17
 *   | e | byte j: code of x[j] | code of x[j+16] << 4  |     e: E8M0
 * NVFP4: 64 weights in 36 bytes, 4.5 bits per weight; x = d[s] / 2 * F4[code] in block s = 0..3 of 16 weights.
 *   0      4                                                           36
 *   | d[4] | byte 8s + j: code of x[16s+j] | code of x[16s+8+j] << 4    |     d: E4M3 without sign; 0x7f is 0
 * A factor for a whole NVFP4 tensor lies in another tensor, `NAME.scale` in place of `NAME.weight`.
 *
 * Encoding: e = floor(log2(amax)) + 125, 0 for amax = 0. As in llama.cpp the logarithm is one of F32: the few numbers
 * just below a power of two whose logarithm rounds to that power's count as it, and below 2^-125 e wraps round modulo
 * 256, as it comes out on x86-64 (all codes are then 0). d = amax / 6 with three mantissa bits, ties away from zero,
 * 256 and above as 448. Codes: the value nearest to x, the first of equals in the order of codes. The importance plays
 * no part.
 * Source: ggml-org/ggml, src/ggml-common.h block_mxfp4, block_nvfp4, src/ggml-impl.h, src/ggml-quants.c
 * quantize_row_mxfp4_ref, quantize_row_nvfp4_ref; OCP Microscaling Formats (MX) 1.0. */
#ifndef PARE_QUANT_FP4_H
#define PARE_QUANT_FP4_H

#include "quant/types.h"

extern const float f4_values[16];

quant_encode_fn mxfp4_encode, nvfp4_encode, mxfp4_improve, nvfp4_improve;
quant_decode_fn mxfp4_decode, nvfp4_decode;
quant_simd_fn mxfp4_simd, nvfp4_simd;
extern const struct best mxfp4_best, nvfp4_best;

#endif
