/* SPDX-License-Identifier: MIT
 * The search behind `--search best`. */
#include "quant/best.h"

#include <math.h>
#include <string.h>

#include "quant/floats.h"
#include "quant/search.h"

/* The blocks of one panel: a unit, a scale, a min and an error per lane. Lanes of a block have the same units. */
struct state {
    float d[PANEL], dmin[PANEL];
    struct choice c;
};

static double total(const struct choice *c, int from, int groups)
{
    double sum = 0;
    for (int g = from; g < from + groups; g++)
        sum += (double)c->error[g];
    return sum;
}

static void copy_lanes(struct state *to, const struct state *from, int first, int groups)
{
    size_t bytes = (size_t)groups * sizeof(float);
    memcpy(to->d + first, from->d + first, bytes);
    memcpy(to->dmin + first, from->dmin + first, bytes);
    memcpy(to->c.scale + first, from->c.scale + first, bytes);
    memcpy(to->c.min + first, from->c.min + first, bytes);
    memcpy(to->c.error + first, from->c.error + first, bytes);
}

/* Takes over the blocks, or the groups, that are better. */
static void keep_least(struct state *least, const struct state *s, int groups)
{
    for (int g = 0; g < PANEL; g += groups)
        if (total(&s->c, g, groups) < total(&least->c, g, groups))
            copy_lanes(least, s, g, groups);
}

float best_unit(const struct best *b, double v)
{
    return b->bf16 ? bf16_to_f32(f32_to_bf16((float)v)) : f16_to_f32(f32_to_f16((float)v));
}

/* ---- superblocks ---- */

/* Least squares for d and dmin of a superblock: a d - m dmin = y, m d - c dmin = z. Units without a solution stay. */
static void refit(const struct best *b, const struct panel *p, struct state *s, int first)
{
    const int last = first + b->groups;
    double a = 0, m = 0, c = 0, y = 0, z = 0, d = (double)s->d[first], dmin = (double)s->dmin[first];
    for (int g = first; g < last; g++) {
        double scale = (double)s->c.scale[g], min = (double)s->c.min[g];
        a += scale * scale * (double)s->c.sum_vv[g];
        m += scale * min * (double)s->c.sum_v[g];
        c += min * min * (double)p->sum_w[g];
        y += scale * (double)s->c.sum_xv[g];
        z += min * (double)p->sum_wx[g];
    }
    double det = a * c - m * m;
    if (det > 1e-9 * a * c) {
        d = (y * c - m * z) / det;
        dmin = (m * y - a * z) / det;
    } else if (a > 0) {
        d = (y + m * dmin) / a;
    }
    const float units[2] = {best_unit(b, d), best_unit(b, dmin)};
    for (int g = first; g < last && isfinite(units[0]) && isfinite(units[1]); g++) {
        s->d[g] = units[0];
        s->dmin[g] = units[1];
    }
}

static void search_superblocks(const struct best *b, const struct panel_kernels *panels, const struct panel *p, struct state *s,
                               struct state *least)
{
    for (int round = 0; round < BEST_ROUNDS; round++) {
        panels->judge(&b->form, p, s->d, s->dmin, &s->c);
        if (round > 0)
            for (int g = 0; g < PANEL; g += b->groups)
                refit(b, p, s, g);
        panels->choose(&b->form, p, s->d, s->dmin, b->reach[round], &s->c);
        keep_least(least, s, b->groups);
    }
}

/* ---- blocks with a scale of their own ---- */

/* Steps and offsets are looked for in these fractions of the step, and so far from the optimum. Eight bits lose more by cutting
 * off than they gain by finer steps: their fractions are those of BF16. */
enum { STEP_PARTS = 24, FINE_PARTS = 256, OFFSET_PARTS = 4, BLOCK_ROUNDS = 2 };
static const int block_reach[BLOCK_ROUNDS] = {9, 1};
/* Of groups for checkpoints, whose first step is the range's: nothing is found farther off, and they are long. */
static const int group_reach[BLOCK_ROUNDS] = {4, 1};

static int parts_of(const struct form *f)
{
    return f->values == VALUES_WHOLE && f->high - f->low > 31 ? FINE_PARTS : STEP_PARTS;
}

