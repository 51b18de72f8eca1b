/* SPDX-License-Identifier: MIT
 * Body of quant/x86/searches_*.c: included once per instruction set, behind its vector_*.h, with SEARCHES_VARIANT defined
 * as the name of its table and PANELS_OF_VARIANT and CODES_OF_VARIANT as those beside it.
 *
 * A lane is a block: element i of LANES blocks lies in one vector, so that every block's sums keep the scalar order. What
 * the scalar code decides by a branch is decided here by masks; lanes without a scale, and those beyond the last block,
 * compute along and are overruled at the end. Codes are whole numbers in F32, exact. */
#ifdef SEARCHES_VARIANT
#include <string.h>

#include "quant/fp4.h"
#include "quant/iq4.h"
#include "quant/x86/searches_affine.h"
#include "quant/x86/searches_lanes.h"
#include "quant/x86/searches_x86.h"

/* ---- weights ---- */

static void weigh(const float *x, const float *importance, size_t n, float sigma2, float *w)
{
    for (size_t i = 0; i < n; i += LANES) {
        vf v = v_load(x + i);
        v_store(w + i, v_load(importance + i) * v_sqrt(v_set(sigma2) + v * v));
    }
}

static inline void add_up(int len, const float *x, int squared, size_t blocks, float *sum)
{
    for (size_t b = 0; b < blocks; b += LANES) {
        vf s = v_set(0), v[LANES];
        for (int at = 0; at < len; at += LANES) {
            spread(LANES, x + b * (size_t)len + at, (size_t)len, blocks - b, v);
            for (int i = 0; i < LANES; i++) {
                if (squared)
                    v[i] = v[i] * v[i];
                s = s + v[i];
            }
        }
        collect(s, blocks - b, sum + b);
    }
}

static void squares(int len, const float *x, size_t blocks, float *sum)
{
    add_up(len, x, 1, blocks, sum);
}

static void sums(int len, const float *w, size_t blocks, float *sum)
{
    add_up(len, w, 0, blocks, sum);
}

static void weigh_by_size(int len, const float *x, size_t blocks, float *w)
{
    for (size_t b = 0; b < blocks; b += LANES) {
        float size[LANES] = {0};
        size_t some = blocks - b < LANES ? blocks - b : LANES;
        squares(len, x, some, size);
        v_store(size, v_sqrt(v_load(size) / v_set((float)len)));
        for (size_t i = 0; i < some; i++)
            for (int j = 0; j < len; j += LANES, x += LANES, w += LANES)
                v_store(w, v_set(size[i]) + v_abs(v_load(x)));
    }
}

/* ---- symmetric ---- */

/* The element of largest magnitude, the first of equals; 0 when all are tiny. */
static inline vf largest(int len, const vf *x)
{
    vf amax = v_set(0), v = v_set(0);
    for (int i = 0; i < len; i++) {
        vm more = v_less(amax, v_abs(x[i]));
        amax = v_choose(more, v_abs(x[i]), amax);
        v = v_choose(more, x[i], v);
    }
    return v_choose(v_less(amax, v_set(SEARCH_TINY)), v_set(0), v);
}

struct fit {
    vf xl, ll;
};
enum { TOGETHER = 3 }; /* candidates in one walk over the weights */

/* Lanes of one scale each: weights, their weights, the products of both; codes between low and high. */
struct fit_lanes {
    int len;
    vf low, high; /* MAGIC added */
    vf x[MOST_LEN], w[MOST_LEN], wx[MOST_LEN], code[MOST_LEN];
};

/* Codes of -half to half - 1; w NULL: x * x. */
static inline void fit_begin(struct fit_lanes *a, int len, int half, const float *x, const float *w, size_t blocks)
{
    a->len = len;
    a->low = v_set(MAGIC - (float)half);
    a->high = v_set(MAGIC + (float)half - 1);
    spread(len, x, (size_t)len, blocks, a->x);
    if (w)
        spread(len, w, (size_t)len, blocks, a->w);
    for (int i = 0; i < len; i++) {
        if (!w)
            a->w[i] = a->x[i] * a->x[i];
        a->wx[i] = a->w[i] * a->x[i];
    }
}

