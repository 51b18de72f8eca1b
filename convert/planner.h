/* SPDX-License-Identifier: MIT
 * Planner: the type of every matrix so that the predicted KL divergence is lowest under a budget of bytes.
 *
 * What a choice costs is the sum over matrices of gain * error / output (measured.h, gains.h); a multiple-choice knapsack
 * (knapsack.h) keeps it low. What must have one type is one item: in GGUF a layer's experts of one role, in checkpoints what engines join
 * or need alike (target_checkpoint.c), in packs each matrix of each expert by itself. Sizes are those of real plans (candidates.h),
 * and the recipe is planned once more before it is given out: its total is exact and never above the budget. docs/planner.md */
#ifndef PARE_CONVERT_PLANNER_H
#define PARE_CONVERT_PLANNER_H

#include "base/buffer.h"
#include "base/json.h"
#include "convert/candidates.h"
#include "convert/stream.h"

struct planner_floor { /* these roles have at least this type's bits per weight */
    uint64_t roles;
    const struct quant_type *least;
};

enum { FLOORS_MOST = 16, CURVE_MOST = 24 };
struct planner_options {
    uint64_t size; /* of all output files, headers included; 0: see bpw */
    double bpw;    /* bits of tensor data per weight */
    const struct quant_type *pool[POOL_MOST];
    size_t n_pool; /* 0: the target's default */
    struct planner_floor floors[FLOORS_MOST];
    size_t n_floors;
    size_t gain_tokens; /* at least; whole chunks */
    int gain_layers;    /* -1: by the model's size */
    const char *tool;   /* program and version */
};

struct planner_class {
    uint64_t weights, bytes;
    double share; /* of the cost */
};
struct planner_point {
    uint64_t bytes; /* of the output */
    double bpw, kl;
};

struct planned_recipe {
    struct buffer text; /* the recipe file */
    double kl;          /* predicted */
    uint64_t total, budget; /* budget: of the output, whichever way it was given */
    uint64_t tensor_bytes, weights;
    struct planner_class classes[CLASS_COUNT];
    struct planner_point curve[CURVE_MOST];
    size_t n_curve, n_rules;
    size_t measured;    /* pairs of matrix and type that were not known before */
    uint64_t gain_tokens, gain_streams;
    int all;            /* everything has the best type of the pool */
};

/* base: any plan by the options, with a calibration. ERR_USAGE tells the smallest size for budgets below it. Clear in either case. */
int planner_run(const struct plan *base, const struct planner_options *o, const struct stream_hooks *hooks, struct planned_recipe *out,
                struct error *e);
/* Adds "classes" and "curve" to a JSON object. */
void planned_recipe_json(const struct planned_recipe *p, struct json *object);
void planned_recipe_clear(struct planned_recipe *p); /* safe on a zeroed one */

/* Type names of the default pool of a target, ending with NULL. */
const char *const *planner_pool(const struct target *t);

#endif
