/* SPDX-License-Identifier: MIT
 * Panels: sixteen groups of weights side by side, and what `--search best` asks about them.
 *
 * A group is what shares one step and one offset: y = step * value(code) - offset. For a given step and offset the best
 * codes follow by rounding, so that the weighted error sum w * (x - y)^2 of a group is a function of the two. They are
 * looked for among whole multiples, `scale` and `min`, of two units, d and dmin.
 * A lane is a group. Lanes know nothing of each other, and every sum of a lane has the order of its weights: the bits are the
 * same on every instruction set. Where a lane overflows, its error is infinite or NaN, which is never below another.
 * Nothing is allocated; thread-safe. */
#ifndef PARE_QUANT_PANEL_H
#define PARE_QUANT_PANEL_H

#include <stddef.h>
#include <stdint.h>

enum { PANEL = 16, PANEL_LEN = 128 };

/* What codes stand for. */
enum values {
    VALUES_WHOLE, /* low..high of the form */
    VALUES_IQ4,   /* iq4_values */
    VALUES_F4     /* f4_values */
};

/* How a type stores groups. */
struct form {
    int len; /* weights of a group, a multiple of 16, at most PANEL_LEN */
    enum values values;
    int low, high;
    int scale_low, scale_high;
    int min_low, min_high; /* both 0: no offset */
};

struct panel {
    int len;
    float x[PANEL_LEN][PANEL], w[PANEL_LEN][PANEL];
    float sum_w[PANEL], sum_wx[PANEL];
};

/* A scale and a min of each lane, the error, and what the codes amount to that follow: sums of w * v, w * v * v and w * x * v
 * over their values v. */
struct choice {
    float scale[PANEL], min[PANEL], error[PANEL];
    float sum_v[PANEL], sum_vv[PANEL], sum_xv[PANEL];
};

struct panel_kernels {
    /* Groups behind one another in x and w, at most PANEL; lanes without one are 0. */
    void (*load)(struct panel *p, int len, const float *x, const float *w, size_t groups);
    void (*errors)(const struct form *f, const struct panel *p, const float *step, const float *offset, float *error);
    /* Error and sums of the scales and mins that c has. */
    void (*judge)(const struct form *f, const struct panel *p, const float *d, const float *dmin, struct choice *c);
    /* Moves to scales around the one that would be best for the codes that c's sums describe, at most `reach` off it, each
     * with the two mins around the one that would be best: where the error is smaller. c gets the error; its sums are then
     * those of before. */
    void (*choose)(const struct form *f, const struct panel *p, const float *d, const float *dmin, int reach,
                   struct choice *c);
    /* Codes from 0 upwards, group after group. */
    void (*codes)(const struct form *f, const struct panel *p, const float *step, const float *offset, size_t groups,
                  uint8_t *codes);
    /* One weight each of n lanes, a multiple of 16: y = step * value - offset nearest to x, and its code from 0 upwards. */
    void (*nearest)(const struct form *f, size_t n, const float *x, const float *step, const float *offset, float *y, float *code);
};

/* The best variant for these CPU features (base/cpu.h). */
const struct panel_kernels *panels_for(unsigned cpu);

extern const struct panel_kernels panels_scalar;
extern const struct panel_kernels panels_avx2, panels_avx512; /* x86-64 */

#endif
