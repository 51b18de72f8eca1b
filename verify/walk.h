/* SPDX-License-Identifier: MIT
 * Inside of a comparison: what the walk through the layers (compare.c) and the scoring behind it (scoring.c) share. */
#ifndef PARE_VERIFY_WALK_H
#define PARE_VERIFY_WALK_H

#include "model/forward/forward.h"
#include "model/forward/head.h"
#include "verify/compare.h"

struct walk {
    const struct compare_options *o;
    const struct check_hooks *hooks;
    struct comparison *c;
    const int32_t *tokens;
    struct panel_store store;
    struct forward *base, *cand; /* base NULL: a base file stands in for it */
    struct forward *any;         /* the base, or the candidate: for what is the same of both */
    struct forward *alone;       /* alone.c's pass; NULL: not asked for */
    uint8_t *changed;            /* [chunks * ctx] routing differed in some layer */
    int16_t **routing;           /* of a base file: [chunks] of [MoE layers][ctx][experts_used]; NULL: none */
    struct head_list list;       /* positions that get logits */
    uint32_t *places;            /* list.token */
    struct position *positions;  /* of the list */
    double *kld;                 /* of the list */
};

/* Panel place of position i of chunk c in stream 0. */
static inline uint32_t walk_place(const struct walk *w, size_t c, size_t i)
{
    return (uint32_t)((c * w->any->tiles_per_chunk + i / LANES) * LANES + i % LANES);
}

/* The first position of a chunk that is scored. */
static inline size_t walk_first_scored(const struct walk *w)
{
    return w->o->all_positions ? 0 : w->c->ctx / 2;
}

/* Chooses the positions that get logits. */
int walk_positions(struct walk *w, struct error *e);
/* What one position says of the base and, of a pair, of the candidate; chunk, position and routing are the caller's. */
void score_position(const struct position *p, int pair, double kld, struct score *s);
/* Models of which only one part is the candidate's: the pass for them, when both others are made; what is added behind a layer of those;
 * divergences, behind the last layer and the scores of the others. */
int alone_start(struct walk *w, const struct model *base, struct error *e);
void alone_add(struct walk *w, size_t layer);
int alone_scores(struct walk *w, struct error *e);

/* Behind the last layer: logits, scores, base file, MTP. */
int walk_scores(struct walk *w, struct error *e);

#endif
