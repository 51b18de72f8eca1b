/* SPDX-License-Identifier: MIT
 * x86 variants of the FP8 run kernel; same bits as fp8_run_scalar. */
#ifndef PARE_QUANT_X86_FP8_X86_H
#define PARE_QUANT_X86_FP8_X86_H

#include "quant/fp8_tiles.h"

fp8_run_fn fp8_run_avx2, fp8_run_avx512;

#endif
