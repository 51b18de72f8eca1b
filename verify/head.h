/* SPDX-License-Identifier: MIT
 * The end of a forward pass: final norm and vocabulary projection, streamed over blocks of the vocabulary. */
#ifndef PARE_VERIFY_HEAD_H
#define PARE_VERIFY_HEAD_H

#include "model/forward/forward.h"
#include "verify/positions.h"

enum { HEAD_BLOCK = 1024 }; /* vocabulary rows at a time; fixed, because sums are merged block by block */

/* Which positions of stream 0 are projected. */
struct head_list {
    const uint32_t *token; /* [n] tile * LANES + lane */
    size_t n;
};

/* Runs norm (role and layer) and head of `base`, and of `cand` unless NULL, over the listed positions and adds every
 * block to positions[i]. With `fd` >= 0 the base's logits are also written there as F32 [n][vocab]. */
int head_run(struct forward *base, struct forward *cand, enum tensor_role norm, int layer, const struct head_list *list,
             struct position *positions, int fd, struct error *e);

#endif
