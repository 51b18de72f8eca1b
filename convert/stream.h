/* SPDX-License-Identifier: MIT
 * Stream: carries out a plan. A unit is a row range of one output tensor; workers take units in file order, read, decode,
 * encode and write them at the offsets that the plan fixed. */
#ifndef PARE_CONVERT_STREAM_H
#define PARE_CONVERT_STREAM_H

#include "base/error.h"
#include "base/hash.h"
#include "base/io.h"
#include "convert/plan.h"

/* Called by the workers, one at a time; all may be NULL. */
struct stream_hooks {
    void (*progress)(void *context, uint64_t done, uint64_t total); /* output bytes */
    int (*stop)(void *context); /* non-zero: end as soon as possible with ERR_INTERRUPTED */
    void *context;
};

/* Writes header and tensors into `out` (created with plan->total bytes) and fills hashes[i] with the XXH3-128 of output
 * tensor i. The bytes do not depend on threads. Returns 0, or -1 with the first error; `out` is then incomplete. */
int stream_run(const struct plan *p, const struct io_out *out, const struct stream_hooks *hooks,
               char (*hashes)[HASH_TEXT], struct error *e);

#endif
