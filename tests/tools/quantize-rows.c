/* SPDX-License-Identifier: MIT
 * usage: quantize-rows [--best] TYPE COLS [IMPORTANCE] <rows >blocks
 *        quantize-rows --decode TYPE COLS [GLOBAL] <blocks >rows
 * Encodes or decodes whole rows with pare's codecs, by the kernels that PARE_CPU allows. Rows and the file IMPORTANCE,
 * one row of COLS, are raw F32. GLOBAL is NVFP4-CT's global scale, which divides. Of tiled types codes come out, then scales in F32,
 * zeros in I8 where there are any, and rows as they decode. Nothing is checked but sizes: for tests that hold the codecs against
 * others. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "quant/fp4_ct.h"
#include "quant/tiled.h"
#include "quant/types.h"

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "quantize-rows: %s: %s\n", what, why);
    exit(2);
}

static void *room(size_t n)
{
    void *p = malloc(n);
    if (!p)
        fail("memory", "not enough");
    return p;
}

static const float *read_importance(const char *path, size_t cols)
{
    float *row = room(cols * sizeof *row);
    FILE *f = fopen(path, "rb");
    if (!f || fread(row, sizeof *row, cols, f) != cols)
        fail(path, "not a row of importances");
    fclose(f);
    return row;
}

static void put(const void *bytes, size_t n)
{
    if (fwrite(bytes, 1, n, stdout) != n)
        fail("stdout", "cannot be written");
}

static int tiled(const struct quant_type *t, size_t cols, const float *importance, int compat)
{
    size_t rows = 0, most = 1, got;
    float *x = room(cols * sizeof *x);
    while ((got = fread(x + rows * cols, sizeof *x, cols, stdin)) == cols)
        if (++rows == most && !(x = realloc(x, (most *= 2) * cols * sizeof *x)))
            fail("memory", "not enough");
    if (got)
        fail("stdin", "the last row is short");
    const size_t tiles = tiled_down(t->tiling, rows) * tiled_across(t->tiling, cols);
    struct tiled out = {t, rows, cols, room(rows * cols + 1), room((tiles + 1) * sizeof(float)), t->tiling->asymmetric ? room(tiles + 1) : NULL};
    tiled_encode(&out, x, importance, NULL, compat, cpu_features());
    tiled_decode(&out, 0, rows, x, cpu_features());
    put(out.codes, rows * cols);
    put(out.scale, tiles * sizeof *out.scale);
    if (out.zero)
        put(out.zero, tiles);
    put(x, rows * cols * sizeof *x);
    return fflush(stdout) ? 2 : 0;
}

int main(int argc, char **argv)
{
    int decode = argc > 1 && !strcmp(argv[1], "--decode");
    int best = argc > 1 && !strcmp(argv[1], "--best");
    argv += decode + best;
    argc -= decode + best;
    const struct quant_type *t = argc > 2 ? quant_type_find(argv[1]) : NULL;
    size_t cols = argc > 2 ? strtoul(argv[2], NULL, 10) : 0, got;
    if (!t || !cols || cols % t->block_len || (!decode && !t->ref.encode && !t->tiling) || (decode && t->tiling))
        fail("usage", "quantize-rows [--best|--decode] TYPE COLS [IMPORTANCE|GLOBAL]");
    struct quant_kernels k = quant_kernels_for(t, cpu_features());
    const float *importance = argc > 3 && !decode ? read_importance(argv[3], cols) : NULL;
    const float global = argc > 3 && decode ? strtof(argv[3], NULL) : 0;
    if (t->tiling)
        return tiled(t, cols, importance, !best);
    size_t n = cols / t->block_len, packed = n * t->block_bytes, unpacked = cols * sizeof(float);
    size_t in_bytes = decode ? packed : unpacked, out_bytes = decode ? unpacked : packed;
    void *in = room(in_bytes), *out = room(out_bytes);
    while ((got = fread(in, 1, in_bytes, stdin)) == in_bytes) {
        if (decode && global > 0)
            nvfp4_ct_values(in, global, out, n);
        else if (decode)
            k.decode(in, out, n);
        else
            k.encode(in, importance, out, n);
        if (best && k.improve)
            k.improve(in, importance, out, n);
        put(out, out_bytes);
    }
    if (got)
        fail("stdin", "the last row is short");
    return fflush(stdout) ? 2 : 0;
}
