/* SPDX-License-Identifier: MIT
 * Body of quant/panel.c and of its variants in quant/x86/: included once per instruction set, behind its vector_*.h, with
 * PANELS_VARIANT defined as the name of its table. */
#ifdef PANELS_VARIANT
#include "quant/iq4.h"
#include "quant/panel.h"

/* Adding it rounds numbers below 2^22 to whole ones, ties to even. */
#define ROUNDS 12582912.0f

/* The nearest whole number in low..high; low for NaN. */
static inline vf whole(vf v, vf low, vf high)
{
    return v_min(v_max(v, low), high) + v_set(ROUNDS) - v_set(ROUNDS);
}

static void add_up(struct panel *p)
{
    for (int g = 0; g < PANEL; g += LANES) {
        vf sum_w = v_set(0), sum_wx = v_set(0);
        for (int i = 0; i < p->len; i++) {
            vf w = v_load(&p->w[i][g]);
            sum_w = sum_w + w;
            sum_wx = sum_wx + w * v_load(&p->x[i][g]);
        }
        v_store(p->sum_w + g, sum_w);
        v_store(p->sum_wx + g, sum_wx);
    }
}

static void turn(const float *x, int len, size_t groups, float (*out)[PANEL])
{
    for (size_t g = 0; g < PANEL; g += LANES)
        for (int i = 0; i < len; i += LANES) {
            vf v[LANES];
            for (size_t k = 0; k < LANES; k++)
                v[k] = g + k < groups ? v_load(x + (g + k) * (size_t)len + i) : v_set(0);
            v_transpose(v);
            for (int k = 0; k < LANES; k++)
                v_store(&out[i + k][g], v[k]);
        }
}

static void load(struct panel *p, int len, const float *x, const float *w, size_t groups)
{
    p->len = len;
    turn(x, len, groups, p->x);
    turn(w, len, groups, p->w);
    add_up(p);
}

/* LANES lanes of a panel, from g on. */
struct lanes {
    const struct panel *p;
    int g;
    enum values values;
    vf low, high;
};

static inline struct lanes lanes_at(const struct form *f, enum values values, const struct panel *p, int g)
{
    return (struct lanes){p, g, values, v_set((float)f->low), v_set((float)f->high)};
}

/* Steps of 1 up to 4, of 2 up to 8, and 12. */
static inline vf f4_value(vf v)
{
    const vf size = v_abs(v), zero = v_set(0);
    vf n = whole(size, zero, v_set(4)), half = v_set(0.5f) * size, two = v_set(2);
    vf middle = two * whole(half, two, v_set(4));
    n = v_choose(v_less(v_set(4), size), middle, n);
    n = v_choose(v_less(v_set(10), size), v_set(12), n);
    return v_choose(v_less(v, zero), v_negative(n), n);
}

static inline vf value_of(const struct lanes *a, vf v)
{
    if (a->values == VALUES_IQ4)
        return v_iq4(v, iq4_middles, iq4_values).value;
    return a->values == VALUES_F4 ? f4_value(v) : whole(v, a->low, a->high);
}

/* With a step of 0 all values are alike. */
static inline vf inverse(vf step)
{
    return v_choose(v_less(v_set(0), v_abs(step)), v_set(1) / step, v_set(0));
}

enum { TOGETHER = 2 }; /* candidates in one walk over the weights */

static inline void errors_at(const struct lanes *a, int n, const vf *step, const vf *offset, vf *error)
{
    vf by[TOGETHER];
    for (int k = 0; k < n; k++) {
        by[k] = inverse(step[k]);
        error[k] = v_set(0);
    }
    for (int i = 0; i < a->p->len; i++) {
        const vf x = v_load(&a->p->x[i][a->g]), w = v_load(&a->p->w[i][a->g]);
        for (int k = 0; k < n; k++) {
            vf at = x + offset[k], diff = step[k] * value_of(a, at * by[k]) - at;
            error[k] = error[k] + w * (diff * diff);
        }
    }
}

static inline void errors_lanes(const struct lanes *a, const float *step, const float *offset, float *error)
{
    vf s = v_load(step + a->g), o = v_load(offset + a->g), e;
    errors_at(a, 1, &s, &o, &e);
    v_store(error + a->g, e);
}

