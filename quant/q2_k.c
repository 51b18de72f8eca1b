/* SPDX-License-Identifier: MIT
 * Q2_K, scalar: the definition. */
#include "quant/q2_k.h"

#include <string.h>

#include "quant/floats.h"
#include "quant/search.h"

enum { LEN = 16, GROUPS = SUPERBLOCK / LEN, TOP = 3, SCALE_TOP = 15 };
struct block {
    uint8_t scales[GROUPS], qs[SUPERBLOCK / 4];
    uint16_t d, dmin;
};
_Static_assert(sizeof(struct block) == 84, "a Q2_K block has 84 bytes");

/* d and 4-bit codes for the scales, or for the mins, of all groups: in fifteenths of the largest. */
static uint16_t in_fifteenths(const float *value, uint8_t *codes)
{
    float max = 0;
    for (int g = 0; g < GROUPS; g++)
        max = value[g] > max ? value[g] : max;
    memset(codes, 0, GROUPS);
    for (int g = 0; g < GROUPS && max > 0; g++)
        codes[g] = (uint8_t)nearest(SCALE_TOP / max * value[g]);
    return max > 0 ? scale_to_f16(max / SCALE_TOP) : 0;
}

static void choose_scales(const float *scale, const float *min, const float *weights, struct block *b)
{
    uint8_t s[GROUPS], m[GROUPS];
    float group_weights[GROUPS];
    if (weights) {
        sums_of_blocks(LEN, weights, GROUPS, group_weights);
        b->d = scale_to_f16(search_positive(GROUPS, SCALE_TOP, scale, group_weights, s));
        b->dmin = scale_to_f16(search_positive(GROUPS, SCALE_TOP, min, group_weights, m));
    } else {
        b->d = in_fifteenths(scale, s);
        b->dmin = in_fifteenths(min, m);
    }
    for (int g = 0; g < GROUPS; g++)
        b->scales[g] = (uint8_t)(s[g] | m[g] << 4);
}

static void finish(const struct searches *s, const float *x, struct block *b, uint8_t *codes)
{
    float step[GROUPS], offset[GROUPS], d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
    for (int g = 0; g < GROUPS; g++) {
        step[g] = d * (float)(b->scales[g] & 15);
        offset[g] = dmin * (float)(b->scales[g] >> 4);
    }
    s->requantize(LEN, 0, TOP, x, step, offset, GROUPS, codes);
    for (int i = 0; i < SUPERBLOCK / 4; i++) {
        const uint8_t *c = codes + i / 32 * 128 + i % 32;
        b->qs[i] = (uint8_t)(c[0] | c[32] << 2 | c[64] << 4 | c[96] << 6);
    }
}

static void encode(const struct searches *s, const float *x, const float *importance, void *blocks, size_t n)
{
    static const struct affine plain = {LEN, TOP, .first = -0.5f, .step = 0.1f, .steps = 15, .absolute = 1};
    static const struct affine weighted = {LEN, TOP, .first = -0.9f, .step = 0.05f, .steps = 36};
    for (size_t i = 0; i < n; i++, x += SUPERBLOCK) {
        struct block b;
        float w[SUPERBLOCK], scale[GROUPS], min[GROUPS];
        uint8_t codes[SUPERBLOCK];
        if (importance)
            s->weigh(x, importance + i * SUPERBLOCK, SUPERBLOCK, sum_of_squares(x, SUPERBLOCK) / SUPERBLOCK, w);
        else
            for (int j = 0; j < SUPERBLOCK; j++)
                w[j] = fabsf(x[j]);
        s->affine(importance ? &weighted : &plain, x, w, GROUPS, scale, min, codes);
        choose_scales(scale, min, importance ? w : NULL, &b);
        finish(s, x, &b, codes);
        memcpy((uint8_t *)blocks + i * sizeof b, &b, sizeof b);
    }
}

void q2_k_encode(const float *x, const float *importance, void *blocks, size_t n)
{
    encode(&searches_scalar, x, importance, blocks, n);
}

void q2_k_decode(const void *blocks, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++, x += SUPERBLOCK) {
        struct block b;
        memcpy(&b, (const uint8_t *)blocks + i * sizeof b, sizeof b);
        float d = f16_to_f32(b.d), dmin = f16_to_f32(b.dmin);
        for (int j = 0; j < SUPERBLOCK; j++) {
            int code = b.qs[j / 128 * 32 + j % 32] >> j % 128 / 32 * 2 & 3, s = b.scales[j / LEN];
            x[j] = d * (float)(s & 15) * (float)code - dmin * (float)(s >> 4);
        }
    }
}
