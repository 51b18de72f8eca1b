/* SPDX-License-Identifier: MIT
 * usage: quantize-rows [--best] TYPE COLS [IMPORTANCE] <rows >blocks
 *        quantize-rows --decode TYPE COLS <blocks >rows
 * Encodes or decodes whole rows with pare's codecs, by the kernels that PARE_CPU allows. Rows and the file IMPORTANCE,
 * one row of COLS, are raw F32. Nothing is checked but sizes: for tests that hold the codecs against others. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
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

int main(int argc, char **argv)
{
    int decode = argc > 1 && !strcmp(argv[1], "--decode");
    int best = argc > 1 && !strcmp(argv[1], "--best");
    argv += decode + best;
    argc -= decode + best;
    const struct quant_type *t = argc > 2 ? quant_type_find(argv[1]) : NULL;
    size_t cols = argc > 2 ? strtoul(argv[2], NULL, 10) : 0, got;
    if (!t || !cols || cols % t->block_len || (!decode && !t->ref.encode))
        fail("usage", "quantize-rows [--best|--decode] TYPE COLS [IMPORTANCE]");
    struct quant_kernels k = quant_kernels_for(t, cpu_features());
    const float *importance = argc > 3 ? read_importance(argv[3], cols) : NULL;
    size_t n = cols / t->block_len, packed = n * t->block_bytes, unpacked = cols * sizeof(float);
    size_t in_bytes = decode ? packed : unpacked, out_bytes = decode ? unpacked : packed;
    void *in = room(in_bytes), *out = room(out_bytes);
    while ((got = fread(in, 1, in_bytes, stdin)) == in_bytes) {
        if (decode)
            k.decode(in, out, n);
        else
            k.encode(in, importance, out, n);
        if (best && k.improve)
            k.improve(in, importance, out, n);
        if (fwrite(out, 1, out_bytes, stdout) != out_bytes)
            fail("stdout", "cannot be written");
    }
    if (got)
        fail("stdin", "the last row is short");
    return fflush(stdout) ? 2 : 0;
}
