/* SPDX-License-Identifier: MIT
 * Body of quant/codes.c and of its variants in quant/x86/: included once per instruction set with CODES_VARIANT defined as the
 * name of its table. Plain loops, which compilers turn into vectors as they are: no operation depends on its neighbours. */
#ifdef CODES_VARIANT
#include <math.h>

#include "quant/codes.h"
#include "quant/floats.h"

/* Adding it rounds numbers below 2^22 to whole ones, ties to even. */
#define ROUNDS 12582912.0f

static void range(const float *restrict x, size_t n, float *restrict low, float *restrict high)
{
    float least[CODE_LANES], most[CODE_LANES];
    for (size_t k = 0; k < CODE_LANES; k++) {
        least[k] = *low;
        most[k] = *high;
    }
    size_t i = 0;
    for (; i + CODE_LANES <= n; i += CODE_LANES)
        for (size_t k = 0; k < CODE_LANES; k++) {
            least[k] = x[i + k] < least[k] ? x[i + k] : least[k];
            most[k] = x[i + k] > most[k] ? x[i + k] : most[k];
        }
    for (; i < n; i++) {
        least[0] = x[i] < least[0] ? x[i] : least[0];
        most[0] = x[i] > most[0] ? x[i] : most[0];
    }
    for (size_t k = 0; k < CODE_LANES; k++) {
        *low = least[k] < *low ? least[k] : *low;
        *high = most[k] > *high ? most[k] : *high;
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

/* Steps of a half up to 2, of 1 up to 4, and 6; codes of negative numbers from 8 on, that of one that is rounded to 0 too. */
static void e2m1(float scale, const float *restrict x, size_t n, uint8_t *restrict codes)
{
    for (size_t i = 0; i < n; i++) {
        const float v = x[i] / scale, size = fabsf(v);
        float low = 2 * size, high = size;
        low = low < 4 ? low : 4;
        high = high < 4 ? high : 4;
        float code = low + ROUNDS - ROUNDS; /* 0 .. 4: 0 .. 2 */
        const float above = high + ROUNDS - ROUNDS + 2; /* 4 .. 6: 2 .. 4 */
        code = size > 2 ? above : code;
        code = size > 5 ? 7 : code;
        codes[i] = (uint8_t)(int)(v < 0 ? code + 8 : code);
    }
}

/* On the bits of F32: normal codes are its upper ones with another bias, rounded; subnormal ones whole multiples of 2^-9. */
static void e4m3(float scale, const float *restrict x, size_t n, uint8_t *restrict codes)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = f32_bits(x[i] / scale), sign = bits >> 24 & 0x80, all = bits & 0x7fffffff;
        const uint32_t mag = all < 0x43e00000 ? all : 0x43e00000; /* 448 */
        const uint32_t normal = ((mag + 0x7ffff + (mag >> 20 & 1)) >> 20) - (120 << 3);
        const uint32_t below = f32_bits(bits_f32(mag) + 16384.0f) - 0x46800000;
        codes[i] = (uint8_t)(sign | (mag < 0x3c800000 ? below : normal)); /* 2^-6 */
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
