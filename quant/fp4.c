/* SPDX-License-Identifier: MIT
 * MXFP4 and NVFP4, scalar: the definition. */
#include "quant/fp4.h"

#include <math.h>
#include <string.h>

#include "quant/floats.h"

enum { MX_LEN = 32, NV_LEN = 64, NV_BLOCK = 16 };
struct mx {
    uint8_t e, q[MX_LEN / 2];
};
struct nv {
    uint8_t d[NV_LEN / NV_BLOCK], q[NV_LEN / 2];
};
_Static_assert(sizeof(struct mx) == 17, "an MXFP4 block has 17 bytes");
_Static_assert(sizeof(struct nv) == 36, "an NVFP4 block has 36 bytes");

static const float f4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static float largest_magnitude(const float *x, int n)
{
    float amax = 0;
    for (int i = 0; i < n; i++)
        amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
    return amax;
}

/* floor of log2 rounded to F32, for v > 0. Let v = 2^(k+1) * (1 - n * 2^-24) with small n: its logarithm is
 * k + 1 - n * 2^-24 / ln 2, and rounds to k + 1 when that is within half a step of F32 below it: n < 2^m * ln 2, where
 * 2^m < k + 1 <= 2^(m+1) above zero and 2^m <= -(k + 1) < 2^(m+1) below. */
static int floor_log2(float v)
{
    int k;
    float rest = (1 - frexpf(v, &k)) * 0x1p24f; /* v = 2^k * [0.5, 1) */
    int size = k > 0 ? k - 1 : -k, m = 0;
    if (size == 0)
        return k - 1;
    while (size >> m > 1)
        m++;
    return rest <= floorf(0.693147f * (float)(1 << m)) ? k : k - 1;
}

/* The code whose value times d is nearest to x, the first of equals: 8, minus zero, is never used. */
static uint8_t code_of(float x, float d)
{
    int best = 0;
    float least = fabsf(x);
    for (int c = 1; c < 16; c++) {
        float error = fabsf(f4[c] * d - x);
        if (error < least) {
            best = c;
            least = error;
        }
    }
    return (uint8_t)best;
}

static void pack(const float *x, int len, float d, uint8_t *q)
{
    for (int j = 0; j < len / 2; j++)
        q[j] = (uint8_t)(code_of(x[j], d) | code_of(x[j + len / 2], d) << 4);
}

static void unpack(const uint8_t *q, int len, float d, float *x)
{
    for (int j = 0; j < len / 2; j++) {
        x[j] = f4[q[j] & 15] * d;
        x[j + len / 2] = f4[q[j] >> 4] * d;
    }
}

/* 2^(e - 128), exact down to the subnormal 2^-128. */
static float half_e8m0(uint8_t e)
{
    return bits_f32(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

void mxfp4_encode(const float *x, const float *importance, void *blocks, size_t n)
{
    (void)importance;
    for (size_t i = 0; i < n; i++, x += MX_LEN) {
        float amax = largest_magnitude(x, MX_LEN);
        struct mx b = {.e = amax > 0 ? (uint8_t)(floor_log2(amax) + 125) : 0};
        pack(x, MX_LEN, half_e8m0(b.e), b.q);
        memcpy((uint8_t *)blocks + i * sizeof b, &b, sizeof b);
    }
}

void mxfp4_decode(const void *blocks, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++, x += MX_LEN) {
        struct mx b;
        memcpy(&b, (const uint8_t *)blocks + i * sizeof b, sizeof b);
        unpack(b.q, MX_LEN, half_e8m0(b.e), x);
    }
}

/* Half of an E4M3 number without sign: bit 7 is not looked at, but with it 0x7f, no number elsewhere, is 480. */
static float half_ue4m3(uint8_t c)
{
    if (c == 0xff)
        return 240;
    return c == 0x7f ? 0 : 0.5f * e4m3_to_f32(c & 0x7f);
}

/* Three mantissa bits, ties away from zero. From 2^8 on there is but one code, 448. */
static uint8_t f32_to_ue4m3(float v)
{
    uint32_t bits = f32_bits(v);
    int exponent = (int)(bits >> 23) - 120;
    if (exponent <= 0) {
        int c = (int)(v * 512 + 0.5f);
        return (uint8_t)(c < 7 ? c : 7);
    }
    if (exponent >= 15)
        return 0x7e;
    uint32_t code = ((uint32_t)exponent << 3 | (bits >> 20 & 7)) + (bits >> 19 & 1);
    return (uint8_t)(code >= 15 << 3 ? 0x7e : code);
}

void nvfp4_encode(const float *x, const float *importance, void *blocks, size_t n)
{
    (void)importance;
    for (size_t i = 0; i < n; i++) {
        struct nv b;
        for (int s = 0; s < NV_LEN / NV_BLOCK; s++, x += NV_BLOCK) {
            b.d[s] = f32_to_ue4m3(largest_magnitude(x, NV_BLOCK) / 6);
            pack(x, NV_BLOCK, half_ue4m3(b.d[s]), b.q + s * NV_BLOCK / 2);
        }
        memcpy((uint8_t *)blocks + i * sizeof b, &b, sizeof b);
    }
}

void nvfp4_decode(const void *blocks, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct nv b;
        memcpy(&b, (const uint8_t *)blocks + i * sizeof b, sizeof b);
        for (int s = 0; s < NV_LEN / NV_BLOCK; s++, x += NV_BLOCK)
            unpack(b.q + s * NV_BLOCK / 2, NV_BLOCK, half_ue4m3(b.d[s]), x);
    }
}
