/* SPDX-License-Identifier: MIT
 * FP8 weights under tile scales: runs of codes on every instruction set, and ranges of rows with ragged tiles, against
 * w = code * scale written out per element. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "quant/fp8_tiles.h"
#include "tests/tap.h"

static const struct isa {
    const char *name;
    unsigned cpu;
} isas[] = {{"scalar", 0}, {"avx2", CPU_AVX2}, {"avx512", CPU_AVX2 | CPU_AVX512}};

/* E4M3 by its definition; the code is no NaN. */
static float e4m3(uint8_t c)
{
    int e = c >> 3 & 15, m = c & 7;
    double v = e ? ldexp(1 + m / 8.0, e - 7) : ldexp(m / 8.0, -6);
    return (float)(c & 0x80 ? -v : v);
}

static int same_bits(const float *a, const float *b, size_t n)
{
    return !memcmp(a, b, n * sizeof *a);
}

/* A code that is no NaN. */
static uint8_t random_code(uint64_t *state)
{
    uint8_t c = (uint8_t)rng_next(state);
    return (c & 0x7f) == 0x7f ? c & 0x80 : c;
}

static void all_codes(const struct isa *isa)
{
    static const float scales[] = {1, -3, 0, 0x1p-10f, 1.32287562f, 0x1p-126f, 0x1p-149f, 1e38f, INFINITY};
    float y[254], want[254];
    uint8_t codes[254];
    int wrong = 0;
    for (int i = 0; i < 254; i++)
        codes[i] = (uint8_t)(i + (i >= 0x7f));
    for (size_t s = 0; s < sizeof scales / sizeof *scales; s++) {
        size_t n = fp8_run_for(isa->cpu)(codes, scales[s], 254, y);
        for (int i = 0; i < 254; i++)
            want[i] = e4m3(codes[i]) * scales[s];
        wrong += n != 254;
        for (int i = 0; i < 254; i++) /* 0 * infinity: any NaN */
            wrong += isnan(want[i]) ? !isnan(y[i]) : !same_bits(&y[i], &want[i], 1);
    }
    ok(!wrong, "%s: all 254 codes under 9 scales, subnormal and infinite ones among them", isa->name);
}

static void all_lengths(const struct isa *isa)
{
    uint64_t state = 1;
    int wrong = 0;
    for (size_t n = 0; n <= 300; n++)
        for (size_t shift = 0; shift < 4; shift++) {
            uint8_t *memory = malloc(n + shift + 1), *codes = memory + shift; /* read not beyond: ASan */
            float *y = malloc((n + 2) * sizeof *y), want[300];
            for (size_t i = 0; i < n; i++) {
                codes[i] = random_code(&state);
                want[i] = e4m3(codes[i]) * 0.0123f;
            }
            codes[n] = 0x7f; /* one more would be a NaN */
            y[n] = -7;
            wrong += fp8_run_for(isa->cpu)(codes, 0.0123f, n, y) != n || !same_bits(y, want, n) || y[n] != -7;
            free(memory);
            free(y);
        }
    ok(!wrong, "%s: runs of 0 to 300 codes at 4 alignments, nothing written behind them", isa->name);
}

static void every_nan(const struct isa *isa)
{
    uint64_t state = 2;
    float y[70], want[70];
    uint8_t codes[70];
    int wrong = 0, second = 0;
    for (size_t i = 0; i < 70; i++) {
        codes[i] = random_code(&state);
        want[i] = e4m3(codes[i]) * 2;
    }
    for (size_t n = 1; n <= 70; n++)
        for (size_t at = 0; at < n; at++) {
            uint8_t was = codes[at], last = codes[n - 1];
            codes[at] = at % 2 ? 0x7f : 0xff;
            wrong += fp8_run_for(isa->cpu)(codes, 2, n, y) != at || !same_bits(y, want, at);
            codes[n - 1] = 0x7f;
            second += fp8_run_for(isa->cpu)(codes, 2, n, y) != at;
            codes[n - 1] = last;
            codes[at] = was;
        }
    ok(!wrong, "%s: a NaN at each place of runs of 1 to 70: its index, and all before it decoded", isa->name);
    ok(!second, "%s: of two NaNs the first is named", isa->name);
}

struct shape {
    size_t rows, cols, tile_rows, tile_cols;
};

/* Decodes the rows [first, first + n) of a matrix and compares with the definition; also with a NaN at `nan_at` of the
 * range when that is not SIZE_MAX. Returns whether all is right. */
