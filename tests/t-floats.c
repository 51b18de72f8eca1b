/* SPDX-License-Identifier: MIT
 * Scalar number formats against a second definition in double precision: every code decoded by the formula of its
 * format, every rounding decided by looking up the two neighbours of a number in the sorted list of values and taking
 * the nearer. Shares no bit trick with quant/floats.c. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "quant/floats.h"
#include "tests/tap.h"

/* A format of 1 sign bit, exponent and mantissa bits. */
struct layout {
    const char *name;
    int exp_bits, man_bits, bias;
    unsigned top;   /* largest finite magnitude code */
    unsigned above; /* what rounds beyond it becomes: infinity, or `top` again */
    float (*decode)(unsigned);
    unsigned (*encode)(float);
};

static float e4m3_decode(unsigned c)
{
    return e4m3_to_f32((uint8_t)c);
}
static unsigned e4m3_encode(float f)
{
    return f32_to_e4m3(f);
}
static float e5m2_decode(unsigned c)
{
    return e5m2_to_f32((uint8_t)c);
}
static unsigned e5m2_encode(float f)
{
    return f32_to_e5m2(f);
}
static float f16_decode(unsigned c)
{
    return f16_to_f32((uint16_t)c);
}
static unsigned f16_encode(float f)
{
    return f32_to_f16(f);
}
static float bf16_decode(unsigned c)
{
    return bf16_to_f32((uint16_t)c);
}
static unsigned bf16_encode(float f)
{
    return f32_to_bf16(f);
}

