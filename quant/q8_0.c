/* SPDX-License-Identifier: MIT
 * Q8_0, scalar: the definition. */
#include "quant/q8_0.h"

#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "quant/floats.h"
#include "quant/x86/q8_0_x86.h"

enum { LEN = 32 };
struct block {
    uint16_t d;
    int8_t q[LEN];
};
_Static_assert(sizeof(struct block) == 34, "a Q8_0 block has 34 bytes");

/* Half away from zero, exactly; |v| is at most 127.5 here. */
static int round_half_away(float v)
{
    int t = (int)v;
    float rest = v - (float)t;
    return t + (rest >= 0.5f) - (rest <= -0.5f);
}

void q8_0_encode(const float *x, const float *importance, void *blocks, size_t n)
{
    (void)importance;
    for (size_t i = 0; i < n; i++, x += LEN) {
        struct block b;
        float amax = 0;
        for (int j = 0; j < LEN; j++)
            amax = fabsf(x[j]) > amax ? fabsf(x[j]) : amax;
        float d = amax / 127, id = d > Q8_0_TINY ? 1 / d : 0;
        b.d = f32_to_f16(d);
        for (int j = 0; j < LEN; j++)
            b.q[j] = (int8_t)round_half_away(x[j] * id);
        memcpy((uint8_t *)blocks + i * sizeof b, &b, sizeof b);
    }
}

void q8_0_decode(const void *blocks, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++, x += LEN) {
        struct block b;
        memcpy(&b, (const uint8_t *)blocks + i * sizeof b, sizeof b);
        float d = f16_to_f32(b.d);
        for (int j = 0; j < LEN; j++)
            x[j] = (float)b.q[j] * d;
    }
}

void q8_0_simd(struct quant_kernels *k, unsigned cpu)
{
#if defined(__x86_64__)
    if (cpu & CPU_AVX2)
        *k = (struct quant_kernels){q8_0_encode_avx2, q8_0_decode_avx2};
#endif
    (void)k;
    (void)cpu;
}
