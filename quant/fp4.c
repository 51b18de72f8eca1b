/* SPDX-License-Identifier: MIT
 * MXFP4 and NVFP4, scalar: the definition. */
#include "quant/fp4.h"

#include <math.h>
#include <string.h>

#include "quant/best.h"
#include "quant/eight.h"
#include "quant/floats.h"
#include "quant/search.h"
#include "quant/x86/searches_x86.h"

enum { MX_LEN = 32, NV_LEN = 64, NV_BLOCK = 16 };
struct mx {
    uint8_t e, q[MX_LEN / 2];
};
struct nv {
    uint8_t d[NV_LEN / NV_BLOCK], q[NV_LEN / 2];
};
_Static_assert(sizeof(struct mx) == 17, "an MXFP4 block has 17 bytes");
_Static_assert(sizeof(struct nv) == 36, "an NVFP4 block has 36 bytes");

const float f4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

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

static void unpack(const uint8_t *q, int len, float d, float *x)
{
    for (int j = 0; j < len / 2; j++) {
        x[j] = f4_values[q[j] & 15] * d;
        x[j + len / 2] = f4_values[q[j] >> 4] * d;
    }
}

/* 2^(e - 128), exact down to the subnormal 2^-128. */
static float half_e8m0(uint8_t e)
{
    return bits_f32(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

static void mx_encode(const struct searches *search, const float *x, uint8_t *out, size_t n)
{
    enum { MOST = SEARCH_BATCH / MX_LEN };
    for (size_t at = 0, some; at < n; at += some, x += some * MX_LEN) {
        struct mx b[MOST];
        float peak[MOST], step[MOST];
        uint8_t codes[SEARCH_BATCH];
        some = n - at < MOST ? n - at : MOST;
        search->peaks(MX_LEN, x, some, peak);
        for (size_t i = 0; i < some; i++) {
            b[i].e = peak[i] != 0 ? (uint8_t)(floor_log2(fabsf(peak[i])) + 125) : 0;
            step[i] = half_e8m0(b[i].e);
        }
        search->f4_codes(MX_LEN, x, step, some, codes);
        for (size_t i = 0; i < some; i++)
            put_nibbles(codes + i * MX_LEN, MX_LEN, b[i].q);
        memcpy(out, b, some * sizeof *b);
        out += some * sizeof *b;
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

static void nv_encode(const struct searches *search, const float *x, uint8_t *out, size_t n)
{
    enum { MOST = SEARCH_BATCH / NV_LEN, PARTS = NV_LEN / NV_BLOCK };
    for (size_t at = 0, some; at < n; at += some, x += some * NV_LEN) {
        struct nv b[MOST];
        float peak[MOST * PARTS], step[MOST * PARTS];
        uint8_t codes[SEARCH_BATCH];
        some = n - at < MOST ? n - at : MOST;
        search->peaks(NV_BLOCK, x, some * PARTS, peak);
        for (size_t i = 0; i < some * PARTS; i++) {
            uint8_t d = f32_to_ue4m3(fabsf(peak[i]) / 6);
            b[i / PARTS].d[i % PARTS] = d;
            step[i] = half_ue4m3(d);
        }
        search->f4_codes(NV_BLOCK, x, step, some * PARTS, codes);
        for (size_t i = 0; i < some * PARTS; i++)
            put_nibbles(codes + i * NV_BLOCK, NV_BLOCK, b[i / PARTS].q + i % PARTS * NV_BLOCK / 2);
        memcpy(out, b, some * sizeof *b);
        out += some * sizeof *b;
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

static void mx_take(const void *block, struct super *s)
{
    *s = (struct super){.scale[0] = *(const uint8_t *)block};
}

static void mx_give(const struct super *s, const uint8_t *codes, void *block)
{
    struct mx b = {.e = (uint8_t)s->scale[0]};
    put_nibbles(codes, MX_LEN, b.q);
    memcpy(block, &b, sizeof b);
}

static void nv_take(const void *block, struct super *s)
{
    *s = (struct super){.d = 0};
    for (int i = 0; i < NV_LEN / NV_BLOCK; i++)
        s->scale[i] = ((const uint8_t *)block)[i];
}

static void nv_give(const struct super *s, const uint8_t *codes, void *block)
{
    struct nv b;
    for (int i = 0; i < NV_LEN / NV_BLOCK; i++) {
        b.d[i] = (uint8_t)s->scale[i];
        put_nibbles(codes + i * NV_BLOCK, NV_BLOCK, b.q + i * (NV_BLOCK / 2));
    }
    memcpy(block, &b, sizeof b);
}

static float mx_step(int code)
{
    return half_e8m0((uint8_t)code);
}

static float nv_step(int code)
{
    return half_ue4m3((uint8_t)code);
}

BEST_DECODER(mxfp4)
BEST_DECODER(nvfp4)

/* The largest value may be put on 12, the plain choice, or on 8 or 6, which other blocks fill better; or beyond 12. */
const struct best mxfp4_best = {.form = {MX_LEN, VALUES_F4, .scale_high = 254}, .groups = 1,
                                    .block_bytes = sizeof(struct mx), .decode = mxfp4_decode_by, .take = mx_take,
                                    .give = mx_give, .step = mx_step, .below = 1, .above = 1};
const struct best nvfp4_best = {.form = {NV_BLOCK, VALUES_F4, .scale_high = 0x7e}, .groups = NV_LEN / NV_BLOCK,
                                    .block_bytes = sizeof(struct nv), .decode = nvfp4_decode_by, .take = nv_take,
                                    .give = nv_give, .step = nv_step, .below = 4, .above = 8};

SEARCH_ENCODERS(mxfp4, (void)importance; mx_encode(search, x, blocks, n),
                best_coded(&mxfp4_best, search, x, importance, blocks, n))
SEARCH_ENCODERS(nvfp4, (void)importance; nv_encode(search, x, blocks, n),
                best_coded(&nvfp4_best, search, x, importance, blocks, n))
