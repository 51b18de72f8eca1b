/* SPDX-License-Identifier: MIT
 * x86 variants of the searches; same bits as searches_scalar. And the encoders over each set of searches. */
#ifndef PARE_QUANT_X86_SEARCHES_X86_H
#define PARE_QUANT_X86_SEARCHES_X86_H

#include "base/cpu.h"
#include "quant/search.h"
#include "quant/types.h"

extern const struct searches searches_avx2, searches_avx512;

/* SEARCH_KERNELS defines NAME_encode, NAME_decode and NAME_improve, which do what follows with `search`, x, importance, blocks
 * and n, their variants, NAME_simd, which chooses, and NAME_decode_by for struct best. SEARCH_ENCODERS does without decoders. */
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
#define SEARCH_THREE(maker, name, what, call)                                                                         \
    maker(, name##_##what, searches_scalar, call)                                                                     \
    maker(static, name##_##what##_avx2, searches_avx2, call)                                                          \
    maker(static, name##_##what##_avx512, searches_avx512, call)
#define SEARCH_CHOICE(name, what)                                                                                     \
    if (cpu & CPU_AVX2)                                                                                               \
        k->what = name##_##what##_avx2;                                                                               \
    if (cpu & CPU_AVX512)                                                                                             \
        k->what = name##_##what##_avx512;
#else
#define SEARCH_THREE(maker, name, what, call) maker(, name##_##what, searches_scalar, call)
#define SEARCH_CHOICE(name, what)                                                                                     \
    (void)k;                                                                                                          \
    (void)cpu;
#endif
#define SEARCH_ENCODERS(name, encoding, improving)                                                                    \
    SEARCH_THREE(SEARCH_ENCODER, name, encode, encoding)                                                              \
    SEARCH_THREE(SEARCH_ENCODER, name, improve, improving)                                                            \
    void name##_simd(struct quant_kernels *k, unsigned cpu)                                                           \
    {                                                                                                                 \
        SEARCH_CHOICE(name, encode)                                                                                   \
        SEARCH_CHOICE(name, improve)                                                                                  \
    }
#define SEARCH_KERNELS(name, encoding, decoding, improving)                                                           \
    static void name##_decode_by(const struct searches *search, const void *blocks, float *x, size_t n)               \
    {                                                                                                                 \
        decoding;                                                                                                     \
    }                                                                                                                 \
    SEARCH_THREE(SEARCH_ENCODER, name, encode, encoding)                                                              \
    SEARCH_THREE(SEARCH_DECODER, name, decode, decoding)                                                              \
    SEARCH_THREE(SEARCH_ENCODER, name, improve, improving)                                                            \
    void name##_simd(struct quant_kernels *k, unsigned cpu)                                                           \
    {                                                                                                                 \
        SEARCH_CHOICE(name, encode)                                                                                   \
        SEARCH_CHOICE(name, decode)                                                                                   \
        SEARCH_CHOICE(name, improve)                                                                                  \
    }

#endif
