/* SPDX-License-Identifier: MIT
 * MXFP4 and NVFP4 of compressed-tensors. */
#include "quant/fp4_ct.h"

#include <string.h>

#include "quant/best.h"
#include "quant/eight.h"
#include "quant/floats.h"
#include "quant/fp4.h"
#include "quant/search.h"
#include "quant/x86/searches_x86.h"

enum { MX_LEN = 32, NV_LEN = 16, MOST = 32, NV_EPSILON = 0x20 /* 0.125 */ };

static void put(uint8_t scale, const uint8_t *codes, size_t len, uint8_t *block)
{
    block[0] = scale;
    put_pairs(codes, len, block + 1);
}

static void values(const uint8_t *block, size_t len, float scale, float *x)
{
    float value[16];
    uint8_t codes[MOST];
    for (int c = 0; c < 16; c++)
        value[c] = 0.5f * f4_values[c] * scale;
    from_pairs(block + 1, len, codes);
    for (size_t i = 0; i < len; i++)
        x[i] = value[codes[i]];
}

static float peak_in(const struct code_kernels *kernels, const float *x, size_t len)
{
    float low = 0, high = 0;
    kernels->range(x, len, &low, &high);
    return -low > high ? -low : high;
}

static void mx_encode(const struct code_kernels *kernels, const float *x, uint8_t *out, size_t n)
{
    for (; n > 0; n--, x += MX_LEN, out += 1 + MX_LEN / 2) {
        const int e = (int)((f32_bits(peak_in(kernels, x, MX_LEN)) + (1u << 21)) >> 23) - 2;
        uint8_t codes[MX_LEN], scale = (uint8_t)(e > 0 ? e : 0);
        kernels->e2m1(e8m0_to_f32(scale), x, MX_LEN, codes);
        put(scale, codes, MX_LEN, out);
    }
}

static void nv_encode(const struct code_kernels *kernels, const float *x, uint8_t *out, size_t n)
{
    for (; n > 0; n--, x += NV_LEN, out += 1 + NV_LEN / 2) {
        uint8_t codes[NV_LEN], scale = f32_to_e4m3(peak_in(kernels, x, NV_LEN) / 6);
        scale = scale ? scale : NV_EPSILON;
        kernels->e2m1(e4m3_to_f32(scale), x, NV_LEN, codes);
        put(scale, codes, NV_LEN, out);
    }
}

void mxfp4_ct_decode(const void *blocks, float *x, size_t n)
{
    const uint8_t *in = blocks;
    for (; n > 0; n--, x += MX_LEN, in += 1 + MX_LEN / 2)
        values(in, MX_LEN, e8m0_to_f32(in[0]), x);
}

void nvfp4_ct_decode(const void *blocks, float *x, size_t n)
{
    nvfp4_ct_values(blocks, 1, x, n);
}

void nvfp4_ct_values(const void *blocks, float global, float *x, size_t n)
{
    const uint8_t *in = blocks;
    for (; n > 0; n--, x += NV_LEN, in += 1 + NV_LEN / 2)
        values(in, NV_LEN, e4m3_to_f32(in[0]) / global, x);
}

static void take(const void *block, struct super *s)
{
    *s = (struct super){.scale[0] = *(const uint8_t *)block};
}

static void mx_give(const struct super *s, const uint8_t *codes, void *block)
{
    put((uint8_t)s->scale[0], codes, MX_LEN, block);
}

static void nv_give(const struct super *s, const uint8_t *codes, void *block)
{
    put((uint8_t)s->scale[0], codes, NV_LEN, block);
}

/* For f4_values, which are doubled. */
static float mx_step(int code)
{
    return 0.5f * e8m0_to_f32((uint8_t)code);
}

static float nv_step(int code)
{
    return 0.5f * e4m3_to_f32((uint8_t)code);
}

BEST_DECODER(mxfp4_ct)
BEST_DECODER(nvfp4_ct)

/* As in quant/fp4.c, but the plain scale may be one power of two higher. A scale of 0 is none. */
const struct best mxfp4_ct_best = {.form = {MX_LEN, VALUES_F4, .scale_high = 254}, .groups = 1, .block_bytes = 1 + MX_LEN / 2,
                                   .decode = mxfp4_ct_decode_by, .take = take, .give = mx_give, .step = mx_step, .below = 2, .above = 1};
const struct best nvfp4_ct_best = {.form = {NV_LEN, VALUES_F4, .scale_low = 1, .scale_high = 0x7e}, .groups = 1,
                                   .block_bytes = 1 + NV_LEN / 2, .decode = nvfp4_ct_decode_by, .take = take, .give = nv_give,
                                   .step = nv_step, .below = 4, .above = 8};

SEARCH_ENCODERS(mxfp4_ct, (void)importance; mx_encode(search->codes, x, blocks, n),
                best_coded(&mxfp4_ct_best, search, x, importance, blocks, n))
SEARCH_ENCODERS(nvfp4_ct, (void)importance; nv_encode(search->codes, x, blocks, n),
                best_coded(&nvfp4_ct_best, search, x, importance, blocks, n))
