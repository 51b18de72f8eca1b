/* SPDX-License-Identifier: MIT
 * Q6_K, scalar: the definition. */
#include "quant/q6_k.h"

#include <string.h>

#include "quant/best.h"
#include "quant/eight.h"
#include "quant/floats.h"
#include "quant/search.h"
#include "quant/x86/searches_x86.h"

enum { LEN = 16, GROUPS = SUPERBLOCK / LEN, HALF = 32 };
struct block {
    uint8_t ql[SUPERBLOCK / 2], qh[SUPERBLOCK / 4];
    int8_t scales[GROUPS];
    uint16_t d;
};
_Static_assert(sizeof(struct block) == 210, "a Q6_K block has 210 bytes");

/* Returns 0 when no group has a scale. */
static int choose_scales(const float *scale, struct block *b)
{
    float v = peak_of(GROUPS, scale);
    if (fabsf(v) < SEARCH_TINY)
        return 0;
    float inverse = -128 / v;
    b->d = scale_to_f16(1 / inverse);
    for (int g = 0; g < GROUPS; g++) {
        int s = nearest(inverse * scale[g]);
        b->scales[g] = (int8_t)(s < 127 ? s : 127);
    }
    return 1;
}

static void put_codes(const uint8_t *codes, struct block *b)
{
    for (int h = 0; h < 2; h++, codes += 128)
        for (int l = 0; l < 32; l += 8) {
            const uint8_t *c = codes + l;
            put_eight(b->ql + 64 * h + l, eight(c, 0, 15) | eight(c + 64, 0, 15) << 4);
            put_eight(b->ql + 64 * h + 32 + l, eight(c + 32, 0, 15) | eight(c + 96, 0, 15) << 4);
            uint64_t high = eight(c, 4, 3) | eight(c + 32, 4, 3) << 2;
            put_eight(b->qh + 32 * h + l, high | eight(c + 64, 4, 3) << 4 | eight(c + 96, 4, 3) << 6);
        }
}

static void get_codes(const struct block *b, uint8_t *codes)
{
    for (int e = 0; e < SUPERBLOCK; e += 8) {
        int h = e / 128, j = e % 128 / 32, l = e % 32;
        put_eight(codes + e, eight(b->ql + 64 * h + 32 * (j % 2) + l, j / 2 * 4, 15) |
                                 eight(b->qh + 32 * h + l, 2 * j, 3) << 4);
    }
}

static void steps_of(const struct block *b, float *step)
{
    float d = f16_to_f32(b->d);
    for (int g = 0; g < GROUPS; g++)
        step[g] = d * (float)b->scales[g];
}

static const float no_offset[GROUPS];

static void encode(const struct searches *search, const float *x, const float *importance, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++, x += SUPERBLOCK, out += sizeof(struct block)) {
        struct block b = {0};
        float scale[GROUPS], step[GROUPS];
        uint8_t codes[SUPERBLOCK];
        search->symmetric(LEN, HALF, x, importance ? importance + i * SUPERBLOCK : NULL, GROUPS, scale, codes);
        if (choose_scales(scale, &b)) {
            steps_of(&b, step);
            search->requantize(LEN, -HALF, HALF - 1, x, step, no_offset, GROUPS, codes);
            put_codes(codes, &b);
        }
        memcpy(out, &b, sizeof b);
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
        get_codes(&b, codes);
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
        s->scale[g] = b.scales[g];
        s->min[g] = 0;
    }
}

static void give(const struct super *s, const uint8_t *codes, void *block)
{
    struct block b = {.d = f32_to_f16(s->d)};
    for (int g = 0; g < GROUPS; g++)
        b.scales[g] = (int8_t)s->scale[g];
    put_codes(codes, &b);
    memcpy(block, &b, sizeof b);
}

static best_decode_fn q6_k_decode_by;
const struct best q6_k_best = {
    .form = {LEN, VALUES_WHOLE, .low = -HALF, .high = HALF - 1, .scale_low = -128, .scale_high = 127},
    .groups = GROUPS, .block_bytes = sizeof(struct block), .decode = q6_k_decode_by, .take = take, .give = give,
    .reach = {2, 2, 8}};

SEARCH_KERNELS(q6_k, encode(search, x, importance, blocks, n), decode(search, blocks, x, n),
               best_superblocks(&q6_k_best, search, x, importance, blocks, n))