/* n inverse scales at once. */
static inline void fit_of(const struct fit_lanes *a, int n, const vf *inverse, struct fit *f)
{
    const vf low = a->low, high = a->high;
    for (int k = 0; k < n; k++)
        f[k].xl = f[k].ll = v_set(0);
    for (int i = 0; i < a->len; i++)
        for (int k = 0; k < n; k++) {
            vf l = rounded(inverse[k] * a->x[i], low, high);
            f[k].xl = f[k].xl + a->wx[i] * l;
            f[k].ll = f[k].ll + a->w[i] * l * l;
        }
}

/* Leaves the codes in a. */
static inline struct fit fit_codes(struct fit_lanes *a, vf inverse)
{
    struct fit f;
    for (int i = 0; i < a->len; i++)
        a->code[i] = rounded(inverse * a->x[i], a->low, a->high);
    fit_of(a, 1, &inverse, &f);
    return f;
}

/* f.xl * f.xl / f.ll is above best. */
static inline vm fits_better(struct fit f, vf best)
{
    return m_both(v_less(v_set(0), f.ll), v_less(best * f.ll, f.xl * f.xl));
}

/* Code i moves to where its share of the fit is best. wraps: codes are unsigned bytes without a lower end. Returns the
 * lanes in which it moved. */
static inline vm improve_one(struct fit_lanes *a, int i, int wraps, struct fit *f)
{
    const vf x = a->x[i], w = a->w[i], wx = a->wx[i], l = a->code[i];
    struct fit g = {f->xl - wx * l, f->ll - w * l * l};
    vm moves = v_less(v_set(0), g.xl);
    if (wraps)
        moves = m_both(moves, v_less(v_set(0), g.ll));
    vf to = rounded(x * g.ll / g.xl, a->low, a->high);
    moves = m_both(moves, v_differ(to, l));
    g.xl = g.xl + wx * to;
    g.ll = g.ll + w * to * to;
    moves = m_both(moves, v_less(v_set(0), g.ll));
    moves = m_both(moves, v_less(f->xl * f->xl * g.ll, g.xl * g.xl * f->ll));
    a->code[i] = v_choose(moves, wraps ? as_byte(to) : to, l);
    f->xl = v_choose(moves, g.xl, f->xl);
    f->ll = v_choose(moves, g.ll, f->ll);
    return moves;
}

/* Passes over the codes of `groups` groups, five or until none moves: one more changes nothing in a lane where none did. */
static inline void improve(struct fit_lanes *a, int groups, int wraps, struct fit *f)
{
    int any = 1;
    for (int pass = 0; pass < 5 && any; pass++) {
        any = 0;
        for (int i = 0; i < a->len; i++)
            for (int g = 0; g < groups; g++)
                any |= m_any(improve_one(&a[g], i, wraps, &f[g]));
    }
}

static inline vf scale_of(struct fit f)
{
    return v_choose(v_less(v_set(0), f.ll), f.xl / f.ll, v_set(0));
}

/* Codes from 0 upwards; 0 where there is no scale. */
static inline void lift_codes(struct fit_lanes *a, int half, vm active)
{
    for (int i = 0; i < a->len; i++)
        a->code[i] = v_choose(active, a->code[i] + v_set((float)half), v_set(0));
}

