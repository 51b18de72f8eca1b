/* SPDX-License-Identifier: MIT
 * Every kernel of every quantization type, on every instruction set that has one of its own, against the scalar
 * reference run one block at a time (one row at a time with importance): the same bytes for 1 to 17 blocks (5
 * superblocks) and for 5120 weights, wherever the buffers begin, and not a byte written beside them. With
 * --bench [TYPE]: prints million weights per second of each kernel instead. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cpu.h"
#include "quant/fp8_tiles.h"
#include "quant/tiled.h"
#include "quant/types.h"
#include "tests/patterns.h"
#include "tests/tap.h"

enum { MAX_BLOCKS = 17, MAX_SUPERBLOCKS = 5, MANY = 5120, MAX_BYTES = 4 * MANY, GUARD = 64, SHIFTS = 3 };

static const struct isa {
    const char *name;
    unsigned cpu;
} isas[] = {{"scalar", 0}, {"avx2", CPU_AVX2}, {"avx512", CPU_AVX2 | CPU_AVX512}};

/* n bytes of output, `shift` bytes off alignment, between guards. */
struct guarded {
    uint8_t *memory, *at;
    size_t n;
};

static struct guarded guarded_new(size_t n, size_t shift)
{
    struct guarded g = {.memory = malloc(n + shift + 2 * GUARD), .n = n};
    if (!g.memory)
        bail("out of memory");
    memset(g.memory, 0xa5, n + shift + 2 * GUARD);
    g.at = g.memory + GUARD + shift;
    return g;
}

/* Frees; returns whether the guards are whole. */
static int guarded_free(struct guarded *g)
{
    int whole = 1;
    for (const uint8_t *p = g->memory; p < g->at; p++)
        whole &= *p == 0xa5;
    for (size_t i = 0; i < GUARD; i++)
        whole &= g->at[g->n + i] == 0xa5;
    free(g->memory);
    return whole;
}

/* A copy that ends where its memory ends, so that AddressSanitizer sees a read beyond it. */
static void *copy_at(const void *bytes, size_t n, size_t shift, void **memory)
{
    *memory = malloc(n + shift);
    if (!*memory)
        bail("out of memory");
    return memcpy((uint8_t *)*memory + shift, bytes, n);
}

static int encodes_at(const struct quant_kernels *k, const float *x, const float *importance, size_t floats,
                      const uint8_t *want, size_t bytes, size_t n, size_t shift)
{
    void *memory[2] = {NULL, NULL};
    const float *in = copy_at(x, floats * sizeof *x, shift * sizeof *x, &memory[0]), *w = NULL;
    if (importance)
        w = copy_at(importance, floats * sizeof *w, shift * sizeof *w, &memory[1]);
    struct guarded out = guarded_new(bytes, shift);
    k->encode(in, w, out.at, n);
    int same = !memcmp(out.at, want, bytes);
    free(memory[0]);
    free(memory[1]);
    return guarded_free(&out) && same;
}

/* Returns the shift at which the bytes are wrong, or -1. */
static int encode_differs(const struct quant_type *t, const struct quant_kernels *k, size_t n, int pattern)
{
    static uint8_t want[MAX_BYTES];
    static float x[MANY];
    fill_floats(x, n * t->block_len, pattern, t->max_abs, n * 1000 + (uint64_t)pattern);
    for (size_t i = 0; i < n; i++)
        t->ref.encode(x + i * t->block_len, NULL, want + i * t->block_bytes, 1);
    for (size_t shift = 0; shift < SHIFTS; shift++)
        if (!encodes_at(k, x, NULL, n * t->block_len, want, n * t->block_bytes, n, shift))
            return (int)shift;
    return -1;
}

static int weighted_encode_differs(const struct quant_type *t, const struct quant_kernels *k, size_t n, int pattern)
{
    static uint8_t want[MAX_BYTES];
    static float x[MANY], importance[MANY];
    uint64_t state = n;
    fill_floats(x, n * t->block_len, pattern, t->max_abs, n * 1000 + (uint64_t)pattern);
    for (size_t i = 0; i < n * t->block_len; i++) /* a fifth of it 0, in the second block all of it */
        importance[i] = rng_uniform(&state) < 0.2 || i / t->block_len == 1 ? 0 : (float)ldexp(rng_uniform(&state), 9);
    t->ref.encode(x, importance, want, n);
    for (size_t shift = 0; shift < SHIFTS; shift++)
        if (!encodes_at(k, x, importance, n * t->block_len, want, n * t->block_bytes, n, shift))
            return (int)shift;
    return -1;
}

