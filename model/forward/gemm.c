/* SPDX-License-Identifier: MIT
 * The matrix product, scalar: the definition; and the dispatcher. */
#include "model/forward/gemm.h"

#include <math.h>
#include <string.h>

#include "base/cpu.h"

void gemm_scalar(const float *w, size_t ldw, size_t rows, const float *x, size_t n, size_t lanes, float *y, int first)
{
    for (size_t r = 0; r < rows; r++, w += ldw, y += LANES) {
        float p[LANES] = {0};
        for (size_t k = 0; k < n; k++)
            for (size_t l = 0; l < lanes; l++)
                p[l] = fmaf(w[k], x[k * LANES + l], p[l]);
        for (size_t l = 0; l < lanes; l++)
            y[l] = first ? p[l] : y[l] + p[l];
    }
}

gemm_fn *gemm_for(unsigned cpu)
{
#if defined(__x86_64__)
    if (cpu & CPU_AVX512)
        return gemm_avx512;
    if (cpu & CPU_AVX2)
        return gemm_avx2;
#endif
    (void)cpu;
    return gemm_scalar;
}

void gemm_rows(gemm_fn *gemm, const float *w, size_t ldw, size_t rows, const float *x, size_t k, size_t lanes, float *y)
{
    for (size_t at = 0; at < k; at += GEMM_BLOCK) {
        size_t n = k - at < GEMM_BLOCK ? k - at : GEMM_BLOCK;
        gemm(w + at, ldw, rows, x + at * LANES, n, lanes, y, at == 0);
    }
}
