/* SPDX-License-Identifier: MIT
 * INT4 and INT8 groups: packing, `compat`, and their variants. */
#include "quant/groups.h"

#include <string.h>

#include "quant/best.h"
#include "quant/eight.h"
#include "quant/floats.h"
#include "quant/search.h"
#include "quant/x86/searches_x86.h"

enum { MOST = 128 };
#define EPSILON 0x1p-23f

static int half_of(const struct group_form *f)
{
    return 1 << (f->bits - 1);
}

static size_t head_bytes(const struct group_form *f)
{
    return f->asymmetric ? 8 : 4;
}

static size_t bytes_of(const struct group_form *f)
{
    return head_bytes(f) + (size_t)(f->len * f->bits / 8);
}

struct group group_take(const struct group_form *f, const void *block)
{
    struct group g = {.zero = half_of(f), .codes = (const uint8_t *)block + head_bytes(f)};
    memcpy(&g.scale, block, sizeof g.scale);
    if (f->asymmetric) {
        int32_t zero;
        memcpy(&zero, (const uint8_t *)block + 4, sizeof zero);
        g.zero = zero;
    }
    return g;
}

uint8_t *group_give(const struct group_form *f, float scale, int zero, void *block)
{
    const int32_t stored = zero;
    memcpy(block, &scale, sizeof scale);
    if (f->asymmetric)
        memcpy((uint8_t *)block + 4, &stored, sizeof stored);
    return (uint8_t *)block + head_bytes(f);
}

static void put_codes(const struct group_form *f, const uint8_t *codes, uint8_t *out)
{
    if (f->bits == 4)
        put_pairs(codes, (size_t)f->len, out);
    else
        memcpy(out, codes, (size_t)f->len);
}

static float rounded(const struct group_form *f, float scale)
{
    const int f16 = f->scales[0] == 'F';
    const float v = f16 ? f16_to_f32(f32_to_f16(scale)) : bf16_to_f32(f32_to_bf16(scale));
    return v != 0 ? v : EPSILON;
}

/* The zero of a range that `scale` covers, from 0 upwards. */
static int zero_of(const struct group_form *f, float low, float scale)
{
    const float half = (float)half_of(f), zero = -half - low / scale;
    return zero >= half - 1 ? 2 * half_of(f) - 1 : zero > -half ? nearest(zero) + half_of(f) : 0;
}

/* GPTQ's first version stores a zero less 1 and has none for -1. */
static int lowest_zero(const struct group_form *f)
{
    return f->scales[0] == 'F';
}

static void encode(const struct group_form *f, const struct code_kernels *kernels, const float *x, uint8_t *out, size_t n)
{
    const float top = (float)(2 * half_of(f) - 1);
    for (; n > 0; n--, x += f->len, out += bytes_of(f)) {
        float low = 0, high = 0, scale;
        uint8_t codes[MOST];
        int zero = half_of(f);
        kernels->range(x, (size_t)f->len, &low, &high);
        if (f->asymmetric) {
            scale = (high - low) / top;
            zero = scale > 0 ? zero_of(f, low, scale) : zero;
            if (zero < lowest_zero(f)) { /* none below 0: a step of the range for the zero that is stored */
                zero = lowest_zero(f);
                scale = high / (top - (float)zero);
            }
        } else {
            scale = (-low > high ? -low : high) / (top / 2);
        }
        struct whole w = {rounded(f, scale), (float)(zero - half_of(f)), (float)-half_of(f), (float)(half_of(f) - 1), (float)-half_of(f)};
        kernels->whole(&w, x, (size_t)f->len, codes);
        put_codes(f, codes, group_give(f, w.scale, zero, out));
    }
}

static void decode(const struct group_form *f, const struct code_kernels *kernels, const uint8_t *in, float *x, size_t n)
{
    for (; n > 0; n--, x += f->len, in += bytes_of(f)) {
        const struct group g = group_take(f, in);
        uint8_t codes[MOST];
        if (f->bits == 4)
            from_pairs(g.codes, (size_t)f->len, codes);
        kernels->unsigned_values(g.scale, (float)g.zero, f->bits == 4 ? codes : g.codes, (size_t)f->len, x);
    }
}

static void take(const struct group_form *f, const void *block, struct super *s)
{
    const struct group g = group_take(f, block);
    *s = (struct super){.d = g.scale, .dmin = f->asymmetric ? g.scale : 0, .scale[0] = 1, .min[0] = f->asymmetric ? g.zero : 0};
}

static void give(const struct group_form *f, const struct super *s, const uint8_t *codes, void *block)
{
    put_codes(f, codes, group_give(f, s->d > 0 ? s->d : EPSILON, f->asymmetric ? s->min[0] : half_of(f), block));
}

#define GROUP_TYPE(id, name, bits_, len_, asymmetric_, scales_)                                                       \
    const struct group_form id##_form = {.len = len_, .bits = bits_, .asymmetric = asymmetric_, .scales = #scales_};  \
    static void id##_take(const void *block, struct super *s)                                                         \
    {                                                                                                                 \
        take(&id##_form, block, s);                                                                                   \
    }                                                                                                                 \
    static void id##_give(const struct super *s, const uint8_t *codes, void *block)                                   \
    {                                                                                                                 \
        give(&id##_form, s, codes, block);                                                                            \
    }                                                                                                                 \
    static best_decode_fn id##_decode_by;                                                                             \
    const struct best id##_best = {                                                                                   \
        .form = {len_, VALUES_WHOLE, .low = asymmetric_ ? 0 : -(1 << (bits_ - 1)),                                    \
                 .high = (1 << (bits_ - !asymmetric_)) - 1, .min_low = asymmetric_ && #scales_[0] == 'F', .min_high = asymmetric_ ? (1 << bits_) - 1 : 0},          \
        .groups = 1, .block_bytes = 4 + 4 * asymmetric_ + len_ * bits_ / 8, .decode = id##_decode_by,                    \
        .take = id##_take, .give = id##_give, .bf16 = #scales_[0] == 'B', .positive = 1, .zeros = asymmetric_};       \
    SEARCH_KERNELS(id, (void)importance; encode(&id##_form, search->codes, x, blocks, n),                             \
                   decode(&id##_form, search->codes, blocks, x, n),                                                   \
                   (asymmetric_ ? best_zeros : best_blocks)(&id##_best, search, x, importance, blocks, n))
GROUP_TYPES(GROUP_TYPE)