/* What improve makes of what encode made, block by block or row by row; the kernel gets both steps' input at once. */
static int improved_at(const struct quant_kernels *k, const float *x, const float *importance, size_t floats,
                       const uint8_t *from, const uint8_t *want, size_t bytes, size_t n, size_t shift)
{
    void *memory;
    const float *in = copy_at(x, floats * sizeof *x, shift * sizeof *x, &memory);
    struct guarded out = guarded_new(bytes, shift);
    memcpy(out.at, from, bytes);
    k->improve(in, importance, out.at, n);
    int same = !memcmp(out.at, want, bytes);
    free(memory);
    return guarded_free(&out) && same;
}

static int improve_differs(const struct quant_type *t, const struct quant_kernels *k, size_t n, int pattern)
{
    static uint8_t from[MAX_BYTES], want[MAX_BYTES];
    static float x[MANY], importance[MANY];
    uint64_t state = n;
    const size_t floats = n * t->block_len, bytes = n * t->block_bytes;
    /* one block at a time costs a whole panel each: where there are few, and where a panel is full */
    const size_t step = n <= 3 || n == 17 ? 1 : n;
    fill_floats(x, floats, pattern, t->max_abs, n * 1000 + (uint64_t)pattern);
    for (size_t i = 0; i < floats; i++)
        importance[i] = rng_uniform(&state) < 0.2 || i / t->block_len == 1 ? 0 : (float)ldexp(rng_uniform(&state), 9);
    for (int weighted = 0; weighted < 2; weighted++) {
        const float *w = weighted ? importance : NULL;
        t->ref.encode(x, w, from, n);
        memcpy(want, from, bytes);
        for (size_t i = 0; i < n; i += step)
            t->ref.improve(x + i * t->block_len, w ? w + i * t->block_len : NULL, want + i * t->block_bytes, step);
        for (size_t shift = 0; shift < (n > MAX_BLOCKS || k->improve == t->ref.improve ? 1 : SHIFTS); shift++)
            if (!improved_at(k, x, w, floats, from, want, bytes, n, shift))
                return (int)shift;
    }
    return -1;
}

/* Pattern PATTERNS: any bytes, NaN and infinite scales among them. */
static int decode_differs(const struct quant_type *t, const struct quant_kernels *k, size_t n, int pattern)
{
    static uint8_t blocks[MAX_BYTES];
    static float x[MANY], want[MANY];
    uint64_t state = n;
    int wrong = -1;
    if (pattern < PATTERNS && !t->ref.encode)
        return -1;
    if (pattern < PATTERNS) {
        fill_floats(x, n * t->block_len, pattern, t->max_abs, n * 1000 + (uint64_t)pattern);
        t->ref.encode(x, NULL, blocks, n);
    } else {
        for (size_t i = 0; i < n * t->block_bytes; i++)
            blocks[i] = (uint8_t)rng_next(&state);
    }
    for (size_t i = 0; i < n; i++)
        t->ref.decode(blocks + i * t->block_bytes, want + i * t->block_len, 1);
    for (size_t shift = 0; wrong < 0 && shift < SHIFTS; shift++) {
        void *memory;
        const void *in = copy_at(blocks, n * t->block_bytes, shift, &memory);
        struct guarded out = guarded_new(n * t->block_len * sizeof *want, shift * sizeof *want);
        k->decode(in, (float *)(void *)out.at, n);
        int same = !memcmp(out.at, want, out.n);
        free(memory);
        if (!guarded_free(&out) || !same)
            wrong = (int)shift;
    }
    return wrong;
}

typedef int differs_fn(const struct quant_type *t, const struct quant_kernels *k, size_t n, int pattern);

/* The next number of blocks to try; 0 when there are no more. Improve works on panels of 16 groups and takes long: few groups, a panel, one
 * group more, many. */
static size_t blocks_after(const struct quant_type *t, differs_fn *differs, size_t n)
{
    const size_t most = t->block_len < 256 ? MAX_BLOCKS : MAX_SUPERBLOCKS, many = MANY / t->block_len;
    if (most == MAX_BLOCKS && differs == improve_differs && n == 3)
        return MAX_BLOCKS - 1;
    return n < most ? n + 1 : n < many ? many : 0;
}

