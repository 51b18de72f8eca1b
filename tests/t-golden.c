/* SPDX-License-Identifier: MIT
 * Q8_0 and Q4_0 blocks, byte for byte. The bytes come from a Python script that was written from the formulas in the
 * headers (amax / 127, half away from zero; v / -8, truncation of x / d + 8.5; struct.pack for F32 and F16 rounding)
 * and shares no code with pare; quantize_row_q8_0_ref and quantize_row_q4_0_ref of a stock llama.cpp (xllamacpp
 * 2026.10.11549, x86-64) gave the same. "units" and "eighths" can be followed by hand: their d is 1. */
#include <stdio.h>
#include <string.h>

#include "quant/legacy.h"
#include "quant/q8_0.h"
#include "tests/tap.h"

static float ramp(int j)
{
    return (float)(j - 16);
}
static float tenths(int j)
{
    return (float)(j * 37 % 64 - 31) / 10;
}
static float tiny(int j) /* d is subnormal as F16, and 0 for Q8_0's d */
{
    return (float)(j % 3 ? j + 1 : -j - 1) * 0x1p-30f;
}
static float units(int j) /* amax = 127: x is the code; halves round away from zero */
{
    static const float x[] = {127, 0.5f, -0.5f, 1.5f, -1.5f, 2.5f, 0.49999997f, -127, 126.5f, -126.5f, 100.25f};
    return j < 11 ? x[j] : 0;
}
static float eighths(int j) /* largest magnitude -8: x + 8 is the code; 7.625 is clamped to 15 */
{
    static const float x[] = {-8, 7, 6.5f, 6.4375f, 7.625f, -7.5f, -7.5625f, 0, 0.5f, -0.5f, 0.4375f};
    return j < 11 ? x[j] : 0;
}
static float first_of_equals(int j) /* 8 stands before -8: d is -1 */
{
    return j < 8 ? (j == 3 ? 8.0f : j == 7 ? -8.0f : 0.0f) : 1.0f;
}
static float zeros(int j)
{
    (void)j;
    return 0;
}
static float below_tiny(int j) /* 1 / d is infinite, and d is 0 as F16: all codes are 0 */
{
    return j == 0 ? 1e-40f : j == 1 ? -1e-40f : 0;
}

static const struct {
    const char *title;
    float (*x)(int);
    const char *q8_0, *q4_0;
} rows[] = {
    {"-16 to 15", ramp, "083081899199a1a9b1b9c0c8d0d8e0e8f0f8000810182028303840474f575f676f77",
     "0040809191a2a2b3b3c4c4d5d5e6e6f7f7f8"},
    {"tenths", tenths, "73268518ad40d467fc9124b94be073089d30c457ec7f14a93cd063f88d20b547dc6f",
     "66b6cf379d047be248bf269df36ad148ae15"},
    {"multiples of 2^-30", tiny, "0000fc080cf01418e42024d82c30cc383cc04347b54f53a95b5f9d676b917377857f",
     "00804848d73937e72a26e62b15f51b15f40c"},
    {"d = 1 for Q8_0", units, "003c7f01ff02fe0300817f8164000000000000000000000000000000000000000000",
     "f0cb808888888888888f808f828888888888"},
    {"d = 1 for Q4_0", eighths, "082c816f67667989880008f807000000000000000000000000000000000000000000",
     "003c808f8f8e8f8180888988888888888888"},
    {"8 before -8", first_of_equals, "082c0000007f00000081101010101010101010101010101010101010101010101010",
     "00bc787878707878787f7777777777777777"},
    {"zeros", zeros, "00000000000000000000000000000000000000000000000000000000000000000000",
     "008088888888888888888888888888888888"},
    {"1e-40", below_tiny, "00000000000000000000000000000000000000000000000000000000000000000000",
     "008000000000000000000000000000000000"},
};

static int is_hex(const uint8_t *bytes, size_t n, const char *hex, const char *what)
{
    char got[80];
    for (size_t i = 0; i < n; i++)
        snprintf(got + 2 * i, 3, "%02x", bytes[i]);
    if (!strcmp(got, hex))
        return 1;
    note("%s: got  %s", what, got);
    note("%s: want %s", what, hex);
    return 0;
}

int main(void)
{
    size_t n = sizeof rows / sizeof *rows;
    plan(2 * (int)n + 3);
    for (size_t i = 0; i < n; i++) {
        float x[32];
        uint8_t block[34];
        for (int j = 0; j < 32; j++)
            x[j] = rows[i].x(j);
        q8_0_encode(x, NULL, block, 1);
        ok(is_hex(block, 34, rows[i].q8_0, "Q8_0"), "Q8_0 of %s: the golden 34 bytes", rows[i].title);
        q4_0_encode(x, NULL, block, 1);
        ok(is_hex(block, 18, rows[i].q4_0, "Q4_0"), "Q4_0 of %s: the golden 18 bytes", rows[i].title);
    }
    float y[32];
    static const uint8_t q8[34] = {0x00, 0x38, 0x7f, 0x81, 0x80, 0x01}, q4[18] = {0x00, 0xc0, 0xf0, 0x87};
    q8_0_decode(q8, y, 1);
    ok(y[0] == 63.5f && y[1] == -63.5f && y[2] == -64.0f && y[3] == 0.5f && y[4] == 0,
       "Q8_0 with d = 0.5: codes 127, -127, -128, 1 are 63.5, -63.5, -64, 0.5");
    q4_0_decode(q4, y, 1);
    ok(y[0] == 16.0f && y[16] == -14.0f && y[1] == 2.0f && y[17] == 0 && y[2] == 16.0f,
       "Q4_0 with d = -2: byte 0xf0 is 16 at 0 and -14 at 16, byte 0x87 is 2 at 1 and 0 at 17");
    float worst = 0;
    for (int j = 0; j < 32; j++) {
        float x[32], d;
        uint8_t block[34];
        for (int k = 0; k < 32; k++)
            x[k] = tenths(k);
        q8_0_encode(x, NULL, block, 1);
        q8_0_decode(block, y, 1);
        d = x[j] - y[j];
        worst = d > worst ? d : -d > worst ? -d : worst;
    }
    ok(worst < 0.502f * 3.2f / 127, "Q8_0 of tenths: no error above half a step");
    return done();
}
