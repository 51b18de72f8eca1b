/* SPDX-License-Identifier: MIT
 * x86 variants of the searches; same bits as searches_scalar. And the encoders over each set of searches. */
#ifndef PARE_QUANT_X86_SEARCHES_X86_H
#define PARE_QUANT_X86_SEARCHES_X86_H

#include "base/cpu.h"
#include "quant/search.h"
#include "quant/types.h"

extern const struct searches searches_avx2, searches_avx512;

/* Defines NAME_encode, which does what follows with `search`, x, importance, blocks and n, its variants, and
 * NAME_simd, which chooses. */
#if defined(__x86_64__)
#define SEARCH_ENCODERS(name, ...)                                                                                    \
    SEARCH_ENCODER(, name##_encode, searches_scalar, __VA_ARGS__)                                                     \
    SEARCH_ENCODER(static, name##_encode_avx2, searches_avx2, __VA_ARGS__)                                            \
    SEARCH_ENCODER(static, name##_encode_avx512, searches_avx512, __VA_ARGS__)                                        \
    void name##_simd(struct quant_kernels *k, unsigned cpu)                                                           \
    {                                                                                                                 \
        if (cpu & CPU_AVX2)                                                                                           \
            k->encode = name##_encode_avx2;                                                                           \
        if (cpu & CPU_AVX512)                                                                                         \
            k->encode = name##_encode_avx512;                                                                         \
    }
#else
#define SEARCH_ENCODERS(name, ...)                                                                                    \
    SEARCH_ENCODER(, name##_encode, searches_scalar, __VA_ARGS__)                                                     \
    void name##_simd(struct quant_kernels *k, unsigned cpu)                                                           \
    {                                                                                                                 \
        (void)k;                                                                                                      \
        (void)cpu;                                                                                                    \
    }
#endif
#define SEARCH_ENCODER(linkage, name, set, ...)                                                                       \
    linkage void name(const float *x, const float *importance, void *blocks, size_t n)                                \
    {                                                                                                                 \
        const struct searches *search = &set;                                                                         \
        __VA_ARGS__;                                                                                                  \
    }

#endif
