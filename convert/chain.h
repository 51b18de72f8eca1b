/* SPDX-License-Identifier: MIT
 * Chains: running XXH3-128 hashes, where wanted with CRC-32, of tensors whose bytes come from many threads. A hash must see its bytes in order, so a
 * thread that comes too early waits. Units are handed out in order, hence the thread with the earliest never waits. */
#ifndef PARE_CONVERT_CHAIN_H
#define PARE_CONVERT_CHAIN_H

#include <pthread.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"

struct chain {
    struct hash *running; /* NULL before the first and after the last byte */
    uint64_t fed, bytes;  /* so far, and all */
    int busy;             /* a thread is hashing */
    int done;
    uint64_t high, low;   /* the hash, when done */
    uint32_t crc;         /* CRC-32, in chains that have one; of coded units of what is stored */
};

struct chains {
    struct chain *list; /* the owner's; bytes set, or done with its hash */
    pthread_mutex_t lock;
    pthread_cond_t turn;
    int stopped; /* the run failed: nobody waits any more */
    int with_crc;
};

void chains_init(struct chains *c);
void chains_clear(struct chains *c, size_t n); /* frees what is running in list[0..n), not the list */

/* Adds bytes [at, at + n) of tensor `which`; what was added already is passed over. 1 when the hash is complete by this call,
 * 0, or -1: out of memory, or the run was stopped (then *e is left alone). Thread-safe. */
int chain_feed(struct chains *c, size_t which, uint64_t at, const void *bytes, uint64_t n, struct error *e);
/* The same of a whole unit that is stored as other bytes, which the CRC-32 is of. */
int chain_feed_stored(struct chains *c, size_t which, uint64_t at, const void *bytes, uint64_t n, const void *stored, size_t stored_bytes,
                      struct error *e);

/* Ends all waiting. */
void chains_stop(struct chains *c);

#endif
