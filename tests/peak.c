/* SPDX-License-Identifier: MIT
 * The machine's peak. */
#include "tests/peak.h"

#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/cpu.h"

double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#if defined(__x86_64__)
/* Twelve chains hide the latency. */
#define TWELVE(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define DECLARE_512(i) a##i = _mm512_set1_ps((float)i), /* different, or the compiler computes one for all */
#define DECLARE_256(i) a##i = _mm256_set1_ps((float)i),
#define STEP_512(i) a##i = _mm512_fmadd_ps(a##i, m, m);
#define STEP_256(i) a##i = _mm256_fmadd_ps(a##i, m, m);
#define SUM_512(i) sum = _mm512_add_ps(sum, a##i);
#define SUM_256(i) sum = _mm256_add_ps(sum, a##i);
enum { PEAK_STEPS = 20000000 };

__attribute__((target("avx512f"))) static double peak_avx512(void)
{
    __m512 m = _mm512_set1_ps(0.999f), TWELVE(DECLARE_512) sum = m;
    float out[16];
    double t = seconds();
    for (int k = 0; k < PEAK_STEPS; k++) {
        TWELVE(STEP_512)
    }
    t = seconds() - t;
    TWELVE(SUM_512)
    _mm512_storeu_ps(out, sum);
    return out[0] == 12345 ? 0 : 12.0 * 32 * PEAK_STEPS / t / 1e9;
}

__attribute__((target("avx2,fma"))) static double peak_avx2(void)
{
    __m256 m = _mm256_set1_ps(0.999f), TWELVE(DECLARE_256) sum = m;
    float out[8];
    double t = seconds();
    for (int k = 0; k < PEAK_STEPS; k++) {
        TWELVE(STEP_256)
    }
    t = seconds() - t;
    TWELVE(SUM_256)
    _mm256_storeu_ps(out, sum);
    return out[0] == 12345 ? 0 : 12.0 * 16 * PEAK_STEPS / t / 1e9;
}
#endif

double peak_gflops(unsigned cpu)
{
#if defined(__x86_64__)
    double best = 0;
    for (int run = 0; run < 5; run++) {
        double peak = cpu & CPU_AVX512 ? peak_avx512() : cpu & CPU_AVX2 ? peak_avx2() : 0;
        best = peak > best ? peak : best;
    }
    return best;
#else
    (void)cpu;
    return 0;
#endif
}
