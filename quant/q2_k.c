/* SPDX-License-Identifier: MIT
 * Q2_K, scalar: the definition. */
#include "quant/q2_k.h"

#include <string.h>

#include "quant/best.h"
#include "quant/eight.h"
#include "quant/floats.h"
#include "quant/search.h"
#include "quant/x86/searches_x86.h"

enum { LEN = 16, GROUPS = SUPERBLOCK / LEN, TOP = 3, SCALE_TOP = 15, MOST = SEARCH_BATCH / SUPERBLOCK };
struct block {
    uint8_t scales[GROUPS], qs[SUPERBLOCK / 4];
    uint16_t d, dmin;
};
_Static_assert(sizeof(struct block) == 84, "a Q2_K block has 84 bytes");

/* d and 4-bit codes for the scales, or for the mins, of all groups: in fifteenths of the largest. */
static float in_fifteenths(const float *value, uint8_t *codes)
{
    float max = 0;
    for (int g = 0; g < GROUPS; g++)
        max = value[g] > max ? value[g] : max;
    memset(codes, 0, GROUPS);
    for (int g = 0; g < GROUPS && max > 0; g++)
        codes[g] = (uint8_t)nearest(SCALE_TOP / max * value[g]);
    return max > 0 ? max / SCALE_TOP : 0;
}

static void choose_scales(const struct searches *search, const float *scale, const float *min, const float *weights,
                          size_t n, struct block *b)
{
    uint8_t s[MOST * GROUPS], m[MOST * GROUPS];
    float d[MOST], dmin[MOST], group_weights[MOST * GROUPS];
    if (weights) {
        search->sums(LEN, weights, n * GROUPS, group_weights);
        search->positive(GROUPS, SCALE_TOP, scale, group_weights, n, d, s);
        search->positive(GROUPS, SCALE_TOP, min, group_weights, n, dmin, m);
    }
    for (size_t i = 0, at = 0; i < n; i++, at += GROUPS) {
        if (!weights) {
            d[i] = in_fifteenths(scale + at, s + at);
            dmin[i] = in_fifteenths(min + at, m + at);
        }
        b[i].d = scale_to_f16(d[i]);
        b[i].dmin = scale_to_f16(dmin[i]);
        for (size_t g = 0; g < GROUPS; g++)
            b[i].scales[g] = (uint8_t)(s[at + g] | m[at + g] << 4);
    }
}

static void steps_of(const struct block *b, float *step, float *offset)
{
    float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
    for (int g = 0; g < GROUPS; g++) {
        step[g] = d * (float)(b->scales[g] & 15);
        offset[g] = dmin * (float)(b->scales[g] >> 4);
    }
}

static void finish(const struct searches *search, const float *x, struct block *b, uint8_t *codes)
{
    float step[GROUPS], offset[GROUPS];
    steps_of(b, step, offset);
    search->requantize(LEN, 0, TOP, x, step, offset, GROUPS, codes);
    put_two_bits(codes, b->qs);
}

static void weigh(const struct searches *search, const float *x, const float *importance, size_t n, float *w)
{
    if (importance)
        weigh_units(search, SUPERBLOCK, 1, x, importance, n, w);
    else
        for (size_t j = 0; j < n * SUPERBLOCK; j++)
            w[j] = fabsf(x[j]);
}

static void encode(const struct searches *search, const float *x, const float *importance, uint8_t *out, size_t n)
{
    static const struct affine plain = {LEN, TOP, .first = -0.5f, .step = 0.1f, .steps = 15, .absolute = 1};
    static const struct affine weighted = {LEN, TOP, .first = -0.9f, .step = 0.05f, .steps = 36};
    for (size_t at = 0, some; at < n; at += some, x += some * SUPERBLOCK, out += some * sizeof(struct block)) {
        struct block b[MOST];
        float w[SEARCH_BATCH], scale[MOST * GROUPS], min[MOST * GROUPS];
        uint8_t codes[SEARCH_BATCH];
        some = n - at < MOST ? n - at : MOST;
        weigh(search, x, importance ? importance + at * SUPERBLOCK : NULL, some, w);
        search->affine(importance ? &weighted : &plain, x, w, some * GROUPS, scale, min, codes);
        choose_scales(search, scale, min, importance ? w : NULL, some, b);
        for (size_t i = 0; i < some; i++)
            finish(search, x + i * SUPERBLOCK, &b[i], codes + i * SUPERBLOCK);
        memcpy(out, b, some * sizeof *b);
    }
}

static void decode(const struct searches *search, const uint8_t *in, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++, in += sizeof(struct block), x += SUPERBLOCK) {
        struct block b;
        float step[GROUPS], offset[GROUPS];
        uint8_t codes[SUPERBLOCK];
        memcpy(&b, in, sizeof b);
        steps_of(&b, step, offset);
        for (int j = 0; j < SUPERBLOCK; j += 8)
            put_eight(codes + j, eight(b.qs + j / 128 * 32 + j % 32, j % 128 / 32 * 2, 3));
        search->dequantize(LEN, 0, codes, step, offset, GROUPS, x);
    }
}

static void take(const void *block, struct super *s)
{
    struct block b;
    memcpy(&b, block, sizeof b);
    s->d = f16_to_f32(b.d);
    s->dmin = f16_to_f32(b.dmin);
    for (int g = 0; g < GROUPS; g++) {
        s->scale[g] = b.scales[g] & 15;
        s->min[g] = b.scales[g] >> 4;
    }
}

static void give(const struct super *s, const uint8_t *codes, void *block)
{
    struct block b = {.d = f32_to_f16(s->d), .dmin = f32_to_f16(s->dmin)};
    for (int g = 0; g < GROUPS; g++)
        b.scales[g] = (uint8_t)(s->scale[g] | s->min[g] << 4);
    put_two_bits(codes, b.qs);
    memcpy(block, &b, sizeof b);
}

static best_decode_fn q2_k_decode_by;
const struct best q2_k_best = {
    .form = {LEN, VALUES_WHOLE, .low = 0, .high = TOP, .scale_high = SCALE_TOP, .min_high = SCALE_TOP},
    .groups = GROUPS, .block_bytes = sizeof(struct block), .decode = q2_k_decode_by, .take = take, .give = give,
    .reach = {2, 2, 3}};

SEARCH_KERNELS(q2_k, encode(search, x, importance, blocks, n), decode(search, blocks, x, n),
               best_superblocks(&q2_k_best, search, x, importance, blocks, n))
