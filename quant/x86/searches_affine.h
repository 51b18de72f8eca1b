/* SPDX-License-Identifier: MIT
 * The affine search of quant/x86/searches_body.h. */
#if defined(SEARCHES_VARIANT) && !defined(PARE_QUANT_X86_SEARCHES_AFFINE_H)
#define PARE_QUANT_X86_SEARCHES_AFFINE_H

#include "quant/x86/searches_lanes.h"

struct affine_lanes {
    const struct affine *how;
    vf x[GROUPS][MOST_LEN], w[GROUPS][MOST_LEN], code[GROUPS][MOST_LEN];
    vf min[GROUPS], max[GROUPS], sum_w[GROUPS], sum_x[GROUPS];
};

/* A candidate of each lane. */
struct affine_fit {
    vf scale[GROUPS], min[GROUPS];
    vm solved[GROUPS];
};

static inline void affine_begin(struct affine_lanes *a, int g)
{
    const vf *x = a->x[g], *w = a->w[g];
    vf min = x[0], max = x[0], sum_w = w[0], sum_x = w[0] * x[0];
    for (int i = 1; i < a->how->len; i++) {
        min = v_min(x[i], min);
        max = v_max(x[i], max);
        sum_w = sum_w + w[i];
        sum_x = sum_x + w[i] * x[i];
    }
    a->min[g] = v_min(v_set(0), min);
    a->max[g] = max;
    a->sum_w[g] = sum_w;
    a->sum_x[g] = sum_x;
}

static inline void affine_codes(struct affine_lanes *a, int g, vf inverse, vf min)
{
    const vf low = v_set(MAGIC), high = v_set(MAGIC + (float)a->how->top);
    for (int i = 0; i < a->how->len; i++)
        a->code[g][i] = rounded(inverse * (a->x[g][i] - min), low, high);
}

static inline void affine_error(const struct affine_lanes *a, const struct affine_fit *f, vf *error)
{
    for (int g = 0; g < GROUPS; g++)
        error[g] = v_set(0);
    if (a->how->absolute)
        for (int i = 0; i < a->how->len; i++)
            for (int g = 0; g < GROUPS; g++) {
                vf diff = f->scale[g] * a->code[g][i] + f->min[g] - a->x[g][i];
                error[g] = error[g] + a->w[g][i] * v_abs(diff);
            }
    else
        for (int i = 0; i < a->how->len; i++)
            for (int g = 0; g < GROUPS; g++) {
                vf diff = f->scale[g] * a->code[g][i] + f->min[g] - a->x[g][i];
                error[g] = error[g] + a->w[g][i] * (diff * diff);
            }
}

static inline void affine_candidate(struct affine_lanes *a, const vf *inverse, struct affine_fit *f)
{
    const vf low = v_set(MAGIC), high = v_set(MAGIC + (float)a->how->top);
    vf sum_l[GROUPS], sum_l2[GROUPS], sum_xl[GROUPS];
    for (int g = 0; g < GROUPS; g++)
        sum_l[g] = sum_l2[g] = sum_xl[g] = v_set(0);
    for (int i = 0; i < a->how->len; i++)
        for (int g = 0; g < GROUPS; g++) {
            vf x = a->x[g][i], l = rounded(inverse[g] * (x - a->min[g]), low, high), wl = a->w[g][i] * l;
            a->code[g][i] = l;
            sum_l[g] = sum_l[g] + wl;
            sum_l2[g] = sum_l2[g] + wl * l;
            sum_xl[g] = sum_xl[g] + wl * x;
        }
    for (int g = 0; g < GROUPS; g++) {
        vf det = a->sum_w[g] * sum_l2[g] - sum_l[g] * sum_l[g];
        vf scale = (a->sum_w[g] * sum_xl[g] - a->sum_x[g] * sum_l[g]) / det;
        vf min = (sum_l2[g] * a->sum_x[g] - sum_l[g] * sum_xl[g]) / det;
        vm above = v_less(v_set(0), min);
        f->scale[g] = v_choose(above, sum_xl[g] / sum_l2[g], scale);
        f->min[g] = v_choose(above, v_set(0), min);
        f->solved[g] = v_less(v_set(0), det);
    }
}

/* The best fit, and the inverse scale and min from which its codes come. */
struct affine_best {
    struct affine_fit fit;
    vf least[GROUPS], inverse[GROUPS], from[GROUPS];
};

static inline void affine_search(struct affine_lanes *a, struct affine_best *best)
{
    const struct affine *how = a->how;
    for (int g = 0; g < GROUPS; g++) {
        best->inverse[g] = v_set((float)how->top) / (a->max[g] - a->min[g]);
        best->from[g] = best->fit.min[g] = a->min[g];
        best->fit.scale[g] = v_set(1) / best->inverse[g];
        affine_codes(a, g, best->inverse[g], a->min[g]);
    }
    affine_error(a, &best->fit, best->least);
    for (int k = 0; k <= how->steps; k++) {
        vf inverse[GROUPS], error[GROUPS];
        struct affine_fit f;
        for (int g = 0; g < GROUPS; g++)
            inverse[g] = v_set(how->first + how->step * (float)k + (float)how->top) / (a->max[g] - a->min[g]);
        affine_candidate(a, inverse, &f);
        affine_error(a, &f, error);
        for (int g = 0; g < GROUPS; g++) {
            vm better = m_both(f.solved[g], v_less(error[g], best->least[g]));
            best->least[g] = v_choose(better, error[g], best->least[g]);
            best->inverse[g] = v_choose(better, inverse[g], best->inverse[g]);
            best->from[g] = v_choose(better, a->min[g], best->from[g]);
            best->fit.scale[g] = v_choose(better, f.scale[g], best->fit.scale[g]);
            a->min[g] = best->fit.min[g] = v_choose(better, f.min[g], a->min[g]);
        }
    }
}

/* Blocks of equal weights that are not negative have no scale. */
static inline void affine_end(struct affine_lanes *a, int g, const struct affine_best *best, vf first_min, vf *scale,
                              vf *min)
{
    const vm active = v_less(first_min, a->max[g]);
    affine_codes(a, g, best->inverse[g], best->from[g]);
    for (int i = 0; i < a->how->len; i++)
        a->code[g][i] = v_choose(active, a->code[g][i], v_set(0));
    *scale = v_choose(active, best->fit.scale[g], v_set(0));
    *min = v_negative(v_choose(active, best->fit.min[g], first_min));
}

static void affine(const struct affine *how, const float *x, const float *w, size_t blocks, float *scale, float *min,
                   uint8_t *codes)
{
    const size_t len = (size_t)how->len;
    struct affine_lanes a;
    a.how = how;
    for (size_t first = 0; first < blocks; first += GROUPS * LANES) {
        struct affine_best best;
        vf first_min[GROUPS];
        for (int g = 0; g < GROUPS; g++) {
            size_t b = group_at(first, g, blocks), left = blocks - b;
            spread(how->len, x + b * len, len, left, a.x[g]);
            spread(how->len, w + b * len, len, left, a.w[g]);
            affine_begin(&a, g);
            first_min[g] = a.min[g];
        }
        affine_search(&a, &best);
        for (int g = 0; g < GROUPS; g++) {
            size_t b = group_at(first, g, blocks), left = blocks - b;
            vf s, m;
            affine_end(&a, g, &best, first_min[g], &s, &m);
            collect(s, left, scale + b);
            collect(m, left, min + b);
            collect_codes(how->len, a.code[g], left, codes + b * len);
        }
    }
}

#endif
