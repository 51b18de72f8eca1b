/* SPDX-License-Identifier: MIT
 * Q4_0, Q4_1, Q5_0, Q5_1, scalar: the definition. */
#include "quant/legacy.h"

#include <math.h>
#include <string.h>

#include "quant/best.h"
#include "quant/eight.h"
#include "quant/floats.h"
#include "quant/search.h"
#include "quant/x86/searches_x86.h"

enum { LEN = 32, MOST = SEARCH_BATCH / LEN };

/* What tells the four apart. */
struct legacy {
    int bits;
    int has_min;
};

static size_t bytes_of(struct legacy t)
{
    return 2 + (t.has_min ? 2 : 0) + (t.bits == 5 ? 4 : 0) + LEN / 2;
}

/* The fifth bits of eight codes as one byte, and back: products and sums that move a bit per byte without carries. */
static uint8_t fifth_bits(const uint8_t *codes)
{
    return (uint8_t)(eight(codes, 4, 1) * UINT64_C(0x0102040810204080) >> 56);
}

static uint64_t from_fifth_bits(uint8_t bits)
{
    uint64_t v = bits * UINT64_C(0x0101010101010101) & UINT64_C(0x8040201008040201);
    return ((v + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 3) & UINT64_C(0x1010101010101010);
}

static void pack(struct legacy t, float scale, float m, const uint8_t *codes, uint8_t *out)
{
    uint16_t half = scale_to_f16(scale);
    memcpy(out, &half, 2);
    out += 2;
    if (t.has_min) {
        half = scale_to_f16(m);
        memcpy(out, &half, 2);
        out += 2;
    }
    for (int j = 0; t.bits == 5 && j < LEN; j += 8)
        *out++ = fifth_bits(codes + j);
    put_nibbles(codes, LEN, out);
}

static void encode_plain(struct legacy t, const struct searches *search, const float *x, uint8_t *out, size_t n)
{
    const int half = 1 << (t.bits - 1), top = 2 * half - 1;
    for (size_t at = 0, some; at < n; at += some, x += some * LEN) {
        float low[MOST] = {0}, high[MOST], d[MOST], inverse[MOST];
        uint8_t codes[SEARCH_BATCH];
        some = n - at < MOST ? n - at : MOST;
        if (t.has_min)
            search->ranges(LEN, x, some, low, high);
        else
            search->peaks(LEN, x, some, high);
        for (size_t i = 0; i < some; i++) {
            d[i] = t.has_min ? (high[i] - low[i]) / (float)top : high[i] / (float)-half;
            inverse[i] = inverse_of(d[i]);
        }
        search->cut(LEN, top, t.has_min ? 0.5f : (float)half + 0.5f, x, low, inverse, some, codes);
        for (size_t i = 0; i < some; i++, out += bytes_of(t))
            pack(t, d[i], low[i], codes + i * LEN, out);
    }
}

static void encode_weighted(struct legacy t, const struct searches *s, const float *x, const float *importance,
                            uint8_t *out, size_t n)
{
    float w[SEARCH_BATCH], scale[MOST], min[MOST] = {0}, sigma2 = sum_of_squares(x, n * LEN) / (float)(n * LEN);
    uint8_t codes[SEARCH_BATCH];
    struct affine how = {.len = LEN, .top = (1 << t.bits) - 1, .first = -0.9f, .step = 0.05f, .steps = 36};
    for (size_t at = 0, some; at < n; at += some) {
        some = n - at < MOST ? n - at : MOST;
        s->weigh(x + at * LEN, importance + at * LEN, some * LEN, sigma2, w);
        if (t.has_min)
            s->affine(&how, x + at * LEN, w, some, scale, min, codes);
        else
            s->symmetric(LEN, 1 << (t.bits - 1), x + at * LEN, w, some, scale, codes);
        for (size_t i = 0; i < some; i++, out += bytes_of(t))
            pack(t, scale[i], -min[i], codes + i * LEN, out);
    }
}

static void encode(struct legacy t, const struct searches *search, const float *x, const float *importance,
                   uint8_t *out, size_t n)
{
    if (importance)
        encode_weighted(t, search, x, importance, out, n);
    else
        encode_plain(t, search, x, out, n);
}

/* x = d * (code - half), or d * code - -m. */
static void decode(struct legacy t, const struct searches *search, const uint8_t *in, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++, x += LEN, in += bytes_of(t)) {
        uint16_t stored[2] = {0, 0};
        uint8_t codes[LEN];
        const uint8_t *qs = in + bytes_of(t) - LEN / 2;
        memcpy(stored, in, t.has_min ? 4 : 2);
        for (int j = 0; j < LEN; j += 8) {
            uint64_t high = t.bits == 5 ? from_fifth_bits(qs[j / 8 - 4]) : 0;
            put_eight(codes + j, eight(qs + j % (LEN / 2), j / (LEN / 2) * 4, 15) | high);
        }
        float step = f16_to_f32(stored[0]), offset = t.has_min ? -f16_to_f32(stored[1]) : 0;
        search->dequantize(LEN, t.has_min ? 0 : -(1 << (t.bits - 1)), codes, &step, &offset, 1, x);
    }
}

static void take_symmetric(const void *block, struct super *s)
{
    uint16_t d;
    memcpy(&d, block, sizeof d);
    *s = (struct super){.d = f16_to_f32(d), .scale[0] = 1, .min[0] = 1};
}

static void take_affine(const void *block, struct super *s)
{
    uint16_t stored[2];
    memcpy(stored, block, sizeof stored);
    *s = (struct super){.d = f16_to_f32(stored[0]), .dmin = -f16_to_f32(stored[1]), .scale[0] = 1, .min[0] = 1};
}

#define LEGACY_TYPE(name, bits, has_min)                                                                              \
    static void name##_give(const struct super *s, const uint8_t *codes, void *block)                                 \
    {                                                                                                                 \
        pack((struct legacy){bits, has_min}, s->d, -s->dmin, codes, block);                                           \
    }                                                                                                                 \
    static best_decode_fn name##_decode_by;                                                                           \
    const struct best name##_best = {.form = {LEN, VALUES_WHOLE, .low = has_min ? 0 : -(1 << (bits - 1)),      \
                                                     .high = (1 << (bits - !has_min)) - 1, .min_high = has_min},      \
                                            .groups = 1, .block_bytes = 2 + 2 * has_min + 4 * (bits == 5) + LEN / 2,  \
                                            .decode = name##_decode_by, .give = name##_give,                             \
                                            .take = has_min ? take_affine : take_symmetric};                          \
    SEARCH_KERNELS(name, encode((struct legacy){bits, has_min}, search, x, importance, blocks, n),                    \
                   decode((struct legacy){bits, has_min}, search, blocks, x, n),                                      \
                   best_blocks(&name##_best, search, x, importance, blocks, n))
LEGACY_TYPE(q4_0, 4, 0)
LEGACY_TYPE(q4_1, 4, 1)
LEGACY_TYPE(q5_0, 5, 0)
LEGACY_TYPE(q5_1, 5, 1)
