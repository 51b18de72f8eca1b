/* SPDX-License-Identifier: MIT
 * Searches, scalar: the definition. */
#include "quant/search.h"

#include <string.h>

#include "quant/fp4.h"
#include "quant/iq4.h"

uint16_t scale_to_f16(float scale)
{
    return f32_to_f16(isnan(scale) ? 0 : scale);
}

float sum_of_squares(const float *x, size_t n)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum;
}

void weigh_units(const struct searches *search, int len, float factor, const float *x, const float *importance,
                 size_t units, float *w)
{
    float sum[SEARCH_BATCH / 32];
    search->squares(len, x, units, sum);
    for (size_t i = 0, at = 0; i < units; i++, at += (size_t)len)
        search->weigh(x + at, importance + at, (size_t)len, factor * sum[i] / (float)len, w + at);
}

static void squares(int len, const float *x, size_t blocks, float *sum)
{
    for (size_t b = 0; b < blocks; b++)
        sum[b] = sum_of_squares(x + b * (size_t)len, (size_t)len);
}

static void sums(int len, const float *w, size_t blocks, float *sum)
{
    for (size_t b = 0; b < blocks; b++, w += len) {
        sum[b] = 0;
        for (int i = 0; i < len; i++)
            sum[b] += w[i];
    }
}

static void weigh(const float *x, const float *importance, size_t n, float sigma2, float *w)
{
    for (size_t i = 0; i < n; i++)
        w[i] = importance[i] * sqrtf(sigma2 + x[i] * x[i]);
}

static void weigh_by_size(int len, const float *x, size_t blocks, float *w)
{
    for (size_t b = 0; b < blocks; b++, x += len, w += len) {
        float size = sqrtf(sum_of_squares(x, (size_t)len) / (float)len);
        for (int i = 0; i < len; i++)
            w[i] = size + fabsf(x[i]);
    }
}

/* ---- affine ---- */

/* What a block's candidates have in common. min is the best one's: later candidates start from it. */
struct affine_block {
    const struct affine *how;
    const float *x, *w;
    float min, max, sum_w, sum_x;
};

static float affine_error(const struct affine_block *b, float scale, float min, const uint8_t *codes)
{
    float error = 0;
    for (int i = 0; i < b->how->len; i++) {
        float diff = scale * (float)codes[i] + min - b->x[i];
        error += b->w[i] * (b->how->absolute ? fabsf(diff) : diff * diff);
    }
    return error;
}

/* Codes at an inverse scale and the least squares solution for them. Returns 0 when there is none. */
static int affine_candidate(const struct affine_block *b, float inverse, uint8_t *codes, float *scale, float *min)
{
    float sum_l = 0, sum_l2 = 0, sum_xl = 0;
    for (int i = 0; i < b->how->len; i++) {
        codes[i] = (uint8_t)clamped(nearest(inverse * (b->x[i] - b->min)), 0, b->how->top);
        float l = (float)codes[i], wl = b->w[i] * l;
        sum_l += wl;
        sum_l2 += wl * l;
        sum_xl += wl * b->x[i];
    }
    float det = b->sum_w * sum_l2 - sum_l * sum_l;
    if (!(det > 0))
        return 0;
    *scale = (b->sum_w * sum_xl - b->sum_x * sum_l) / det;
    *min = (sum_l2 * b->sum_x - sum_l * sum_xl) / det;
    if (*min > 0) {
        *min = 0;
        *scale = sum_xl / sum_l2;
    }
    return 1;
}

