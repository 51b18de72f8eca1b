/* SPDX-License-Identifier: MIT
 * x86 variants of the Q8_0 kernels; same bytes as quant/q8_0.c. */
#ifndef PARE_QUANT_X86_Q8_0_X86_H
#define PARE_QUANT_X86_Q8_0_X86_H

#include "quant/types.h"

quant_encode_fn q8_0_encode_avx2;
quant_decode_fn q8_0_decode_avx2;

#endif
