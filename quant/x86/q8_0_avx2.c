/* SPDX-License-Identifier: MIT
 * Q8_0, AVX2: a block is four vectors of eight floats. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "quant/floats.h"
#include "quant/q8_0.h"
#include "quant/x86/q8_0_x86.h"

/* Largest lane; max is associative, so the order is free. */
static float max_lane(__m256 v)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    m = _mm_max_ss(m, _mm_movehdup_ps(m));
    return _mm_cvtss_f32(m);
}

/* Half away from zero: truncate, then step where the exact rest is at least a half. */
static __m256i round_half_away(__m256 v)
{
    const __m256 half = _mm256_set1_ps(0.5f), minus_half = _mm256_set1_ps(-0.5f);
    __m256i t = _mm256_cvttps_epi32(v);
    __m256 rest = _mm256_sub_ps(v, _mm256_cvtepi32_ps(t));
    __m256i up = _mm256_castps_si256(_mm256_cmp_ps(rest, half, _CMP_GE_OQ));
    __m256i down = _mm256_castps_si256(_mm256_cmp_ps(rest, minus_half, _CMP_LE_OQ));
    return _mm256_add_epi32(_mm256_sub_epi32(t, up), down);
}

void q8_0_encode_avx2(const float *x, const float *importance, void *blocks, size_t n)
{
    (void)importance;
    const __m256 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    uint8_t *out = blocks;
    for (size_t i = 0; i < n; i++, x += 32, out += 34) {
        __m256 v[4], m = _mm256_setzero_ps();
        for (int k = 0; k < 4; k++) {
            v[k] = _mm256_loadu_ps(x + 8 * k);
            m = _mm256_max_ps(m, _mm256_and_ps(v[k], no_sign));
        }
        float d = max_lane(m) / 127, id = d > Q8_0_TINY ? 1 / d : 0;
        uint16_t stored = f32_to_f16(d);
        __m256 factor = _mm256_set1_ps(id);
        __m256i q[4];
        for (int k = 0; k < 4; k++)
            q[k] = round_half_away(_mm256_mul_ps(v[k], factor));
        __m256i lo = _mm256_packs_epi32(q[0], q[1]), hi = _mm256_packs_epi32(q[2], q[3]);
        __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(lo, hi), order);
        memcpy(out, &stored, 2);
        _mm256_storeu_si256((__m256i *)(out + 2), bytes);
    }
}

void q8_0_decode_avx2(const void *blocks, float *x, size_t n)
{
    const uint8_t *in = blocks;
    for (size_t i = 0; i < n; i++, x += 32, in += 34) {
        uint16_t stored;
        memcpy(&stored, in, 2);
        __m256 d = _mm256_set1_ps(f16_to_f32(stored));
        for (int k = 0; k < 4; k++) {
            __m256i q = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(in + 2 + 8 * k)));
            _mm256_storeu_ps(x + 8 * k, _mm256_mul_ps(_mm256_cvtepi32_ps(q), d));
        }
    }
}
