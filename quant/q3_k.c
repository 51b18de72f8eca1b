/* SPDX-License-Identifier: MIT
 * Q3_K, scalar: the definition. */
#include "quant/q3_k.h"

#include <string.h>

#include "quant/best.h"
#include "quant/eight.h"
#include "quant/floats.h"
#include "quant/search.h"
#include "quant/x86/searches_x86.h"

enum { LEN = 16, GROUPS = SUPERBLOCK / LEN, HALF = 4, SCALE_HALF = 32, MOST = SEARCH_BATCH / SUPERBLOCK };
struct block {
    uint8_t hmask[SUPERBLOCK / 8], qs[SUPERBLOCK / 4], scales[12];
    uint16_t d;
};
_Static_assert(sizeof(struct block) == 110, "a Q3_K block has 110 bytes");

static void put_scales(const uint8_t *s, uint8_t *scales)
{
    memset(scales, 0, 12);
    for (int g = 0; g < GROUPS; g++) {
        scales[g % 8] |= (uint8_t)((s[g] & 15) << g / 8 * 4);
        scales[8 + g % 4] |= (uint8_t)(s[g] >> 4 << g / 4 * 2);
    }
}

static int get_scale(const uint8_t *scales, int g)
{
    return (scales[g % 8] >> g / 8 * 4 & 15) | (scales[8 + g % 4] >> g / 4 * 2 & 3) << 4;
}

/* s in thirty-seconds of the scale of largest magnitude, which becomes -32. */
static uint16_t in_thirtyseconds(const float *scale, uint8_t *s)
{
    float v = peak_of(GROUPS, scale);
    memset(s, 0, GROUPS);
    if (v == 0)
        return 0;
    float inverse = -SCALE_HALF / v;
    for (int g = 0; g < GROUPS; g++)
        s[g] = (uint8_t)(clamped((int8_t)nearest(inverse * scale[g]), -SCALE_HALF, SCALE_HALF - 1) + SCALE_HALF);
    return scale_to_f16(1 / inverse);
}

static void steps_of(const struct block *b, float *step)
{
    float d = f16_to_f32(b->d);
    for (int g = 0; g < GROUPS; g++)
        step[g] = d * (float)(get_scale(b->scales, g) - SCALE_HALF);
}

static void put_codes(const uint8_t *codes, struct block *b)
{
    for (int l = 0; l < SUPERBLOCK / 8; l += 8) {
        uint64_t high = 0;
        for (int k = 0; k < 8; k++)
            high |= eight(codes + k * 32 + l, 2, 1) << k;
        put_eight(b->hmask + l, high);
    }
    put_two_bits(codes, b->qs);
}

static const float no_offset[GROUPS];

static void finish(const struct searches *search, const float *x, struct block *b, uint8_t *codes)
{
    float step[GROUPS];
    steps_of(b, step);
    search->requantize(LEN, -HALF, HALF - 1, x, step, no_offset, GROUPS, codes);
    put_codes(codes, b);
}

/* D and s of n superblocks whose groups have these scales. */
static void choose_scales(const struct searches *search, const float *scale, const float *weights, size_t n,
                          struct block *b)
{
    uint8_t s[MOST * GROUPS];
    float d[MOST], group_weights[MOST * GROUPS];
    if (weights) {
        search->sums(LEN, weights, n * GROUPS, group_weights);
        search->symmetric(GROUPS, SCALE_HALF, scale, group_weights, n, d, s);
    }
    for (size_t i = 0; i < n; i++) {
        b[i].d = weights ? scale_to_f16(d[i]) : in_thirtyseconds(scale + i * GROUPS, s + i * GROUPS);
        put_scales(s + i * GROUPS, b[i].scales);
    }
}

static void search_weighted(const struct searches *search, const float *x, const float *importance, size_t n,
                            struct block *b, uint8_t *codes)
{
    float w[SEARCH_BATCH], scale[MOST * GROUPS];
    weigh_units(search, SUPERBLOCK, 2, x, importance, n, w);
    search->symmetric(LEN, HALF, x, w, n * GROUPS, scale, codes);
    choose_scales(search, scale, w, n, b);
}

static void encode(const struct searches *search, const float *x, const float *importance, uint8_t *out, size_t n)
{
    for (size_t at = 0, some; at < n; at += some, x += some * SUPERBLOCK, out += some * sizeof(struct block)) {
        struct block b[MOST];
        uint8_t codes[SEARCH_BATCH];
        some = n - at < MOST ? n - at : MOST;
        if (importance) {
            search_weighted(search, x, importance + at * SUPERBLOCK, some, b, codes);
        } else {
            float scale[MOST * GROUPS];
            search->descend(LEN, HALF, x, some * GROUPS, scale, codes);
            choose_scales(search, scale, NULL, some, b);
        }
        for (size_t i = 0; i < some; i++)
            finish(search, x + i * SUPERBLOCK, &b[i], codes + i * SUPERBLOCK);
        memcpy(out, b, some * sizeof *b);
    }
}

static void decode(const struct searches *search, const uint8_t *in, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++, in += sizeof(struct block), x += SUPERBLOCK) {
        struct block b;
        float step[GROUPS];
        uint8_t codes[SUPERBLOCK];
        memcpy(&b, in, sizeof b);
        steps_of(&b, step);
        for (int j = 0; j < SUPERBLOCK; j += 8) {
            uint64_t low = eight(b.qs + j / 128 * 32 + j % 32, j % 128 / 32 * 2, 3);
            put_eight(codes + j, low | eight(b.hmask + j % 32, j / 32, 1) << 2);
        }
        search->dequantize(LEN, -HALF, codes, step, no_offset, GROUPS, x);
    }
}

static void take(const void *block, struct super *s)
{
    struct block b;
    memcpy(&b, block, sizeof b);
    s->d = f16_to_f32(b.d);
    s->dmin = 0;
    for (int g = 0; g < GROUPS; g++) {
        s->scale[g] = get_scale(b.scales, g) - SCALE_HALF;
        s->min[g] = 0;
    }
}

static void give(const struct super *s, const uint8_t *codes, void *block)
{
    struct block b = {.d = f32_to_f16(s->d)};
    uint8_t stored[GROUPS];
    for (int g = 0; g < GROUPS; g++)
        stored[g] = (uint8_t)(s->scale[g] + SCALE_HALF);
    put_scales(stored, b.scales);
    put_codes(codes, &b);
    memcpy(block, &b, sizeof b);
}

static best_decode_fn q3_k_decode_by;
const struct best q3_k_best = {
    .form = {LEN, VALUES_WHOLE, .low = -HALF, .high = HALF - 1, .scale_low = -SCALE_HALF, .scale_high = SCALE_HALF - 1},
    .groups = GROUPS, .block_bytes = sizeof(struct block), .decode = q3_k_decode_by, .take = take, .give = give,
    .reach = {2, 2, 6}};

SEARCH_KERNELS(q3_k, encode(search, x, importance, blocks, n), decode(search, blocks, x, n),
               best_superblocks(&q3_k_best, search, x, importance, blocks, n))
