/* SPDX-License-Identifier: MIT
 * The end of a forward pass: final norm and vocabulary projection, streamed over blocks of the vocabulary. */
#ifndef PARE_MODEL_FORWARD_HEAD_H
#define PARE_MODEL_FORWARD_HEAD_H

#include "model/forward/forward.h"
#include "model/forward/positions.h"

enum { HEAD_BLOCK = 1024 }; /* vocabulary rows at a time; fixed, because sums are merged block by block */

/* Which positions of a stream are projected. */
struct head_list {
    const uint32_t *token; /* [n] tile * LANES + lane, tiles from the stream's first on */
    size_t n;
};

/* A model's part: the list's positions are those of f's tiles from first_tile on, and the weights those of f's model. */
struct head_side {
    struct forward *f;
    size_t first_tile;
};

/* Runs norm (role and layer) and head of `base` and of each candidate over the listed positions and adds every block to
 * positions[c * list->n + i]; without candidates to positions[i]. With `fd` >= 0 the base's logits are also written there as F32
 * [n][vocab]. */
int head_run(const struct head_side *base, const struct head_side *cands, size_t n_cands, enum tensor_role norm, int layer,
             const struct head_list *list, struct position *positions, int fd, struct error *e);

#endif
