/* SPDX-License-Identifier: MIT
 * Units: a unit is a row range of one output tensor, or one head's halves of kv_b. Its number says which; its size depends on
 * the plan alone, never on threads or memory, so that any run can go on with another's. Plain data; nothing is allocated. */
#ifndef PARE_CONVERT_UNIT_H
#define PARE_CONVERT_UNIT_H

#include <stddef.h>
#include <stdint.h>

#include "convert/plan.h"

struct unit {
    uint64_t number;
    size_t tensor;
    uint64_t slab, row0, rows;
    /* what weight_read takes */
    struct weight source;
    uint64_t source_slab, source_row0, source_rows;
};

struct unit_output {
    size_t tensor;
    uint64_t at, bytes; /* within the tensor's data */
};

/* The unit of this number, below p->n_units. */
struct unit unit_at(const struct plan *p, uint64_t number);

/* What it writes: 1, or 2 for the halves of kv_b. */
int unit_outputs(const struct plan *p, const struct unit *u, struct unit_output out[2]);

/* Units of a tensor: 0 when the previous tensor's make it. */
uint64_t unit_count(const struct plan_tensor *t);

/* Room for the largest unit of a plan: source floats, floats of a turned half, of folded rows and of importances,
 * encoded bytes, scratch bytes. */
struct unit_room {
    size_t floats, turned, folded, importance, encoded, scratch;
};
struct unit_room unit_room(const struct plan *p);

#endif
