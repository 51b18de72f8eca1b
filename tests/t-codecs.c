/* SPDX-License-Identifier: MIT
 * Blocks of every quantization type that is written: the XXH3 of what a fixed stream of numbers becomes, with and without
 * importance. tests/interop/t_codecs.py proves the encoders equal to ggml's; the hashes keep them so where ggml is not
 * at hand. Then blocks that can be followed by hand. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/hash.h"
#include "quant/floats.h"
#include "quant/search.h"
#include "quant/types.h"
#include "tests/tap.h"

enum { ROWS = 8, COLS = 1792 };

static const struct {
    const char *type;
    uint64_t plain, weighted, best, best_weighted;
} golden[] = {
    {"Q8_0", 0x39c6d20e11c4df3f, 0x39c6d20e11c4df3f, 0x39c6d20e11c4df3f, 0x39c6d20e11c4df3f},
    {"Q4_0", 0x36a776d553d9fecf, 0xeb8a4005d97fed66, 0x3cc54190e4b6c432, 0xea806534e9a618c8},
    {"Q4_1", 0x74bdcad9c0ac83e3, 0x179615e819527835, 0x6a504fe1717173d6, 0xbde69fbc00ff65b0},
    {"Q5_0", 0xb01dabec9bd974c5, 0xf57553f915e729be, 0x2e6cca5e4ef1cbcb, 0xe77f4612eab79931},
    {"Q5_1", 0x2ea8136697cc10e6, 0xda85dc4aec64f084, 0xffa78a6c1048d04d, 0xe063eb545ab1fdd1},
    {"Q2_K", 0xbe90ed745bcc5632, 0x1953843b1e3b8298, 0x293c378cb44be8ce, 0x2c667e0aaf9ef936},
    {"Q3_K", 0xf2ba0cc21fe870da, 0x274002348c754171, 0x3743df3cf76d1824, 0x93f66f4478bb7eb8},
    {"Q4_K", 0xc773c6611a4ebe6d, 0x8796f43ef60be4b8, 0x9562eccebd4ea5bc, 0x7e52534bd76793ee},
    {"Q5_K", 0xa96af45ac666b177, 0x8695b57bdd0d23be, 0xa2a86f6806c195e4, 0xfa143af88c5a22fd},
    {"Q6_K", 0xb0861bace4172909, 0x8448250f7122c846, 0x7bc322dcfc1142a8, 0x86f7a080d4d6da71},
    {"IQ4_NL", 0xaee21ada8eb9aff9, 0x399251769488aca6, 0x4336474d9ec063b3, 0x87f2ae2a78677663},
    {"IQ4_XS", 0xb0ee0e919afffd19, 0xa9a08bfbc34310b4, 0x54d73615eff3f0b4, 0xcd2831a728dcc840},
    {"MXFP4", 0xecea6b77e2e00430, 0xecea6b77e2e00430, 0xa679b0caeda4ec48, 0xe25c95d008053e03},
    {"NVFP4", 0xcfc801fb86880def, 0xcfc801fb86880def, 0x4a3da9dcf220e160, 0x550018347d99f6b4},
    {"INT4-G32", 0x1b178a1229be8c8d, 0x1b178a1229be8c8d, 0x7bc27e1758bf2908, 0xd5d5dd1587d1f822},
    {"INT4-G128", 0x7515f2e38eebc603, 0x7515f2e38eebc603, 0x3d9662ba8cea5a6d, 0xa96e70971104f833},
    {"INT4-G128-ASYM", 0x883c6b2bd41e3b13, 0x883c6b2bd41e3b13, 0x66a2c5edd960da13, 0xc4a58bec4b9dcfa0},
    {"INT4-G64-ASYM-F16", 0x3a97d5966409dd13, 0x3a97d5966409dd13, 0x76f471b346ccde6c, 0x1e7a6d728c167e4f},
    {"INT8-G64", 0xdcddb5c8334014d3, 0xdcddb5c8334014d3, 0x3516823715349226, 0x2703c1df4608cd16},
    {"INT8-G128-F16", 0xd8c5c5acf5461e2e, 0xd8c5c5acf5461e2e, 0xd2dfb6e028ce1510, 0x1637961023a58bc9},
    {"MXFP4-CT", 0xd8752a4b45236902, 0xd8752a4b45236902, 0x331d10ee112250f7, 0xe2a41f0d491a07bc},
    {"NVFP4-CT", 0xa1d6b7d6fb87bd88, 0xa1d6b7d6fb87bd88, 0xc0366ffa86c7ca4e, 0xb65aba8e5a782ada},
};
enum { TYPES = sizeof golden / sizeof *golden };

/* Rows of quite different kinds: normal, heavy-tailed, of one sign, sparse, with outliers, quarters, tiny, zero. */
static float number(int row, int col, uint64_t *state)
{
    float g = rng_gauss(state);
    uint64_t bits = rng_next(state);
    switch (row) {
    case 0:
        return 0.02f * g;
    case 1:
        return ldexpf(g, (int)(bits % 24) - 20);
    case 2:
        return fabsf(g);
    case 3:
        return bits % 30 ? 0 : g;
    case 4:
        return col % 256 ? 0.02f * g : 9;
    case 5:
        return (float)((int)(bits % 7) - 3) / 4;
    case 6:
        return ldexpf(g, -53 - 4 * (col / 256));
    default:
        return 0;
    }
}

