/* SPDX-License-Identifier: MIT
 * Tiles of codes under one scale: `compat`, given scales, and a grid of scales for `best`. */
#include "quant/tiled.h"

#include <math.h>
#include <string.h>

#include "quant/codes.h"
#include "quant/fp8_tiles.h"

#define EPSILON 0x1p-23f

enum { CHUNK = 512 }; /* weights of a tile's row that are tried at once */

/* What all tiles of a call have in common. */
struct encoder {
    const struct tiling *form;
    const struct quant_type *scales;
    const struct code_kernels *kernels;
    fp8_run_fn *run;
    float low, high; /* codes */
};

/* One tile within x. */
struct tile {
    const float *x, *w; /* w of its columns, or NULL: size + |x| */
    float size;
    size_t rows, n, stride;
    float low, high; /* of its numbers, with 0 in between */
};

struct fit {
    float scale;
    int zero;
};

size_t tiled_down(const struct tiling *t, size_t n)
{
    return (n + t->rows - 1) / t->rows;
}

size_t tiled_across(const struct tiling *t, size_t cols)
{
    return t->cols ? (cols + t->cols - 1) / t->cols : 1;
}

static struct encoder encoder_of(const struct tiling *form, unsigned cpu)
{
    const float half = (float)(1 << (form->bits - 1));
    return (struct encoder){form, quant_type_find(form->scales), code_kernels_for(cpu), fp8_run_for(cpu), -half, half - 1};
}

static float rounded(const struct encoder *e, float scale)
{
    uint8_t stored[4];
    float v;
    e->scales->ref.encode(&scale, NULL, stored, 1);
    e->scales->ref.decode(stored, &v, 1);
    return scale != 0 && v != 0 ? v : EPSILON; /* E8M0 has no 0 */
}

static void codes_of(const struct encoder *e, const struct fit *f, const float *x, size_t n, uint8_t *codes)
{
    const struct whole w = {f->scale, (float)f->zero, e->low, e->high, 0};
    if (!(fabsf(f->scale) > 0 && isfinite(f->scale))) /* given ones only */
        memset(codes, 0, n);
    else if (e->form->is_float)
        e->kernels->e4m3(f->scale, x, n, codes);
    else
        e->kernels->whole(&w, x, n, codes);
}

static void values_of(const struct encoder *e, const struct fit *f, const uint8_t *codes, size_t n, float *x)
{
    if (!e->form->is_float)
        e->kernels->signed_values(f->scale, (float)f->zero, codes, n, x);
    for (size_t i = 0; e->form->is_float && i < n; i++) {
        i += e->run(codes + i, f->scale, n - i, x + i);
        if (i < n)
            x[i] = NAN;
    }
}

/* ---- compat */

/* Rows of tile (down, across) of x [rows][cols], and their range. */
static struct tile tile_at(const struct encoder *e, const struct tiled *out, const float *x, const float *importance, size_t down,
                           size_t across)
{
    const size_t row = down * e->form->rows, col = across * e->form->cols, wide = e->form->cols ? e->form->cols : out->cols;
    struct tile t = {.x = x + row * out->cols + col, .w = importance ? importance + col : NULL, .stride = out->cols};
    t.rows = out->rows - row < e->form->rows ? out->rows - row : e->form->rows;
    t.n = out->cols - col < wide ? out->cols - col : wide;
    for (size_t r = 0; r < t.rows; r++)
        e->kernels->range(t.x + r * t.stride, t.n, &t.low, &t.high);
    return t;
}

static float peak_of(const struct tile *t)
{
    return -t->low > t->high ? -t->low : t->high;
}

/* The zero of a scale that has not been rounded. */
static int zero_of(const struct encoder *e, const struct tile *t, float scale)
{
    float zero = scale > 0 ? e->low - t->low / scale : 0;
    zero = zero > e->low ? zero : e->low;
    return (int)rintf(zero < e->high ? zero : e->high);
}

static struct fit plain_fit(const struct encoder *e, const struct tile *t)
{
    if (!e->form->asymmetric)
        return (struct fit){.scale = rounded(e, peak_of(t) / e->form->peak)};
    const float scale = (t->high - t->low) / (2 * e->form->peak);
    return (struct fit){rounded(e, scale), zero_of(e, t, scale)};
}

/* ---- best */

/* The weighted error of a tile, in F64. Sums of sixteen lanes, row after row: the same on every instruction set. */
static double error_of(const struct encoder *e, const struct tile *t, const struct fit *f)
{
    double lanes[CODE_LANES] = {0}, sum = 0;
    for (size_t r = 0; r < t->rows; r++)
        for (size_t at = 0, n; at < t->n; at += n) {
            uint8_t codes[CHUNK];
            float y[CHUNK];
            const float *x = t->x + r * t->stride + at;
            n = t->n - at < CHUNK ? t->n - at : CHUNK;
            codes_of(e, f, x, n, codes);
            values_of(e, f, codes, n, y);
            e->kernels->error(x, y, t->w ? t->w + at : NULL, t->size, n, lanes);
        }
    for (size_t k = 0; k < CODE_LANES; k++)
        sum += lanes[k];
    return sum;
}

