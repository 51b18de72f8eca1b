/* SPDX-License-Identifier: MIT
 * Q1_0, Q2_0, TQ1_0, TQ2_0, scalar: the definition. */
#include "quant/low_bits.h"

#include <string.h>

#include "quant/floats.h"

enum { Q1_LEN = 128, Q2_LEN = 64, TQ_LEN = 256, Q1_BYTES = 18, Q2_BYTES = 18, TQ1_BYTES = 54, TQ2_BYTES = 66 };

static float f16_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return f16_to_f32(h);
}

void q1_0_decode(const void *blocks, float *x, size_t n)
{
    const uint8_t *in = blocks;
    for (size_t i = 0; i < n; i++, in += Q1_BYTES, x += Q1_LEN) {
        float d = f16_at(in);
        for (int j = 0; j < Q1_LEN; j++)
            x[j] = in[2 + j / 8] >> j % 8 & 1 ? d : -d;
    }
}

void q2_0_decode(const void *blocks, float *x, size_t n)
{
    const uint8_t *in = blocks;
    for (size_t i = 0; i < n; i++, in += Q2_BYTES, x += Q2_LEN) {
        float d = f16_at(in);
        for (int j = 0; j < Q2_LEN; j++)
            x[j] = (float)((in[2 + j / 4] >> j % 4 * 2 & 3) - 1) * d;
    }
}

void tq2_0_decode(const void *blocks, float *x, size_t n)
{
    const uint8_t *in = blocks;
    for (size_t i = 0; i < n; i++, in += TQ2_BYTES, x += TQ_LEN) {
        float d = f16_at(in + TQ_LEN / 4);
        for (int j = 0; j < TQ_LEN; j++)
            x[j] = (float)((in[j / 128 * 32 + j % 32] >> j % 128 / 32 * 2 & 3) - 1) * d;
    }
}

/* `count` digits of each of `len` bytes, the first digit of all bytes first. */
static float *digits(const uint8_t *in, int len, int count, float d, float *x)
{
    uint8_t power = 1;
    for (int n = 0; n < count; n++, power = (uint8_t)(power * 3))
        for (int l = 0; l < len; l++) {
            uint8_t fraction = (uint8_t)(in[l] * power);
            *x++ = (float)((fraction * 3 >> 8) - 1) * d;
        }
    return x;
}

void tq1_0_decode(const void *blocks, float *x, size_t n)
{
    const uint8_t *in = blocks;
    for (size_t i = 0; i < n; i++, in += TQ1_BYTES) {
        float d = f16_at(in + TQ1_BYTES - 2);
        x = digits(in, 32, 5, d, x);
        x = digits(in + 32, 16, 5, d, x);
        x = digits(in + 48, 4, 4, d, x);
    }
}
