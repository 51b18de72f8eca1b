/* SPDX-License-Identifier: MIT
 * Sixteen floats and what quant/x86/searches_body.h does with them, AVX-512. vector_avx2.h says what each function
 * does. */
#ifndef PARE_QUANT_X86_VECTOR_AVX512_H
#define PARE_QUANT_X86_VECTOR_AVX512_H

#if defined(__AVX512F__) /* elsewhere the types do not exist */
#include <immintrin.h>
#include <stdint.h>

enum { LANES = 16 };
typedef __m512 vf;
typedef __mmask16 vm;

static inline vf v_set(float f)
{
    return _mm512_set1_ps(f);
}

static inline vf v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline void v_store(float *p, vf v)
{
    _mm512_storeu_ps(p, v);
}

static inline vf v_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}

static inline vf v_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}

static inline vf v_clamp_positive(vf v, vf low, vf high)
{
    __m512i q = _mm512_max_epi32(_mm512_castps_si512(v), _mm512_castps_si512(low));
    return _mm512_castsi512_ps(_mm512_min_epi32(q, _mm512_castps_si512(high)));
}

static inline vf v_sqrt(vf v)
{
    return _mm512_sqrt_ps(v);
}

static inline vf v_abs(vf v)
{
    return _mm512_abs_ps(v);
}

static inline vf v_negative(vf v)
{
    return _mm512_xor_ps(v, _mm512_set1_ps(-0.0f));
}

static inline vf v_with_bits(vf v, int kept, int set)
{
    __m512i bits = _mm512_castps_si512(v);
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(bits, _mm512_set1_epi32(kept), _mm512_set1_epi32(set), 0xea));
}

static inline vm v_less(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

static inline vm v_not_less(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ);
}

static inline vm v_differ(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ);
}

static inline vm m_both(vm a, vm b)
{
    return (vm)(a & b);
}

static inline int m_any(vm m)
{
    return m;
}

static inline float v_largest(vf v)
{
    return _mm512_reduce_max_ps(v);
}

static inline vf v_choose(vm m, vf yes, vf no)
{
    return _mm512_mask_blend_ps(m, no, yes);
}

static inline void v_transpose(vf *r)
{
    vf t[LANES], u[LANES];
    for (int i = 0; i < LANES; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < LANES; i += 4)
        for (int j = 0; j < 2; j++) {
            __m512d a = _mm512_castps_pd(t[i + j]), b = _mm512_castps_pd(t[i + j + 2]);
            u[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            u[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    for (int j = 0; j < 4; j++) {
        vf even[2] = {_mm512_shuffle_f32x4(u[j], u[4 + j], 0x88), _mm512_shuffle_f32x4(u[8 + j], u[12 + j], 0x88)};
        vf odd[2] = {_mm512_shuffle_f32x4(u[j], u[4 + j], 0xdd), _mm512_shuffle_f32x4(u[8 + j], u[12 + j], 0xdd)};
        r[j] = _mm512_shuffle_f32x4(even[0], even[1], 0x88);
        r[4 + j] = _mm512_shuffle_f32x4(odd[0], odd[1], 0x88);
        r[8 + j] = _mm512_shuffle_f32x4(even[0], even[1], 0xdd);
        r[12 + j] = _mm512_shuffle_f32x4(odd[0], odd[1], 0xdd);
    }
}

static inline void v_store_bytes(uint8_t *p, vf v)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(v)));
}

static inline vf v_load_bytes(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

struct v_iq4 {
    vf code, value;
};

static inline struct v_iq4 v_iq4(vf v, const float *middles, const float *values)
{
    const vf table = _mm512_maskz_loadu_ps(0x7fff, middles);
    const __m512i eight = _mm512_set1_epi32(8), four = _mm512_set1_epi32(4), two = _mm512_set1_epi32(2);
    __m512i c = _mm512_maskz_mov_epi32(v_not_less(v, v_set(middles[7])), eight);
    vf middle = _mm512_permutexvar_ps(_mm512_add_epi32(c, _mm512_set1_epi32(3)), table);
    c = _mm512_mask_add_epi32(c, v_not_less(v, middle), c, four);
    middle = _mm512_permutexvar_ps(_mm512_add_epi32(c, _mm512_set1_epi32(1)), table);
    c = _mm512_mask_add_epi32(c, v_not_less(v, middle), c, two);
    middle = _mm512_permutexvar_ps(c, table);
    c = _mm512_mask_add_epi32(c, v_not_less(v, middle), c, _mm512_set1_epi32(1));
    return (struct v_iq4){_mm512_cvtepi32_ps(c), _mm512_permutexvar_ps(c, v_load(values))};
}

#endif
#endif