static int has_offset(const struct form *f)
{
    return f->min_high > f->min_low;
}

/* A form whose scales and mins are such fractions. */
static struct form in_parts(const struct form *f)
{
    struct form parts = *f;
    parts.scale_low = 1;
    parts.scale_high = 2 * parts_of(f);
    parts.min_low = has_offset(f) ? -(1 << 20) : 0;
    parts.min_high = -parts.min_low;
    return parts;
}

/* Units such that the least squares solution for the codes of s is parts_of() of them. */
static void set_units(const struct form *f, const struct panel *p, struct state *s)
{
    for (int g = 0; g < PANEL; g++) {
        const double w = (double)p->sum_w[g], wx = (double)p->sum_wx[g];
        const double v = (double)s->c.sum_v[g], vv = (double)s->c.sum_vv[g], xv = (double)s->c.sum_xv[g];
        double step = has_offset(f) ? (w * xv - wx * v) / (w * vv - v * v) : xv / vv;
        if (!isfinite(step))
            step = (double)s->d[g];
        s->d[g] = (float)(step / parts_of(f));
        s->dmin[g] = (float)(fabs(step) / OFFSET_PARTS);
        s->c.scale[g] = (float)parts_of(f);
        double min = has_offset(f) && s->dmin[g] > 0 ? rint((step * v - wx) / w / (double)s->dmin[g]) : 0;
        s->c.min[g] = fabs(min) < 0x1p20 ? (float)min : 0;
    }
}

/* Steps and offsets as they are stored. */
static void round_units(const struct best *b, struct state *s)
{
    for (int g = 0; g < PANEL; g++) {
        s->d[g] = best_unit(b, (double)(s->d[g] * s->c.scale[g]));
        s->dmin[g] = s->c.min[g] != 0 ? best_unit(b, (double)(s->dmin[g] * s->c.min[g])) : 0;
        s->c.scale[g] = s->c.min[g] = 1;
    }
}

static void search_from(const struct best *b, const struct panel_kernels *panels, const struct panel *p, struct state *s,
                        struct state *least)
{
    const struct form *f = &b->form, parts = in_parts(f);
    panels->judge(f, p, s->d, s->dmin, &s->c);
    for (int round = 0; round < BLOCK_ROUNDS; round++) {
        set_units(f, p, s);
        panels->choose(&parts, p, s->d, s->dmin, (b->positive ? group_reach : block_reach)[round], &s->c);
        round_units(b, s);
        panels->judge(f, p, s->d, s->dmin, &s->c);
        keep_least(least, s, 1);
    }
}

/* Values without an offset reach further on one side. The search does not cross from one sign of the step to the other, so
 * there are two. */
static void search_blocks(const struct best *b, const struct panel_kernels *panels, const struct panel *p, struct state *s,
                          struct state *least)
{
    struct state other = *s;
    search_from(b, panels, p, s, least);
    if (has_offset(&b->form) || b->positive)
        return;
    const int iq4 = b->form.values == VALUES_IQ4;
    const float low = iq4 ? -127 : (float)b->form.low, high = iq4 ? 113 : (float)b->form.high;
    for (int g = 0; g < PANEL; g++)
        other.d[g] *= low / high;
    search_from(b, panels, p, &other, least);
}

/* ---- blocks with a whole zero ---- */

/* Steps are tried in these fractions of the first one, between a cut range and one that is a little wider. */
enum { ZERO_PARTS = 24, ZERO_LOW = 14, ZERO_HIGH = 26, ZERO_ROUNDS = 2 };

/* Error and sums of step s->d with the zeros in s->c.min. */
static void judge_zeros(const struct best *b, const struct panel_kernels *panels, const struct panel *p, struct state *s, struct state *least)
{
    memcpy(s->dmin, s->d, sizeof s->dmin);
    panels->judge(&b->form, p, s->d, s->dmin, &s->c);
    keep_least(least, s, 1);
}

