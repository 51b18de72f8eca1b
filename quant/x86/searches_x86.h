/* SPDX-License-Identifier: MIT
 * x86 variants of the searches; same bits as searches_scalar. And the encoders over each set of searches. */
#ifndef PARE_QUANT_X86_SEARCHES_X86_H
#define PARE_QUANT_X86_SEARCHES_X86_H

#include "base/cpu.h"
#include "quant/search.h"
#include "quant/types.h"

extern const struct searches searches_avx2, searches_avx512;

/* SEARCH_KERNELS defines NAME_encode and NAME_decode, which do what follows with `search`, x, importance, blocks and n,
 * their variants, and NAME_simd, which chooses. SEARCH_ENCODERS does without decoders. */
#define SEARCH_ENCODER(linkage, name, set, call)                                                                      \
    linkage void name(const float *x, const float *importance, void *blocks, size_t n)                                \
    {                                                                                                                 \
        const struct searches *search = &set;                                                                         \
        call;                                                                                                         \
    }
#define SEARCH_DECODER(linkage, name, set, call)                                                                      \
    linkage void name(const void *blocks, float *x, size_t n)                                                         \
    {                                                                                                                 \
        const struct searches *search = &set;                                                                         \
        call;                                                                                                         \
    }
#if defined(__x86_64__)
#define SEARCH_ENCODERS(name, encoding)                                                                               \
    SEARCH_ENCODER(, name##_encode, searches_scalar, encoding)                                                        \
    SEARCH_ENCODER(static, name##_encode_avx2, searches_avx2, encoding)                                               \
    SEARCH_ENCODER(static, name##_encode_avx512, searches_avx512, encoding)                                           \
    void name##_simd(struct quant_kernels *k, unsigned cpu)                                                           \
    {                                                                                                                 \
        if (cpu & CPU_AVX2)                                                                                           \
            k->encode = name##_encode_avx2;                                                                           \
        if (cpu & CPU_AVX512)                                                                                         \
            k->encode = name##_encode_avx512;                                                                         \
    }
#define SEARCH_KERNELS(name, encoding, decoding)                                                                      \
    SEARCH_ENCODER(, name##_encode, searches_scalar, encoding)                                                        \
    SEARCH_ENCODER(static, name##_encode_avx2, searches_avx2, encoding)                                               \
    SEARCH_ENCODER(static, name##_encode_avx512, searches_avx512, encoding)                                           \
    SEARCH_DECODER(, name##_decode, searches_scalar, decoding)                                                        \
    SEARCH_DECODER(static, name##_decode_avx2, searches_avx2, decoding)                                               \
    SEARCH_DECODER(static, name##_decode_avx512, searches_avx512, decoding)                                           \
    void name##_simd(struct quant_kernels *k, unsigned cpu)                                                           \
    {                                                                                                                 \
        if (cpu & CPU_AVX2)                                                                                           \
            *k = (struct quant_kernels){name##_encode_avx2, name##_decode_avx2};                                      \
        if (cpu & CPU_AVX512)                                                                                         \
            *k = (struct quant_kernels){name##_encode_avx512, name##_decode_avx512};                                  \
    }
#else
#define SEARCH_ENCODERS(name, encoding)                                                                               \
    SEARCH_ENCODER(, name##_encode, searches_scalar, encoding)                                                        \
    void name##_simd(struct quant_kernels *k, unsigned cpu)                                                           \
    {                                                                                                                 \
        (void)k;                                                                                                      \
        (void)cpu;                                                                                                    \
    }
#define SEARCH_KERNELS(name, encoding, decoding)                                                                      \
    SEARCH_ENCODERS(name, encoding)                                                                                   \
    SEARCH_DECODER(, name##_decode, searches_scalar, decoding)
#endif

#endif
