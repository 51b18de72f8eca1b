/* SPDX-License-Identifier: MIT
 * The matrix product, AVX-512: register tiles of R rows x C vectors of 16 tokens. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "model/forward/gemm.h"

/* R and C are constants wherever this is inlined, so that acc lives in registers. */
static inline __attribute__((always_inline)) void tile(int R, int C, const float *w, size_t ldw, const float *x, size_t n,
                                                       float *y, int first)
{
    __m512 acc[12][4];
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++)
            acc[r][c] = _mm512_setzero_ps();
    for (size_t k = 0; k < n; k++) {
        __m512 v[4];
        for (int c = 0; c < C; c++)
            v[c] = _mm512_loadu_ps(x + k * LANES + 16 * (size_t)c);
        for (int r = 0; r < R; r++) {
            __m512 b = _mm512_set1_ps(w[(size_t)r * ldw + k]);
            for (int c = 0; c < C; c++)
                acc[r][c] = _mm512_fmadd_ps(b, v[c], acc[r][c]);
        }
    }
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) {
            float *to = y + (size_t)r * LANES + 16 * (size_t)c;
            _mm512_storeu_ps(to, first ? acc[r][c] : _mm512_add_ps(_mm512_loadu_ps(to), acc[r][c]));
        }
}

static inline __attribute__((always_inline)) void all_rows(int C, const float *w, size_t ldw, size_t rows, const float *x,
                                                           size_t n, float *y, int first)
{
    const size_t R = C <= 2 ? 12 : 6; /* at most 24 accumulators of the 32 registers */
    for (; rows >= R; rows -= R, w += R * ldw, y += R * LANES)
        tile((int)R, C, w, ldw, x, n, y, first);
    for (; rows; rows--, w += ldw, y += LANES)
        tile(1, C, w, ldw, x, n, y, first);
}

void gemm_avx512(const float *w, size_t ldw, size_t rows, const float *x, size_t n, size_t lanes, float *y, int first)
{
    switch (lanes / 16) {
    case 1: all_rows(1, w, ldw, rows, x, n, y, first); break;
    case 2: all_rows(2, w, ldw, rows, x, n, y, first); break;
    case 3: all_rows(3, w, ldw, rows, x, n, y, first); break;
    default: all_rows(4, w, ldw, rows, x, n, y, first); break;
    }
}
#endif