static int decode_range(const struct shape *s, const uint8_t *codes, const float *scales, size_t first, size_t n,
                        unsigned cpu)
{
    size_t tiles = (s->cols + s->tile_cols - 1) / s->tile_cols;
    float *y = malloc((n * s->cols + 1) * sizeof *y);
    int good = 1;
    struct fp8_rows r = {.codes = codes + first * s->cols, .scale_inv = scales + first / s->tile_rows * tiles,
                         .first_row = first, .rows = n, .cols = s->cols, .tile_rows = s->tile_rows,
                         .tile_cols = s->tile_cols};
    y[n * s->cols] = -7;
    good &= fp8_decode_rows(&r, y, cpu) == n * s->cols && y[n * s->cols] == -7;
    for (size_t i = first; good && i < first + n; i++)
        for (size_t j = 0; j < s->cols; j++) {
            float want = e4m3(codes[i * s->cols + j]) * scales[i / s->tile_rows * tiles + j / s->tile_cols];
            good &= same_bits(&y[(i - first) * s->cols + j], &want, 1);
        }
    free(y);
    return good;
}

static int nan_in_range(const struct shape *s, uint8_t *codes, const float *scales, size_t first, size_t n, size_t at,
                        unsigned cpu)
{
    size_t tiles = (s->cols + s->tile_cols - 1) / s->tile_cols, place = first * s->cols + at;
    float *y = malloc(n * s->cols * sizeof *y);
    struct fp8_rows r = {.codes = codes + first * s->cols, .scale_inv = scales + first / s->tile_rows * tiles,
                         .first_row = first, .rows = n, .cols = s->cols, .tile_rows = s->tile_rows,
                         .tile_cols = s->tile_cols};
    uint8_t was = codes[place];
    codes[place] = 0xff;
    size_t got = fp8_decode_rows(&r, y, cpu);
    codes[place] = was;
    free(y);
    return got == at;
}

static void matrices(const struct isa *isa)
{
    static const struct shape shapes[] = {
        {576, 448, 128, 128}, /* kv_a_proj_with_mqa: 4.5 tiles of rows */
        {128, 128, 128, 128}, {1, 1, 128, 128}, {129, 257, 128, 128}, {100, 130, 32, 64}, {18, 14, 4, 2},
        {7, 300, 3, 17}, {40, 37, 1, 37}, {40, 37, 64, 1}, {5, 200, 128, 64},
    };
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        const struct shape *s = &shapes[k];
        size_t n = s->rows * s->cols, tiles = (s->cols + s->tile_cols - 1) / s->tile_cols;
        size_t n_scales = (s->rows + s->tile_rows - 1) / s->tile_rows * tiles;
        uint8_t *codes = malloc(n);
        float *scales = malloc(n_scales * sizeof *scales);
        uint64_t state = k;
        int whole, ranges = 1, nans = 1;
        for (size_t i = 0; i < n; i++)
            codes[i] = random_code(&state);
        for (size_t i = 0; i < n_scales; i++)
            scales[i] = (float)ldexp(1 + rng_uniform(&state), (int)(i % 9) - 12);
        whole = decode_range(s, codes, scales, 0, s->rows, isa->cpu);
        for (int i = 0; i < 30; i++) {
            size_t first = rng_next(&state) % s->rows, rows = 1 + rng_next(&state) % (s->rows - first);
            ranges &= decode_range(s, codes, scales, first, rows, isa->cpu);
            nans &= nan_in_range(s, codes, scales, first, rows, rng_next(&state) % (rows * s->cols), isa->cpu);
        }
        ok(whole, "%s: %zu x %zu in tiles of %zu x %zu: each weight times its tile's scale", isa->name, s->rows,
           s->cols, s->tile_rows, s->tile_cols);
        ok(ranges, "%s: %zu x %zu in tiles of %zu x %zu: 30 ranges of rows, begun inside tiles", isa->name, s->rows,
           s->cols, s->tile_rows, s->tile_cols);
        ok(nans, "%s: %zu x %zu in tiles of %zu x %zu: a NaN's index in 30 ranges", isa->name, s->rows, s->cols,
           s->tile_rows, s->tile_cols);
        free(codes);
        free(scales);
    }
}

int main(void)
{
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        if (isas[i].cpu & ~cpu_features()) {
            skip("this machine lacks it", "%s: FP8 runs and matrices", isas[i].name);
            continue;
        }
        all_codes(&isas[i]);
        all_lengths(&isas[i]);
        every_nan(&isas[i]);
        matrices(&isas[i]);
    }
    return done();
}
