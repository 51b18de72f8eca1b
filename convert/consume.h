/* SPDX-License-Identifier: MIT
 * Consume: source shards are removed as they are used up, for machines whose disk does not hold source and output together.
 *
 * A shard goes when every unit that reads from it is durable. Before it goes, SHARD.consumed takes its place: the shard's
 * header, its size and its time, and no data (a hole). With that a later run can still be planned and recognised as the same,
 * and nothing mistakes it for a shard. Shards from which nothing is read stay. */
#ifndef PARE_CONVERT_CONSUME_H
#define PARE_CONVERT_CONSUME_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "convert/journal.h"
#include "convert/plan.h"

/* Fills p->disk_peak: without consume the size of output, journal and manifest, with it the most by which these and the shards
 * that are left exceed what the disk holds now. ERR_USAGE when the source cannot be consumed: no folder of shards, links, a
 * part. */
int consume_plan(struct plan *p, struct error *e);

/* What consuming would lose: tensors in shards that will go of which nothing is made. *first names one, or is NULL. */
uint64_t consume_losses(const struct plan *p, const char **first);

struct consumer {
    const struct plan *plan;
    unsigned char *gone;  /* per source file: this run removed it */
    uint64_t *units_left; /* per source file: units that read from it and are not durable yet */
    unsigned char *done;  /* a unit that was found damaged and made again becomes durable twice, and counts once */
    uint64_t removed, freed;
};

/* `done` [n_units] are durable already; shards that they use up are removed now. */
int consumer_init(struct consumer *c, const struct plan *p, const unsigned char *done, struct error *e);
void consumer_clear(struct consumer *c);
/* Takes note of durable units and removes what they used up. Fits the keeper's hook. */
int consumer_durable(void *consumer, const struct journal_record *r, size_t n, struct error *e);
/* Removes the stand-ins, when the output has its final name. */
int consumer_finish(struct consumer *c, struct error *e);

#endif
