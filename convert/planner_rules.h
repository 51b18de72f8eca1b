/* SPDX-License-Identifier: MIT
 * From the types of many matrices to few rules: matrices that differ in their layer, their role or their expert alone share one. */
#ifndef PARE_CONVERT_PLANNER_RULES_H
#define PARE_CONVERT_PLANNER_RULES_H

#include "base/buffer.h"
#include "convert/recipe.h"

struct typed { /* a matrix, or the stack of a layer's experts */
    const struct quant_type *type;
    enum tensor_role role;
    int layer;  /* -1: a global */
    int expert; /* -1: all, or no expert's */
};

/* Appends the rules to r, whose rules have room for n more; their memory is the arena's. The list gets another order; no matrix is in it
 * twice. 0, or -1 with ERR_MEMORY, or ERR_UNSUPPORTED for more rules than a recipe may have. */
int planner_rules(struct recipe *r, struct arena *a, struct typed *list, size_t n, struct error *e);

/* Appends the rules from `first` on as JSON objects, one a line. */
void planner_print_rules(const struct recipe *r, size_t first, struct buffer *out);

#endif
