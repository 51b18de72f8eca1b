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
 * positions[c * list->n + i]; without candidates to positions[i]. */
int head_run(const struct head_side *base, const struct head_side *cands, size_t n_cands, enum tensor_role norm, int layer,
             const struct head_list *list, struct position *positions, struct error *e);

/* Adds a whole row [vocab] of logits of the base, and of a candidate unless c is NULL, as head_run does, in the same blocks. */
void head_row(struct position *p, const float *b, const float *c, size_t vocab);

/* Who wants whole rows of logits: `rows` [n][vocab] are those of list positions first to first + n - 1, valid during the call. Returns 0,
 * or -1 with *e set, which ends the run. */
struct head_reader {
    void *context;
    int (*rows)(void *context, size_t first, size_t n, const float *rows, struct error *e);
};
/* The logits of the listed positions, in their order, as rows in memory: a few at a time, so that they stay below HEAD_ROWS_BYTES (or are
 * LANES rows). The head's weights are read once for each time. The same numbers as head_run's. */
enum { HEAD_ROWS_BYTES = 64 << 20 };
int head_rows(const struct head_side *side, enum tensor_role norm, int layer, const struct head_list *list, const struct head_reader *reader,
              struct error *e);

#endif
