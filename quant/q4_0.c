/* SPDX-License-Identifier: MIT
 * Q4_0, scalar: the definition. */
#include "quant/q4_0.h"

#include <math.h>
#include <string.h>

#include "quant/floats.h"

enum { LEN = 32 };
struct block {
    uint16_t d;
    uint8_t q[LEN / 2];
};
_Static_assert(sizeof(struct block) == 18, "a Q4_0 block has 18 bytes");

static uint8_t code_of(float x, float id)
{
    if (isinf(id))
        return 0;
    int c = (int)(x * id + 8.5f);
    return (uint8_t)(c > 15 ? 15 : c);
}

void q4_0_encode(const float *x, void *blocks, size_t n)
{
    for (size_t i = 0; i < n; i++, x += LEN) {
        struct block b;
        float amax = 0, v = 0;
        for (int j = 0; j < LEN; j++)
            if (fabsf(x[j]) > amax) {
                amax = fabsf(x[j]);
                v = x[j];
            }
        float d = v / -8, id = d != 0 ? 1 / d : 0;
        b.d = f32_to_f16(d);
        for (int j = 0; j < LEN / 2; j++)
            b.q[j] = (uint8_t)(code_of(x[j], id) | code_of(x[j + LEN / 2], id) << 4);
        memcpy((uint8_t *)blocks + i * sizeof b, &b, sizeof b);
    }
}

void q4_0_decode(const void *blocks, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++, x += LEN) {
        struct block b;
        memcpy(&b, (const uint8_t *)blocks + i * sizeof b, sizeof b);
        float d = f16_to_f32(b.d);
        for (int j = 0; j < LEN / 2; j++) {
            x[j] = (float)((b.q[j] & 15) - 8) * d;
            x[j + LEN / 2] = (float)((b.q[j] >> 4) - 8) * d;
        }
    }
}