static void affine_one(struct affine_block *b, float *scale, float *min, uint8_t *codes)
{
    const struct affine *how = b->how;
    b->min = b->max = b->x[0];
    b->sum_w = b->w[0];
    b->sum_x = b->w[0] * b->x[0];
    for (int i = 1; i < how->len; i++) {
        b->min = b->x[i] < b->min ? b->x[i] : b->min;
        b->max = b->x[i] > b->max ? b->x[i] : b->max;
        b->sum_w += b->w[i];
        b->sum_x += b->w[i] * b->x[i];
    }
    b->min = b->min > 0 ? 0 : b->min;
    *scale = 0;
    *min = -b->min;
    memset(codes, 0, (size_t)how->len);
    if (b->max <= b->min)
        return;
    float inverse = (float)how->top / (b->max - b->min);
    *scale = 1 / inverse;
    for (int i = 0; i < how->len; i++)
        codes[i] = (uint8_t)clamped(nearest(inverse * (b->x[i] - b->min)), 0, how->top);
    float least = affine_error(b, *scale, b->min, codes);
    for (int k = 0; k <= how->steps; k++) {
        uint8_t tried[32];
        float tried_scale, tried_min, error;
        inverse = (how->first + how->step * (float)k + (float)how->top) / (b->max - b->min);
        if (!affine_candidate(b, inverse, tried, &tried_scale, &tried_min))
            continue;
        error = affine_error(b, tried_scale, tried_min, tried);
        if (error < least) {
            least = error;
            *scale = tried_scale;
            b->min = tried_min;
            *min = -tried_min;
            memcpy(codes, tried, (size_t)how->len);
        }
    }
}

static void affine(const struct affine *how, const float *x, const float *w, size_t blocks, float *scale, float *min,
                   uint8_t *codes)
{
    for (size_t i = 0; i < blocks; i++) {
        struct affine_block b = {.how = how, .x = x + i * (size_t)how->len, .w = w + i * (size_t)how->len};
        affine_one(&b, &scale[i], &min[i], codes + i * (size_t)how->len);
    }
}

/* ---- symmetric ---- */

float peak_of(int len, const float *x)
{
    float amax = 0, v = 0;
    for (int i = 0; i < len; i++)
        if (fabsf(x[i]) > amax) {
            amax = fabsf(x[i]);
            v = x[i];
        }
    return v;
}

/* The same; 0 when all are tiny. */
static float largest(int len, const float *x)
{
    float v = peak_of(len, x);
    return fabsf(v) < SEARCH_TINY ? 0 : v;
}

/* sum w x l and sum w l l of one choice of codes: the best scale is their quotient, the smaller error has the larger
 * xl * xl / ll. */
struct fit {
    float xl, ll;
};

static int code_of(float inverse, float x, int half)
{
    return clamped(nearest(inverse * x), -half, half - 1);
}

static struct fit fit_of(int len, int half, float inverse, const float *x, const float *w)
{
    struct fit f = {0, 0};
    for (int i = 0; i < len; i++) {
        float l = (float)code_of(inverse, x[i], half), wi = w ? w[i] : x[i] * x[i];
        f.xl += wi * x[i] * l;
        f.ll += wi * l * l;
    }
    return f;
}

static float symmetric_one(int len, int half, const float *x, const float *w, uint8_t *codes)
{
    float v = largest(len, x), chosen = (float)-half / v;
    if (v == 0) {
        memset(codes, 0, (size_t)len);
        return 0;
    }
    struct fit f = fit_of(len, half, chosen, x, w);
    float scale = f.ll != 0 ? f.xl / f.ll : 0, best = scale * f.xl;
    for (int k = -9; k <= 9; k++) {
        float inverse = -((float)half + 0.1f * (float)k) / v;
        if (k == 0)
            continue;
        f = fit_of(len, half, inverse, x, w);
        if (f.ll > 0 && f.xl * f.xl > best * f.ll) {
            chosen = inverse;
            scale = f.xl / f.ll;
            best = scale * f.xl;
        }
    }
    for (int i = 0; i < len; i++)
        codes[i] = (uint8_t)(code_of(chosen, x[i], half) + half);
    return scale;
}

static void symmetric(int len, int half, const float *x, const float *w, size_t blocks, float *scale, uint8_t *codes)
{
    for (size_t i = 0, at = 0; i < blocks; i++, at += (size_t)len)
        scale[i] = symmetric_one(len, half, x + at, w ? w + at : NULL, codes + at);
}

/* One pass over a block's codes; each moves to where its share of the fit is best. Returns how many moved. */
static int descend_pass(int len, int half, const float *x, struct fit *f, int *l)
{
    int moved = 0;
    for (int i = 0; i < len; i++) {
        float w = x[i] * x[i];
        struct fit g = {f->xl - w * x[i] * (float)l[i], f->ll - w * (float)l[i] * (float)l[i]};
        if (!(g.xl > 0))
            continue;
        int to = clamped(nearest(x[i] * g.ll / g.xl), -half, half - 1);
        if (to == l[i])
            continue;
        g.xl += w * x[i] * (float)to;
        g.ll += w * (float)to * (float)to;
        if (g.ll > 0 && g.xl * g.xl * f->ll > f->xl * f->xl * g.ll) {
            l[i] = to;
            *f = g;
            moved++;
        }
    }
    return moved;
}

