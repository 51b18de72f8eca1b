/* SPDX-License-Identifier: MIT
 * Tiled types: their definition in plain F32, matrices that were FP8 before, given scales, short tiles, ranges of rows, hostile
 * numbers, a search that is never worse, and the same bytes on every instruction set. And the code kernels behind them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "quant/codes.h"
#include "quant/floats.h"
#include "quant/tiled.h"
#include "tests/patterns.h"
#include "tests/tap.h"

enum { ROWS = 150, COLS = 290, WEIGHTS = ROWS * COLS, TILES = ROWS };

static const struct isa {
    const char *name;
    unsigned cpu;
} isas[] = {{"avx2", CPU_AVX2}, {"avx512", CPU_AVX2 | CPU_AVX512}};

static uint64_t seed = 1;
static float x[WEIGHTS], y[WEIGHTS], importance[COLS];

/* What an encoding makes, and how many tiles there are. */
struct made {
    uint8_t codes[WEIGHTS];
    float scale[TILES];
    int8_t zero[TILES];
};

static struct tiled into(const struct quant_type *t, struct made *m)
{
    return (struct tiled){t, ROWS, COLS, m->codes, m->scale, t->tiling->asymmetric ? m->zero : NULL};
}

static size_t tiles_of(const struct quant_type *t)
{
    return tiled_down(t->tiling, ROWS) * tiled_across(t->tiling, COLS);
}

static void encode(const struct quant_type *t, const float *w, const float *given, int compat, unsigned cpu, struct made *m)
{
    memset(m, 0, sizeof *m);
    const struct tiled out = into(t, m);
    tiled_encode(&out, x, w, given, compat, cpu);
}

static void decode(const struct quant_type *t, struct made *m)
{
    const struct tiled in = into(t, m);
    tiled_decode(&in, 0, ROWS, y, cpu_features());
}

static size_t tile_of(const struct quant_type *t, size_t i)
{
    const size_t row = i / COLS / t->tiling->rows, wide = t->tiling->cols ? t->tiling->cols : COLS;
    return row * tiled_across(t->tiling, COLS) + i % COLS / wide;
}

static void fill(float size)
{
    for (size_t i = 0; i < WEIGHTS; i++)
        x[i] = size * rng_gauss(&seed);
}

/* ---- the definition */

static float as_stored(const char *type, float scale)
{
    float v = scale;
    if (!strcmp(type, "BF16"))
        v = bf16_to_f32(f32_to_bf16(scale));
    else if (!strcmp(type, "F16"))
        v = f16_to_f32(f32_to_f16(scale));
    else if (!strcmp(type, "F8_E8M0"))
        v = exp2f(ceilf(log2f(scale)));
    return v;
}

static float plain_code(const struct tiling *f, float v)
{
    const float high = (float)((1 << (f->bits - 1)) - 1);
    return f->is_float ? e4m3_to_f32(f32_to_e4m3(v)) : rintf(fminf(fmaxf(v, -high - 1), high));
}

static void definition(const struct quant_type *t)
{
    static struct made m;
    const struct tiling *f = t->tiling;
    float low[TILES] = {0}, high[TILES] = {0};
    size_t scales = 0, zeros = 0, values = 0;
    fill(0.02f);
    encode(t, NULL, NULL, 1, cpu_features(), &m);
    decode(t, &m);
    for (size_t i = 0; i < WEIGHTS; i++) {
        low[tile_of(t, i)] = fminf(low[tile_of(t, i)], x[i]);
        high[tile_of(t, i)] = fmaxf(high[tile_of(t, i)], x[i]);
    }
    for (size_t k = 0; k < tiles_of(t); k++) {
        const float first = f->asymmetric ? (high[k] - low[k]) / 15 : fmaxf(-low[k], high[k]) / f->peak;
        scales += m.scale[k] != as_stored(f->scales, first);
        zeros += f->asymmetric && m.zero[k] != (int)rintf(-8 - low[k] / first);
    }
    for (size_t i = 0; i < WEIGHTS; i++) {
        const float s = m.scale[tile_of(t, i)], z = m.zero[tile_of(t, i)];
        values += y[i] != (plain_code(f, x[i] / s + z) - z) * s;
    }
    ok(!scales && !zeros && !values, "%s: %zu scales and %d codes are those of the definition, at short tiles too", t->name, tiles_of(t), WEIGHTS);
    if (scales || zeros || values)
        note("wrong are %zu scales, %zu zeros, %zu codes", scales, zeros, values);
}

