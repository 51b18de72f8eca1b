/* SPDX-License-Identifier: MIT
 * IQ4_NL and IQ4_XS, scalar: the definition. */
#include "quant/iq4.h"

#include <string.h>

#include "quant/best.h"
#include "quant/eight.h"
#include "quant/floats.h"
#include "quant/search.h"
#include "quant/x86/searches_x86.h"

enum { XS_BLOCKS = SUPERBLOCK / IQ4_LEN };
struct nl {
    uint16_t d;
    uint8_t q[IQ4_LEN / 2];
};
struct xs {
    uint16_t d, scales_h;
    uint8_t scales_l[XS_BLOCKS / 2], q[SUPERBLOCK / 2];
};
_Static_assert(sizeof(struct nl) == 18, "an IQ4_NL block has 18 bytes");
_Static_assert(sizeof(struct xs) == 136, "an IQ4_XS block has 136 bytes");

const float iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
const float iq4_middles[15] = {-115.5f, -93.5f, -74, -57,  -42,   -28.5f, -16, -4.5f,
                               7,       19,     31.5f, 45.5f, 61, 79,     101};

/* The weights of `units` blocks or superblocks of `len`. */
static void weigh(const struct searches *search, size_t len, const float *x, const float *importance, size_t units,
                  float *w)
{
    if (importance)
        weigh_units(search, (int)len, 2, x, importance, units, w);
    else
        for (size_t j = 0; j < units * len; j++)
            w[j] = x[j] * x[j];
}

static void nl_encode(const struct searches *search, const float *x, const float *importance, void *blocks, size_t n)
{
    enum { MOST = SEARCH_BATCH / IQ4_LEN };
    float w[SEARCH_BATCH], scale[MOST], inverse[MOST];
    uint8_t codes[SEARCH_BATCH], *out = blocks;
    for (size_t at = 0, some; at < n; at += some, x += some * IQ4_LEN) {
        some = n - at < MOST ? n - at : MOST;
        weigh(search, IQ4_LEN, x, importance ? importance + at * IQ4_LEN : NULL, some, w);
        search->iq4_scale(x, w, some, scale);
        for (size_t i = 0; i < some; i++)
            inverse[i] = inverse_of(scale[i]);
        search->iq4_codes(x, inverse, some, codes);
        for (size_t i = 0; i < some; i++, out += sizeof(struct nl)) {
            struct nl b = {.d = scale_to_f16(scale[i])};
            put_nibbles(codes + i * IQ4_LEN, IQ4_LEN, b.q);
            memcpy(out, &b, sizeof b);
        }
    }
}

/* s - 32 of block i of a superblock whose scales were 0 */
static void put_scale(struct xs *b, int i, int scale)
{
    b->scales_l[i / 2] |= (uint8_t)(((scale + 32) & 15) << 4 * (i % 2));
    b->scales_h |= (uint16_t)((scale + 32) >> 4 << 2 * i);
}

static int get_scale(const struct xs *b, int i)
{
    return ((b->scales_l[i / 2] >> 4 * (i % 2) & 15) | (b->scales_h >> 2 * i & 3) << 4) - 32;
}

/* D and the block scales of a superblock; inverse gets 1 / (D * (s - 32)). */
static void choose_scales(const float *scale, struct xs *b, float *inverse)
{
    float d = -peak_of(XS_BLOCKS, scale) / 32;
    b->d = scale_to_f16(d);
    float id = inverse_of(d);
    for (int i = 0; i < XS_BLOCKS; i++) {
        int l = clamped(nearest(id * scale[i]), -32, 31);
        inverse[i] = inverse_of(d * (float)l);
        put_scale(b, i, l);
    }
}

