/* SPDX-License-Identifier: MIT
 * x86 variants of the Q8_0 kernels; same bytes as quant/q8_0.c. */
#ifndef PARE_QUANT_X86_Q8_0_X86_H
#define PARE_QUANT_X86_Q8_0_X86_H

#include <stddef.h>

void q8_0_encode_avx2(const float *x, void *blocks, size_t n);
void q8_0_decode_avx2(const void *blocks, float *x, size_t n);

#endif
