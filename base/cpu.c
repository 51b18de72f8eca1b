/* SPDX-License-Identifier: MIT
 * CPU features. Compiled for the baseline, so that it runs anywhere. */
#include "base/cpu.h"

#include <stdlib.h>
#include <string.h>

#ifdef __AVX__
#error "the dispatcher must be compiled for the baseline instruction set"
#endif

static unsigned detect(void)
{
    unsigned f = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        f |= CPU_AVX2;
    if (f && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        f |= CPU_AVX512;
#endif
    return f;
}

unsigned cpu_features(void)
{
    const char *mask = getenv("PARE_CPU");
    unsigned f = detect();
    if (mask && !strcmp(mask, "scalar"))
        f = 0;
    if (mask && !strcmp(mask, "avx2"))
        f &= CPU_AVX2;
    return f;
}
