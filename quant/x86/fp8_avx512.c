/* SPDX-License-Identifier: MIT
 * FP8 run kernel, AVX-512: 16 codes at a time. */
#include <immintrin.h>

#include "quant/x86/fp8_x86.h"

size_t fp8_run_avx512(const uint8_t *codes, float scale, size_t n, float *y)
{
    const __m512i low7 = _mm512_set1_epi32(0x7f), sign = _mm512_set1_epi32(0x80);
    const __m512 up = _mm512_set1_ps(0x1p120f), s = _mm512_set1_ps(scale);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512i c = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(codes + i)));
        __m512i mag = _mm512_and_si512(c, low7);
        if (_mm512_cmpeq_epi32_mask(mag, low7))
            break; /* the scalar tail names the place */
        __m512 v = _mm512_mul_ps(_mm512_castsi512_ps(_mm512_slli_epi32(mag, 20)), up);
        __m512 sg = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_and_si512(c, sign), 24));
        _mm512_storeu_ps(y + i, _mm512_mul_ps(_mm512_or_ps(v, sg), s));
    }
    return i + fp8_run_scalar(codes + i, scale, n - i, y + i);
}
