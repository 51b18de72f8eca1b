/* SPDX-License-Identifier: MIT
 * x86 variants of the F16 and BF16 kernels; same bytes as quant/float_types.c. */
#ifndef PARE_QUANT_X86_FLOAT_TYPES_X86_H
#define PARE_QUANT_X86_FLOAT_TYPES_X86_H

#include <stddef.h>

void f16_encode_avx2(const float *x, void *blocks, size_t n);
void f16_decode_avx2(const void *blocks, float *x, size_t n);
void bf16_encode_avx2(const float *x, void *blocks, size_t n);
void bf16_decode_avx2(const void *blocks, float *x, size_t n);

#endif
