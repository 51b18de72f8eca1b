/* SPDX-License-Identifier: MIT
 * Block kernels of the plain number formats (quant/types.h says the contract). */
#ifndef PARE_QUANT_FLOAT_TYPES_H
#define PARE_QUANT_FLOAT_TYPES_H

#include "quant/types.h"

/* The importance plays no part. */
quant_encode_fn f32_encode, f16_encode, bf16_encode, f8_e4m3_encode, f8_e5m2_encode, f8_e8m0_encode;
quant_decode_fn f32_decode, f16_decode, bf16_decode, f8_e4m3_decode, f8_e5m2_decode, f8_e8m0_decode;

quant_simd_fn float_types_f16_simd, float_types_bf16_simd;

#endif
