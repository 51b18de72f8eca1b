/* SPDX-License-Identifier: MIT
 * Scalar number formats: small floats by integer arithmetic on the bits of an F32. */
#include "quant/floats.h"

#include <math.h>

/* A small float of 1 sign bit, `exp_bits` and `man_bits`, with IEEE subnormals, to F32. Special codes are the caller's. */
static float small_to_f32(uint32_t code, int exp_bits, int man_bits)
{
    uint32_t sign = code >> (exp_bits + man_bits) & 1;
    uint32_t exp = code >> man_bits & ((1u << exp_bits) - 1), man = code & ((1u << man_bits) - 1);
    int bias = (1 << (exp_bits - 1)) - 1;
    float v = exp ? ldexpf(1.0f + ldexpf((float)man, -man_bits), (int)exp - bias)
                  : ldexpf((float)man, 1 - bias - man_bits);
    return sign ? -v : v;
}

/* Magnitude bits of a finite F32 to the nearest small float, as exp << man_bits | man; may exceed the largest code, so
 * that the caller decides on overflow. */
static uint32_t round_to_small(uint32_t mag, int exp_bits, int man_bits)
{
    int bias = (1 << (exp_bits - 1)) - 1, exp = (int)(mag >> 23) - 127 + bias;
    uint32_t man = mag & 0x7fffff;
    if (mag >> 23)
        man |= 0x800000;
    int shift = 23 - man_bits;
    if (exp < 1) { /* subnormal: one unit is 2^(1 - bias - man_bits) */
        shift += 1 - exp;
        exp = 1;
    }
    if (shift > 25)
        return 0;
    uint32_t kept = man >> shift, rest = man & ((1u << shift) - 1), half = 1u << (shift - 1);
    kept += rest > half || (rest == half && (kept & 1));
    /* kept has its leading one (or not, when subnormal): adding it to the exponent below does the right thing */
    return ((uint32_t)(exp - 1) << man_bits) + kept;
}

float f16_to_f32(uint16_t h)
{
    uint32_t exp = h >> 10 & 31, man = h & 0x3ff, sign = (uint32_t)(h & 0x8000) << 16;
    if (exp == 31)
        return bits_f32(sign | 0x7f800000 | man << 13);
    if (exp)
        return bits_f32(sign | (exp + 112) << 23 | man << 13);
    return bits_f32(f32_bits((float)man * 0x1p-24f) | sign);
}

uint16_t f32_to_f16(float f)
{
    uint32_t u = f32_bits(f), mag = u & 0x7fffffff;
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    if (mag > 0x7f800000)
        return sign | 0x7e00;
    uint32_t code = mag == 0x7f800000 ? 0x7c00 : round_to_small(mag, 5, 10);
    return sign | (uint16_t)(code > 0x7c00 ? 0x7c00 : code);
}

float e4m3_to_f32(uint8_t c)
{
    if ((c & 0x7f) == 0x7f)
        return bits_f32(0x7fc00000);
    /* exponent and mantissa at their place in an F32, 120 too small; the product is exact and makes subnormal codes right too */
    return bits_f32(f32_bits(bits_f32((uint32_t)(c & 0x7f) << 20) * 0x1p120f) | (uint32_t)(c & 0x80) << 24);
}

uint8_t f32_to_e4m3(float f)
{
    uint32_t u = f32_bits(f), mag = u & 0x7fffffff;
    if (mag > 0x7f800000)
        return 0x7f;
    uint32_t code = mag == 0x7f800000 ? 0x7f : round_to_small(mag, 4, 3);
    return (uint8_t)((u >> 24 & 0x80) | (code > 0x7e ? 0x7e : code));
}

float e5m2_to_f32(uint8_t c)
{
    if ((c & 0x7f) > 0x7c)
        return bits_f32(0x7fc00000);
    if ((c & 0x7f) == 0x7c)
        return bits_f32((uint32_t)(c & 0x80) << 24 | 0x7f800000);
    return small_to_f32(c, 5, 2);
}

uint8_t f32_to_e5m2(float f)
{
    uint32_t u = f32_bits(f), mag = u & 0x7fffffff, code;
    if (mag > 0x7f800000)
        return 0x7f;
    code = mag == 0x7f800000 ? 0x7c : round_to_small(mag, 5, 2);
    return (uint8_t)((u >> 24 & 0x80) | (code > 0x7c ? 0x7c : code));
}

float e8m0_to_f32(uint8_t c)
{
    return c == 0xff ? bits_f32(0x7fc00000) : c ? bits_f32((uint32_t)c << 23) : 0x1p-127f;
}

uint8_t f32_to_e8m0(float f)
{
    uint32_t u = f32_bits(f);
    if ((u & 0x7fffffff) > 0x7f800000)
        return 0xff;
    if (u >> 31 || !u)
        return 0;
    uint32_t exp = u >> 23, man = u & 0x7fffff;
    if (exp == 0) /* subnormal: 2^-127 is the smallest scale */
        return man > 0x400000 ? 1 : 0;
    exp += man != 0;
    return (uint8_t)(exp > 0xff ? 0xff : exp);
}