/* The whole zero that is best for the codes of s, `by` beside it where there is room. */
static void move_zeros(const struct best *b, const struct panel *p, struct state *s, int by)
{
    for (int g = 0; g < PANEL; g++) {
        double d = (double)s->d[g], w = (double)p->sum_w[g];
        double zero = rint((d * (double)s->c.sum_v[g] - (double)p->sum_wx[g]) / (d * w)) + by;
        if (zero == zero)
            s->c.min[g] = (float)(zero < b->form.min_low ? b->form.min_low : zero > b->form.min_high ? b->form.min_high : zero);
    }
}

/* The step that is best for the codes and zeros of s. */
static void refit_steps(const struct best *b, const struct panel *p, struct state *s)
{
    for (int g = 0; g < PANEL; g++) {
        double zero = (double)s->c.min[g], w = (double)p->sum_w[g], v = (double)s->c.sum_v[g];
        double step = ((double)s->c.sum_xv[g] - zero * (double)p->sum_wx[g]) / ((double)s->c.sum_vv[g] - 2 * zero * v + zero * zero * w);
        float stored = best_unit(b, step);
        s->d[g] = stored > 0 && isfinite(stored) ? stored : s->d[g];
    }
}

/* From the zero that keeps the range in its place to the best one for the codes that follow, and beside it. */
static void try_steps(const struct best *b, const struct panel_kernels *panels, const struct panel *p, const float *first,
                      const float *zero, struct state *s, struct state *least)
{
    for (int k = ZERO_LOW; k <= ZERO_HIGH; k += 1) {
        for (int g = 0; g < PANEL; g++) {
            s->d[g] = best_unit(b, (double)first[g] * k / ZERO_PARTS);
            s->c.min[g] = zero[g];
        }
        judge_zeros(b, panels, p, s, least);
        move_zeros(b, p, s, 0);
        refit_steps(b, p, s);
        judge_zeros(b, panels, p, s, least);
    }
}

static void search_zeros(const struct best *b, const struct panel_kernels *panels, const struct panel *p, struct state *s,
                         struct state *least)
{
    float first[PANEL], zero[PANEL];
    memcpy(first, s->d, sizeof first);
    memcpy(zero, s->c.min, sizeof zero);
    try_steps(b, panels, p, first, zero, s, least);
    for (int round = 0; round < ZERO_ROUNDS; round++)
        for (int by = -1; by <= 1; by++) {
            memcpy(s->d, least->d, sizeof s->d);
            memcpy(s->c.min, least->c.min, sizeof s->c.min);
            judge_zeros(b, panels, p, s, least);
            move_zeros(b, p, s, by);
            refit_steps(b, p, s);
            judge_zeros(b, panels, p, s, least);
        }
}

/* ---- scales that are codes ---- */

static void search_coded(const struct best *b, const struct panel_kernels *panels, const struct panel *p, struct state *s,
                         struct state *least)
{
    static const float none[PANEL];
    float first[PANEL];
    memcpy(first, s->c.scale, sizeof first);
    for (int k = -b->below; k <= b->above; k++) {
        float step[PANEL];
        for (int g = 0; g < PANEL; g++) {
            int code = clamped((int)first[g] + k, b->form.scale_low, b->form.scale_high);
            s->c.scale[g] = (float)code;
            step[g] = b->step(code);
        }
        panels->errors(&b->form, p, step, none, s->c.error);
        keep_least(least, s, 1);
    }
}

/* ---- panels of blocks ---- */

static void begin(const struct super *from, int groups, size_t blocks, struct state *s)
{
    memset(s, 0, sizeof *s);
    for (size_t k = 0, lane = 0; k < blocks; k++)
        for (int g = 0; g < groups; g++, lane++) {
            s->d[lane] = from[k].d;
            s->dmin[lane] = from[k].dmin;
            s->c.scale[lane] = (float)from[k].scale[g];
            s->c.min[lane] = (float)from[k].min[g];
        }
}

static struct super taken_from(const struct state *s, int first, int groups)
{
    struct super to = {.d = s->d[first], .dmin = s->dmin[first]};
    for (int g = 0; g < groups; g++) {
        to.scale[g] = (int)s->c.scale[first + g];
        to.min[g] = (int)s->c.min[first + g];
    }
    return to;
}

