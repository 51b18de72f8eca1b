/* SPDX-License-Identifier: MIT
 * MXFP4 and NVFP4 as compressed-tensors stores them: codes are E2M1 numbers as in quant/fp4.h, but lie in the order of columns, and
 * scales are whole. Without tensors apart, a block is:
 *
 *   MXFP4-CT  32 weights in 17 bytes  | e | q[16] |   x = 2^(e - 127) * E2M1[code]   e: E8M0
 *   NVFP4-CT  16 weights in  9 bytes  | d | q[8]  |   x = d * E2M1[code]             d: E4M3
 *     byte j of q: code of x[2j] | code of x[2j+1] << 4
 *
 * NVFP4-CT's numbers have been multiplied by the tensor's global scale, 448 * 6 over its largest magnitude; decoding gives them
 * before they are divided by it, nvfp4_ct_values divides.
 *
 * Encoding: e = floor(log2(P)) + 125, at least 0, where P is amax, from 1.75 * 2^k on 2^(k+1) (a scale that ggml's MXFP4 takes one
 * power lower). d = amax / 6 to the nearest E4M3, 0 becomes 0.125. Codes: x / scale to the nearest, ties to even. Importance plays no part.
 * Source: vllm-project/compressed-tensors quantization/utils/mxfp_utils.py, helpers.py, fp4_utils.py, compressors/nvfp4. */
#ifndef PARE_QUANT_FP4_CT_H
#define PARE_QUANT_FP4_CT_H

#include "quant/types.h"

quant_encode_fn mxfp4_ct_encode, nvfp4_ct_encode, mxfp4_ct_improve, nvfp4_ct_improve;
quant_decode_fn mxfp4_ct_decode, nvfp4_ct_decode;
quant_simd_fn mxfp4_ct_simd, nvfp4_ct_simd;
extern const struct best mxfp4_ct_best, nvfp4_ct_best;

/* Weights of n NVFP4-CT blocks of a tensor with this global scale, in the package's order: (d / global) * E2M1[code], F32. */
void nvfp4_ct_values(const void *blocks, float global, float *x, size_t n);

#endif
