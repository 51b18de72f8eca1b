/* SPDX-License-Identifier: MIT
 * pare plan with a budget: a recipe that keeps it. */
#ifndef PARE_CLI_PLAN_BUDGET_H
#define PARE_CLI_PLAN_BUDGET_H

#include "cli/plan_options.h"
#include "convert/planner.h"

#define BUDGET_OPTION_ROWS                                                                                             \
    {0, "size", "SIZE", "choose types: a recipe for at most this size"}, \
        {0, "bpw", "X", "the same, for X bits of tensor data per weight"}, \
        {0, "fit", "SIZE", "the same, for all that llama.cpp holds in memory", 1}, \
        {0, "ctx", "N", "tokens of context for --fit (default 8192)", 1}, \
        {0, "pool", "TYPE,TYPE", "what a budget chooses from", 1}, \
        {0, "floor", "WHAT=TYPE", "no fewer bits than TYPE's for a role or one of\nembeddings, attention, dense, shared, experts", 1}, \
        {0, "gain-tokens", "N", "of the calibration's text, for what errors do to KL\n(default 4096)", 1}, \
        {0, "gain-layers", "N", "that are measured, 0: all (default: all of up to 8,\nelse 5)", 1}

/* Whether a text is a number of bits per weight that a budget can be. */
int read_bits(const char *text, double *bpw);

/* Whether a budget was given. */
int has_budget(const struct options *o);
/* For ladders: chooses types for so many bits per weight, out of --pool, and writes the recipe to `path`. Clear *r in either case. */
int write_budget_recipe(const struct options *o, const struct plan *base, double bpw, const char *path, struct planned_recipe *r,
                        struct error *e);
/* Chooses, writes the recipe, prints what it came to. */
int run_budget(const struct options *o, struct error *e);

#endif
