/* SPDX-License-Identifier: MIT
 * IQ1_S to IQ3_S, scalar: the definition. */
#include "quant/iq.h"

#include <string.h>

#include "quant/floats.h"
#include "quant/iq_grids.h"

enum { LEN = 256, BLOCKS = 8 };

static uint16_t u16_at(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t u32_at(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Eight signs from seven bits. */
static unsigned with_parity(uint32_t bits)
{
    bits &= 127;
    return bits | (unsigned)__builtin_parity(bits) << 7;
}

/* n weights of a point; `bits` of `point` choose each value. */
static void put(float *x, int n, float scale, unsigned point, const int8_t *values, unsigned signs)
{
    int bits = 16 / n;
    for (int j = 0; j < n; j++) {
        float v = scale * (float)values[point >> bits * j & ((1u << bits) - 1)];
        x[j] = signs >> j & 1 ? -v : v;
    }
}

static void put_shifted(float *x, float scale, unsigned point, float delta)
{
    for (int j = 0; j < 8; j++)
        x[j] = scale * ((float)iq1_s_values[point >> 2 * j & 3] + delta);
}

static void iq2_xxs_block(const uint8_t *in, float *x)
{
    float d = f16_to_f32(u16_at(in));
    for (int b = 0; b < BLOCKS; b++) {
        const uint8_t *index = in + 2 + 8 * b;
        uint32_t a = u32_at(index + 4);
        float scale = d * (0.5f + (float)(a >> 28)) * 0.25f;
        for (int l = 0; l < 4; l++, x += 8)
            put(x, 8, scale, iq2_xxs_grid[index[l]], iq2_xxs_values, with_parity(a >> 7 * l));
    }
}

static float nibble_scale(float d, uint8_t scales, int l)
{
    return d * (0.5f + (float)(scales >> l / 2 * 4 & 15)) * 0.25f;
}

static void iq2_xs_block(const uint8_t *in, float *x)
{
    float d = f16_to_f32(u16_at(in));
    const uint8_t *scales = in + 2 + 64;
    for (int k = 0; k < 4 * BLOCKS; k++, x += 8) {
        unsigned q = u16_at(in + 2 + 2 * k);
        put(x, 8, nibble_scale(d, scales[k / 4], k % 4), iq2_xs_grid[q & 511], iq2_xs_values, with_parity(q >> 9));
    }
}

static void iq2_s_block(const uint8_t *in, float *x)
{
    float d = f16_to_f32(u16_at(in));
    const uint8_t *qs = in + 2, *signs = qs + 32, *qh = signs + 32, *scales = qh + 8;
    for (int k = 0; k < 4 * BLOCKS; k++, x += 8) {
        unsigned index = qs[k] | (qh[k / 4] >> k % 4 * 2 & 3u) << 8;
        put(x, 8, nibble_scale(d, scales[k / 4], k % 4), iq2_s_grid[index], iq2_s_values, signs[k]);
    }
}

static void iq3_xxs_block(const uint8_t *in, float *x)
{
    float d = f16_to_f32(u16_at(in));
    const uint8_t *qs = in + 2;
    for (int b = 0; b < BLOCKS; b++) {
        uint32_t a = u32_at(in + 66 + 4 * b);
        float scale = d * (0.5f + (float)(a >> 28)) * 0.5f;
        for (int l = 0; l < 4; l++, x += 8, qs += 2) {
            unsigned signs = with_parity(a >> 7 * l);
            put(x, 4, scale, iq3_xxs_grid[qs[0]], iq3_xxs_values, signs);
            put(x + 4, 4, scale, iq3_xxs_grid[qs[1]], iq3_xxs_values, signs >> 4);
        }
    }
}

static void iq3_s_block(const uint8_t *in, float *x)
{
    float d = f16_to_f32(u16_at(in));
    const uint8_t *qs = in + 2, *qh = qs + 64, *signs = qh + 8, *scales = signs + 32;
    for (int k = 0; k < 8 * BLOCKS; k++, x += 4) {
        int b = k / 8;
        float scale = d * (float)(1 + 2 * (scales[b / 2] >> b % 2 * 4 & 15));
        unsigned index = qs[k] | (qh[b] >> k % 8 & 1u) << 8;
        put(x, 4, scale, iq3_s_grid[index], iq3_s_values, (unsigned)signs[k / 2] >> k % 2 * 4);
    }
}

static void iq1_s_block(const uint8_t *in, float *x)
{
    float d = f16_to_f32(u16_at(in));
    const uint8_t *qs = in + 2;
    for (int k = 0; k < 4 * BLOCKS; k++, x += 8) {
        unsigned qh = u16_at(in + 34 + k / 4 * 2), index = qs[k] | (qh >> k % 4 * 3 & 7) << 8;
        put_shifted(x, d * (float)(2 * (qh >> 12 & 7) + 1), iq1_s_grid[index], qh & 0x8000 ? -0.125f : 0.125f);
    }
}

static void iq1_m_block(const uint8_t *in, float *x)
{
    const uint8_t *qh = in + 32, *scales = in + 48;
    unsigned bits = 0;
    for (int i = 0; i < 4; i++)
        bits |= (unsigned)(u16_at(scales + 2 * i) >> 12) << 4 * i;
    float d = f16_to_f32((uint16_t)bits);
    for (int k = 0; k < 4 * BLOCKS; k++, x += 8) {
        int b = k / 4;
        unsigned high = qh[k / 2] >> k % 2 * 4, s = u16_at(scales + b / 2 * 2) >> (b % 2 * 6 + k % 4 / 2 * 3) & 7;
        put_shifted(x, d * (float)(2 * s + 1), iq1_s_grid[in[k] | (high & 7) << 8], high & 8 ? -0.125f : 0.125f);
    }
}

#define IQ_TYPE(name, bytes)                                                                                          \
    void name##_decode(const void *blocks, float *x, size_t n)                                                        \
    {                                                                                                                 \
        for (size_t i = 0; i < n; i++)                                                                                \
            name##_block((const uint8_t *)blocks + i * bytes, x + i * LEN);                                           \
    }
IQ_TYPE(iq1_s, 50)
IQ_TYPE(iq1_m, 56)
IQ_TYPE(iq2_xxs, 66)
IQ_TYPE(iq2_xs, 74)
IQ_TYPE(iq2_s, 82)
IQ_TYPE(iq3_xxs, 98)
IQ_TYPE(iq3_s, 110)
