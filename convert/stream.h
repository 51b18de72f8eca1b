/* SPDX-License-Identifier: MIT
 * Stream: carries out a plan. Workers take units in order, read, decode, encode and write them at the offsets that the plan
 * fixed; hashes of source and output tensors run along. What an earlier run left on the disk is read back only as far as
 * hashes need it. */
#ifndef PARE_CONVERT_STREAM_H
#define PARE_CONVERT_STREAM_H

#include "base/error.h"
#include "convert/chain.h"
#include "convert/encode.h"
#include "convert/keeper.h"
#include "convert/outputs.h"
#include "convert/places.h"
#include "convert/plan.h"

/* Called by the workers, one at a time; all may be NULL. */
struct stream_hooks {
    void (*progress)(void *context, uint64_t done, uint64_t total); /* output bytes */
    int (*stop)(void *context); /* non-zero: end as soon as possible with ERR_INTERRUPTED */
    void *context;
};

/* What is known before and after a run; owned by the caller of stream_run. */
struct stream_state {
    unsigned char *done;     /* [n_units of the plan] durable already */
    uint64_t *unit_hash;     /* [n_units] XXH3-64 of a durable unit's bytes */
    struct chains output;    /* one per output tensor */
    struct chains source;    /* one per source tensor */
    char (*expected)[HASH_TEXT]; /* per source tensor, from its manifest or an earlier run; "" where unknown; or NULL */
    struct places places;    /* of units whose place comes late */
    uint64_t bytes;          /* of output that are done, headers included; stream_run adds to it */
    uint64_t blocks_carried, blocks_not_carried; /* without loss, of those that could have been (convert/lossless.h) */
    struct scale_cost cost;  /* of the units that were encoded */
    uint64_t units_reused, units_redone; /* of the durable ones: kept, or found damaged and made again */
};

/* Does units [from, to) of p, handing finished ones to the keeper. Returns 0, or -1 with the first error. */
int stream_run(const struct plan *p, uint64_t from, uint64_t to, struct outputs *out, struct keeper *keeper, struct stream_state *state,
               const struct stream_hooks *hooks, struct error *e);

#endif