static inline void judge_lanes(const struct lanes *a, const float *d, const float *dmin, struct choice *c)
{
    const int g = a->g;
    const vf step = v_load(d + g) * v_load(c->scale + g), offset = v_load(dmin + g) * v_load(c->min + g);
    const vf by = inverse(step);
    vf error = v_set(0), sum_v = error, sum_vv = error, sum_xv = error;
    for (int i = 0; i < a->p->len; i++) {
        const vf x = v_load(&a->p->x[i][g]), w = v_load(&a->p->w[i][g]), at = x + offset, v = value_of(a, at * by);
        const vf diff = step * v - at, wv = w * v;
        error = error + w * (diff * diff);
        sum_v = sum_v + wv;
        sum_vv = sum_vv + wv * v;
        sum_xv = sum_xv + wv * x;
    }
    v_store(c->error + g, error);
    v_store(c->sum_v + g, sum_v);
    v_store(c->sum_vv + g, sum_vv);
    v_store(c->sum_xv + g, sum_xv);
}

struct pick {
    vf scale, min, error;
};

static inline void attempt(const struct lanes *a, vf d, vf dmin, const vf *scale, const vf *min, struct pick *best)
{
    vf step[TOGETHER], offset[TOGETHER], error[TOGETHER];
    for (int k = 0; k < TOGETHER; k++) {
        step[k] = d * scale[k];
        offset[k] = dmin * min[k];
    }
    errors_at(a, TOGETHER, step, offset, error);
    for (int k = 0; k < TOGETHER; k++) {
        vm better = v_less(error[k], best->error);
        best->scale = v_choose(better, scale[k], best->scale);
        best->min = v_choose(better, min[k], best->min);
        best->error = v_choose(better, error[k], best->error);
    }
}

/* Scales of a form without offsets, two at a time: the k-th on either side, the middle one twice. */
static inline void attempt_scales(const struct lanes *a, const struct form *f, vf d, int reach, const struct choice *c,
                                  struct pick *best)
{
    const vf low = v_set((float)f->scale_low), high = v_set((float)f->scale_high), none[TOGETHER] = {v_set(0), v_set(0)};
    vf middle = whole(v_load(c->sum_xv + a->g) / v_load(c->sum_vv + a->g) / d, low, high);
    for (int k = 0; k <= reach; k++) {
        vf scale[TOGETHER] = {v_max(middle - v_set((float)k), low), v_min(middle + v_set((float)k), high)};
        attempt(a, d, v_set(0), scale, none, best);
    }
}

static inline void attempt_pairs(const struct lanes *a, const struct form *f, vf d, vf dmin, int reach,
                                 const struct choice *c, struct pick *best)
{
    const vf low = v_set((float)f->scale_low), high = v_set((float)f->scale_high);
    const vf bottom = v_set((float)f->min_low), top = v_set((float)f->min_high);
    const vf sum_w = v_load(a->p->sum_w + a->g), sum_wx = v_load(a->p->sum_wx + a->g);
    const vf sum_v = v_load(c->sum_v + a->g), sum_vv = v_load(c->sum_vv + a->g), sum_xv = v_load(c->sum_xv + a->g);
    vf step = (sum_w * sum_xv - sum_wx * sum_v) / (sum_w * sum_vv - sum_v * sum_v);
    vf middle = whole(step / d, low, high);
    for (int k = -reach; k <= reach; k++) {
        vf scale = v_min(v_max(middle + v_set((float)k), low), high);
        vf offset = (d * scale * sum_v - sum_wx) / sum_w;
        vf min = whole(offset / dmin - v_set(0.5f), bottom, top);
        vf scales[TOGETHER] = {scale, scale}, mins[TOGETHER] = {min, v_min(min + v_set(1), top)};
        attempt(a, d, dmin, scales, mins, best);
    }
}

static inline void choose_lanes(const struct lanes *a, const struct form *f, const float *d, const float *dmin, int reach,
                                struct choice *c)
{
    const int g = a->g;
    const vf unit = v_load(d + g), min_unit = v_load(dmin + g);
    struct pick best = {v_load(c->scale + g), v_load(c->min + g), v_set(0)};
    vf step = unit * best.scale, offset = min_unit * best.min;
    errors_at(a, 1, &step, &offset, &best.error);
    if (f->min_high > f->min_low)
        attempt_pairs(a, f, unit, min_unit, reach, c, &best);
    else
        attempt_scales(a, f, unit, reach, c, &best);
    v_store(c->scale + g, best.scale);
    v_store(c->min + g, best.min);
    v_store(c->error + g, best.error);
}

