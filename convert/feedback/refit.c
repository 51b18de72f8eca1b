/* SPDX-License-Identifier: MIT
 * Units and scales with the codes fixed. A stored row is linear in each: moving a unit or a scale moves the row along a direction
 * v, by a step that is solved for, rounded to what can be stored, and taken where it lowers the loss:
 *
 *   e -> e - step * v:   gain = step^2 * v H v' - 2 step * v t',   t = e H
 *
 * s->t is the gradient of the whole chunk, and follows. */
#include <math.h>

#include "convert/feedback/sweep_parts.h"
#include "quant/floats.h"
#include "quant/fp4.h"
#include "quant/iq4.h"
#include "quant/search.h"

/* A step must gain so much of its own size, or it is a rounding error. */
#define WORTH (-0.001)

static float value_of(const struct sweeper *s, float code)
{
    const struct form *f = &s->best->form;
    return f->values == VALUES_IQ4 ? iq4_values[(int)code] : f->values == VALUES_F4 ? f4_values[(int)code] : code + (float)f->low;
}

/* H times a direction that is zero but in columns [first, first + n) of the chunk: out for rows [row, row + rows) of it. */
static void times_h(const struct sweeper *s, const struct curvature *c, const struct chunk *at, size_t row, size_t rows, size_t first,
                    size_t n, const float *v, float *out)
{
    for (size_t j = 0, some; j < n; j += some) {
        size_t col = at->first + first + j, room = LANES - col % LANES;
        some = n - j < room ? n - j : room;
        s->gemm(square_at(&c->h, at->first + row, col), LANES, rows, v + (first + j) * LANES, some, LANES, out + row * LANES, j == 0);
    }
}

static double dot(const float *a, const float *b, size_t n, size_t lane)
{
    double sum = 0;
    for (size_t j = 0; j < n; j++)
        sum += (double)a[j * LANES + lane] * (double)b[j * LANES + lane];
    return sum;
}

/* Columns [first, first + n) of a chunk: e and t after a step along v, whose product with H reaches rows [row, row + rows). */
static void move(struct sweeper *s, const struct chunk *at, size_t lane, double step, const float *v, size_t first, size_t n,
                 const float *hv, size_t row, size_t rows)
{
    const float by = (float)-step;
    for (size_t j = first; j < first + n; j++) {
        float *e = s->e + (at->first + j) * LANES + lane;
        *e = fmaf(by, v[j * LANES + lane], *e);
    }
    for (size_t k = row; k < row + rows; k++)
        s->t[k * LANES + lane] = fmaf(by, hv[k * LANES + lane], s->t[k * LANES + lane]);
}

/* ---- the units of a block */

/* v[0]: what d is multiplied with, v[1]: what dmin is, with its sign. */
static void unit_directions(struct sweeper *s, const struct chunk *at, size_t block, size_t first)
{
    for (size_t j = first; j < first + s->len; j++)
        for (size_t l = 0; l < LANES; l++) {
            const struct super *u = &s->super[block * LANES + l];
            size_t g = (j - first) / (size_t)s->best->form.len;
            s->v[0][j * LANES + l] = (float)u->scale[g] * value_of(s, s->code[(at->first + j) * LANES + l]);
            s->v[1][j * LANES + l] = (float)-u->min[g];
        }
}

static double gain2(double a, double b, double c, double y, double z, double p, double q)
{
    return p * p * a + 2 * p * q * b + q * q * c - 2 * p * y - 2 * q * z;
}

static void refit_units(struct sweeper *s, const struct curvature *c, const struct chunk *at, size_t block, size_t first)
{
    const int has_min = s->best->form.min_high > s->best->form.min_low;
    const size_t from = first * LANES;
    unit_directions(s, at, block, first);
    for (int i = 0; i <= has_min; i++)
        times_h(s, c, at, 0, at->n, first, s->len, s->v[i], s->hv[i]);
    for (size_t l = 0; l < LANES; l++) {
        struct super *u = &s->super[block * LANES + l];
        const float *v0 = s->v[0] + from, *v1 = s->v[1] + from, *t = s->t + from;
        double a = dot(v0, s->hv[0] + from, s->len, l), y = dot(v0, t, s->len, l), b = 0, cc = 0, z = 0, p, q = 0;
        if (has_min) {
            b = dot(v0, s->hv[1] + from, s->len, l);
            cc = dot(v1, s->hv[1] + from, s->len, l);
            z = dot(v1, t, s->len, l);
        }
        double det = a * cc - b * b;
        if (has_min && det > 1e-6 * a * cc) {
            p = (y * cc - b * z) / det;
            q = (a * z - b * y) / det;
        } else if (a > 0) {
            p = y / a;
        } else {
            continue;
        }
        float d = f16_to_f32(f32_to_f16((float)((double)u->d + p))), dmin = has_min ? f16_to_f32(f32_to_f16((float)((double)u->dmin + q))) : 0;
        if (!isfinite(d) || !isfinite(dmin))
            continue;
        p = (double)d - (double)u->d;
        q = has_min ? (double)dmin - (double)u->dmin : 0;
        if (!(gain2(a, b, cc, y, z, p, q) < WORTH * (p * p * a + q * q * cc)))
            continue;
        move(s, at, l, p, s->v[0], first, s->len, s->hv[0], 0, at->n);
        if (has_min)
            move(s, at, l, q, s->v[1], first, s->len, s->hv[1], 0, at->n);
        u->d = d;
        u->dmin = has_min ? dmin : u->dmin;
        sweep_take_steps(s, block, l);
    }
}