static void test_kernel(const struct quant_type *t, const struct isa *isa, const char *what, differs_fn *differs,
                        int n_patterns)
{
    struct quant_kernels k = quant_kernels_for(t, isa->cpu);
    for (size_t n = 0; (n = blocks_after(t, differs, n));) {
        int wrong = 0, shift;
        for (int p = 0; p < n_patterns; p++)
            if ((shift = differs(t, &k, n, p)) >= 0 && !wrong++)
                note("first wrong: pattern %s, buffers shifted by %d", p < PATTERNS ? patterns[p] : "any bytes", shift);
        ok(!wrong, "%s %s, %s, %zu blocks: the scalar reference's bytes", t->name, what, isa->name, n);
    }
}

static void skip_kernel(const struct quant_type *t, const struct isa *isa, const char *what, differs_fn *differs)
{
    char reason[64];
    snprintf(reason, sizeof reason, "this machine has no %s", isa->name);
    for (size_t n = 0; (n = blocks_after(t, differs, n));)
        skip(reason, "%s %s, %s, %zu blocks: the scalar reference's bytes", t->name, what, isa->name, n);
}

/* The kernels of an instruction set that the one before does not have already. */
static void test_isa(const struct quant_type *t, size_t i)
{
    const struct isa *isa = &isas[i];
    struct quant_kernels k = quant_kernels_for(t, isa->cpu), before = {NULL, NULL, NULL};
    int missing = (isa->cpu & ~cpu_features()) != 0;
    if (i > 0)
        before = quant_kernels_for(t, isas[i - 1].cpu);
    if (k.encode != before.encode && missing) {
        skip_kernel(t, isa, "encode", encode_differs);
        skip_kernel(t, isa, "encode with importance", weighted_encode_differs);
    } else if (k.encode != before.encode) {
        test_kernel(t, isa, "encode", encode_differs, PATTERNS);
        test_kernel(t, isa, "encode with importance", weighted_encode_differs, PATTERNS);
    }
    if (k.improve != before.improve && missing)
        skip_kernel(t, isa, "improve", improve_differs);
    else if (k.improve != before.improve)
        test_kernel(t, isa, "improve", improve_differs, PATTERNS);
    if (k.decode != before.decode && missing)
        skip_kernel(t, isa, "decode", decode_differs);
    else if (k.decode != before.decode)
        test_kernel(t, isa, "decode", decode_differs, PATTERNS + 1);
}

static void test_table(void)
{
    int good = 1, scalar = 1;
    for (const struct quant_type *t = quant_types; t->name; t++) {
        struct quant_kernels k = quant_kernels_for(t, 0);
        scalar &= k.encode == t->ref.encode && k.decode == t->ref.decode && k.improve == t->ref.improve;
        good &= t->block_len <= 256 && t->block_bytes <= 1024 && t->max_abs > 0 && !t->ref.decode == !!t->tiling &&
                quant_type_find(t->name) == t;
    }
    ok(good, "every type has a name that finds it, a block, a range and a decoder, or tiles in place of one");
    ok(scalar, "without CPU features every type has its reference kernels");
    ok(quant_type_find("q8_0") == quant_type_find("Q8_0") && quant_type_find("q8_0"),
       "names are found in any case: q8_0");
    ok(!quant_type_find("Q9_9") && !quant_type_find(""), "unknown names give NULL");
    ok(quant_type_bpw(quant_type_find("Q8_0")) == 8.5 && quant_type_bpw(quant_type_find("Q4_0")) == 4.5,
       "Q8_0 takes 8.5 bits per weight, Q4_0 4.5");
}

/* At the ends of a type's range nothing becomes infinite, and nothing grows by more than a quarter. */
static void test_range(const struct quant_type *t)
{
    float x[256], y[256];
    uint8_t blocks[1024];
    int finite = 1;
    for (uint32_t i = 0; i < t->block_len; i++)
        x[i] = i % 2 ? t->max_abs : -t->max_abs;
    t->ref.encode(x, NULL, blocks, 1);
    t->ref.decode(blocks, y, 1);
    for (uint32_t i = 0; i < t->block_len; i++)
        finite &= isfinite(y[i]) && fabsf(y[i]) <= 1.25 * (double)t->max_abs;
    ok(finite, "%s: +-%g, the ends of its range, stay finite", t->name, (double)t->max_abs);
}

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void print_rate(const char *name, const char *what, const char *isa, double weights, double seconds)
{
    printf("%-8s %-14s %-7s %9.1f million weights/s\n", name, what, isa, 1e-6 * weights / seconds);
}

