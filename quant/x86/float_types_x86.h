/* SPDX-License-Identifier: MIT
 * x86 variants of the F16 and BF16 kernels; same bytes as quant/float_types.c. */
#ifndef PARE_QUANT_X86_FLOAT_TYPES_X86_H
#define PARE_QUANT_X86_FLOAT_TYPES_X86_H

#include "quant/types.h"

quant_encode_fn f16_encode_avx2, bf16_encode_avx2;
quant_decode_fn f16_decode_avx2, bf16_decode_avx2;

#endif