/* ---- FP8 that was FP8 */

/* Codes and scales as a release has them, of the given kind; x becomes their BF16 cast. Every third tile has no 448. */
static void make_release(int powers, struct made *m)
{
    const struct quant_type *t = quant_type_find("FP8-BLOCK");
    memset(m, 0, sizeof *m);
    for (size_t k = 0; k < tiles_of(t); k++)
        m->scale[k] = powers ? ldexpf(1, -9 - (int)(rng_next(&seed) % 6)) : (float)(1e-4 + 1e-3 * rng_uniform(&seed));
    for (size_t i = 0; i < WEIGHTS; i++) {
        const size_t k = tile_of(t, i);
        m->codes[i] = f32_to_e4m3(60 * rng_gauss(&seed));
        if (k % 3 == 2 && (m->codes[i] & 0x7f) > 0x70)
            m->codes[i] -= 0x10;
        if (k % 3 < 2 && i % COLS % 128 == 5)
            m->codes[i] = (uint8_t)(0x7e | (i & 1) << 7);
    }
    decode(t, m);
    for (size_t i = 0; i < WEIGHTS; i++)
        x[i] = bf16_to_f32(f32_to_bf16(y[i]));
}

static void releases_come_back(void)
{
    static struct made release, m;
    const struct quant_type *t = quant_type_find("FP8-BLOCK");
    size_t codes = 0, far = 0, full = 0;
    make_release(0, &release);
    encode(t, NULL, NULL, 1, cpu_features(), &m);
    for (size_t i = 0; i < WEIGHTS; i++) {
        full += tile_of(t, i) % 3 < 2;
        codes += tile_of(t, i) % 3 < 2 && m.codes[i] != release.codes[i];
    }
    for (size_t k = 0; k < tiles_of(t); k++)
        far += k % 3 < 2 && fabsf(m.scale[k] / release.scale[k] - 1) > 0x1p-8f;
    ok(full && !codes && !far, "FP8-BLOCK: from the BF16 cast %zu codes in tiles with a 448 come back, scales within 2^-8", full);
    encode(t, NULL, release.scale, 0, cpu_features(), &m);
    ok(!memcmp(m.codes, release.codes, WEIGHTS) && !memcmp(m.scale, release.scale, sizeof m.scale),
       "FP8-BLOCK: with the release's scales all %d codes come back", WEIGHTS);
    encode(t, NULL, NULL, 0, cpu_features(), &m);
    codes = 0;
    for (size_t i = 0; i < WEIGHTS; i++) /* another power of two is another code for the same number */
        codes += fabsf(e4m3_to_f32(m.codes[i]) * m.scale[tile_of(t, i)] / x[i] - 1) > 0x1p-7f && x[i] != 0;
    ok(!codes, "FP8-BLOCK, best: every tile's mantissas come back, with a 448 or without");
}

static void powers_are_exact(void)
{
    static struct made release, m;
    static const char *const types[] = {"FP8-BLOCK-UE8M0", "FP8-BLOCK"};
    make_release(1, &release);
    for (int best = 0; best < 2; best++) {
        const struct quant_type *t = quant_type_find(types[best]);
        encode(t, NULL, NULL, !best, cpu_features(), &m);
        decode(t, &m);
        ok(!memcmp(y, x, sizeof y), "%s%s: what power-of-two scales stored is stored exactly", t->name, best ? ", best" : "");
    }
}

/* ---- all types */

