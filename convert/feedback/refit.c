/* SPDX-License-Identifier: MIT
 * Units and scales with the codes fixed. A stored row is linear in each: moving a unit or a scale moves the row along a direction
 * v, by a step that is solved for, rounded to what can be stored, and taken where it lowers the loss:
 *
 *   e -> e - step * v:   gain = step^2 * v H v' - 2 step * v t',   t = e H
 *
 * s->t is the gradient of the whole chunk, and follows. */
#include <math.h>

#include "convert/feedback/sweep_parts.h"
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

/* H times a direction that is zero but in columns [first, first + n) of the chunk: out for all rows of it. */
static void times_h(const struct sweeper *s, const struct curvature *c, const struct chunk *at, size_t first, size_t n, const float *v,
                    float *out)
{
    for (size_t j = 0, some; j < n; j += some) {
        size_t col = at->first + first + j, room = LANES - col % LANES;
        some = n - j < room ? n - j : room;
        s->gemm(square_at(&c->h, at->first, col), LANES, at->n, v + (first + j) * LANES, some, LANES, out, j == 0);
    }
}

/* e of columns [first, first + n) of a chunk, and all its gradients, after each lane's step along v, whose product with H is hv. */
static void move(struct sweeper *s, const struct chunk *at, const double *step, size_t first, size_t n, const float *v, const float *hv)
{
    float by[LANES];
    int any = 0;
    for (size_t l = 0; l < LANES; l++) {
        by[l] = (float)-step[l];
        any |= by[l] != 0;
    }
    if (!any)
        return;
    s->columns->steps(by, v + first * LANES, n, s->e + (at->first + first) * LANES);
    s->columns->steps(by, hv, at->n, s->t);
}

/* ---- the units of a block */

/* v[0]: what d is multiplied with, v[1]: what dmin is, with its sign. With zeros d is the only unit. */
static void unit_directions(struct sweeper *s, const struct chunk *at, size_t block, size_t first)
{
    for (size_t j = first; j < first + s->len; j++)
        for (size_t l = 0; l < LANES; l++) {
            const struct super *u = &s->super[block * LANES + l];
            size_t g = (j - first) / (size_t)s->best->form.len;
            s->v[0][j * LANES + l] = (float)u->scale[g] * value_of(s, s->code[(at->first + j) * LANES + l]) -
                                     (s->best->zeros ? (float)u->min[g] : 0);
            s->v[1][j * LANES + l] = (float)-u->min[g];
        }
}

static double gain2(double a, double b, double c, double y, double z, double p, double q)
{
    return p * p * a + 2 * p * q * b + q * q * c - 2 * p * y - 2 * q * z;
}

/* Sums of each lane's directions v, their products with H and the gradient. */
struct sums {
    double a[LANES], b[LANES], c[LANES]; /* v0 H v0', v0 H v1', v1 H v1' */
    double y[LANES], z[LANES];           /* v0 t', v1 t' */
};

static void unit_sums(struct sweeper *s, size_t first, int has_min, struct sums *m)
{
    const size_t from = first * LANES;
    const float *v0 = s->v[0] + from, *v1 = s->v[1] + from, *t = s->t + from;
    *m = (struct sums){.a = {0}};
    s->columns->dots(v0, s->hv[0] + from, s->len, m->a);
    s->columns->dots(v0, t, s->len, m->y);
    if (!has_min)
        return;
    s->columns->dots(v0, s->hv[1] + from, s->len, m->b);
    s->columns->dots(v1, s->hv[1] + from, s->len, m->c);
    s->columns->dots(v1, t, s->len, m->z);
}

/* The steps of a lane's units that lower its loss, or 0 and 0; the units follow. */
static void step_units(const struct best *best, struct super *u, const struct sums *m, size_t l, int has_min, double *p, double *q)
{
    const double a = m->a[l], b = m->b[l], c = m->c[l], y = m->y[l], z = m->z[l], det = a * c - b * b;
    *p = *q = 0;
    double by = y / a, by_min = 0;
    if (has_min && det > 1e-6 * a * c) {
        by = (y * c - b * z) / det;
        by_min = (a * z - b * y) / det;
    } else if (!(a > 0)) {
        return;
    }
    float d = best_unit(best, (double)u->d + by), dmin = has_min ? best_unit(best, (double)u->dmin + by_min) : 0;
    if (!isfinite(d) || !isfinite(dmin) || (best->positive && !(d > 0)))
        return;
    by = (double)d - (double)u->d;
    by_min = has_min ? (double)dmin - (double)u->dmin : 0;
    if (!(gain2(a, b, c, y, z, by, by_min) < WORTH * (by * by * a + by_min * by_min * c)))
        return;
    *p = by;
    *q = by_min;
    u->d = d;
    u->dmin = best->zeros ? d : has_min ? dmin : u->dmin;
}

