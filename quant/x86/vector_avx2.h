/* SPDX-License-Identifier: MIT
 * Eight floats and what quant/x86/searches_body.h does with them, AVX2. The operators + - * / of the compilers' vector
 * types do the arithmetic; min and max return their second operand when the first is not smaller or larger. */
#ifndef PARE_QUANT_X86_VECTOR_AVX2_H
#define PARE_QUANT_X86_VECTOR_AVX2_H

#if defined(__AVX2__) /* elsewhere the types do not exist */
#include <immintrin.h>
#include <stdint.h>

enum { LANES = 8 };
typedef __m256 vf; /* a float per lane */
typedef __m256 vm; /* yes or no per lane */

static inline vf v_set(float f)
{
    return _mm256_set1_ps(f);
}

static inline vf v_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

static inline void v_store(float *p, vf v)
{
    _mm256_storeu_ps(p, v);
}

static inline vf v_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}

static inline vf v_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}

/* Of positive numbers: as whole numbers, which leaves the multipliers alone. */
static inline vf v_clamp_positive(vf v, vf low, vf high)
{
    __m256i q = _mm256_max_epi32(_mm256_castps_si256(v), _mm256_castps_si256(low));
    return _mm256_castsi256_ps(_mm256_min_epi32(q, _mm256_castps_si256(high)));
}

static inline vf v_sqrt(vf v)
{
    return _mm256_sqrt_ps(v);
}

static inline vf v_abs(vf v)
{
    return _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff)));
}

static inline vf v_negative(vf v)
{
    return _mm256_xor_ps(v, _mm256_set1_ps(-0.0f));
}

/* (bits & kept) | set */
static inline vf v_with_bits(vf v, int kept, int set)
{
    return _mm256_or_ps(_mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(kept))),
                        _mm256_castsi256_ps(_mm256_set1_epi32(set)));
}

static inline vm v_less(vf a, vf b)
{
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}

/* Also when one is NaN. */
static inline vm v_not_less(vf a, vf b)
{
    return _mm256_cmp_ps(a, b, _CMP_NLT_UQ);
}

static inline vm v_differ(vf a, vf b)
{
    return _mm256_cmp_ps(a, b, _CMP_NEQ_UQ);
}

static inline vm m_both(vm a, vm b)
{
    return _mm256_and_ps(a, b);
}

static inline int m_any(vm m)
{
    return _mm256_movemask_ps(m);
}

/* The largest lane, of numbers. */
static inline float v_largest(vf v)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

static inline vf v_choose(vm m, vf yes, vf no)
{
    return _mm256_blendv_ps(no, yes, m);
}

/* Lane i of r[j] and lane j of r[i] change places. */
static inline void v_transpose(vf *r)
{
    vf t[LANES], u[LANES];
    for (int i = 0; i < LANES; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < LANES; i += 4)
        for (int j = 0; j < 2; j++) {
            __m256d a = _mm256_castps_pd(t[i + j]), b = _mm256_castps_pd(t[i + j + 2]);
            u[i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
            u[i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
        }
    for (int j = 0; j < 4; j++) {
        r[j] = _mm256_permute2f128_ps(u[j], u[4 + j], 0x20);
        r[4 + j] = _mm256_permute2f128_ps(u[j], u[4 + j], 0x31);
    }
}

/* Numbers 0..255 as bytes, fractions cut off. */
static inline void v_store_bytes(uint8_t *p, vf v)
{
    __m256i q = _mm256_cvttps_epi32(v);
    __m128i h = _mm_packus_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(h, h));
}

static inline vf v_load_bytes(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

/* The code of IQ4_NL (iq4_code) as a whole number, and its value. */
struct v_iq4 {
    vf code, value;
};

static inline struct v_iq4 v_iq4(vf v, const float *middles, const float *values)
{
    const vf quarters = _mm256_setr_ps(middles[1], middles[5], middles[9], middles[13], 0, 0, 0, 0);
    const vf eighths = _mm256_setr_ps(middles[0], middles[2], middles[4], middles[6], middles[8], middles[10],
                                      middles[12], middles[14]);
    vm upper = v_not_less(v, v_set(middles[7]));
    __m256i c = _mm256_castps_si256(upper); /* -1 for each yes, so c counts downwards */
    c = _mm256_add_epi32(_mm256_add_epi32(c, c), _mm256_castps_si256(v_not_less(
                                                     v, v_choose(upper, v_set(middles[11]), v_set(middles[3])))));
    vf middle = _mm256_permutevar8x32_ps(quarters, _mm256_sub_epi32(_mm256_setzero_si256(), c));
    c = _mm256_add_epi32(_mm256_add_epi32(c, c), _mm256_castps_si256(v_not_less(v, middle)));
    middle = _mm256_permutevar8x32_ps(eighths, _mm256_sub_epi32(_mm256_setzero_si256(), c));
    c = _mm256_add_epi32(_mm256_add_epi32(c, c), _mm256_castps_si256(v_not_less(v, middle)));
    c = _mm256_sub_epi32(_mm256_setzero_si256(), c);
    vf low = _mm256_permutevar8x32_ps(v_load(values), c), high = _mm256_permutevar8x32_ps(v_load(values + 8), c);
    return (struct v_iq4){_mm256_cvtepi32_ps(c), v_choose(upper, high, low)};
}

#endif
#endif
