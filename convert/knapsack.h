/* SPDX-License-Identifier: MIT
 * Multiple-choice knapsack: one option of every item, so that the costs' sum is small and the bytes' sum within a budget. Pure: no files,
 * no model.
 *
 *   1. Each item starts at its smallest option. Steps along the lower convex hulls of all items, sorted by what they save per byte,
 *      are taken while they fit: the optimum of the Lagrangian, and of the whole but for the last step's bytes.
 *   2. Steps behind the first that does not fit are taken where they do.
 *   3. Repair: any option that fits what is left and saves, and, of not too many items, pairs of which one gives bytes to the other;
 *      of few items the same again without one of the steps around the last.
 *
 * The same input gives the same choice: equal steps go by item. */
#ifndef PARE_CONVERT_KNAPSACK_H
#define PARE_CONVERT_KNAPSACK_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct knapsack_option {
    uint64_t bytes;
    double cost; /* finite, not negative */
};

struct knapsack_item {
    const struct knapsack_option *options; /* in any order */
    size_t n;                              /* 1 or more */
};

struct knapsack;

/* Hulls and steps of these items, for any number of budgets. Options are borrowed. NULL with ERR_MEMORY. */
struct knapsack *knapsack_new(const struct knapsack_item *items, size_t n, struct error *e);
void knapsack_free(struct knapsack *k); /* NULL is allowed */

/* Bytes below which nothing fits, and beyond which nothing more is saved. */
uint64_t knapsack_least(const struct knapsack *k);
uint64_t knapsack_most(const struct knapsack *k);

struct knapsack_sum {
    uint64_t bytes;
    double cost;
};
/* choice[i]: an option of item i. 0, 1 when the budget is below the least, or -1 with ERR_MEMORY. */
int knapsack_solve(const struct knapsack *k, uint64_t budget, size_t *choice, struct knapsack_sum *sum, struct error *e);

#endif