static void codes_for(const struct best *b, const struct panel_kernels *panels, const struct panel *p, const struct state *s,
                      size_t groups, uint8_t *codes)
{
    float step[PANEL], offset[PANEL];
    for (int g = 0; g < PANEL; g++) {
        step[g] = b->step ? b->step((int)s->c.scale[g]) : s->d[g] * s->c.scale[g];
        offset[g] = s->dmin[g] * s->c.min[g];
    }
    panels->codes(&b->form, p, step, offset, groups, codes);
}

/* Four sums that take turns: n is a multiple of four. */
static double error_of(const float *x, const float *y, const float *w, size_t n)
{
    double sum[4] = {0, 0, 0, 0};
    for (size_t i = 0; i < n; i += 4)
        for (size_t k = 0; k < 4; k++) {
            double diff = (double)x[i + k] - (double)y[i + k];
            sum[k] += (double)w[i + k] * (diff * diff);
        }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* Copies `tried` over `block` when its error is smaller. */
static void keep_better(const struct best *b, const struct searches *set, const float *x, const float *w, const uint8_t *tried, uint8_t *block)
{
    float y[2][BEST_MOST_LEN];
    const size_t n = (size_t)(b->groups * b->form.len);
    b->decode(set, tried, y[0], 1);
    b->decode(set, block, y[1], 1);
    if (error_of(x, y[0], w, n) < error_of(x, y[1], w, n))
        memcpy(block, tried, b->block_bytes);
}

typedef void search_fn(const struct best *, const struct panel_kernels *, const struct panel *, struct state *, struct state *);

/* At most a panel of blocks. */
static void search_panel(const struct best *b, const struct searches *set, search_fn *search, const float *x, const float *w, uint8_t *blocks,
                         size_t n)
{
    const struct panel_kernels *panels = set->panels;
    struct super supers[PANEL];
    struct panel p;
    struct state s, least;
    uint8_t codes[PANEL * PANEL_LEN], tried[BEST_MOST_BYTES];
    const size_t len = (size_t)(b->groups * b->form.len);
    for (size_t i = 0; i < n; i++)
        b->take(blocks + i * b->block_bytes, &supers[i]);
    begin(supers, b->groups, n, &s);
    least = s;
    for (int g = 0; g < PANEL; g++)
        least.c.error[g] = INFINITY;
    panels->load(&p, b->form.len, x, w, n * (size_t)b->groups);
    search(b, panels, &p, &s, &least);
    codes_for(b, panels, &p, &least, n * (size_t)b->groups, codes);
    for (size_t i = 0; i < n; i++) {
        struct super found = taken_from(&least, (int)i * b->groups, b->groups);
        b->give(&found, codes + i * len, tried);
        keep_better(b, set, x + i * len, w + i * len, tried, blocks + i * b->block_bytes);
    }
}

static void search_all(const struct best *b, const struct searches *set, search_fn *search, const float *x, const float *importance,
                       uint8_t *blocks, size_t n)
{
    const size_t most = (size_t)(PANEL / b->groups), len = (size_t)(b->groups * b->form.len);
    for (size_t at = 0, some; at < n; at += some, x += some * len, blocks += some * b->block_bytes) {
        float w[PANEL * PANEL_LEN];
        some = n - at < most ? n - at : most;
        if (!importance)
            set->weigh_by_size((int)len, x, some, w);
        search_panel(b, set, search, x, importance ? importance + at * len : w, blocks, some);
    }
}

void best_superblocks(const struct best *b, const struct searches *search, const float *x, const float *importance, void *blocks, size_t n)
{
    search_all(b, search, search_superblocks, x, importance, blocks, n);
}

void best_blocks(const struct best *b, const struct searches *search, const float *x, const float *importance, void *blocks, size_t n)
{
    search_all(b, search, search_blocks, x, importance, blocks, n);
}

void best_zeros(const struct best *b, const struct searches *search, const float *x, const float *importance, void *blocks, size_t n)
{
    search_all(b, search, search_zeros, x, importance, blocks, n);
}

void best_coded(const struct best *b, const struct searches *search, const float *x, const float *importance, void *blocks, size_t n)
{
    search_all(b, search, search_coded, x, importance, blocks, n);
}