static void refit_units(struct sweeper *s, const struct curvature *c, const struct chunk *at, size_t block, size_t first)
{
    const int has_min = s->best->form.min_high > s->best->form.min_low && !s->best->zeros;
    struct sums m;
    double p[LANES], q[LANES];
    unit_directions(s, at, block, first);
    for (int i = 0; i <= has_min; i++)
        times_h(s, c, at, first, s->len, s->v[i], s->hv[i]);
    unit_sums(s, first, has_min, &m);
    for (size_t l = 0; l < LANES; l++)
        step_units(s->best, &s->super[block * LANES + l], &m, l, has_min, &p[l], &q[l]);
    move(s, at, p, first, s->len, s->v[0], s->hv[0]);
    move(s, at, q, first, s->len, s->v[1], s->hv[1]);
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

/* A lane's step of a group's scale, which follows; a: v H v', y: v t'. 0: none lowers the loss. */
static double step_scale(const struct sweeper *s, struct super *u, size_t g, double a, double y)
{
    const struct form *f = &s->best->form;
    int now = u->scale[g], to = now;
    double step = 0;
    if (s->best->step) {
        to = coded_step(s, y, a, now, &step);
    } else {
        to += whole_step(y, a, (double)u->d, now, f->scale_low, f->scale_high);
        step = (double)(u->d * (float)to) - (double)(u->d * (float)now);
        to = step * step * a - 2 * step * y < WORTH * (step * step * a) ? to : now;
    }
    u->scale[g] = to;
    return to == now ? 0 : step;
}

static double step_min(const struct sweeper *s, struct super *u, size_t g, double a, double y)
{
    const struct form *f = &s->best->form;
    int to = u->min[g] + whole_step(y, a, (double)u->dmin, u->min[g], f->min_low, f->min_high);
    double step = (double)(u->dmin * (float)to) - (double)(u->dmin * (float)u->min[g]);
    if (!(step * step * a - 2 * step * y < WORTH * (step * step * a)))
        return 0;
    u->min[g] = to;
    return step;
}

/* Along direction i: the values that the scale is multiplied with, or the ones that the min is. */
static void refit_along(struct sweeper *s, const struct curvature *c, const struct chunk *at, size_t block, size_t g, size_t first, int i)
{
    const size_t from = first * LANES, len = (size_t)s->best->form.len;
    double a[LANES], y[LANES], step[LANES];
    times_h(s, c, at, first, len, s->v[i], s->hv[i]);
    s->columns->dots(s->v[i] + from, s->hv[i] + from, len, a);
    s->columns->dots(s->v[i] + from, s->t + from, len, y);
    for (size_t l = 0; l < LANES; l++)
        step[l] = (i ? step_min : step_scale)(s, &s->super[block * LANES + l], g, a[l], y[l]);
    move(s, at, step, first, len, s->v[i], s->hv[i]);
}

static void refit_group(struct sweeper *s, const struct curvature *c, const struct chunk *at, size_t block, size_t g, size_t first)
{
    const struct form *f = &s->best->form;
    for (size_t i = first * LANES; i < (first + (size_t)f->len) * LANES; i++) {
        s->v[0][i] = value_of(s, s->code[at->first * LANES + i]);
        s->v[1][i] = -1;
    }
    if (f->scale_high > f->scale_low)
        refit_along(s, c, at, block, g, first, 0);
    if (f->min_high > 1)
        refit_along(s, c, at, block, g, first, 1);
}

void refit_chunk(struct sweeper *s, const struct curvature *c, const struct chunk *at)
{
    const struct form *f = &s->best->form;
    for (size_t first = 0; first < at->n; first += s->len) {
        size_t block = (at->first + first) / s->len;
        if (!s->best->step)
            refit_units(s, c, at, block, first);
        for (size_t g = 0; g < (size_t)s->best->groups && (f->scale_high > f->scale_low || s->best->zeros); g++)
            refit_group(s, c, at, block, g, first + g * (size_t)f->len);
        sweep_take_steps(s, block);
    }
}