static void xs_encode(const struct searches *search, const float *x, const float *importance, void *blocks, size_t n)
{
    enum { MOST = SEARCH_BATCH / SUPERBLOCK };
    float w[SEARCH_BATCH], scale[MOST * XS_BLOCKS], inverse[MOST * XS_BLOCKS];
    uint8_t codes[SEARCH_BATCH], *out = blocks;
    for (size_t at = 0, some; at < n; at += some, x += some * SUPERBLOCK) {
        struct xs b[MOST] = {0};
        some = n - at < MOST ? n - at : MOST;
        weigh(search, SUPERBLOCK, x, importance ? importance + at * SUPERBLOCK : NULL, some, w);
        search->iq4_scale(x, w, some * XS_BLOCKS, scale);
        for (size_t i = 0; i < some; i++)
            choose_scales(scale + i * XS_BLOCKS, &b[i], inverse + i * XS_BLOCKS);
        search->iq4_codes(x, inverse, some * XS_BLOCKS, codes);
        for (size_t i = 0; i < some * XS_BLOCKS; i++)
            put_nibbles(codes + i * IQ4_LEN, IQ4_LEN, b[i / XS_BLOCKS].q + i % XS_BLOCKS * (IQ4_LEN / 2));
        memcpy(out, b, some * sizeof *b);
        out += some * sizeof *b;
    }
}

static void unpack(const uint8_t *q, float d, float *x)
{
    for (int j = 0; j < IQ4_LEN / 2; j++) {
        x[j] = d * iq4_values[q[j] & 15];
        x[j + IQ4_LEN / 2] = d * iq4_values[q[j] >> 4];
    }
}

void iq4_nl_decode(const void *blocks, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++, x += IQ4_LEN) {
        struct nl b;
        memcpy(&b, (const uint8_t *)blocks + i * sizeof b, sizeof b);
        unpack(b.q, f16_to_f32(b.d), x);
    }
}

void iq4_xs_decode(const void *blocks, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct xs b;
        memcpy(&b, (const uint8_t *)blocks + i * sizeof b, sizeof b);
        float d = f16_to_f32(b.d);
        for (int k = 0; k < XS_BLOCKS; k++, x += IQ4_LEN)
            unpack(b.q + k * (IQ4_LEN / 2), d * (float)get_scale(&b, k), x);
    }
}

static void nl_take(const void *block, struct super *s)
{
    struct nl b;
    memcpy(&b, block, sizeof b);
    *s = (struct super){.d = f16_to_f32(b.d), .scale[0] = 1, .min[0] = 1};
}

static void nl_give(const struct super *s, const uint8_t *codes, void *block)
{
    struct nl b = {.d = f32_to_f16(s->d)};
    put_nibbles(codes, IQ4_LEN, b.q);
    memcpy(block, &b, sizeof b);
}

static void xs_take(const void *block, struct super *s)
{
    struct xs b;
    memcpy(&b, block, sizeof b);
    s->d = f16_to_f32(b.d);
    s->dmin = 0;
    for (int i = 0; i < XS_BLOCKS; i++) {
        s->scale[i] = get_scale(&b, i);
        s->min[i] = 0;
    }
}

static void xs_give(const struct super *s, const uint8_t *codes, void *block)
{
    struct xs b = {.d = f32_to_f16(s->d)};
    for (int i = 0; i < XS_BLOCKS; i++) {
        put_scale(&b, i, s->scale[i]);
        put_nibbles(codes + i * IQ4_LEN, IQ4_LEN, b.q + i * (IQ4_LEN / 2));
    }
    memcpy(block, &b, sizeof b);
}

BEST_DECODER(iq4_nl)
BEST_DECODER(iq4_xs)
const struct best iq4_nl_best = {.form = {IQ4_LEN, VALUES_IQ4, 0}, .groups = 1, .block_bytes = sizeof(struct nl),
                                    .decode = iq4_nl_decode_by, .take = nl_take, .give = nl_give};
const struct best iq4_xs_best = {
    .form = {IQ4_LEN, VALUES_IQ4, .scale_low = -32, .scale_high = 31}, .groups = XS_BLOCKS,
    .block_bytes = sizeof(struct xs), .decode = iq4_xs_decode_by, .take = xs_take, .give = xs_give, .reach = {2, 2, 6}};

SEARCH_ENCODERS(iq4_nl, nl_encode(search, x, importance, blocks, n),
                best_blocks(&iq4_nl_best, search, x, importance, blocks, n))
SEARCH_ENCODERS(iq4_xs, xs_encode(search, x, importance, blocks, n),
                best_superblocks(&iq4_xs_best, search, x, importance, blocks, n))