static double error_in(const struct quant_type *t, size_t tile, const float *w)
{
    double sum = 0, squares = 0, n = 0;
    for (size_t i = 0; i < WEIGHTS; i++)
        if (tile_of(t, i) == tile) {
            squares += (double)x[i] * (double)x[i];
            n++;
        }
    for (size_t i = 0; i < WEIGHTS; i++)
        if (tile_of(t, i) == tile) {
            const double diff = (double)x[i] - (double)y[i];
            sum += (w ? (double)w[i % COLS] : (double)((float)sqrt(squares / n) + fabsf(x[i]))) * (diff * diff);
        }
    return sum;
}

static void best_is_no_worse(const struct quant_type *t)
{
    static struct made m;
    for (int weighted = 0; weighted < 2; weighted++) {
        const float *w = weighted ? importance : NULL;
        double sums[2] = {0, 0}, before[TILES];
        int worse = 0;
        fill(0.02f);
        x[7] = 0.2f; /* far out */
        for (int best = 0; best < 2; best++) {
            encode(t, w, NULL, !best, cpu_features(), &m);
            decode(t, &m);
            for (size_t k = 0; k < tiles_of(t); k += t->tiling->cols ? 1 : 16) {
                const double e = error_in(t, k, w);
                worse += best && e > before[k] * (1 + 1e-9);
                before[k] = e;
                sums[best] += e;
            }
        }
        ok(!worse && sums[1] <= sums[0], "%s, best%s: no tile's error is above compat's, the sum is %.3f of it", t->name,
           weighted ? " with importance" : "", sums[1] / sums[0]);
    }
}

static int same(const struct made *a, const struct made *b)
{
    return !memcmp(a->codes, b->codes, WEIGHTS) && !memcmp(a->scale, b->scale, sizeof a->scale) && !memcmp(a->zero, b->zero, sizeof a->zero);
}

static void instruction_sets_agree(const struct quant_type *t)
{
    static struct made want, got;
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        int agree = 1;
        if ((isas[i].cpu & cpu_features()) != isas[i].cpu) {
            skip("this processor has not got it", "%s %s: the scalar codes, scales and numbers", t->name, isas[i].name);
            continue;
        }
        for (int how = 0; how < 3; how++) { /* compat, best, best with importance */
            fill(how ? 0.02f : 3);
            encode(t, how == 2 ? importance : NULL, NULL, !how, 0, &want);
            encode(t, how == 2 ? importance : NULL, NULL, !how, isas[i].cpu, &got);
            agree &= same(&want, &got);
        }
        const struct tiled in = into(t, &want);
        tiled_decode(&in, 0, ROWS, x, 0);
        tiled_decode(&in, 0, ROWS, y, isas[i].cpu);
        agree &= !memcmp(x, y, sizeof x);
        ok(agree, "%s %s: the scalar codes, scales and numbers", t->name, isas[i].name);
    }
}

/* Tile rows apart, and rows of the middle. */
static void ranges_are_parts(const struct quant_type *t)
{
    static struct made whole, parts;
    const size_t high = t->tiling->rows, across = tiled_across(t->tiling, COLS);
    int good = 1;
    fill(0.02f);
    encode(t, importance, NULL, 0, cpu_features(), &whole);
    memset(&parts, 0, sizeof parts);
    for (size_t row = 0; row < ROWS; row += high) {
        struct tiled out = into(t, &parts);
        out.rows = ROWS - row < high ? ROWS - row : high;
        out.codes += row * COLS;
        out.scale += row / high * across;
        out.zero += out.zero ? row / high * across : 0;
        tiled_encode(&out, x + row * COLS, importance, NULL, 0, cpu_features());
    }
    good &= same(&whole, &parts);
    decode(t, &whole);
    const struct tiled in = into(t, &whole);
    tiled_decode(&in, 121, 19, x, cpu_features());
    good &= !memcmp(x, y + 121 * COLS, 19 * COLS * sizeof *x);
    ok(good, "%s: tile rows alone, and rows in the middle, are what they are in the whole", t->name);
}

