/* SPDX-License-Identifier: MIT
 * Scalar number formats: conversions to and from F32, bit exact, without the FPU's own conversions.
 * Rounding is to nearest, ties to even, unless said otherwise.
 * Source: IEEE 754; OCP 8-bit Floating Point Specification (OFP8) 1.0; OCP Microscaling Formats (MX) 1.0. */
#ifndef PARE_QUANT_FLOATS_H
#define PARE_QUANT_FLOATS_H

#include <stdint.h>
#include <string.h>

static inline uint32_t f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float bits_f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* BF16: the upper half of an F32. Subnormals are kept, overflow goes to infinity, NaN stays NaN (made quiet). */
static inline float bf16_to_f32(uint16_t h)
{
    return bits_f32((uint32_t)h << 16);
}

static inline uint16_t f32_to_bf16(float f)
{
    uint32_t u = f32_bits(f);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* F16: IEEE binary16 with subnormals; overflow to infinity; NaN becomes sign|0x7e00. */
float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);

/* E4M3 (fn): 1-4-3 bits, bias 7, no infinity, 0x7f and 0xff NaN, largest 448. Encoding saturates at 448, infinity
 * included; NaN becomes 0x7f. */
float e4m3_to_f32(uint8_t c);
uint8_t f32_to_e4m3(float f);

/* E5M2: 1-5-2 bits, bias 15, IEEE-like with infinity (61440 and above). */
float e5m2_to_f32(uint8_t c);
uint8_t f32_to_e5m2(float f);

/* E8M0: an exponent, 2^(c-127), 0xff NaN. Encoding takes the smallest power of two not below f, as DeepSeek's scales do
 * (ceil of log2); zero and below become 0, infinity and NaN 0xff. */
float e8m0_to_f32(uint8_t c);
uint8_t f32_to_e8m0(float f);

#endif
