/* SPDX-License-Identifier: MIT
 * Block kernels of the plain number formats (quant/types.h says the contract). */
#ifndef PARE_QUANT_FLOAT_TYPES_H
#define PARE_QUANT_FLOAT_TYPES_H

#include "quant/types.h"

void f32_encode(const float *x, void *blocks, size_t n);
void f32_decode(const void *blocks, float *x, size_t n);
void f16_encode(const float *x, void *blocks, size_t n);
void f16_decode(const void *blocks, float *x, size_t n);
void bf16_encode(const float *x, void *blocks, size_t n);
void bf16_decode(const void *blocks, float *x, size_t n);
void f8_e4m3_encode(const float *x, void *blocks, size_t n);
void f8_e4m3_decode(const void *blocks, float *x, size_t n);
void f8_e5m2_encode(const float *x, void *blocks, size_t n);
void f8_e5m2_decode(const void *blocks, float *x, size_t n);
void f8_e8m0_encode(const float *x, void *blocks, size_t n);
void f8_e8m0_decode(const void *blocks, float *x, size_t n);

quant_simd_fn float_types_f16_simd, float_types_bf16_simd;

#endif
