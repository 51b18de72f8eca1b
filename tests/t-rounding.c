/* SPDX-License-Identifier: MIT
 * Rounding of activations: each lane is rounded as its token alone would be by the plain definition, and the formats' steps are those of
 * the conversions that files are read with. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "model/forward/rounding.h"
#include "quant/floats.h"
#include "tests/tap.h"

enum { ROWS = 600 };
static uint64_t seed = 1;

static float uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(seed >> 32) * 0x1p-31f;
}

static const struct rounding *find(const char *name)
{
    const struct rounding *r = roundings;
    while (r->name && strcmp(r->name, name))
        r++;
    return r;
}

/* One token's definition: x [n] is a block. */
static void by_definition(const char *name, float *x, size_t n)
{
    float amax = 0, s, by;
    for (size_t i = 0; i < n; i++)
        amax = fmaxf(amax, fabsf(x[i]));
    if (!strncmp(name, "Q8_", 3)) {
        by = amax > 0 ? 127 / amax : 0;
        s = !strcmp(name, "Q8_K") ? (amax > 0 ? 1 / by : 0) : f16_to_f32(f32_to_f16(amax / 127));
        for (size_t i = 0; i < n; i++)
            x[i] = nearbyintf(x[i] * by) * s;
    } else if (!strcmp(name, "INT8-TOKEN")) {
        s = amax > 0 ? amax / 127.5f : FLT_EPSILON;
        for (size_t i = 0; i < n; i++)
            x[i] = fminf(127, nearbyintf(x[i] / s)) * s;
    } else {
        s = fmaxf(amax, 1e-4f) / 448;
        s = !strcmp(name, "FP8-1x128-UE8M0") ? exp2f(ceilf(log2f(s))) : s;
        for (size_t i = 0; i < n; i++)
            x[i] = e4m3_to_f32(f32_to_e4m3(x[i] / s)) * s;
    }
}

/* Tokens of very different sizes side by side, one of zeros, one with a number that stands out. */
static void fill(float *x, size_t rows)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t l = 0; l < LANES; l++)
            x[r * LANES + l] = l == 5 ? 0 : l == 6 && r % 100 == 7 ? 1000 : uniform() * ldexpf(1, (int)l - 40);
}

static void lanes_are_tokens(const char *name)
{
    static float x[ROWS * LANES], token[ROWS];
    static const size_t rows[] = {1, 31, 32, 192, 256, 576, 600};
    const struct rounding *r = find(name);
    int same = 1;
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        static float y[ROWS * LANES];
        fill(x, rows[k]);
        memcpy(y, x, sizeof y);
        rounding_apply(r, y, rows[k]);
        for (size_t l = 0; l < LANES; l++) {
            size_t step = r->block ? r->block : rows[k];
            for (size_t i = 0; i < rows[k]; i++)
                token[i] = x[i * LANES + l];
            for (size_t at = 0; at < rows[k]; at += step)
                by_definition(name, token + at, rows[k] - at < step ? rows[k] - at : step);
            for (size_t i = 0; i < rows[k]; i++)
                same &= token[i] == y[i * LANES + l];
        }
    }
    ok(same, "%s: every lane is rounded as its token by itself, for 7 numbers of features", name);
}

/* F32 of all sizes and both signs; the last lanes are cut so that many lie half way between two numbers of the format. */
static void steps_are_the_format(const char *name, float (*convert)(float))
{
    static const uint32_t cut[] = {0xfff, 0x7fff, 0x7ffff};
    static float x[LANES];
    const struct rounding *r = find(name);
    uint64_t wrong = 0, n = 0;
    for (uint64_t bits = 0; bits < 0x7f800000; bits += 4099 * LANES / 2) {
        for (uint32_t l = 0; l < LANES; l++) {
            uint32_t b = (uint32_t)bits + l / 2 * 4099;
            b = b > 0x7f7fffff ? 0x7f7fffff : l < LANES / 2 ? b : b & ~cut[l % 3];
            x[l] = bits_f32((l & 1 ? 0x80000000u : 0) | b);
        }
        float y[LANES];
        memcpy(y, x, sizeof y);
        rounding_apply(r, y, 1);
        for (size_t l = 0; l < LANES; l++, n++) {
            float want = convert(x[l]);
            wrong += memcmp(&want, &y[l], sizeof want) != 0;
        }
    }
    ok(n > 500000 && !wrong, "%s: %llu numbers of all sizes become what the conversion makes of them", name, (unsigned long long)n);
}

static float through_f16(float x)
{
    return f16_to_f32(f32_to_f16(x));
}

static float through_bf16(float x)
{
    return bf16_to_f32(f32_to_bf16(x));
}

static float through_e4m3(float x)
{
    return e4m3_to_f32(f32_to_e4m3(x));
}

int main(void)
{
    static const char *const blocks[] = {"Q8_K", "Q8_0", "FP8-1x128", "FP8-1x128-UE8M0", "INT8-TOKEN"};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        lanes_are_tokens(blocks[i]);
    steps_are_the_format("F16", through_f16);
    steps_are_the_format("BF16", through_bf16);
    steps_are_the_format("E4M3", through_e4m3);
    float halves[] = {0.5f, 1.5f, 2.5f, -0.5f, 127};
    static float block[5 * LANES];
    for (size_t i = 0; i < 5; i++)
        block[i * LANES + 3] = halves[i];
    rounding_apply(find("Q8_K"), block, 5);
    ok(block[3] == 0 && block[LANES + 3] == 2 && block[2 * LANES + 3] == 2 && block[4 * LANES + 3] == 127, "halves go to the even number");
    ok(!act_rounding_find("q4_k") && !cache_rounding_find("q4_0") && act_rounding_find("q8_k") && cache_rounding_find("fp8"),
       "names of roundings are those of the tables and no others");
    return done();
}
