/* SPDX-License-Identifier: MIT
 * Error feedback: rows of a matrix into blocks so that the error of the product with real inputs is small, not that of each weight.
 * With H the second moments of the inputs, a row w that is stored as y loses (w - y) H (w - y)'.
 *
 *   1. One sweep over the columns: each is rounded to its own target, w plus what the errors of the columns before it leave for it
 *      to make good (ldl.h). Scales come from the search of `--search best` with D for weights: with columns in an order of their own
 *      all of them before the sweep, on the weights; else those of a block when the sweep gets to it, on the targets.
 *   2. Passes that lower the loss: block by block, units and scales are refitted with all codes fixed, then every code moves to
 *      its best place given all the others. A step that does not lower the loss is not taken.
 *
 * SIMD runs across rows, LANES at a time: a row's bits depend on nothing but the row, H and the options. Allocates nothing but in
 * sweep_new; a sweeper is one thread's, H may be shared. */
#ifndef PARE_CONVERT_FEEDBACK_SWEEP_H
#define PARE_CONVERT_FEEDBACK_SWEEP_H

#include <stdint.h>

#include "convert/feedback/square.h"
#include "quant/types.h"

struct curvature { /* of one matrix */
    struct square h; /* second moments, damped, both halves */
    struct square u; /* factor (ldl.h) of H with its columns in order, lower half */
    float *d;        /* [n] the factor's D, each at its column's place in h */
    uint32_t *order; /* [n] columns of h in the order that u has them and the sweep takes them; NULL: from the first to the last */
    struct square cross; /* when following: mean of x (original - x)', whole panels; else empty */
};

struct sweep_options {
    int passes;  /* of step 2 */
    double pull; /* when following: how far the target goes from the weights to what gives the original outputs, 0..1 */
};

struct sweeper;
/* For rows of n columns of this type, which has a struct best. NULL with ERR_MEMORY. */
struct sweeper *sweep_new(const struct quant_type *type, size_t n, unsigned cpu, const struct sweep_options *o, struct error *e);
void sweep_free(struct sweeper *s); /* NULL is allowed */
/* Bytes of one, for plans. */
size_t sweep_bytes(const struct quant_type *type, size_t n);

/* Encodes `rows` rows x [rows][n]. loss: NULL, or what each row loses after step 1 and after each pass [rows][1 + passes],
 * with H as it is; only tests want it, it costs as much as a pass. */
void sweep_rows(struct sweeper *s, const struct curvature *c, const float *x, size_t rows, uint8_t *blocks, double *loss);

#endif
