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

/* Outputs of one unit, at most. */
enum { UNIT_OUTPUTS = PART_COUNT };

/* The unit of this number, below p->n_units. */
struct unit unit_at(const struct plan *p, uint64_t number);

/* What it writes: 1, 2 for the halves of kv_b, or the parts of a layout. Those may be empty. */
int unit_outputs(const struct plan *p, const struct unit *u, struct unit_output out[UNIT_OUTPUTS]);
uint64_t unit_bytes(const struct unit_output *out, int n);

/* What it reads (weight_ranges), or the bytes that it copies. */
int unit_ranges(const struct plan *p, const struct unit *u, struct weight_range out[WEIGHT_RANGES]);

/* Rows of a unit that are decoded together, from row `at` of the unit on: the unit as if it had no others. */
struct unit unit_slice(const struct plan *p, const struct unit *u, uint64_t at);

/* Bytes that rows of a tensor with a layout take before they become parts: blocks, or codes, scales and zeros of tiles. */
size_t unit_block_bytes(const struct plan_tensor *t, uint64_t rows);

/* Units of a tensor: 0 when the previous tensor's make it. */
uint64_t unit_count(const struct plan_tensor *t);

/* Room for the largest unit of a plan: source floats, floats of a turned half, of folded rows and of importances,
 * encoded bytes, blocks of a slice before they become parts, scratch bytes; whether any tensor's scales are compared with others. */
struct unit_room {
    size_t floats, turned, folded, importance, encoded, blocks, scratch;
    int compared;
};
/* Whether the units of a tensor tell what its scales, powers of two, cost. */
int unit_compares(const struct plan_tensor *t);
struct unit_room unit_room(const struct plan *p);

#endif
