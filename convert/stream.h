/* SPDX-License-Identifier: MIT
 * Stream: carries out plans. Workers take units in order, read, decode, encode for every rung and write them at the offsets that its plan
 * fixed; hashes of source and output tensors run along. What an earlier run left on the disk is read back only as far as
 * hashes need it. */
#ifndef PARE_CONVERT_STREAM_H
#define PARE_CONVERT_STREAM_H

#include "base/error.h"
#include "convert/rung.h"

/* Called by the workers, one at a time; all may be NULL. */
struct stream_hooks {
    void (*progress)(void *context, uint64_t done, uint64_t total); /* output bytes */
    int (*stop)(void *context); /* non-zero: end as soon as possible with ERR_INTERRUPTED */
    void *context;
};

enum { STREAM_RUNGS = 16 };

/* Whether two plans have the same units, so that they can be rungs of one run. ERR_USAGE tells what differs. */
int stream_same_units(const struct plan *a, const struct plan *b, struct error *e);

/* Does units [from, to) of n rungs, 1 .. STREAM_RUNGS, handing finished ones to their keepers. Returns 0, or -1 with the first error. */
int stream_run(const struct rung *rungs, size_t n, uint64_t from, uint64_t to, const struct stream_hooks *hooks, struct error *e);

#endif
