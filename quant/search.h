/* SPDX-License-Identifier: MIT
 * The searches behind `--search compat`: scales and codes of blocks, chosen as llama.cpp's quantizers choose them. And the
 * plain steps around them, from weights to codes and back.
 *
 * A block is `len` consecutive weights, 16 or 32 where nothing else is said. Every function takes `blocks` of them behind
 * one another, works on each alone, and fills one scale (and min) per block and one code per weight. w are the weights'
 * weights in the error that is minimized; codes are stored from 0 upwards.
 *
 * Files are equal byte for byte only if every sum has llama.cpp's order: products from left to right, sums over a block
 * in index order, each operation rounded to F32 on its own (no contraction). struct searches is one set of them; the
 * scalar set is the definition, variants put blocks into SIMD lanes and so keep every block's order.
 * Within the types' ranges, and with an importance below 2^40, nothing overflows. Beyond, a scale may become NaN: it is
 * then stored as ggml_f16 says, and codes follow from nearest().
 * Source: ggml-org/ggml src/ggml-quants.c make_qx_quants, make_q3_quants, make_qkx3_quants, make_qp_quants,
 * quantize_row_iq4_nl_impl, as compiled for x86-64 without FMA. */
#ifndef PARE_QUANT_SEARCH_H
#define PARE_QUANT_SEARCH_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "quant/codes.h"
#include "quant/floats.h"
#include "quant/panel.h"

/* Encoders hand over this many weights at most: 16 superblocks, a lane of AVX-512 each. */
enum { SEARCH_BATCH = 4096, SUPERBLOCK = 256 };

/* A block whose largest magnitude is below this has no scale. */
#define SEARCH_TINY 1e-15f

/* Nearest integer, ties to even, for |v| < 2^22: adding 1.5 * 2^23 leaves it in the low mantissa bits. Beyond that, and
 * for infinity and NaN, the same bits are taken for what they are, on every machine. */
static inline int nearest(float v)
{
    return (int)(f32_bits(v + 12582912.0f) & 0x7fffff) - 0x400000;
}

static inline int clamped(int v, int low, int high)
{
    return v < low ? low : v > high ? high : v;
}

/* A scale on its way into a block. NaN, the end of an overflow, becomes 0. */
uint16_t scale_to_f16(float scale);

/* x = scale * code - min with codes 0..top and min >= 0: an inverse scale of (first + k * step + top) / (largest + min) for
 * each k in 0..steps gives codes, the codes give the best scale and min by least squares, the smallest error wins. min is
 * that of the best so far: a winner moves the candidates after it. */
struct affine {
    int len, top;
    float first, step;
    int steps;
    int absolute; /* the error is w * |x - y| instead of w * (x - y)^2 */
};

struct searches {
    /* w = importance * sqrt(sigma2 + x * x), n of them */
    void (*weigh)(const float *x, const float *importance, size_t n, float sigma2, float *w);
    /* w = root mean square of the block + |x|: what stands in for an importance */
    void (*weigh_by_size)(int len, const float *x, size_t blocks, float *w);
    /* Sums of x * x, or of w, over each block; len a multiple of 16. */
    void (*squares)(int len, const float *x, size_t blocks, float *sum);
    void (*sums)(int len, const float *w, size_t blocks, float *sum);
    void (*affine)(const struct affine *how, const float *x, const float *w, size_t blocks, float *scale, float *min,
                   uint8_t *codes);
    /* x = scale * (code - half), codes 0..2 * half - 1: nineteen inverse scales around the one that maps the largest
     * magnitude to -half. w NULL: x * x. A block without a scale gets codes of 0. */
    void (*symmetric)(int len, int half, const float *x, const float *w, size_t blocks, float *scale, uint8_t *codes);
    /* The same form with x * x for w: from that one inverse scale, codes move one by one as long as it helps, in at most
     * five passes. */
    void (*descend)(int len, int half, const float *x, size_t blocks, float *scale, uint8_t *codes);
    /* x = scale * code for non-negative x with codes 0..top, the scales or mins of superblocks, 8 or 16 to a block: as
     * descend, but after nine inverse scales were tried. */
    void (*positive)(int n, int top, const float *x, const float *w, size_t blocks, float *scale, uint8_t *codes);
    /* code = nearest((x + offset) / step) clamped to low..high, less low. Blocks whose step is 0 keep their codes. */
    void (*requantize)(int len, int low, int high, const float *x, const float *step, const float *offset,
                       size_t blocks, uint8_t *codes);
    /* The element of largest magnitude, the first of equals; the smallest and the largest. */
    void (*peaks)(int len, const float *x, size_t blocks, float *peak);
    void (*ranges)(int len, const float *x, size_t blocks, float *low, float *high);
    /* code = (x - low) * inverse + rounding, at most top, its fraction cut off; 0 where inverse is infinite. It must not
     * be below 0. */
    void (*cut)(int len, int top, float rounding, const float *x, const float *low, const float *inverse,
                size_t blocks, uint8_t *codes);
    /* x = step * (code + low) - offset */
    void (*dequantize)(int len, int low, const uint8_t *codes, const float *step, const float *offset, size_t blocks,
                       float *x);
    /* code of the value of MXFP4 and NVFP4 (quant/fp4.h) times step that is nearest to x, the first of equals */
    void (*f4_codes)(int len, const float *x, const float *step, size_t blocks, uint8_t *codes);
    /* Blocks of 32 in the sixteen values of IQ4_NL (quant/iq4.h): fifteen inverse scales. */
    void (*iq4_scale)(const float *x, const float *w, size_t blocks, float *scale);
    /* code of the value nearest to x * inverse, the larger of two */
    void (*iq4_codes)(const float *x, const float *inverse, size_t blocks, uint8_t *codes);
    const struct panel_kernels *panels; /* of the same instruction set, as are */
    const struct code_kernels *codes;
};

extern const struct searches searches_scalar;

/* Sum of x * x, in index order. */
float sum_of_squares(const float *x, size_t n);

/* The element of largest magnitude, the first of equals; 0 for none. */
float peak_of(int len, const float *x);

static inline float inverse_of(float d)
{
    return d != 0 ? 1 / d : 0;
}

/* The weights of `units` blocks or superblocks of `len`, a power of two: sigma2 is `factor` times the mean square of each.
 * units * len is at most SEARCH_BATCH, len at least 32. */
void weigh_units(const struct searches *search, int len, float factor, const float *x, const float *importance,
                 size_t units, float *w);

#endif
