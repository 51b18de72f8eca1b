/* SPDX-License-Identifier: MIT
 * Q4_K and Q5_K, scalar: the definition. */
#include "quant/q4_k.h"

#include <string.h>

#include "quant/best.h"
#include "quant/eight.h"
#include "quant/floats.h"
#include "quant/search.h"
#include "quant/x86/searches_x86.h"

enum { LEN = 32, BLOCKS = SUPERBLOCK / LEN, SCALE_TOP = 63, MOST = SEARCH_BATCH / SUPERBLOCK };

/* What both types begin with. */
struct head {
    uint16_t d, dmin;
    uint8_t scales[12];
};
enum { Q4_BYTES = sizeof(struct head) + SUPERBLOCK / 2, Q5_BYTES = Q4_BYTES + SUPERBLOCK / 8 };
_Static_assert(Q4_BYTES == 144 && Q5_BYTES == 176, "a Q4_K block has 144 bytes, a Q5_K block 176");

static void put_scales(const uint8_t *s, const uint8_t *m, uint8_t *scales)
{
    for (int b = 0; b < 4; b++) {
        scales[b] = (uint8_t)(s[b] | s[b + 4] >> 4 << 6);
        scales[b + 4] = (uint8_t)(m[b] | m[b + 4] >> 4 << 6);
        scales[b + 8] = (uint8_t)((s[b + 4] & 15) | (m[b + 4] & 15) << 4);
    }
}

static void get_scales(const uint8_t *scales, uint8_t *s, uint8_t *m)
{
    for (int b = 0; b < 4; b++) {
        s[b] = scales[b] & 63;
        m[b] = scales[b + 4] & 63;
        s[b + 4] = (uint8_t)((scales[b + 8] & 15) | scales[b] >> 6 << 4);
        m[b + 4] = (uint8_t)(scales[b + 8] >> 4 | scales[b + 4] >> 6 << 4);
    }
}

/* The unit and the 6-bit codes for the scales, or for the mins, of all blocks: in 63rds of the largest. */
static float in_sixtythirds(const float *value, uint8_t *codes)
{
    float max = 0;
    for (int b = 0; b < BLOCKS; b++)
        max = value[b] > max ? value[b] : max;
    float inverse = max > 0 ? SCALE_TOP / max : 0;
    for (int b = 0; b < BLOCKS; b++) {
        uint8_t code = (uint8_t)nearest(inverse * value[b]);
        codes[b] = code < SCALE_TOP ? code : SCALE_TOP;
    }
    return max / SCALE_TOP;
}

/* What n superblocks' blocks found: scale and min, and behind the choice of h, the step and offset that are stored. */
struct found {
    float scale[MOST * BLOCKS], min[MOST * BLOCKS], step[MOST * BLOCKS], offset[MOST * BLOCKS];
};

static void steps_of(const struct head *h, const uint8_t *s, const uint8_t *m, float *step, float *offset)
{
    float d = f16_to_f32(h->d), dmin = f16_to_f32(h->dmin);
    for (int b = 0; b < BLOCKS; b++) {
        step[b] = d * (float)s[b];
        offset[b] = dmin * (float)m[b];
    }
}

static void put_head(float d, float dmin, uint8_t *s, uint8_t *m, struct head *h, float *step, float *offset)
{
    h->d = scale_to_f16(d);
    h->dmin = scale_to_f16(dmin);
    put_scales(s, m, h->scales);
    get_scales(h->scales, s, m); /* a code beyond 63, from a negative scale, is cut as it is stored */
    steps_of(h, s, m, step, offset);
}

static void choose_scales(const struct searches *search, const float *weights, size_t n, struct found *f,
                          struct head *h)
{
    uint8_t s[MOST * BLOCKS], m[MOST * BLOCKS];
    float d[MOST], dmin[MOST], block_weights[MOST * BLOCKS];
    if (weights) {
        search->sums(LEN, weights, n * BLOCKS, block_weights);
        search->positive(BLOCKS, SCALE_TOP, f->scale, block_weights, n, d, s);
        search->positive(BLOCKS, SCALE_TOP, f->min, block_weights, n, dmin, m);
    }
    for (size_t i = 0, b = 0; i < n; i++, b += BLOCKS) {
        if (!weights) {
            d[i] = in_sixtythirds(f->scale + b, s + b);
            dmin[i] = in_sixtythirds(f->min + b, m + b);
        }
        put_head(d[i], dmin[i], s + b, m + b, &h[i], f->step + b, f->offset + b);
    }
}

static uint8_t *put_codes(const uint8_t *codes, int bits, uint8_t *out)
{
    for (int l = 0; bits == 5 && l < LEN; l += 8, out += 8) {
        uint64_t high = 0;
        for (int b = 0; b < BLOCKS; b++)
            high |= eight(codes + b * LEN + l, 4, 1) << b;
        put_eight(out, high);
    }
    for (int i = 0; i < SUPERBLOCK / 2; i += 8, out += 8) {
        const uint8_t *c = codes + i / LEN * 64 + i % LEN;
        put_eight(out, eight(c, 0, 15) | eight(c + LEN, 0, 15) << 4);
    }
    return out;
}

