/* SPDX-License-Identifier: MIT
 * Panels, scalar: the definition. */
#include "quant/vector_scalar.h"

#define PANELS_VARIANT panels_scalar
#include "quant/panel_body.h"

#include "base/cpu.h"

const struct panel_kernels *panels_for(unsigned cpu)
{
#if defined(__x86_64__)
    if (cpu & CPU_AVX512)
        return &panels_avx512;
    if (cpu & CPU_AVX2)
        return &panels_avx2;
#endif
    (void)cpu;
    return &panels_scalar;
}
