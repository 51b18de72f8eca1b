/* SPDX-License-Identifier: MIT
 * CPU features that kernels may use. */
#ifndef PARE_BASE_CPU_H
#define PARE_BASE_CPU_H

enum cpu_feature {
    CPU_AVX2 = 1 << 0,   /* AVX2, FMA and F16C */
    CPU_AVX512 = 1 << 1, /* F, BW, DQ, VL; implies CPU_AVX2 */
};

/* Bits of enum cpu_feature: what this machine has, masked by the environment variable
 * PARE_CPU=scalar|avx2|avx512 (any other value: no mask). Thread-safe; same answer all the time. */
unsigned cpu_features(void);

#endif
