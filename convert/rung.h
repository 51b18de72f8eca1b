/* SPDX-License-Identifier: MIT
 * Rungs: the outputs of a run. Usually one; a ladder has several, whose plans have the same units, so that a unit's source is read once and
 * encoded for each. A rung knows where a unit goes, what of an earlier run is there, and which hashes and records it completes. */
#ifndef PARE_CONVERT_RUNG_H
#define PARE_CONVERT_RUNG_H

#include "convert/chain.h"
#include "convert/encode.h"
#include "convert/keeper.h"
#include "convert/outputs.h"
#include "convert/places.h"
#include "convert/plan.h"

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

struct rung { /* all borrowed */
    const struct plan *plan;
    struct outputs *out;
    struct keeper *keeper;
    struct stream_state *state;
};

/* A worker's buffers for one rung. */
struct rung_buffers {
    struct encode_buffers b;
    uint8_t *coded; /* of plans that compress: a unit's coded bytes */
};

/* 0, or -1 without memory. Clear it in either case. */
int rung_buffers_init(struct rung_buffers *b, const struct plan *p, const struct unit_room *room);
void rung_buffers_clear(struct rung_buffers *b);

/* One unit's way through one rung. */
struct passage {
    uint64_t bytes;  /* of the unit as encoded */
    int kept;        /* it was on the disk already, and is good */
    int encode;      /* rung_end wants it encoded */
    int source;      /* hashes of the source lack its bytes */
    int hashes;      /* any hashes do */
    struct { uint8_t *bytes; uint64_t size, at; } stored; /* `at` only of plans that fix no places */
    struct journal_record records[1 + UNIT_OUTPUTS + WEIGHT_RANGES];
    size_t n_records;
};

/* Looks what there is of a unit, reading it back into b where hashes want it. */
int rung_begin(const struct rung *g, struct rung_buffers *b, const struct unit *u, struct passage *w, struct error *e);
/* Source bytes that were read for it, in the order of the unit's slices. */
int rung_source(const struct rung *g, const struct weight_seen *seen, struct passage *w, struct error *e);
/* Stores what b->b.encoded holds when w->encode said so, and hands all records to the keeper. */
int rung_end(const struct rung *g, struct rung_buffers *b, const struct unit *u, struct passage *w, struct error *e);

/* Ends all waiting for other units. */
void rung_stop(const struct rung *g);

#endif
