/* SPDX-License-Identifier: MIT
 * Fold's choices: which scales and which order, from weights and importance.
 *
 * A group of weights of a row that share a step is rounded with an error that grows with its largest weights, and column j's error
 * counts by the mean square h_j of its input. With c_j the column's sum of squares, a scale s_j makes of them h_j / s_j^2 and c_j * s_j^2;
 * the product of their sums over the group, which the error follows, falls towards s_j^4 = h_j / c_j. Without an imatrix h_j is
 * estimated from the weights that make the input, for inputs of a norm that are unit and independent before its weight.
 * Only sqrt, which IEEE 754 rounds correctly, and exact operations in a fixed order: the same numbers on every machine. */
#ifndef PARE_CONVERT_FOLD_CHOICE_H
#define PARE_CONVERT_FOLD_CHOICE_H

#include <stdint.h>

#include "convert/plan.h"

/* Whose vector: one for each layer and slab. */
enum fold_kind {
    FOLD_KIND_NONE,
    FOLD_KIND_DENSE, FOLD_KIND_SHARED, FOLD_KIND_EXPERT, /* inner channels of an MLP; slabs: experts */
    FOLD_KIND_VALUE,                                     /* value channels of all heads */
    FOLD_KIND_ATTN_NORM, FOLD_KIND_Q_A_NORM, FOLD_KIND_KV_A_NORM, FOLD_KIND_FFN_NORM,
    FOLD_KIND_COUNT,
};

/* Channels of a vector, 0 when the model has none in this layer. */
uint64_t fold_channels(const struct model *m, enum fold_kind kind, int layer);

/* Chooses scale[n] and, when `from` is not NULL, from[n]: channel i of the output is channel from[i] of the source. Either may
 * be NULL. `slab` counts for experts only. */
int fold_choose(const struct plan *p, enum fold_kind kind, int layer, uint64_t slab, float *scale, uint32_t *from, struct error *e);

/* Bytes that fold_choose takes at most while it works. */
uint64_t fold_choose_memory(const struct plan *p);

#endif
