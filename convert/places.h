/* SPDX-License-Identifier: MIT
 * Places of units in files whose tensors are entropy coded (plan->options.compress): how long a unit becomes is known when it is coded, so
 * each takes its place when all before it have theirs. Units are handed out in order, hence the thread with the earliest never waits.
 * Coding is deterministic: a unit that an interrupted run left has the place that any other run gives it. */
#ifndef PARE_CONVERT_PLACES_H
#define PARE_CONVERT_PLACES_H

#include <pthread.h>

#include "convert/unit.h"

struct places {
    const struct plan *plan; /* NULL: the plan fixed all places */
    uint64_t *size;          /* [n_units] stored bytes of units that are done or have their place */
    uint64_t next, end;      /* the next unit to get a place; where what has one ends, in the file of that unit's predecessor */
    pthread_mutex_t lock;
    pthread_cond_t turn;
    int stopped;
};

/* Does nothing for a plan that fixes all places. Clear it in either case. */
int places_init(struct places *p, const struct plan *plan, struct error *e);
void places_clear(struct places *p); /* safe on a zeroed one */

/* Waits until all units before this one have their place. 0 and *at in the file, or -1: the run was stopped. Each unit of the part comes
 * once. */
int places_take(struct places *p, uint64_t unit, uint64_t size, uint64_t *at);
/* Ends all waiting. */
void places_stop(struct places *p);

/* Of a tensor that is coded: bytes that a unit stands for (the last one fewer), and the most that the tensor can take with its table. */
uint64_t coded_chunk_of(const struct plan_tensor *t);
uint64_t coded_most(const struct plan_tensor *t);

/* What all sizes together make: of each tensor of this part where its data begin, and stored bytes with its table; of each of its files
 * the end of the last. malloc'd both, [n_tensors] and [n_files]; NULL without memory. All units must have their size. */
struct placed {
    uint64_t offset, bytes;
};
struct placed *places_of_tensors(const struct places *p, uint64_t **file_ends);

#endif
