/* SPDX-License-Identifier: MIT
 * The arithmetic of the forward pass: every instruction set gives the scalar code's bits; exp, log, sine and cosine are
 * as exact as they promise. With --bench: speed of the matrix product against the machine's peak and OpenBLAS. */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "model/forward/det_math.h"
#include "model/forward/gemm.h"
#include "model/forward/lanes.h"
#include "quant/fp8_tiles.h"
#include "tests/peak.h"
#include "tests/tap.h"

static const struct {
    const char *name;
    unsigned cpu;
} isas[] = {{"avx2", CPU_AVX2}, {"avx512", CPU_AVX2 | CPU_AVX512}};
enum { N_ISAS = sizeof isas / sizeof *isas, MAX_ROWS = 27, MAX_K = 600 };

static uint64_t seed = 1;

static float uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(seed >> 32) * 0x1p-31f;
}

static void fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = uniform();
}

static void gemm_equals_scalar(const char *name, gemm_fn *gemm, size_t lanes)
{
    static float w[MAX_ROWS * MAX_K], x[MAX_K * LANES], want[MAX_ROWS * LANES], got[MAX_ROWS * LANES];
    static const size_t rows[] = {1, 5, 6, 7, 12, 13, 27}, ks[] = {1, 3, 255, 256, 257, 600};
    int same = 1;
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t k = 0; k < sizeof ks / sizeof *ks; k++) {
            fill(w, rows[r] * ks[k]);
            fill(x, ks[k] * LANES);
            memset(want, 0, sizeof want);
            memset(got, 0, sizeof got);
            gemm_rows(gemm_scalar, w, ks[k], rows[r], x, ks[k], lanes, want);
            gemm_rows(gemm, w, ks[k], rows[r], x, ks[k], lanes, got);
            same &= !memcmp(want, got, sizeof got);
        }
    ok(same, "product, %s, %zu lanes: the scalar bits for 7 row counts x 6 lengths", name, lanes);
}

static void lanes_equal_scalar(const char *name, const struct lanes *l)
{
    static float a[4096], b[4096], u[4096];
    for (size_t i = 0; i < 4096; i++)
        a[i] = b[i] = i < 8 ? (float[]){0, -0.0f, -INFINITY, -104, -103.97f, -200, -201, -1e30f}[i] : 60 * uniform() - 60;
    lanes_scalar.exp(a, 4096);
    l->exp(b, 4096);
    ok(!memcmp(a, b, sizeof a), "exp, %s: the scalar bits for 4096 numbers", name);
    for (size_t i = 0; i < 4096; i++)
        a[i] = b[i] = i < 4 ? (float[]){1e30f, -1e30f, 800, -800}[i] : 30 * uniform();
    fill(u, 4096);
    lanes_scalar.silu_mul(a, u, 4096);
    l->silu_mul(b, u, 4096);
    ok(!memcmp(a, b, sizeof a), "silu, %s: the scalar bits for 4096 numbers", name);
}

static double relative(double got, long double want)
{
    return want == 0 ? fabs(got) : (double)fabsl(((long double)got - want) / want);
}

static void functions_are_exact(void)
{
    double worst_exp = 0, worst_log = 0, worst_trig = 0, s, c, e;
    for (int i = 0; i < 200000; i++) {
        double x = 700 * (double)uniform(), y = exp(40 * (double)uniform()), t = 170000 * (double)uniform();
        e = relative(det_exp(x), expl((long double)x));
        worst_exp = e > worst_exp ? e : worst_exp;
        e = fabs(y - 1) < 0.01 ? 0 : relative(det_log(y), logl((long double)y));
        worst_log = e > worst_log ? e : worst_log;
        det_sincos(t, &s, &c);
        e = fmax((double)fabsl((long double)s - sinl((long double)t)), (double)fabsl((long double)c - cosl((long double)t)));
        worst_trig = e > worst_trig ? e : worst_trig;
    }
    ok(worst_exp < 6e-16, "exp is within 6e-16 of the true value up to |x| = 700 (worst %.2g)", worst_exp);
    ok(worst_log < 6e-16, "log is within 6e-16, relative (worst %.2g)", worst_log);
    ok(worst_trig < 4e-16, "sine and cosine are within 4e-16 up to |x| = 170000 (worst %.2g)", worst_trig);
    ok(det_exp(-800) == 0 && det_exp(0) == 1 && isinf(det_exp(710)) && isnan(det_exp((double)NAN)),
       "exp: 0 at -800, 1 at 0, infinity at 710, NaN at NaN");
    ok(det_exp(-740) > 0 && det_exp(-740) < 1e-320, "exp reaches subnormals");
}

typedef void sgemm_fn(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);

