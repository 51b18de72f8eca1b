/* SPDX-License-Identifier: MIT
 * From a calibration to the curvature of one matrix's loss.
 *
 * H is the mean of x x' over the tokens that the matrix meets. A routed expert has only its own, and its output counts by the
 * gate, so its mean is weighted by gate^2. Of n tokens that count alike (of an expert: the square of the sum of |gate x|^2 over the
 * sum of its squares, since a few large ones say little about the others) not all pairs of `columns` columns can be known:
 *
 *   gate and up   (n S_expert + k S_layer) / (n + k)   S_layer: all tokens at the layer's MLP input; k = blend * columns
 *   others        off the diagonal n / (n + k) of it   towards the diagonal alone, which is what an imatrix is
 *
 * An expert without tokens has S_layer, or for down no data at all. Then damping times the mean of the diagonal is added to the
 * diagonal, of the others divided by (n / (n + k))^2, but at most ten times as much; where the factor fails nevertheless, ten times
 * more, and so on. */
#ifndef PARE_CONVERT_FEEDBACK_HESSIAN_H
#define PARE_CONVERT_FEEDBACK_HESSIAN_H

#include "convert/calibration.h"
#include "convert/feedback/sweep.h"

/* How the sweep takes columns: those first that others tell least of (ldl.h), whose errors many can make good, or as they lie. */
enum column_order { ORDER_IMPORTANCE, ORDER_NATURAL, ORDER_COUNT, ORDER_BY_TYPE = ORDER_COUNT /* feedback.h chooses one of them */ };
extern const char *const column_order_names[ORDER_COUNT + 1]; /* "importance", "natural", "by type" */

struct hessian_options {
    double damping, blend;
    enum column_order order;
};

/* What was done to a matrix's columns (convert/fold.h): column j is what was column from[j], times scale[from[j]]. NULL: nothing. Inputs
 * follow the other way. */
struct column_change {
    const float *scale;
    const uint32_t *from;
};

struct hessian_facts {
    double tokens;     /* that count alike */
    double known;      /* n / (n + k); of gate and up 1 */
    double explained;  /* tr(D) / tr(H): what error feedback cannot take away */
};

/* H before damping, both halves: h is of the right size and zeroed, and so is cross, or it is empty. All zeros when there are no
 * data. Of *facts tokens and known are set. */
int hessian_mean(const struct calibration *cal, const struct weight *w, uint64_t slab, const struct hessian_options *o, int threads,
                 struct square *h, struct square *cross, struct hessian_facts *facts, struct error *e);

/* 0, or 1 without data (*c is empty then), or -1. All of *c is the caller's, to be given to curvature_clear. */
int hessian_make(const struct calibration *cal, const struct weight *w, uint64_t slab, const struct column_change *change,
                 const struct hessian_options *o, int threads, struct curvature *c, struct hessian_facts *facts, struct error *e);
void curvature_clear(struct curvature *c); /* safe on a zeroed one */
/* The factor of h: u, d and, where it is not NULL, order, all of the right size. 0, -1 with ERR_MEMORY, or 1 when h is not positive
 * definite. */
int curvature_factor(struct curvature *c, unsigned cpu, int threads, struct error *e);
/* Bytes at its most while it is made, for plans. */
uint64_t hessian_bytes(const struct calibration *cal, const struct weight *w, int threads);

#endif