static float descend_one(int len, int half, const float *x, uint8_t *codes)
{
    float v = largest(len, x), inverse = (float)-half / v;
    int l[32];
    if (v == 0) {
        memset(codes, 0, (size_t)len);
        return 0;
    }
    for (int i = 0; i < len; i++)
        l[i] = code_of(inverse, x[i], half);
    struct fit f = fit_of(len, half, inverse, x, NULL);
    for (int pass = 0; pass < 5 && descend_pass(len, half, x, &f, l); pass++)
        ;
    for (int i = 0; i < len; i++)
        codes[i] = (uint8_t)(l[i] + half);
    return f.ll > 0 ? f.xl / f.ll : 0;
}

static void descend(int len, int half, const float *x, size_t blocks, float *scale, uint8_t *codes)
{
    for (size_t i = 0, at = 0; i < blocks; i++, at += (size_t)len)
        scale[i] = descend_one(len, half, x + at, codes + at);
}

/* ---- the scales of a superblock ---- */

/* The inverse scale of nine whose error is smallest. Negative x, which rounding may leave among the scales, wrap round as
 * in an unsigned byte at the first of the nine. */
static float positive_inverse(int n, int top, const float *x, const float *w, float max)
{
    float chosen = (float)top / max, scale = 1 / chosen, least = 0;
    for (int i = 0; i < n; i++) {
        float diff = x[i] - scale * (float)(uint8_t)nearest(chosen * x[i]);
        least += w[i] * diff * diff;
    }
    for (int k = -4; k <= 4; k++) {
        float inverse = (0.1f * (float)k + (float)top) / max, error = 0;
        if (k == 0)
            continue;
        scale = 1 / inverse;
        for (int i = 0; i < n; i++) {
            int l = nearest(inverse * x[i]);
            float diff = x[i] - scale * (float)(l < top ? l : top);
            error += w[i] * diff * diff;
        }
        if (error < least) {
            least = error;
            chosen = inverse;
        }
    }
    return chosen;
}

static int positive_pass(int n, int top, const float *x, const float *w, struct fit *f, uint8_t *codes)
{
    int moved = 0;
    for (int i = 0; i < n; i++) {
        float l = (float)codes[i];
        struct fit g = {f->xl - w[i] * x[i] * l, f->ll - w[i] * l * l};
        if (!(g.xl > 0 && g.ll > 0))
            continue;
        int to = nearest(x[i] * g.ll / g.xl);
        to = to < top ? to : top;
        if (to == codes[i])
            continue;
        g.xl += w[i] * x[i] * (float)to;
        g.ll += w[i] * (float)to * (float)to;
        if (g.xl * g.xl * f->ll > f->xl * f->xl * g.ll) {
            codes[i] = (uint8_t)to;
            *f = g;
            moved++;
        }
    }
    return moved;
}

static float positive_one(int n, int top, const float *x, const float *w, uint8_t *codes)
{
    float max = 0;
    for (int i = 0; i < n; i++)
        max = max > x[i] ? max : x[i];
    if (max < SEARCH_TINY) {
        memset(codes, 0, (size_t)n);
        return 0;
    }
    float inverse = positive_inverse(n, top, x, w, max);
    struct fit f = {0, 0};
    for (int i = 0; i < n; i++) {
        int l = nearest(inverse * x[i]);
        l = l < top ? l : top;
        codes[i] = (uint8_t)l;
        f.xl += w[i] * x[i] * (float)l;
        f.ll += w[i] * (float)l * (float)l;
    }
    for (int pass = 0; pass < 5 && positive_pass(n, top, x, w, &f, codes); pass++)
        ;
    return f.ll > 0 ? f.xl / f.ll : 0;
}

static void positive(int n, int top, const float *x, const float *w, size_t blocks, float *scale, uint8_t *codes)
{
    for (size_t i = 0, at = 0; i < blocks; i++, at += (size_t)n)
        scale[i] = positive_one(n, top, x + at, w + at, codes + at);
}

