/* SPDX-License-Identifier: MIT
 * Q4_0, Q4_1, Q5_0, Q5_1, scalar: the definition. */
#include "quant/legacy.h"

#include <math.h>
#include <string.h>

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

static void pack(struct legacy t, float scale, float m, const uint8_t *codes, uint8_t *out)
{
    uint16_t half = scale_to_f16(scale);
    uint32_t high = 0;
    memcpy(out, &half, 2);
    out += 2;
    if (t.has_min) {
        half = scale_to_f16(m);
        memcpy(out, &half, 2);
        out += 2;
    }
    if (t.bits == 5) {
        for (int j = 0; j < LEN; j++)
            high |= (uint32_t)(codes[j] >> 4 & 1) << j;
        memcpy(out, &high, 4);
        out += 4;
    }
    for (int j = 0; j < LEN / 2; j += 8)
        put_eight(out + j, eight(codes + j, 0, 15) | eight(codes + j + LEN / 2, 0, 15) << 4);
}

/* x * id + rounding, cut off to a code. */
static uint8_t cut(float x, float id, float rounding, int top)
{
    int c = (int)(x * id + rounding);
    return (uint8_t)(c > top ? top : c);
}

static void plain_symmetric(struct legacy t, const float *x, uint8_t *out)
{
    int half = 1 << (t.bits - 1);
    float amax = 0, v = 0;
    uint8_t codes[LEN] = {0};
    for (int j = 0; j < LEN; j++)
        if (fabsf(x[j]) > amax) {
            amax = fabsf(x[j]);
            v = x[j];
        }
    float d = v / (float)-half, id = d != 0 ? 1 / d : 0;
    for (int j = 0; j < LEN && !isinf(id); j++)
        codes[j] = cut(x[j], id, (float)half + 0.5f, 2 * half - 1);
    pack(t, d, 0, codes, out);
}

static void plain_affine(struct legacy t, const float *x, uint8_t *out)
{
    int top = (1 << t.bits) - 1;
    float low = x[0], high = x[0];
    uint8_t codes[LEN] = {0};
    for (int j = 1; j < LEN; j++) {
        low = x[j] < low ? x[j] : low;
        high = x[j] > high ? x[j] : high;
    }
    float d = (high - low) / (float)top, id = d != 0 ? 1 / d : 0;
    for (int j = 0; j < LEN && !isinf(id); j++)
        codes[j] = cut(x[j] - low, id, 0.5f, top);
    pack(t, d, low, codes, out);
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

static void encode(struct legacy t, const struct searches *s, const float *x, const float *importance, uint8_t *out,
                   size_t n)
{
    if (importance) {
        encode_weighted(t, s, x, importance, out, n);
        return;
    }
    for (size_t i = 0; i < n; i++, x += LEN, out += bytes_of(t))
        if (t.has_min)
            plain_affine(t, x, out);
        else
            plain_symmetric(t, x, out);
}

static void decode(struct legacy t, const uint8_t *in, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++, x += LEN, in += bytes_of(t)) {
        uint16_t half;
        uint32_t high = 0;
        const uint8_t *qs = in + bytes_of(t) - LEN / 2;
        memcpy(&half, in, 2);
        float d = f16_to_f32(half), m = 0;
        if (t.has_min) {
            memcpy(&half, in + 2, 2);
            m = f16_to_f32(half);
        }
        if (t.bits == 5)
            memcpy(&high, qs - 4, 4);
        for (int j = 0; j < LEN; j++) {
            int code = (j < LEN / 2 ? qs[j] & 15 : qs[j - LEN / 2] >> 4) | (int)(high >> j & 1) << 4;
            x[j] = t.has_min ? (float)code * d + m : (float)(code - (1 << (t.bits - 1))) * d;
        }
    }
}

#define LEGACY_TYPE(name, bits, has_min)                                                                              \
    SEARCH_ENCODERS(name, encode((struct legacy){bits, has_min}, search, x, importance, blocks, n))                   \
    void name##_decode(const void *blocks, float *x, size_t n)                                                        \
    {                                                                                                                 \
        decode((struct legacy){bits, has_min}, blocks, x, n);                                                         \
    }
LEGACY_TYPE(q4_0, 4, 0)
LEGACY_TYPE(q4_1, 4, 1)
LEGACY_TYPE(q5_0, 5, 0)
LEGACY_TYPE(q5_1, 5, 1)
