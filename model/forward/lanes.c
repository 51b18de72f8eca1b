/* SPDX-License-Identifier: MIT
 * Elementwise functions for the baseline instruction set; the dispatcher. */
#define LANES_VARIANT lanes_scalar
#include "model/forward/lanes_body.h"

#include "base/cpu.h"

const struct lanes *lanes_for(unsigned cpu)
{
#if defined(__x86_64__)
    if (cpu & CPU_AVX512)
        return &lanes_avx512;
    if (cpu & CPU_AVX2)
        return &lanes_avx2;
#endif
    (void)cpu;
    return &lanes_scalar;
}
