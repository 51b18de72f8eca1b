/* SPDX-License-Identifier: MIT
 * F16 and BF16, AVX2 and F16C: eight numbers at a time. Encoders take finite numbers, so the hardware's treatment of NaN
 * payloads does not matter; decoders quiet no NaN in the scalar twin either way, so F16 decoding leaves NaN and infinity
 * to the scalar code. */
#include <immintrin.h>
#include <stdint.h>

#include "quant/float_types.h"
#include "quant/x86/float_types_x86.h"

void f16_encode_avx2(const float *x, const float *importance, void *blocks, size_t n)
{
    (void)importance;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i h = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm_storeu_si128((__m128i *)((uint8_t *)blocks + 2 * i), h);
    }
    f16_encode(x + i, NULL, (uint8_t *)blocks + 2 * i, n - i);
}

void f16_decode_avx2(const void *blocks, float *x, size_t n)
{
    const __m128i exponent = _mm_set1_epi16(0x7c00);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const uint8_t *in = (const uint8_t *)blocks + 2 * i;
        __m128i h = _mm_loadu_si128((const __m128i *)in);
        if (_mm_movemask_epi8(_mm_cmpeq_epi16(_mm_and_si128(h, exponent), exponent)))
            f16_decode(in, x + i, 8);
        else
            _mm256_storeu_ps(x + i, _mm256_cvtph_ps(h));
    }
    f16_decode((const uint8_t *)blocks + 2 * i, x + i, n - i);
}

void bf16_encode_avx2(const float *x, const float *importance, void *blocks, size_t n)
{
    (void)importance;
    const __m256i one = _mm256_set1_epi32(1), bias = _mm256_set1_epi32(0x7fff);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i u = _mm256_castps_si256(_mm256_loadu_ps(x + i));
        __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), one);
        u = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(u, bias), odd), 16);
        __m128i h = _mm_packus_epi32(_mm256_castsi256_si128(u), _mm256_extracti128_si256(u, 1));
        _mm_storeu_si128((__m128i *)((uint8_t *)blocks + 2 * i), h);
    }
    bf16_encode(x + i, NULL, (uint8_t *)blocks + 2 * i, n - i);
}

void bf16_decode_avx2(const void *blocks, float *x, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i h = _mm_loadu_si128((const __m128i *)((const uint8_t *)blocks + 2 * i));
        __m256i u = _mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16);
        _mm256_storeu_ps(x + i, _mm256_castsi256_ps(u));
    }
    bf16_decode((const uint8_t *)blocks + 2 * i, x + i, n - i);
}