/* Does `call` for LANES lanes `a` of a panel p, from g on, apart for each kind of values. */
#define BY_VALUES(call)                                                                                               \
    if (f->values == VALUES_IQ4) {                                                                                    \
        const struct lanes a = lanes_at(f, VALUES_IQ4, p, g);                                                         \
        call;                                                                                                         \
    } else if (f->values == VALUES_F4) {                                                                              \
        const struct lanes a = lanes_at(f, VALUES_F4, p, g);                                                          \
        call;                                                                                                         \
    } else {                                                                                                          \
        const struct lanes a = lanes_at(f, VALUES_WHOLE, p, g);                                                       \
        call;                                                                                                         \
    }
#define FOR_LANES(call)                                                                                               \
    for (int g = 0; g < PANEL; g += LANES)                                                                            \
        BY_VALUES(call)

static void errors(const struct form *f, const struct panel *p, const float *step, const float *offset, float *error)
{
    FOR_LANES(errors_lanes(&a, step, offset, error))
}

static void judge(const struct form *f, const struct panel *p, const float *d, const float *dmin, struct choice *c)
{
    FOR_LANES(judge_lanes(&a, d, dmin, c))
}

static void choose(const struct form *f, const struct panel *p, const float *d, const float *dmin, int reach,
                   struct choice *c)
{
    FOR_LANES(choose_lanes(&a, f, d, dmin, reach, c))
}

/* f4_values has them in the order 0, 1, 2, 3, 4, 6, 8, 12, and from 8 on the negative ones. */
static inline vf f4_code_of(vf value)
{
    const vf size = v_abs(value);
    vf code = v_choose(v_less(v_set(4), size), v_set(2) + v_set(0.5f) * size, size);
    code = v_choose(v_less(v_set(8), size), v_set(7), code);
    return v_choose(v_less(value, v_set(0)), code + v_set(8), code);
}

static inline vf code_of(const struct lanes *a, vf v)
{
    if (a->values == VALUES_IQ4)
        return v_iq4(v, iq4_middles, iq4_values).code;
    if (a->values == VALUES_F4)
        return f4_code_of(f4_value(v));
    return whole(v, a->low, a->high) - a->low;
}

static inline void codes_lanes(const struct lanes *a, const float *step, const float *offset, size_t groups, uint8_t *out)
{
    const vf by = inverse(v_load(step + a->g)), off = v_load(offset + a->g);
    const int len = a->p->len;
    for (int at = 0; at < len; at += LANES) {
        vf code[LANES];
        for (int i = 0; i < LANES; i++)
            code[i] = code_of(a, (v_load(&a->p->x[at + i][a->g]) + off) * by);
        v_transpose(code);
        for (int k = 0; k < LANES && (size_t)(a->g + k) < groups; k++)
            v_store_bytes(out + (a->g + k) * len + at, code[k]);
    }
}

static void codes(const struct form *f, const struct panel *p, const float *step, const float *offset, size_t groups,
                  uint8_t *out)
{
    FOR_LANES(codes_lanes(&a, step, offset, groups, out))
}

static inline void nearest_lanes(const struct lanes *a, size_t n, const float *x, const float *step, const float *offset, float *y,
                                 float *code)
{
    for (size_t i = 0; i < n; i += LANES) {
        const vf s = v_load(step + i), o = v_load(offset + i), at = (v_load(x + i) + o) * inverse(s);
        v_store(y + i, s * value_of(a, at) - o);
        v_store(code + i, code_of(a, at));
    }
}

static void nearest_values(const struct form *f, size_t n, const float *x, const float *step, const float *offset, float *y, float *code)
{
    const struct panel *p = NULL;
    const int g = 0;
    BY_VALUES(nearest_lanes(&a, n, x, step, offset, y, code))
}

const struct panel_kernels PANELS_VARIANT = {.load = load, .errors = errors, .judge = judge, .choose = choose, .codes = codes,
                                      .nearest = nearest_values};
#endif
