/* SPDX-License-Identifier: MIT
 * Plain number formats as types of one-number blocks. Blocks are little-endian and need no alignment. */
#include "quant/float_types.h"

#include <string.h>

#include "base/cpu.h"
#include "quant/floats.h"
#include "quant/x86/float_types_x86.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "blocks are stored little-endian; this code copies them as they are in memory"
#endif

void f32_encode(const float *x, const float *importance, void *blocks, size_t n)
{
    (void)importance;
    memcpy(blocks, x, n * sizeof *x);
}

void f32_decode(const void *blocks, float *x, size_t n)
{
    memcpy(x, blocks, n * sizeof *x);
}

static void put16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, sizeof v);
}

static uint16_t get16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

void f16_encode(const float *x, const float *importance, void *blocks, size_t n)
{
    (void)importance;
    for (size_t i = 0; i < n; i++)
        put16((uint8_t *)blocks + 2 * i, f32_to_f16(x[i]));
}

void f16_decode(const void *blocks, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = f16_to_f32(get16((const uint8_t *)blocks + 2 * i));
}

void bf16_encode(const float *x, const float *importance, void *blocks, size_t n)
{
    (void)importance;
    for (size_t i = 0; i < n; i++)
        put16((uint8_t *)blocks + 2 * i, f32_to_bf16(x[i]));
}

void bf16_decode(const void *blocks, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = bf16_to_f32(get16((const uint8_t *)blocks + 2 * i));
}

/* The one-byte formats differ in their scalar conversion alone. */
#define ONE_BYTE_TYPE(type, short_name)                                                                               \
    void type##_encode(const float *x, const float *importance, void *blocks, size_t n)                               \
    {                                                                                                                 \
        (void)importance;                                                                                             \
        for (size_t i = 0; i < n; i++)                                                                                \
            ((uint8_t *)blocks)[i] = f32_to_##short_name(x[i]);                                                       \
    }                                                                                                                 \
    void type##_decode(const void *blocks, float *x, size_t n)                                                        \
    {                                                                                                                 \
        for (size_t i = 0; i < n; i++)                                                                                \
            x[i] = short_name##_to_f32(((const uint8_t *)blocks)[i]);                                                 \
    }
ONE_BYTE_TYPE(f8_e4m3, e4m3)
ONE_BYTE_TYPE(f8_e5m2, e5m2)
ONE_BYTE_TYPE(f8_e8m0, e8m0)

void float_types_f16_simd(struct quant_kernels *k, unsigned cpu)
{
#if defined(__x86_64__)
    if (cpu & CPU_AVX2)
        *k = (struct quant_kernels){f16_encode_avx2, f16_decode_avx2};
#endif
    (void)k;
    (void)cpu;
}

void float_types_bf16_simd(struct quant_kernels *k, unsigned cpu)
{
#if defined(__x86_64__)
    if (cpu & CPU_AVX2)
        *k = (struct quant_kernels){bf16_encode_avx2, bf16_decode_avx2};
#endif
    (void)k;
    (void)cpu;
}
