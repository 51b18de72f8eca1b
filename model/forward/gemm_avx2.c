/* SPDX-License-Identifier: MIT
 * The matrix product, AVX2 and FMA: register tiles of 6 rows x 2 vectors of 8 tokens. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "model/forward/gemm.h"

enum { STRIP = 16, PACKED_ROWS = 24 };

/* x [n][ldx] */
static inline __attribute__((always_inline)) void tile(int R, const float *w, size_t ldw, const float *x, size_t ldx, size_t n,
                                                       float *y, int first)
{
    __m256 acc[6][2];
    for (int r = 0; r < R; r++)
        acc[r][0] = acc[r][1] = _mm256_setzero_ps();
    for (size_t k = 0; k < n; k++) {
        __m256 v0 = _mm256_loadu_ps(x + k * ldx), v1 = _mm256_loadu_ps(x + k * ldx + 8);
        for (int r = 0; r < R; r++) {
            __m256 b = _mm256_set1_ps(w[(size_t)r * ldw + k]);
            acc[r][0] = _mm256_fmadd_ps(b, v0, acc[r][0]);
            acc[r][1] = _mm256_fmadd_ps(b, v1, acc[r][1]);
        }
    }
    for (int r = 0; r < R; r++)
        for (int c = 0; c < 2; c++) {
            float *to = y + (size_t)r * LANES + 8 * (size_t)c;
            _mm256_storeu_ps(to, first ? acc[r][c] : _mm256_add_ps(_mm256_loadu_ps(to), acc[r][c]));
        }
}

/* A strip's features lie LANES floats apart, all in a quarter of the first-level cache's sets, which do not hold them. With enough rows to
 * pay for it they are put side by side first, in the order of memory, so that the processor fetches ahead. */
static void packed(const float *w, size_t ldw, size_t rows, const float *x, size_t n, size_t lanes, float *y, int first)
{
    _Alignas(32) float strips[LANES / STRIP][GEMM_BLOCK * STRIP];
    for (size_t k = 0; k < n; k++)
        for (size_t l = 0; l < lanes; l += STRIP) {
            float *to = strips[l / STRIP] + k * STRIP;
            _mm256_store_ps(to, _mm256_loadu_ps(x + k * LANES + l));
            _mm256_store_ps(to + 8, _mm256_loadu_ps(x + k * LANES + l + 8));
        }
    for (size_t l = 0; l < lanes; l += STRIP) {
        const float *from = w;
        float *to = y + l;
        size_t left = rows;
        for (; left >= 6; left -= 6, from += 6 * ldw, to += 6 * LANES)
            tile(6, from, ldw, strips[l / STRIP], STRIP, n, to, first);
        for (; left; left--, from += ldw, to += LANES)
            tile(1, from, ldw, strips[l / STRIP], STRIP, n, to, first);
    }
}

void gemm_avx2(const float *w, size_t ldw, size_t rows, const float *x, size_t n, size_t lanes, float *y, int first)
{
    if (rows >= PACKED_ROWS) {
        packed(w, ldw, rows, x, n, lanes, y, first);
        return;
    }
    for (; rows >= 6; rows -= 6, w += 6 * ldw, y += 6 * LANES)
        for (size_t l = 0; l < lanes; l += STRIP)
            tile(6, w, ldw, x + l, LANES, n, y + l, first);
    for (; rows; rows--, w += ldw, y += LANES)
        for (size_t l = 0; l < lanes; l += STRIP)
            tile(1, w, ldw, x + l, LANES, n, y + l, first);
}
#endif
