/* SPDX-License-Identifier: MIT
 * Lossless: a block at a time. */
#include "convert/lossless.h"

#include <string.h>

#include "quant/floats.h"
#include "quant/groups.h"

/* 1 when the block was carried over. */
typedef int carry_fn(const struct quant_type *from, const struct quant_type *to, const uint8_t *block, uint8_t *out);

static int is_number_of(const char *type, float f)
{
    const struct quant_type *t = quant_type_find(type);
    uint8_t stored[sizeof f];
    float back;
    t->ref.encode(&f, NULL, stored, 1);
    t->ref.decode(stored, &back, 1);
    return back == f;
}

static int put_f16(float f, uint8_t *out)
{
    uint16_t h = f32_to_f16(f);
    out[0] = (uint8_t)h;
    out[1] = (uint8_t)(h >> 8);
    return f16_to_f32(h) == f;
}

/* Nibbles in the order of weights become low nibbles of the first half and high ones of the second. */
static void halve_nibbles(const uint8_t *in, uint8_t *out)
{
    for (int j = 0; j < 8; j++) {
        out[2 * j] = (uint8_t)((in[j] & 15) | (in[8 + j] & 15) << 4);
        out[2 * j + 1] = (uint8_t)(in[j] >> 4 | (in[8 + j] & 0xf0));
    }
}

/* The block's group, and its scale as F16 into out; 0, and out as it was, when the scale is no such number. */
static int take_f16(const struct quant_type *from, const uint8_t *block, struct group *g, uint8_t *out)
{
    uint8_t d[2];
    *g = group_take(from->group, block);
    if (!put_f16(g->scale, d))
        return 0;
    memcpy(out, d, sizeof d);
    return 1;
}

static int group_to_q4_0(const struct quant_type *from, const struct quant_type *to, const uint8_t *block, uint8_t *out)
{
    struct group g;
    (void)to;
    if (!take_f16(from, block, &g, out))
        return 0;
    halve_nibbles(g.codes, out + 2);
    return 1;
}

static int group_to_q8_0(const struct quant_type *from, const struct quant_type *to, const uint8_t *block, uint8_t *out)
{
    struct group g;
    (void)to;
    if (!take_f16(from, block, &g, out))
        return 0;
    for (int i = 0; i < 32; i++)
        out[2 + i] = (uint8_t)(g.codes[i] ^ 0x80);
    return 1;
}

static int group_to_group(const struct quant_type *from, const struct quant_type *to, const uint8_t *block, uint8_t *out)
{
    struct group g = group_take(from->group, block);
    if (!is_number_of(to->group->scales, g.scale) || g.zero >> to->group->bits)
        return 0;
    memcpy(group_give(to->group, g.scale, g.zero, out), g.codes, (size_t)(from->group->len * from->group->bits / 8));
    return 1;
}

static int mxfp4_to_mxfp4(const struct quant_type *from, const struct quant_type *to, const uint8_t *block, uint8_t *out)
{
    (void)from;
    (void)to;
    out[0] = block[0];
    halve_nibbles(block + 1, out + 1);
    return 1;
}

static int same(const struct quant_type *from, const struct quant_type *to, const uint8_t *block, uint8_t *out)
{
    (void)to;
    memcpy(out, block, from->block_bytes);
    return 1;
}

static carry_fn *carry_for(const struct quant_type *from, const struct quant_type *to)
{
    const struct group_form *f = from->group, *t = to->group;
    if (from == to && !(from->flags & QT_FLOAT))
        return same;
    if (f && t)
        return f->bits == t->bits && f->len == t->len && f->asymmetric <= t->asymmetric ? group_to_group : NULL;
    if (f && !f->asymmetric && f->len == 32)
        return f->bits == 4 && !strcmp(to->name, "Q4_0") ? group_to_q4_0 : f->bits == 8 && !strcmp(to->name, "Q8_0") ? group_to_q8_0 : NULL;
    return !strcmp(from->name, "MXFP4-CT") && !strcmp(to->name, "MXFP4") ? mxfp4_to_mxfp4 : NULL;
}

int lossless_applies(const struct quant_type *from, const struct quant_type *to)
{
    return carry_for(from, to) != NULL;
}

size_t lossless_carry(const struct quant_type *from, const struct quant_type *to, const void *blocks, void *to_blocks, size_t n)
{
    carry_fn *carry = carry_for(from, to);
    const uint8_t *in = blocks;
    uint8_t *out = to_blocks;
    size_t left = 0;
    for (size_t i = 0; i < n; i++, in += from->block_bytes, out += to->block_bytes)
        left += !carry(from, to, in, out);
    return left;
}
