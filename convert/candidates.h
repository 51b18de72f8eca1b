/* SPDX-License-Identifier: MIT
 * Candidates of a choice of types: one plan per type of the pool, in which everything that may have it has it. What a tensor's type and
 * bytes would be is thus what the plan of a conversion says, whatever the target: types that rows do not fit, parts of layouts, rules of the
 * command line, which pin. */
#ifndef PARE_CONVERT_CANDIDATES_H
#define PARE_CONVERT_CANDIDATES_H

#include "convert/plan.h"

enum { POOL_MOST = 24 };

struct candidates {
    const struct plan *base; /* borrowed: model, target and options */
    const struct quant_type *pool[POOL_MOST];
    size_t n_pool;
    struct plan *plans[POOL_MOST];
    size_t *makers[POOL_MOST]; /* [n_makers] tensors of plans[k] that stand for a matrix or a stack: the first of its parts. In the
                                * same order in all */
    size_t n_makers;
};

/* base: a plan by the same options, whatever its recipe. ERR_USAGE for targets that have one type for all, types that GGUF cannot
 * store and --fold. Clear in either case. */
int candidates_make(struct candidates *c, const struct plan *base, const struct quant_type *const *pool, size_t n, struct error *e);
void candidates_clear(struct candidates *c); /* safe on a zeroed one */

/* Maker i as it is with pool type k, and its bytes with all its parts. */
const struct plan_tensor *candidate(const struct candidates *c, size_t k, size_t i);
uint64_t candidate_bytes(const struct candidates *c, size_t k, size_t i);

/* A plan by the same options and another recipe, whose memory is borrowed. sizes_only: see plan.h. */
struct plan *candidates_plan(const struct candidates *c, const struct recipe *r, int sizes_only, struct error *e);

/* Whether a recipe is of checkpoints, whose matrices stay as they are where no rule says otherwise. */
int candidates_of_checkpoint(const struct recipe *r);

/* A recipe with the rules of the command line and no others, for GGUF and packs with `all` for the rest, for checkpoints with what is as it
 * is. Its memory is the base's, but rules, which the caller frees. */
int candidates_recipe(const struct candidates *c, struct recipe *r, size_t more_rules, struct error *e);

#endif