static void hostile_numbers(const struct quant_type *t)
{
    static struct made m;
    const char *wrong = NULL;
    for (int pattern = 0; pattern < PATTERNS; pattern++)
        for (int compat = 0; compat < 2; compat++) {
            fill_floats(x, WEIGHTS, pattern, t->max_abs, seed++);
            encode(t, NULL, NULL, compat, cpu_features(), &m);
            decode(t, &m);
            int good = 1;
            for (size_t k = 0; k < tiles_of(t); k++)
                good &= m.scale[k] > 0 && isfinite(m.scale[k]) && (strcmp(patterns[pattern], "all zero") || m.scale[k] == 0x1p-23f);
            for (size_t i = 0; i < WEIGHTS; i++)
                good &= isfinite(y[i]) && fabsf(y[i]) <= 1.25 * (double)t->max_abs && (x[i] != 0 || y[i] == 0);
            wrong = good ? wrong : patterns[pattern];
        }
    ok(!wrong, "%s: of %d patterns scales are above zero, 2^-23 without numbers, numbers finite, zeros zero", t->name, PATTERNS);
    if (wrong)
        note("%s", wrong);
}

static void bad_scales(const struct quant_type *t)
{
    static struct made m;
    static float given[TILES];
    int zero = 1;
    fill(1);
    for (size_t k = 0; k < TILES; k++)
        given[k] = k % 3 == 0 ? 0 : k % 3 == 1 ? NAN : INFINITY;
    encode(t, NULL, given, 0, cpu_features(), &m);
    for (size_t i = 0; i < WEIGHTS; i++)
        zero &= m.codes[i] == 0;
    ok(zero, "%s: given scales that are 0 or no numbers have codes of 0", t->name);
}

/* ---- code kernels */

/* Floats around every place where a small float's code changes, and anything else. */
static float any_float(size_t i)
{
    const uint32_t step = (uint32_t)(i / 3) << 19, near = (uint32_t)(i % 3) - 1;
    return i < 3 << 13 ? bits_f32((step + near) & 0xff7fffff) : bits_f32((uint32_t)rng_next(&seed) & 0xbfffffff);
}

static uint8_t plain_e2m1(float v)
{
    static const float middles[7] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5};
    int code = 0;
    while (code < 7 && (fabsf(v) > middles[code] || (fabsf(v) == middles[code] && code % 2)))
        code++;
    return (uint8_t)(v < 0 ? code + 8 : code);
}

static void small_floats(const char *name, const struct code_kernels *k)
{
    enum { N = 30000 };
    static float v[N];
    static uint8_t e2m1[N], e4m3[N];
    size_t wrong = 0, first = 0;
    for (size_t i = 0; i < N; i++)
        v[i] = any_float(i);
    k->e2m1(1, v, N, e2m1);
    k->e4m3(1, v, N, e4m3);
    for (size_t i = 0; i < N; i++)
        if ((e2m1[i] != plain_e2m1(v[i]) || e4m3[i] != f32_to_e4m3(v[i])) && !wrong++)
            first = i;
    if (!ok(!wrong, "%s: %d numbers have E2M1's and E4M3's nearest codes", name, N))
        note("%zu wrong, the first %a: %d, %d", wrong, (double)v[first], e2m1[first], e4m3[first]);
}

int main(void)
{
    for (size_t i = 0; i < COLS; i++)
        importance[i] = rng_uniform(&seed) < 0.2 ? 0 : (float)exp(rng_gauss(&seed));
    small_floats("scalar", &codes_scalar);
    small_floats("this processor", code_kernels_for(cpu_features()));
    for (const struct quant_type *t = quant_types; t->name; t++) {
        if (!t->tiling)
            continue;
        definition(t);
        best_is_no_worse(t);
        instruction_sets_agree(t);
        ranges_are_parts(t);
        hostile_numbers(t);
        bad_scales(t);
    }
    releases_come_back();
    powers_are_exact();
    return done();
}