enum { BENCH_R = 2048, BENCH_K = 7168 };

/* y[tokens] = W x for V3's expert matrix as the forward pass does it: FP8 rows are decoded a unit at a time, then
 * multiplied; GFLOP/s with the decoding counted, the best of three. */
static double bench_ours(unsigned cpu, const uint8_t *codes, const float *scales, const float *x, float *unit, float *y,
                         size_t tokens)
{
    size_t tiles = (tokens + LANES - 1) / LANES, lanes = tokens < LANES ? tokens : LANES, rows = tiles <= 2 ? 12 : 144;
    gemm_fn *gemm = gemm_for(cpu);
    double best = 0;
    for (int run = 0; run < 3; run++) {
        double t = seconds();
        for (size_t r = 0; r < BENCH_R; r += rows) {
            size_t n = BENCH_R - r < rows ? BENCH_R - r : rows;
            struct fp8_rows f = {codes + r * BENCH_K, scales, r, n, BENCH_K, 128, 128};
            fp8_decode_rows(&f, unit, cpu);
            for (size_t k = 0; k < BENCH_K; k += GEMM_BLOCK)
                for (size_t i = 0; i < tiles; i++)
                    gemm(unit + k, BENCH_K, n, x + (i * BENCH_K + k) * LANES, GEMM_BLOCK, lanes,
                         y + (i * BENCH_R + r) * LANES, k == 0);
        }
        double rate = 2.0 * BENCH_R * BENCH_K * (double)tokens / (seconds() - t) / 1e9;
        best = rate > best ? rate : best;
    }
    return best;
}

/* The same product of OpenBLAS, from F32 weights that were decoded before. */
static double bench_blas(sgemm_fn *blas, const float *w, const float *x, float *y, size_t tokens)
{
    double best = 0;
    for (int run = 0; run < 3; run++) {
        double t = seconds();
        blas(101, 111, 112, (int)tokens, BENCH_R, BENCH_K, 1, x, BENCH_K, w, BENCH_K, 0, y, BENCH_R);
        double rate = 2.0 * BENCH_R * BENCH_K * (double)tokens / (seconds() - t) / 1e9;
        best = rate > best ? rate : best;
    }
    return best;
}

static int bench(void)
{
    static const size_t tokens[] = {512, 128, 64, 16};
    static float scales[2 * BENCH_K / 128];
    size_t n = (size_t)BENCH_R * BENCH_K;
    float *w = malloc(n * sizeof *w), *x = malloc(512 * BENCH_K * sizeof *x), *y = malloc(512 * BENCH_R * sizeof *y);
    uint8_t *codes = malloc(n);
    void *lib = dlopen("libopenblas.so.0", RTLD_NOW);
    sgemm_fn *blas = NULL;
    void (*threads)(int) = NULL;
    if (!w || !x || !y || !codes)
        return 1;
    if (lib) {
        *(void **)&blas = dlsym(lib, "cblas_sgemm");
        *(void **)&threads = dlsym(lib, "openblas_set_num_threads");
    }
    if (threads)
        threads(1);
    fill(w, n);
    fill(x, 512 * BENCH_K);
    fill(scales, sizeof scales / sizeof *scales);
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)(i * 7 % 120);
    for (size_t i = 0; i < N_ISAS; i++) {
        if ((isas[i].cpu & cpu_features()) != isas[i].cpu)
            continue;
        double peak = peak_gflops(isas[i].cpu);
        printf("%s: peak of fused multiply-adds %.1f GFLOP/s on one core\n", isas[i].name, peak);
        for (size_t k = 0; k < sizeof tokens / sizeof *tokens; k++) {
            double ours = bench_ours(isas[i].cpu, codes, scales, x, w, y, tokens[k]);
            printf("  %3zu tokens: %6.1f GFLOP/s, %3.0f %% of peak", tokens[k], ours, 100 * ours / peak);
            if (blas)
                printf("; OpenBLAS %6.1f\n", bench_blas(blas, w, x, y, tokens[k]));
            else
                printf("; OpenBLAS not installed (libopenblas0)\n");
        }
    }
    free(w);
    free(x);
    free(y);
    free(codes);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--bench"))
        return bench();
    for (size_t i = 0; i < N_ISAS; i++) {
        if ((isas[i].cpu & cpu_features()) != isas[i].cpu) {
            skip("this processor has not got it", "%s: the scalar bits", isas[i].name);
            continue;
        }
        for (size_t lanes = 16; lanes <= LANES; lanes += 16)
            gemm_equals_scalar(isas[i].name, gemm_for(isas[i].cpu), lanes);
        lanes_equal_scalar(isas[i].name, lanes_for(isas[i].cpu));
    }
    functions_are_exact();
    return done();
}