static const struct layout layouts[] = {
    {"e4m3", 4, 3, 7, 0x7e, 0x7e, e4m3_decode, e4m3_encode},
    {"e5m2", 5, 2, 15, 0x7b, 0x7c, e5m2_decode, e5m2_encode},
    {"f16", 5, 10, 15, 0x7bff, 0x7c00, f16_decode, f16_encode},
    {"bf16", 8, 7, 127, 0x7f7f, 0x7f80, bf16_decode, bf16_encode},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

static unsigned sign_bit(const struct layout *l)
{
    return 1u << (l->exp_bits + l->man_bits);
}

/* The definition: (-1)^s * 2^(e - bias) * (1 + m / 2^man_bits), with e = 0: 2^(1 - bias) * m / 2^man_bits. */
static double value_of(const struct layout *l, unsigned magnitude)
{
    unsigned e = magnitude >> l->man_bits, m = magnitude % (1u << l->man_bits);
    double fraction = (double)m / (double)(1u << l->man_bits);
    return e ? ldexp(1 + fraction, (int)e - l->bias) : ldexp(fraction, 1 - l->bias);
}

/* Nearest magnitude code of a finite x >= 0, ties to the even code. */
static unsigned nearest(const struct layout *l, double x)
{
    unsigned lo = 0, hi = l->top + 1; /* value_of(top + 1) is where the next number would be */
    if (x >= value_of(l, hi))
        return l->above;
    while (hi - lo > 1) {
        unsigned mid = (lo + hi) / 2;
        *(value_of(l, mid) <= x ? &lo : &hi) = mid;
    }
    double below = x - value_of(l, lo), above = value_of(l, hi) - x;
    unsigned code = below < above || (below == above && lo % 2 == 0) ? lo : hi;
    return code > l->top ? l->above : code;
}

static int same_bits(float a, float b)
{
    return f32_bits(a) == f32_bits(b);
}

/* Encodes x and -x; prints the first wrong one. */
static int encodes(const struct layout *l, float x, unsigned want)
{
    unsigned plus = l->encode(x), minus = l->encode(-x);
    if (plus == want && minus == (want | sign_bit(l)))
        return 1;
    note("%s of %a: 0x%x, of its negative 0x%x, expected 0x%x", l->name, (double)x, plus, minus, want);
    return 0;
}

static void decode_all(const struct layout *l)
{
    unsigned wrong = 0, n = 2 * sign_bit(l);
    for (unsigned c = 0; c < n; c++) {
        unsigned magnitude = c % sign_bit(l);
        float got = l->decode(c);
        if (magnitude <= l->top)
            wrong += !same_bits(got, (float)(c < sign_bit(l) ? value_of(l, magnitude) : -value_of(l, magnitude)));
        else if (magnitude == l->above)
            wrong += !isinf(got) || !signbit(got) != (c < sign_bit(l));
        else
            wrong += !isnan(got);
    }
    ok(!wrong, "%s: all %u codes decode by the formula", l->name, n);
}

static void round_trip_all(const struct layout *l)
{
    unsigned wrong = 0;
    for (unsigned c = 0; c <= l->top; c++)
        wrong += !encodes(l, l->decode(c), c);
    ok(!wrong, "%s: all %u finite codes of both signs come back", l->name, l->top + 1);
}

static void midpoints(const struct layout *l)
{
    unsigned wrong = 0;
    for (unsigned c = 0; c < l->top; c++) {
        float mid = (float)((value_of(l, c) + value_of(l, c + 1)) / 2); /* exact in an F32 */
        wrong += !encodes(l, mid, c % 2 ? c + 1 : c);
        wrong += !encodes(l, nextafterf(mid, 0), c);
        wrong += !encodes(l, nextafterf(mid, INFINITY), c + 1);
    }
    ok(!wrong, "%s: all %u midpoints go to the even code, the floats beside them to the nearer", l->name, l->top);
}

static void random_floats(const struct layout *l, int n)
{
    uint64_t state = 0x70617265;
    unsigned wrong = 0;
    for (int i = 0; i < n; i++) {
        /* half of them any finite float, half within a few powers of two of the format's range */
        float x = fabsf(bits_f32((uint32_t)rng_next(&state)));
        if (i % 2)
            x = (float)ldexp(1 + rng_uniform(&state),
                             (int)(rng_next(&state) % (1u << l->exp_bits)) - l->bias - l->man_bits);
        if (isfinite(x))
            wrong += !encodes(l, x, nearest(l, (double)x));
    }
    ok(!wrong, "%s: %d random floats of both signs go to the nearest code", l->name, n);
}

static void facts(void)
{
    ok(e4m3_to_f32(0x7e) == 448.0f, "e4m3: the largest finite value is 448 (0x7e)");
    ok(e4m3_to_f32(0x08) == 0x1p-6f && e4m3_to_f32(0x01) == 0x1p-9f,
       "e4m3: smallest normal 2^-6, smallest subnormal 2^-9");
    ok(isnan(e4m3_to_f32(0x7f)) && isnan(e4m3_to_f32(0xff)), "e4m3: 0x7f and 0xff are NaN, there is no infinity");
    ok(same_bits(e4m3_to_f32(0x80), -0.0f), "e4m3: 0x80 is -0");
    ok(f32_to_e4m3(449) == 0x7e && f32_to_e4m3(464) == 0x7e && f32_to_e4m3(465) == 0x7e &&
           f32_to_e4m3(FLT_MAX) == 0x7e && f32_to_e4m3(INFINITY) == 0x7e && f32_to_e4m3(-INFINITY) == 0xfe,
       "e4m3: everything above 448 saturates, infinity too");
    ok(f32_to_e4m3(NAN) == 0x7f && f32_to_e4m3(-NAN) == 0x7f, "e4m3: NaN becomes 0x7f");
    ok(f32_to_e4m3(0x1p-10f) == 0x00 && f32_to_e4m3(1.5f * 0x1p-10f) == 0x01,
       "e4m3: 2^-10 becomes 0, 1.5 * 2^-10 0x01");
    ok(f32_to_e4m3(17) == 0x58 && f32_to_e4m3(18) == 0x59 && f32_to_e4m3(19) == 0x5a,
       "e4m3: 17, 18, 19 become 16, 18, 20");
    ok(f32_to_e4m3(-0.0f) == 0x80 && f32_to_e4m3(-0x1p-149f) == 0x80, "e4m3: -0 and the smallest negative become 0x80");

    ok(e5m2_to_f32(0x7b) == 57344.0f && e5m2_to_f32(0x01) == 0x1p-16f, "e5m2: largest 57344 (0x7b), smallest 2^-16");
    ok(isinf(e5m2_to_f32(0x7c)) && e5m2_to_f32(0xfc) < 0, "e5m2: 0x7c and 0xfc are infinite");
    ok(isnan(e5m2_to_f32(0x7d)) && isnan(e5m2_to_f32(0x7f)) && isnan(e5m2_to_f32(0xfe)), "e5m2: 0x7d to 0x7f are NaN");
    ok(f32_to_e5m2(61439) == 0x7b && f32_to_e5m2(61440) == 0x7c && f32_to_e5m2(INFINITY) == 0x7c,
       "e5m2: 61439 becomes 57344, 61440 and above infinity");
    ok(f32_to_e5m2(0x1p-17f) == 0, "e5m2: 2^-17 becomes 0");
    ok(isnan(e5m2_to_f32(f32_to_e5m2(NAN))), "e5m2: NaN stays NaN");

    ok(f16_to_f32(0x7bff) == 65504.0f && f16_to_f32(0x0400) == 0x1p-14f && f16_to_f32(1) == 0x1p-24f,
       "f16: largest 65504, smallest normal 2^-14, smallest subnormal 2^-24");
    ok(f32_to_f16(65519.996f) == 0x7bff && f32_to_f16(65520) == 0x7c00,
       "f16: below 65520 becomes 65504, 65520 infinity");
    ok(f32_to_f16(0x1p-25f) == 0 && f32_to_f16(0x1.000002p-25f) == 1, "f16: 2^-25 becomes 0, the float above it 2^-24");
    ok(f32_to_f16(NAN) == 0x7e00 && f32_to_f16(bits_f32(0xffc12345)) == 0xfe00,
       "f16: NaN becomes 0x7e00 with its sign");
    ok(f32_to_f16(INFINITY) == 0x7c00 && f32_to_f16(-INFINITY) == 0xfc00, "f16: infinity stays");

    ok(f32_to_bf16(bits_f32(0x7f800001)) == 0x7fc0 && f32_to_bf16(bits_f32(0xff800001)) == 0xffc0,
       "bf16: a NaN whose upper half is that of infinity stays NaN");
    ok(f32_to_bf16(INFINITY) == 0x7f80 && f32_to_bf16(-INFINITY) == 0xff80, "bf16: infinity stays");
    ok(f32_to_bf16(FLT_MAX) == 0x7f80, "bf16: FLT_MAX rounds to infinity");
    ok(f32_to_bf16(0x1p-133f) == 0x0001 && f32_to_bf16(0x1p-134f) == 0, "bf16: 2^-133 stays, 2^-134 becomes 0");
}

static void f16_codes(void)
{
    unsigned wrong = 0;
    for (unsigned c = 0; c < 65536; c++) {
        int nan = (c & 0x7fff) > 0x7c00;
        wrong += f32_to_f16(f16_to_f32((uint16_t)c)) != (nan ? (c & 0x8000) | 0x7e00 : c);
    }
    ok(!wrong, "f16: all 65536 codes come back, NaN as 0x7e00 with its sign");
}

static void bf16_codes(void)
{
    unsigned wrong = 0;
    for (unsigned c = 0; c < 65536; c++) {
        int nan = (c & 0x7fff) > 0x7f80;
        wrong += f32_to_bf16(bf16_to_f32((uint16_t)c)) != (nan ? c | 0x40 : c);
    }
    ok(!wrong, "bf16: all 65536 codes come back, NaN made quiet");
}

static void e8m0(void)
{
    unsigned wrong = 0, wrong_up = 0;
    for (int c = 0; c < 255; c++) {
        float v = (float)ldexp(1, c - 127);
        wrong += !same_bits(e8m0_to_f32((uint8_t)c), v) || f32_to_e8m0(v) != c;
        /* the smallest power of two not below */
        wrong_up += f32_to_e8m0(nextafterf(v, INFINITY)) != c + 1 || f32_to_e8m0(nextafterf(v, 0)) != (c ? c : 0);
    }
    ok(!wrong, "e8m0: codes 0 to 254 are 2^-127 to 2^127, and come back");
    ok(!wrong_up, "e8m0: the float above each power becomes the next power, the float below the power");
    ok(e8m0_to_f32(127) == 1.0f, "e8m0: code 127 is a scale of 1");
    ok(f32_to_e8m0(1.5f) == 128 && f32_to_e8m0(3.0f) == 129,
       "e8m0: 1.5 becomes 2 and 3 becomes 4, as DeepSeek's scales");
    ok(isnan(e8m0_to_f32(0xff)), "e8m0: 0xff is NaN");
    ok(f32_to_e8m0(NAN) == 0xff && f32_to_e8m0(INFINITY) == 0xff && f32_to_e8m0(FLT_MAX) == 0xff,
       "e8m0: NaN, infinity and all above 2^127 become 0xff");
    ok(f32_to_e8m0(0) == 0 && f32_to_e8m0(-0.0f) == 0 && f32_to_e8m0(-5) == 0 && f32_to_e8m0(0x1p-149f) == 0,
       "e8m0: zero, negatives and all below 2^-127 become 0");
}

int main(void)
{
    for (int i = 0; i < LAYOUTS; i++) {
        decode_all(&layouts[i]);
        round_trip_all(&layouts[i]);
        midpoints(&layouts[i]);
        random_floats(&layouts[i], 250000);
    }
    random_floats(&layouts[2], 1000000);
    facts();
    f16_codes();
    bf16_codes();
    e8m0();
    return done();
}