static inline vf symmetric_lanes(struct fit_lanes *a, int half)
{
    const vf v = largest(a->len, a->x);
    const vm active = v_differ(v, v_set(0));
    vf chosen = v_set((float)-half) / v;
    struct fit f, tried[TOGETHER];
    fit_of(a, 1, &chosen, &f);
    vf scale = v_choose(v_differ(f.ll, v_set(0)), f.xl / f.ll, v_set(0)), best = scale * f.xl;
    for (int j = 0; j < 18; j += TOGETHER) { /* k = -9..-1, 1..9 */
        vf inverse[TOGETHER];
        for (int t = 0; t < TOGETHER; t++) {
            int k = j + t < 9 ? j + t - 9 : j + t - 8;
            inverse[t] = v_set(-((float)half + 0.1f * (float)k)) / v;
        }
        fit_of(a, TOGETHER, inverse, tried);
        for (int t = 0; t < TOGETHER; t++) {
            vm better = fits_better(tried[t], best);
            chosen = v_choose(better, inverse[t], chosen);
            scale = v_choose(better, tried[t].xl / tried[t].ll, scale);
            best = v_choose(better, scale * tried[t].xl, best);
        }
    }
    fit_codes(a, chosen);
    lift_codes(a, half, active);
    return v_choose(active, scale, v_set(0));
}

static void symmetric(int len, int half, const float *x, const float *w, size_t blocks, float *scale, uint8_t *codes)
{
    struct fit_lanes a;
    for (size_t b = 0, at = 0; b < blocks; b += LANES, at += (size_t)(LANES * len)) {
        fit_begin(&a, len, half, x + at, w ? w + at : NULL, blocks - b);
        collect(symmetric_lanes(&a, half), blocks - b, scale + b);
        collect_codes(len, a.code, blocks - b, codes + at);
    }
}

static void descend(int len, int half, const float *x, size_t blocks, float *scale, uint8_t *codes)
{
    struct fit_lanes a[DESCENTS];
    for (size_t first = 0; first < blocks; first += DESCENTS * LANES) {
        struct fit f[DESCENTS];
        vm active[DESCENTS];
        for (int g = 0; g < DESCENTS; g++) {
            size_t b = group_at(first, g, blocks);
            fit_begin(&a[g], len, half, x + b * (size_t)len, NULL, blocks - b);
            const vf v = largest(len, a[g].x);
            active[g] = v_differ(v, v_set(0));
            f[g] = fit_codes(&a[g], v_set((float)-half) / v);
        }
        improve(a, DESCENTS, 0, f);
        for (int g = 0; g < DESCENTS; g++) {
            size_t b = group_at(first, g, blocks);
            lift_codes(&a[g], half, active[g]);
            collect(v_choose(active[g], scale_of(f[g]), v_set(0)), blocks - b, scale + b);
            collect_codes(len, a[g].code, blocks - b, codes + b * (size_t)len);
        }
    }
}

/* ---- the scales of a superblock ---- */

static inline vf positive_inverse(const struct fit_lanes *a, int top, vf max)
{
    const vf lowest = v_set(8388608.0f), highest = v_set(16777215.0f);
    vf chosen = v_set((float)top) / max, scale = v_set(1) / chosen, least = v_set(0);
    for (int i = 0; i < a->len; i++) {
        vf diff = a->x[i] - scale * as_byte(rounded(chosen * a->x[i], lowest, highest));
        least = least + a->w[i] * diff * diff;
    }
    for (int k = -4; k <= 4; k++) {
        vf inverse = v_set(0.1f * (float)k + (float)top) / max, error = v_set(0);
        if (k == 0)
            continue;
        scale = v_set(1) / inverse;
        for (int i = 0; i < a->len; i++) {
            vf diff = a->x[i] - scale * rounded(inverse * a->x[i], a->low, a->high);
            error = error + a->w[i] * diff * diff;
        }
        vm better = v_less(error, least);
        least = v_choose(better, error, least);
        chosen = v_choose(better, inverse, chosen);
    }
    return chosen;
}

static inline vf positive_lanes(struct fit_lanes *a, int top)
{
    vf max = v_set(0);
    for (int i = 0; i < a->len; i++)
        max = v_max(max, a->x[i]);
    const vm active = v_not_less(max, v_set(SEARCH_TINY));
    const vf inverse = positive_inverse(a, top, max);
    struct fit f;
    fit_of(a, 1, &inverse, &f);
    for (int i = 0; i < a->len; i++)
        a->code[i] = as_byte(rounded(inverse * a->x[i], a->low, a->high));
    improve(a, 1, 1, &f);
    lift_codes(a, 0, active);
    return v_choose(active, scale_of(f), v_set(0));
}