/* The root mean square of a tile's numbers, summed as errors are. */
static float size_of(const struct encoder *e, const struct tile *t)
{
    static const float zeros[CODE_LANES], ones[CODE_LANES] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    double lanes[CODE_LANES] = {0}, sum = 0;
    for (size_t r = 0; r < t->rows; r++)
        for (size_t at = 0, n; at < t->n; at += n) {
            n = t->n - at < CODE_LANES ? t->n - at : CODE_LANES;
            e->kernels->error(t->x + r * t->stride + at, zeros, ones, 0, n, lanes);
        }
    for (size_t k = 0; k < CODE_LANES; k++)
        sum += lanes[k];
    return (float)sqrt(sum / (double)(t->rows * t->n));
}

struct search {
    struct fit best;
    double error;
};

static void attempt(const struct encoder *e, const struct tile *t, float scale, int zero, struct search *s)
{
    const struct fit f = {rounded(e, scale), zero};
    if (f.scale == s->best.scale && f.zero == s->best.zero)
        return;
    const double error = error_of(e, t, &f);
    if (error < s->error)
        *s = (struct search){f, error};
}

/* Scales under which the largest weight is one of E4M3's eight mantissas, or of power-of-two scales the neighbours. */
static void search_floats(const struct encoder *e, const struct tile *t, struct search *s)
{
    const float first = s->best.scale;
    for (int m = 8; m < 15; m++) /* 448 is 14 * 2^5; 15 * 2^4 is the eighth */
        if (e->scales->block_bytes == 4)
            attempt(e, t, peak_of(t) / (float)(m * 32), 0, s);
    if (e->scales->block_bytes == 4)
        attempt(e, t, peak_of(t) / 240, 0, s);
    else
        attempt(e, t, first / 2, 0, s);
}

enum { PARTS = 64 };

/* Scales from the plain one down: coarsely, then around the best. Zeros beside the plain one with the best of the first. */
static void search_wholes(const struct encoder *e, const struct tile *t, struct search *s)
{
    const float first = s->best.scale;
    const int zero = s->best.zero, wide = e->form->bits == 4, coarse = wide ? 4 : 1, low = wide ? PARTS / 4 : PARTS - 6;
    int middle = PARTS;
    for (int k = PARTS + coarse; k >= low; k -= coarse) {
        const double before = s->error;
        attempt(e, t, first * (float)k / PARTS, zero, s);
        middle = s->error < before ? k : middle;
    }
    for (int by = -1; by <= 1 && e->form->asymmetric; by += 2)
        for (int k = middle - coarse; k <= middle + coarse; k += coarse)
            if (zero + by >= (int)e->low && zero + by <= (int)e->high)
                attempt(e, t, first * (float)k / PARTS, zero + by, s);
    for (int k = middle - coarse + 1; k < middle + coarse; k++)
        attempt(e, t, first * (float)k / PARTS, s->best.zero, s);
}

static struct fit best_fit(const struct encoder *e, struct tile *t)
{
    struct search s = {.best = plain_fit(e, t)};
    if (!t->w)
        t->size = size_of(e, t);
    s.error = error_of(e, t, &s.best);
    if (!(s.error > 0))
        return s.best;
    (e->form->is_float ? search_floats : search_wholes)(e, t, &s);
    return s.best;
}

/* ---- matrices */

static struct fit given_fit(const struct encoder *e, const struct tile *t, float scale)
{
    return (struct fit){scale, e->form->asymmetric ? zero_of(e, t, scale) : 0};
}

void tiled_encode(const struct tiled *out, const float *x, const float *importance, const float *given, int compat, unsigned cpu)
{
    const struct tiling *form = out->type->tiling;
    const struct encoder e = encoder_of(form, cpu);
    const size_t across = tiled_across(form, out->cols);
    for (size_t i = 0; i < tiled_down(form, out->rows) * across; i++) {
        struct tile t = tile_at(&e, out, x, importance, i / across, i % across);
        const struct fit f = given ? given_fit(&e, &t, given[i]) : compat ? plain_fit(&e, &t) : best_fit(&e, &t);
        out->scale[i] = f.scale;
        if (out->zero)
            out->zero[i] = (int8_t)f.zero;
        for (size_t r = 0; r < t.rows; r++)
            codes_of(&e, &f, t.x + r * t.stride, t.n, out->codes + (size_t)(t.x - x) + r * t.stride);
    }
}

void tiled_decode(const struct tiled *in, size_t row0, size_t n, float *x, unsigned cpu)
{
    const struct tiling *form = in->type->tiling;
    const struct encoder e = encoder_of(form, cpu);
    const size_t across = tiled_across(form, in->cols), wide = form->cols ? form->cols : in->cols;
    for (size_t row = row0; row < row0 + n; row++, x += in->cols)
        for (size_t k = 0; k < across; k++) {
            const size_t at = k * wide, some = in->cols - at < wide ? in->cols - at : wide;
            const size_t i = (in->first_row % form->rows + row) / form->rows * across + k;
            const struct fit f = {in->scale[i], form->asymmetric ? in->zero[i] : 0};
            values_of(&e, &f, in->codes + row * in->cols + at, some, x + at);
        }
}
