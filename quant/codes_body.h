/* SPDX-License-Identifier: MIT
 * Body of quant/codes.c and of its variants in quant/x86/: included once per instruction set, behind its vector_*.h, with
 * CODES_VARIANT defined as the name of its table. Plain loops where compilers turn them into vectors as they are: no operation
 * depends on its neighbours. */
#ifdef CODES_VARIANT
#include <math.h>

#include "quant/codes.h"
#include "quant/floats.h"

/* Adding it rounds numbers below 2^22 to whole ones, ties to even. */
#define ROUNDS 12582912.0f

static void range(const float *x, size_t n, float *low, float *high)
{
    vf least = v_set(*low), most = v_set(*high);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        least = v_min(v_load(x + i), least);
        most = v_max(v_load(x + i), most);
    }
    *low = -v_largest(v_negative(least));
    *high = v_largest(most);
    for (; i < n; i++) {
        *low = x[i] < *low ? x[i] : *low;
        *high = x[i] > *high ? x[i] : *high;
    }
}

static void whole(const struct whole *w, const float *restrict x, size_t n, uint8_t *restrict codes)
{
    const float scale = w->scale, zero = w->zero, low = w->low, high = w->high, base = w->base;
    for (size_t i = 0; i < n; i++) {
        float q = x[i] / scale + zero;
        q = q > low ? q : low;
        q = q < high ? q : high;
        codes[i] = (uint8_t)(int)(q + ROUNDS - ROUNDS - base);
    }
}

/* All bits, or none: a choice that compilers take for no branch. */
static inline uint32_t chosen(int yes)
{
    return -(uint32_t)yes;
}

/* On the bits of F32: normal codes are its upper ones with another bias, rounded; below them are multiples of a half. A negative number
 * that is rounded to 0 keeps its sign. */
static void e2m1(float scale, const float *restrict x, size_t n, uint8_t *restrict codes)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = f32_bits(x[i] / scale), all = bits & 0x7fffffff;
        const uint32_t sign = bits >> 28 & 8 & chosen(all > 0);
        const uint32_t mag = all < 0x40c00000 ? all : 0x40c00000; /* 6 */
        const uint32_t normal = ((mag + 0x1fffff + (mag >> 22 & 1)) >> 22) - (126 << 1);
        const uint32_t below = f32_bits(bits_f32(mag) + 0x1p22f) - 0x4a800000;
        const uint32_t small = chosen(mag < 0x3f800000); /* 1 */
        codes[i] = (uint8_t)(sign | (below & small) | (normal & ~small));
    }
}

/* As before; subnormal codes are multiples of 2^-9. */
static void e4m3(float scale, const float *restrict x, size_t n, uint8_t *restrict codes)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = f32_bits(x[i] / scale), sign = bits >> 24 & 0x80, all = bits & 0x7fffffff;
        const uint32_t mag = all < 0x43e00000 ? all : 0x43e00000; /* 448 */
        const uint32_t normal = ((mag + 0x7ffff + (mag >> 20 & 1)) >> 20) - (120 << 3);
        const uint32_t below = f32_bits(bits_f32(mag) + 16384.0f) - 0x46800000;
        const uint32_t small = chosen(mag < 0x3c800000); /* 2^-6 */
        codes[i] = (uint8_t)(sign | (below & small) | (normal & ~small));
    }
}

static void unsigned_values(float scale, float zero, const uint8_t *restrict codes, size_t n, float *restrict x)
{
    for (size_t i = 0; i < n; i++)
        x[i] = ((float)codes[i] - zero) * scale;
}

static void signed_values(float scale, float zero, const uint8_t *restrict codes, size_t n, float *restrict x)
{
    for (size_t i = 0; i < n; i++)
        x[i] = ((float)(int8_t)codes[i] - zero) * scale;
}

static void add_errors(const float *restrict x, const float *restrict y, const float *restrict w, size_t n, double *restrict lanes)
{
    for (size_t k = 0; k < n; k++) {
        const double diff = (double)x[k] - (double)y[k];
        lanes[k] += (double)w[k] * (diff * diff);
    }
}

static void error(const float *x, const float *y, const float *w, float size, size_t n, double *lanes)
{
    for (size_t i = 0, some; i < n; i += some) {
        float own[CODE_LANES];
        some = n - i < CODE_LANES ? n - i : CODE_LANES;
        for (size_t k = 0; !w && k < some; k++)
            own[k] = size + fabsf(x[i + k]);
        if (some == CODE_LANES)
            add_errors(x + i, y + i, w ? w + i : own, CODE_LANES, lanes);
        else
            add_errors(x + i, y + i, w ? w + i : own, some, lanes);
    }
}

const struct code_kernels CODES_VARIANT = {range, whole, e2m1, e4m3, unsigned_values, signed_values, error};
#endif
