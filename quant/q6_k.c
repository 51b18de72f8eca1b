/* SPDX-License-Identifier: MIT
 * Q6_K, scalar: the definition. */
#include "quant/q6_k.h"

#include <string.h>

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
    float v = 0;
    for (int g = 0; g < GROUPS; g++)
        v = fabsf(scale[g]) > fabsf(v) ? scale[g] : v;
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
        for (int l = 0; l < 32; l++) {
            const uint8_t *c = codes + l;
            b->ql[64 * h + l] = (uint8_t)((c[0] & 15) | c[64] << 4);
            b->ql[64 * h + 32 + l] = (uint8_t)((c[32] & 15) | c[96] << 4);
            b->qh[32 * h + l] = (uint8_t)(c[0] >> 4 | c[32] >> 4 << 2 | c[64] >> 4 << 4 | c[96] >> 4 << 6);
        }
}

static void encode(const struct searches *search, const float *x, const float *importance, void *blocks, size_t n)
{
    static const float no_offset[GROUPS];
    for (size_t i = 0; i < n; i++, x += SUPERBLOCK) {
        struct block b = {0};
        float scale[GROUPS], step[GROUPS];
        uint8_t codes[SUPERBLOCK];
        search->symmetric(LEN, HALF, x, importance ? importance + i * SUPERBLOCK : NULL, GROUPS, scale, codes);
        if (choose_scales(scale, &b)) {
            for (int g = 0; g < GROUPS; g++)
                step[g] = f16_to_f32(b.d) * (float)b.scales[g];
            search->requantize(LEN, -HALF, HALF - 1, x, step, no_offset, GROUPS, codes);
            put_codes(codes, &b);
        }
        memcpy((uint8_t *)blocks + i * sizeof b, &b, sizeof b);
    }
}

SEARCH_ENCODERS(q6_k, encode(search, x, importance, blocks, n))

void q6_k_decode(const void *blocks, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++, x += SUPERBLOCK) {
        struct block b;
        memcpy(&b, (const uint8_t *)blocks + i * sizeof b, sizeof b);
        float d = f16_to_f32(b.d);
        for (int e = 0; e < SUPERBLOCK; e++) {
            int h = e / 128, j = e % 128 / 32, l = e % 32;
            int low = b.ql[64 * h + 32 * (j % 2) + l] >> j / 2 * 4 & 15, high = b.qh[32 * h + l] >> 2 * j & 3;
            x[e] = d * (float)b.scales[e / LEN] * (float)((low | high << 4) - HALF);
        }
    }
}
