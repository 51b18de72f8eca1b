/* SPDX-License-Identifier: MIT
 * One float and what quant/panel_body.h does with it: the scalar definition of what quant/x86/vector_*.h do with
 * several. */
#ifndef PARE_QUANT_VECTOR_SCALAR_H
#define PARE_QUANT_VECTOR_SCALAR_H

#include <math.h>
#include <stdint.h>

#include "quant/iq4.h"

enum { LANES = 1 };
typedef float vf;
typedef int vm;

static inline vf v_set(float f)
{
    return f;
}

static inline vf v_load(const float *p)
{
    return *p;
}

static inline void v_store(float *p, vf v)
{
    *p = v;
}

static inline vf v_min(vf a, vf b)
{
    return a < b ? a : b;
}

static inline vf v_max(vf a, vf b)
{
    return a > b ? a : b;
}

static inline vf v_abs(vf v)
{
    return fabsf(v);
}

static inline vf v_negative(vf v)
{
    return -v;
}

static inline vm v_less(vf a, vf b)
{
    return a < b;
}

static inline float v_largest(vf v)
{
    return v;
}

static inline vf v_choose(vm m, vf yes, vf no)
{
    return m ? yes : no;
}

static inline void v_transpose(vf *r)
{
    (void)r;
}

static inline void v_store_bytes(uint8_t *p, vf v)
{
    *p = (uint8_t)(int)v;
}

struct v_iq4 {
    vf code, value;
};

static inline struct v_iq4 v_iq4(vf v, const float *middles, const float *values)
{
    (void)middles;
    int c = iq4_code(v);
    return (struct v_iq4){(float)c, values[c]};
}

#endif
