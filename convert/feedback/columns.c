/* SPDX-License-Identifier: MIT
 * Inner loops of a sweep for the baseline instruction set; the dispatcher. */
#define COLUMNS_VARIANT columns_scalar
#include "convert/feedback/columns_body.h"

#include "base/cpu.h"

const struct columns *columns_for(unsigned cpu)
{
#if defined(__x86_64__)
    if (cpu & CPU_AVX512)
        return &columns_avx512;
    if (cpu & CPU_AVX2)
        return &columns_avx2;
#endif
    (void)cpu;
    return &columns_scalar;
}