static void get_codes(const uint8_t *in, int bits, uint8_t *codes)
{
    const uint8_t *qs = bits == 4 ? in : in + SUPERBLOCK / 8;
    for (int b = 0; b < BLOCKS; b++)
        for (int l = 0; l < LEN; l += 8, codes += 8)
            put_eight(codes, eight(qs + b / 2 * LEN + l, b % 2 * 4, 15) | (bits == 5 ? eight(in + l, b, 1) << 4 : 0));
}

static void weigh(const struct searches *search, const float *x, const float *importance, size_t n, float *w)
{
    if (importance)
        weigh_units(search, SUPERBLOCK, 2, x, importance, n, w);
    else
        search->weigh_by_size(LEN, x, n * BLOCKS, w);
}

static void encode(const struct searches *search, int bits, const float *x, const float *importance, uint8_t *out,
                   size_t n)
{
    struct affine how = {.len = LEN, .top = (1 << bits) - 1, .first = -0.9f, .step = 0.05f, .steps = 36};
    if (!importance) {
        how.first = bits == 4 ? -1 : -0.5f;
        how.step = 0.1f;
        how.steps = bits == 4 ? 20 : 15;
    }
    for (size_t at = 0, some; at < n; at += some, x += some * SUPERBLOCK) {
        float w[SEARCH_BATCH];
        uint8_t codes[SEARCH_BATCH];
        struct found f;
        struct head h[MOST];
        some = n - at < MOST ? n - at : MOST;
        weigh(search, x, importance ? importance + at * SUPERBLOCK : NULL, some, w);
        search->affine(&how, x, w, some * BLOCKS, f.scale, f.min, codes);
        choose_scales(search, importance ? w : NULL, some, &f, h);
        search->requantize(LEN, 0, how.top, x, f.step, f.offset, some * BLOCKS, codes);
        for (size_t i = 0; i < some; i++) {
            memcpy(out, &h[i], sizeof h[i]);
            out = put_codes(codes + i * SUPERBLOCK, bits, out + sizeof h[i]);
        }
    }
}

static void decode(const struct searches *search, int bits, const uint8_t *in, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++, in += bits == 4 ? Q4_BYTES : Q5_BYTES, x += SUPERBLOCK) {
        struct head h;
        uint8_t s[BLOCKS], m[BLOCKS], codes[SUPERBLOCK];
        float step[BLOCKS], offset[BLOCKS];
        memcpy(&h, in, sizeof h);
        get_scales(h.scales, s, m);
        steps_of(&h, s, m, step, offset);
        get_codes(in + sizeof h, bits, codes);
        search->dequantize(LEN, 0, codes, step, offset, BLOCKS, x);
    }
}

static void take(const void *block, struct super *s)
{
    struct head h;
    uint8_t scale[BLOCKS], min[BLOCKS];
    memcpy(&h, block, sizeof h);
    get_scales(h.scales, scale, min);
    s->d = f16_to_f32(h.d);
    s->dmin = f16_to_f32(h.dmin);
    for (int b = 0; b < BLOCKS; b++) {
        s->scale[b] = scale[b];
        s->min[b] = min[b];
    }
}

static void give(const struct super *s, int bits, const uint8_t *codes, uint8_t *block)
{
    struct head h = {.d = f32_to_f16(s->d), .dmin = f32_to_f16(s->dmin)};
    uint8_t scale[BLOCKS], min[BLOCKS];
    for (int b = 0; b < BLOCKS; b++) {
        scale[b] = (uint8_t)s->scale[b];
        min[b] = (uint8_t)s->min[b];
    }
    put_scales(scale, min, h.scales);
    memcpy(block, &h, sizeof h);
    put_codes(codes, bits, block + sizeof h);
}

static void give_q4(const struct super *s, const uint8_t *codes, void *block)
{
    give(s, 4, codes, block);
}

static void give_q5(const struct super *s, const uint8_t *codes, void *block)
{
    give(s, 5, codes, block);
}

static best_decode_fn q4_k_decode_by, q5_k_decode_by;
const struct best q4_k_best = {
    .form = {LEN, VALUES_WHOLE, .low = 0, .high = 15, .scale_high = SCALE_TOP, .min_high = SCALE_TOP},
    .groups = BLOCKS, .block_bytes = Q4_BYTES, .decode = q4_k_decode_by, .take = take, .give = give_q4, .reach = {2, 3, 6}};
const struct best q5_k_best = {
    .form = {LEN, VALUES_WHOLE, .low = 0, .high = 31, .scale_high = SCALE_TOP, .min_high = SCALE_TOP},
    .groups = BLOCKS, .block_bytes = Q5_BYTES, .decode = q5_k_decode_by, .take = take, .give = give_q5, .reach = {2, 3, 6}};

SEARCH_KERNELS(q4_k, encode(search, 4, x, importance, blocks, n), decode(search, 4, blocks, x, n),
               best_superblocks(&q4_k_best, search, x, importance, blocks, n))
SEARCH_KERNELS(q5_k, encode(search, 5, x, importance, blocks, n), decode(search, 5, blocks, x, n),
               best_superblocks(&q5_k_best, search, x, importance, blocks, n))
