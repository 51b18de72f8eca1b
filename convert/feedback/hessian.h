/* SPDX-License-Identifier: MIT
 * From a calibration to the curvature of one matrix's loss.
 *
 * Of a weight that all tokens meet, H is the mean of x x' over them. A routed expert has only its own tokens, and its output counts
 * by the gate, so its mean is weighted by gate^2; with n effective tokens (sum of gate^2, squared, over sum of gate^4) it is
 * blended with what is known without them:
 *
 *   gate and up   (n S_expert + k S_layer) / (n + k)     S_layer: all tokens at the layer's MLP input; k = blend * columns
 *   down          off the diagonal n / (n + k) S_expert   k = blend * columns: few tokens say little about pairs of columns
 *
 * An expert without tokens has S_layer, or for down no data at all. Then damping times the mean of the diagonal is added to the
 * diagonal; where the factor fails nevertheless, ten times as much, and so on. */
#ifndef PARE_CONVERT_FEEDBACK_HESSIAN_H
#define PARE_CONVERT_FEEDBACK_HESSIAN_H

#include "convert/calibration.h"
#include "convert/feedback/sweep.h"

struct hessian_options {
    double damping, blend;
};

/* What was done to a matrix's columns (convert/fold.h): column j is what was column from[j], times scale[from[j]]. NULL: nothing. Inputs
 * follow the other way. */
struct column_change {
    const float *scale;
    const uint32_t *from;
};

struct hessian_facts {
    double tokens;     /* effective ones */
    double explained;  /* tr(D) / tr(H): what error feedback cannot take away */
};

/* 0, or 1 without data (*c is empty then), or -1. All of *c is the caller's, to be given to curvature_clear. */
int hessian_make(const struct calibration *cal, const struct weight *w, uint64_t slab, const struct column_change *change,
                 const struct hessian_options *o, int threads, struct curvature *c, struct hessian_facts *facts, struct error *e);
void curvature_clear(struct curvature *c); /* safe on a zeroed one */
/* Bytes at its most while it is made, for plans. */
uint64_t hessian_bytes(const struct calibration *cal, const struct weight *w, int threads);

#endif