/* ---- codes for given scales ---- */

static void requantize(int len, int low, int high, const float *x, const float *step, const float *offset,
                       size_t blocks, uint8_t *codes)
{
    for (size_t b = 0; b < blocks; b++, x += len, codes += len) {
        if (step[b] == 0)
            continue;
        for (int i = 0; i < len; i++)
            codes[i] = (uint8_t)(clamped(nearest((x[i] + offset[b]) / step[b]), low, high) - low);
    }
}

static void peaks(int len, const float *x, size_t blocks, float *peak)
{
    for (size_t b = 0; b < blocks; b++)
        peak[b] = peak_of(len, x + b * (size_t)len);
}

static void ranges(int len, const float *x, size_t blocks, float *low, float *high)
{
    for (size_t b = 0; b < blocks; b++, x += len) {
        float min = x[0], max = x[0];
        for (int i = 1; i < len; i++) {
            min = x[i] < min ? x[i] : min;
            max = x[i] > max ? x[i] : max;
        }
        low[b] = min;
        high[b] = max;
    }
}

static void cut(int len, int top, float rounding, const float *x, const float *low, const float *inverse, size_t blocks,
                uint8_t *codes)
{
    for (size_t b = 0; b < blocks; b++, x += len, codes += len) {
        memset(codes, 0, (size_t)len);
        for (int i = 0; i < len && !isinf(inverse[b]); i++) {
            int c = (int)((x[i] - low[b]) * inverse[b] + rounding);
            codes[i] = (uint8_t)(c > top ? top : c);
        }
    }
}

static void dequantize(int len, int low, const uint8_t *codes, const float *step, const float *offset, size_t blocks,
                       float *x)
{
    for (size_t b = 0; b < blocks; b++, x += len, codes += len)
        for (int i = 0; i < len; i++)
            x[i] = step[b] * (float)(codes[i] + low) - offset[b];
}

/* Minus zero, code 8, is never used, and no value of the other sign is nearer than zero. */
static uint8_t f4_code(float x, float step)
{
    int best = 0;
    float least = fabsf(x);
    for (int c = 1; c < 8; c++) {
        float error = fabsf(f4_values[c] * step - fabsf(x));
        if (error < least) {
            best = c;
            least = error;
        }
    }
    return (uint8_t)(best > 0 && x < 0 ? best + 8 : best);
}

static void f4_codes(int len, const float *x, const float *step, size_t blocks, uint8_t *codes)
{
    for (size_t b = 0; b < blocks; b++, x += len, codes += len)
        for (int i = 0; i < len; i++)
            codes[i] = f4_code(x[i], step[b]);
}

static float iq4_scale_one(const float *x, const float *w)
{
    float v = largest(IQ4_LEN, x), scale = 0, best = 0;
    if (v == 0)
        return 0;
    for (int k = -8; k <= 7; k++) { /* the first one is the plain scale, tried again at k = 0 */
        float inverse = k == -8 ? 1 / (-v / iq4_values[0]) : (float)(k + iq4_values[0]) / v;
        struct fit f = {0, 0};
        for (int i = 0; i < IQ4_LEN; i++) {
            float q = iq4_values[iq4_code(inverse * x[i])];
            f.xl += w[i] * q * x[i];
            f.ll += w[i] * q * q;
        }
        if (k == -8 ? f.ll > 0 : f.ll > 0 && f.xl * f.xl > best * f.ll) {
            scale = f.xl / f.ll;
            best = scale * f.xl;
        }
    }
    return scale;
}

static void iq4_scale(const float *x, const float *w, size_t blocks, float *scale)
{
    for (size_t b = 0; b < blocks; b++)
        scale[b] = iq4_scale_one(x + b * IQ4_LEN, w + b * IQ4_LEN);
}

static void iq4_codes(const float *x, const float *inverse, size_t blocks, uint8_t *codes)
{
    for (size_t b = 0; b < blocks; b++, x += IQ4_LEN, codes += IQ4_LEN)
        for (int i = 0; i < IQ4_LEN; i++)
            codes[i] = (uint8_t)iq4_code(inverse[b] * x[i]);
}

const struct searches searches_scalar = {
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
    .panels = &panels_scalar,
    .codes = &codes_scalar,
};
