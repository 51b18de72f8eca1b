/* SPDX-License-Identifier: MIT
 * Q8_0: 32 weights in 34 bytes, 8.5 bits per weight.
 *
 *   0   2                              34
 *   | d | q0 q1 q2 ...             q31 |     d: F16, q: i8
 *
 * x = d * q, q in -127..127.
 * Encoding: d = amax / 127 in F32; q = x * (1 / d) rounded half away from zero; then d is stored as F16. When 1 / d is
 * no finite number (d is not above Q8_0_TINY, and 0 as F16), all q are 0, as llama.cpp's come out on x86-64. The importance
 * plays no part.
 * Source: ggml-org/ggml, src/ggml-common.h block_q8_0, src/ggml-quants.c quantize_row_q8_0_ref. */
#ifndef PARE_QUANT_Q8_0_H
#define PARE_QUANT_Q8_0_H

#include "quant/types.h"

#define Q8_0_TINY 0x1p-128f /* the largest d whose 1 / d overflows */

quant_encode_fn q8_0_encode;
quant_decode_fn q8_0_decode;
quant_simd_fn q8_0_simd;

#endif