/* ---- the scales and mins of groups */

/* The whole number of `unit`s that brings a group closest to step y / a, within what can be stored. */
static int whole_step(double y, double a, double unit, int now, int low, int high)
{
    double best = a > 0 && unit != 0 ? rint(y / a / unit) : 0;
    int by = best >= -1000 && best <= 1000 ? (int)best : best > 0 ? 1000 : -1000; /* no number, of huge rows: a step that gains none */
    return clamped(now + by, low, high) - now;
}

/* Of scales that are codes, those of FP4: the better of the neighbours, as a code, and how far that is. None whose largest weight is
 * infinite. */
static int coded_step(const struct sweeper *s, double y, double a, int now, double *step)
{
    const struct form *f = &s->best->form;
    int best = now;
    double least = 0;
    for (int k = -1; k <= 1; k += 2) {
        int code = clamped(now + k, f->scale_low, f->scale_high);
        double by = (double)s->best->step(code) - (double)s->best->step(now), gain = by * by * a - 2 * by * y;
        if (gain < least && gain < WORTH * (by * by * a) && isfinite(s->best->step(code) * f4_values[7])) {
            least = gain;
            best = code;
            *step = by;
        }
    }
    return best;
}

static void refit_scale(struct sweeper *s, const struct chunk *at, struct super *u, size_t g, size_t first, size_t l)
{
    const struct form *f = &s->best->form;
    const size_t from = first * LANES, len = (size_t)f->len;
    double a = dot(s->v[0] + from, s->hv[0] + from, len, l), y = dot(s->v[0] + from, s->t + from, len, l), step = 0;
    int now = u->scale[g], to = now;
    if (s->best->step) {
        to = coded_step(s, y, a, now, &step);
    } else {
        to += whole_step(y, a, (double)u->d, now, f->scale_low, f->scale_high);
        step = (double)(u->d * (float)to) - (double)(u->d * (float)now);
        to = step * step * a - 2 * step * y < WORTH * (step * step * a) ? to : now;
    }
    if (to == now)
        return;
    move(s, at, l, step, s->v[0], first, len, s->hv[0], 0, at->n);
    u->scale[g] = to;
}

static void refit_min(struct sweeper *s, const struct chunk *at, struct super *u, size_t g, size_t first, size_t l)
{
    const struct form *f = &s->best->form;
    const size_t from = first * LANES, len = (size_t)f->len;
    double a = dot(s->v[1] + from, s->hv[1] + from, len, l), y = dot(s->v[1] + from, s->t + from, len, l);
    int to = u->min[g] + whole_step(y, a, (double)u->dmin, u->min[g], f->min_low, f->min_high);
    double step = (double)(u->dmin * (float)to) - (double)(u->dmin * (float)u->min[g]);
    if (!(step * step * a - 2 * step * y < WORTH * (step * step * a)))
        return;
    move(s, at, l, step, s->v[1], first, len, s->hv[1], 0, at->n);
    u->min[g] = to;
}

static void refit_group(struct sweeper *s, const struct curvature *c, const struct chunk *at, size_t block, size_t g, size_t first)
{
    const struct form *f = &s->best->form;
    const size_t len = (size_t)f->len;
    for (size_t j = first; j < first + len; j++)
        for (size_t l = 0; l < LANES; l++) {
            s->v[0][j * LANES + l] = value_of(s, s->code[(at->first + j) * LANES + l]);
            s->v[1][j * LANES + l] = -1;
        }
    times_h(s, c, at, 0, at->n, first, len, s->v[0], s->hv[0]);
    if (f->min_high > 1)
        times_h(s, c, at, 0, at->n, first, len, s->v[1], s->hv[1]);
    for (size_t l = 0; l < LANES; l++) {
        struct super *u = &s->super[block * LANES + l];
        refit_scale(s, at, u, g, first, l);
        if (f->min_high > 1)
            refit_min(s, at, u, g, first, l);
        sweep_take_steps(s, block, l);
    }
}

void refit_chunk(struct sweeper *s, const struct curvature *c, const struct chunk *at)
{
    const struct form *f = &s->best->form;
    for (size_t first = 0; first < at->n; first += s->len) {
        size_t block = (at->first + first) / s->len;
        if (!s->best->step)
            refit_units(s, c, at, block, first);
        for (size_t g = 0; g < (size_t)s->best->groups && f->scale_high > f->scale_low; g++)
            refit_group(s, c, at, block, g, first + g * (size_t)f->len);
    }
}
