/* SPDX-License-Identifier: MIT
 * FP8 run kernel, AVX2: 8 codes at a time. */
#include <immintrin.h>

#include "quant/x86/fp8_x86.h"

size_t fp8_run_avx2(const uint8_t *codes, float scale, size_t n, float *y)
{
    const __m256i low7 = _mm256_set1_epi32(0x7f), sign = _mm256_set1_epi32(0x80);
    const __m256 up = _mm256_set1_ps(0x1p120f), s = _mm256_set1_ps(scale);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i c = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(codes + i)));
        __m256i mag = _mm256_and_si256(c, low7);
        if (_mm256_movemask_epi8(_mm256_cmpeq_epi32(mag, low7)))
            break; /* the scalar tail names the place */
        __m256 v = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_slli_epi32(mag, 20)), up);
        __m256 sg = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_and_si256(c, sign), 24));
        _mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_or_ps(v, sg), s));
    }
    return i + fp8_run_scalar(codes + i, scale, n - i, y + i);
}