/* n may be below LANES, so values come and codes go one by one. */
static void positive(int n, int top, const float *x, const float *w, size_t blocks, float *scale, uint8_t *codes)
{
    struct fit_lanes a;
    float lanes[2][16][LANES];
    for (size_t b = 0, at = 0; b < blocks; b += LANES, at += (size_t)(LANES * n)) {
        a.len = n;
        a.low = v_set(8388608.0f);
        a.high = v_set(MAGIC + (float)top);
        size_t some = blocks - b < LANES ? blocks - b : LANES;
        memset(lanes, 0, sizeof lanes);
        for (size_t i = 0; i < (size_t)n * some; i++) {
            lanes[0][i % (size_t)n][i / (size_t)n] = x[at + i];
            lanes[1][i % (size_t)n][i / (size_t)n] = w[at + i];
        }
        for (int i = 0; i < n; i++) {
            a.x[i] = v_load(lanes[0][i]);
            a.w[i] = v_load(lanes[1][i]);
            a.wx[i] = a.w[i] * a.x[i];
        }
        collect(positive_lanes(&a, top), some, scale + b);
        for (int i = 0; i < n; i++)
            v_store(lanes[0][i], a.code[i]);
        for (size_t i = 0; i < (size_t)n * some; i++)
            codes[at + i] = (uint8_t)lanes[0][i % (size_t)n][i / (size_t)n];
    }
}

/* ---- codes for given scales ---- */

static void requantize(int len, int low, int high, const float *x, const float *step, const float *offset,
                       size_t blocks, uint8_t *codes)
{
    const vf lowest = v_set(MAGIC + (float)low), highest = v_set(MAGIC + (float)high);
    for (size_t b = 0; b < blocks; b++, x += len, codes += len) {
        if (step[b] == 0)
            continue;
        for (int i = 0; i < len; i += LANES) {
            vf l = rounded((v_load(x + i) + v_set(offset[b])) / v_set(step[b]), lowest, highest);
            v_store_bytes(codes + i, l - v_set((float)low));
        }
    }
}

/* Here lanes are weights: a maximum knows no order, and the first that reaches it is found afterwards. */
static void peaks(int len, const float *x, size_t blocks, float *peak)
{
    for (size_t b = 0; b < blocks; b++, x += len) {
        vf most = v_set(0);
        for (int i = 0; i < len; i += LANES)
            most = v_max(most, v_abs(v_load(x + i)));
        const float amax = v_largest(most);
        int at = 0, reached = 0;
        for (int i = 0; i < len && !reached; i += LANES) {
            at = i;
            reached = m_any(v_not_less(v_abs(v_load(x + i)), v_set(amax)));
        }
        peak[b] = amax > 0 ? x[at + __builtin_ctz((unsigned)reached)] : 0;
    }
}

static void ranges(int len, const float *x, size_t blocks, float *low, float *high)
{
    vf v[MOST_LEN];
    for (size_t b = 0; b < blocks; b += LANES) {
        spread(len, x + b * (size_t)len, (size_t)len, blocks - b, v);
        vf min = v[0], max = v[0];
        for (int i = 1; i < len; i++) {
            min = v_min(v[i], min);
            max = v_max(v[i], max);
        }
        collect(min, blocks - b, low + b);
        collect(max, blocks - b, high + b);
    }
}

static void cut(int len, int top, float rounding, const float *x, const float *low, const float *inverse, size_t blocks,
                uint8_t *codes)
{
    for (size_t b = 0; b < blocks; b++, x += len, codes += len) {
        const vf from = v_set(low[b]), factor = v_set(inverse[b]), half = v_set(rounding), most = v_set((float)top);
        if (isinf(inverse[b]))
            memset(codes, 0, (size_t)len);
        else
            for (int i = 0; i < len; i += LANES)
                v_store_bytes(codes + i, v_min((v_load(x + i) - from) * factor + half, most));
    }
}