static uint64_t hash_of(const struct quant_type *t, int weighted, int best)
{
    static float x[ROWS * COLS], importance[COLS];
    static uint8_t blocks[ROWS * COLS * 4];
    struct quant_kernels k = quant_kernels_for(t, cpu_features());
    uint64_t state = 6;
    size_t n = COLS / t->block_len, bytes = n * t->block_bytes;
    for (int i = 0; i < COLS; i++)
        importance[i] = i % 11 == 3 ? 0 : 1 + (float)(rng_next(&state) % 1000);
    for (int row = 0; row < ROWS; row++)
        for (int i = 0; i < COLS; i++)
            x[row * COLS + i] = number(row, i, &state);
    for (int row = 0; row < ROWS; row++) {
        k.encode(x + row * COLS, weighted ? importance : NULL, blocks + (size_t)row * bytes, n);
        if (best && k.improve)
            k.improve(x + row * COLS, weighted ? importance : NULL, blocks + (size_t)row * bytes, n);
    }
    return hash_64(blocks, ROWS * bytes, 0);
}

static void test_hash(const char *type, int weighted, int best, uint64_t want)
{
    static const char *const hows[] = {"", " with importance", ", best", ", best with importance"};
    uint64_t got = hash_of(quant_type_find(type), weighted, best);
    const char *how = hows[2 * best + weighted];
    if (!ok(got == want, "%s%s: %d rows of %d hash to %016" PRIx64, type, how, ROWS, COLS, want))
        note("got %016" PRIx64, got);
}

static int decodes(const char *type, const uint8_t *block, const float *want, size_t n)
{
    const struct quant_type *t = quant_type_find(type);
    float x[256];
    uint8_t whole[256] = {0};
    memcpy(whole, block, t->block_bytes);
    t->ref.decode(whole, x, 1);
    for (size_t i = 0; i < n; i++)
        if (x[i] != want[i]) {
            note("weight %zu is %g, not %g", i, (double)x[i], (double)want[i]);
            return 0;
        }
    return 1;
}

static void test_by_hand(void)
{
    static const uint8_t q4_1[20] = {0x00, 0x38, 0x00, 0xc0, 0xf0, 0x21};
    static const uint8_t q4_k[144] = {0, 0x3c, 0, 0x38, 3, [8] = 4, [16] = 5};
    static const uint8_t mxfp4[17] = {129, 0x17, 0x9f}, iq4_nl[18] = {0x00, 0x3c, 0x80, 0x0f};
    static const uint8_t tq1_0[54] = {[0] = 0xff, [53] = 0x3c};
    static const uint8_t iq2_xxs[66] = {0x00, 0x44, 1, 0, 0, 0, 0x03, 0, 0, 0x10};
    ok(decodes("Q4_1", q4_1, (const float[]){-2, -1.5f}, 2),
       "Q4_1 with d = 0.5, m = -2: codes 0 and 1 are -2 and -1.5");
    ok(decodes("Q4_K", q4_k, (const float[]){13, -2}, 2),
       "Q4_K with d = 1, s = 3, dmin = 0.5, m = 4: codes 5 and 0 are 13 and -2");
    ok(decodes("MXFP4", mxfp4, (const float[]){24, -24}, 2), "MXFP4 with e = 129: codes 7 and 15 are 24 and -24");
    ok(decodes("IQ4_NL", iq4_nl, (const float[]){-127, 113}, 2), "IQ4_NL with d = 1: codes 0 and 15 are -127 and 113");
    ok(decodes("TQ1_0", tq1_0, (const float[]){1, -1}, 2),
       "TQ1_0 with d = 1: byte 255 begins with digit 2, byte 0 with 0");
    ok(decodes("IQ2_XXS", iq2_xxs, (const float[]){-64.5f, -12, 12}, 3),
       "IQ2_XXS with d = 4 and scale 1.5 * 0.25: point 1 with signs 3 begins -64.5, -12, 12");
}

static void test_rounding(void)
{
    ok(nearest(2.5f) == 2 && nearest(-2.5f) == -2 && nearest(3.5f) == 4 && nearest(-0.75f) == -1,
       "nearest: ties go to the even number");
    ok(nearest(INFINITY) == -0x400000 && nearest(NAN) == 0, "nearest: infinity is -2^22, NaN 0");
    ok(scale_to_f16(NAN) == 0 && scale_to_f16(-NAN) == 0, "a scale that is NaN is stored as 0");
}

/* The logarithm that MXFP4's exponent comes from, where F32 rounds it up to a whole number and where it no longer does. */
static void test_mxfp4_exponents(void)
{
    static const struct {
        int k, below, e;
    } at[] = {{127, 44, 252}, {127, 45, 251}, {3, 1, 128},   {3, 2, 127},
              {1, 0, 126},    {1, 1, 125},    {-64, 44, 61}, {-64, 45, 60}};
    const struct quant_type *t = quant_type_find("MXFP4");
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        float x[32] = {ldexpf(1 - (float)at[i].below * 0x1p-24f, at[i].k)};
        uint8_t block[17];
        t->ref.encode(x, NULL, block, 1);
        ok(block[0] == at[i].e, "MXFP4: %d steps below 2^%d the exponent is %d", at[i].below, at[i].k, at[i].e);
    }
}

int main(void)
{
    for (size_t i = 0; i < TYPES; i++) {
        test_hash(golden[i].type, 0, 0, golden[i].plain);
        test_hash(golden[i].type, 1, 0, golden[i].weighted);
        test_hash(golden[i].type, 0, 1, golden[i].best);
        test_hash(golden[i].type, 1, 1, golden[i].best_weighted);
    }
    test_by_hand();
    test_rounding();
    test_mxfp4_exponents();
    return done();
}