enum { N = 28 << 10 }; /* four rows of 7168 floats, in the second-level cache */

/* Runs a kernel for a fifth of a second. */
static void bench_kernel(const struct quant_type *t, const struct isa *isa, const char *what, float *x, const float *w,
                         uint8_t *blocks)
{
    struct quant_kernels k = quant_kernels_for(t, isa->cpu);
    size_t row = N / 4 / t->block_len;
    double start, weights = 0;
    int decode = !strcmp(what, "decode"), best = !strncmp(what, "best", 4);
    for (start = now(); now() - start < 0.2; weights += decode ? N : N / 4)
        if (decode)
            k.decode(blocks, x, 4 * row);
        else {
            const float *from = x + (size_t)fmod(weights, N);
            k.encode(from, w, blocks, row);
            if (best && k.improve)
                k.improve(from, w, blocks, row);
        }
    print_rate(t->name, what, isa->name, weights, now() - start);
}

/* 128 rows of 7168 numbers, those of `row` again and again. */
static void bench_tiled(const struct quant_type *t, const struct isa *isa, const float *row)
{
    enum { TILE_ROWS = 128, TILE_COLS = 7168 };
    static float x[TILE_ROWS * TILE_COLS], scale[TILE_ROWS];
    static uint8_t codes[TILE_ROWS * TILE_COLS];
    static int8_t zero[TILE_ROWS];
    struct tiled to = {t, TILE_ROWS, TILE_COLS, codes, scale, t->tiling->asymmetric ? zero : NULL};
    for (size_t i = 0; i < TILE_ROWS * TILE_COLS; i++)
        x[i] = row[i % (N - 1)];
    for (int what = 0; what < 3; what++) {
        double start, weights = 0;
        for (start = now(); now() - start < 0.2; weights += TILE_ROWS * TILE_COLS)
            if (what < 2)
                tiled_encode(&to, x, NULL, NULL, !what, isa->cpu);
            else
                tiled_decode(&to, 0, TILE_ROWS, x, isa->cpu);
        print_rate(t->name, what == 0 ? "encode" : what == 1 ? "best" : "decode", isa->name, weights, now() - start);
    }
}

/* Only those kernels that the instruction set before does not have already. */
static int bench(const char *type)
{
    static float x[N], importance[N / 4];
    static uint8_t blocks[4 * N];
    uint64_t state = 1;
    for (size_t i = 0; i < N / 4; i++)
        importance[i] = (float)(0.1 + rng_uniform(&state));
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        if (isas[i].cpu & ~cpu_features())
            continue;
        for (const struct quant_type *t = quant_types; t->name; t++) {
            struct quant_kernels k = quant_kernels_for(t, isas[i].cpu), before = {NULL, NULL, NULL};
            if (i > 0)
                before = quant_kernels_for(t, isas[i - 1].cpu);
            if (type && quant_type_find(type) != t)
                continue;
            for (size_t j = 0; j < N; j++)
                x[j] = 0.02f * rng_gauss(&state);
            if (t->tiling)
                bench_tiled(t, &isas[i], x);
            if (k.encode != before.encode) {
                bench_kernel(t, &isas[i], "encode", x, NULL, blocks);
                bench_kernel(t, &isas[i], "weighted", x, importance, blocks);
            }
            if (k.improve != before.improve) {
                bench_kernel(t, &isas[i], "best", x, NULL, blocks);
                bench_kernel(t, &isas[i], "best, weighted", x, importance, blocks);
            }
            for (size_t j = 0; j < sizeof blocks; j++)
                blocks[j] = (uint8_t)(0x30 + j % 7);
            if (k.decode != before.decode)
                bench_kernel(t, &isas[i], "decode", x, NULL, blocks);
        }
        double start, weights = 0;
        memset(blocks, 0x3c, N);
        for (start = now(); !type && now() - start < 0.2; weights += N)
            for (size_t at = 0; at < N; at += 128)
                fp8_run_for(isas[i].cpu)(blocks + at, 0.01f, 128, x + at);
        if (!type)
            print_rate("fp8 run", "decode", isas[i].name, weights, now() - start);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--bench"))
        return bench(argv[2]);
    test_table();
    for (const struct quant_type *t = quant_types; t->name; t++) {
        if (t->ref.encode)
            test_range(t);
        for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
            test_isa(t, i);
    }
    return done();
}