static void dequantize(int len, int low, const uint8_t *codes, const float *step, const float *offset, size_t blocks,
                       float *x)
{
    for (size_t b = 0; b < blocks; b++, x += len, codes += len)
        for (int i = 0; i < len; i += LANES)
            v_store(x + i, v_set(step[b]) * (v_load_bytes(codes + i) + v_set((float)low)) - v_set(offset[b]));
}

/* ---- F4 and IQ4 ---- */

static void f4_codes(int len, const float *x, const float *step, size_t blocks, uint8_t *codes)
{
    for (size_t b = 0; b < blocks; b++) {
        vf value[8];
        for (int c = 1; c < 8; c++)
            value[c] = v_set(f4_values[c] * step[b]);
        for (int i = 0; i < len; i += LANES, x += LANES, codes += LANES) {
            const vf v = v_load(x), size = v_abs(v);
            vf least = size, code = v_set(0);
            for (int c = 1; c < 8; c++) {
                vf error = v_abs(value[c] - size);
                vm better = v_less(error, least);
                least = v_choose(better, error, least);
                code = v_choose(better, v_set((float)c), code);
            }
            vm negative = m_both(v_less(v, v_set(0)), v_less(v_set(0), code));
            v_store_bytes(codes, v_choose(negative, code + v_set(8), code));
        }
    }
}


static inline struct fit iq4_fit(const struct fit_lanes *a, vf inverse)
{
    struct fit f = {v_set(0), v_set(0)};
    for (int i = 0; i < IQ4_LEN; i++) {
        vf q = v_iq4(inverse * a->x[i], iq4_middles, iq4_values).value, wq = a->w[i] * q;
        f.xl = f.xl + wq * a->x[i];
        f.ll = f.ll + wq * q;
    }
    return f;
}

static void iq4_scale(const float *x, const float *w, size_t blocks, float *scale)
{
    struct fit_lanes a;
    for (size_t b = 0, at = 0; b < blocks; b += LANES, at += LANES * IQ4_LEN) {
        spread(IQ4_LEN, x + at, IQ4_LEN, blocks - b, a.x);
        spread(IQ4_LEN, w + at, IQ4_LEN, blocks - b, a.w);
        const vf v = largest(IQ4_LEN, a.x);
        struct fit f = iq4_fit(&a, v_set(1) / (v_negative(v) / v_set(iq4_values[0])));
        vf chosen = scale_of(f), best = v_choose(v_less(v_set(0), f.ll), chosen * f.xl, v_set(0));
        for (int k = -7; k <= 7; k++) {
            f = iq4_fit(&a, v_set((float)k + iq4_values[0]) / v);
            vm better = fits_better(f, best);
            chosen = v_choose(better, f.xl / f.ll, chosen);
            best = v_choose(better, chosen * f.xl, best);
        }
        collect(v_choose(v_differ(v, v_set(0)), chosen, v_set(0)), blocks - b, scale + b);
    }
}

static void iq4_codes(const float *x, const float *inverse, size_t blocks, uint8_t *codes)
{
    for (size_t b = 0; b < blocks; b++)
        for (int i = 0; i < IQ4_LEN; i += LANES, x += LANES, codes += LANES)
            v_store_bytes(codes, v_iq4(v_set(inverse[b]) * v_load(x), iq4_middles, iq4_values).code);
}

const struct searches SEARCHES_VARIANT = {
    .weigh = weigh,
    .weigh_by_size = weigh_by_size,
    .squares = squares,
    .sums = sums,
    .affine = affine,
    .symmetric = symmetric,
    .descend = descend,
    .positive = positive,
    .requantize = requantize,
    .peaks = peaks,
    .ranges = ranges,
    .cut = cut,
    .dequantize = dequantize,
    .f4_codes = f4_codes,
    .iq4_scale = iq4_scale,
    .iq4_codes = iq4_codes,
    .panels = &PANELS_OF_VARIANT,
    .codes = &CODES_OF_VARIANT,
};
#endif
