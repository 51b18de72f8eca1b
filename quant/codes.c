/* SPDX-License-Identifier: MIT
 * Codes under a given scale, scalar: the definition. */
#include "quant/vector_scalar.h"

#define CODES_VARIANT codes_scalar
#include "quant/codes_body.h"

#include "base/cpu.h"

const struct code_kernels *code_kernels_for(unsigned cpu)
{
#if defined(__x86_64__)
    if (cpu & CPU_AVX512)
        return &codes_avx512;
    if (cpu & CPU_AVX2)
        return &codes_avx2;
#endif
    (void)cpu;
    return &codes_scalar;
}
