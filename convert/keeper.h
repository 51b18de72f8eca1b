/* SPDX-License-Identifier: MIT
 * Keeper: makes finished units durable in groups, in a thread of its own: sync of the output files, then one append to the
 * journal. The workers never wait for the disk because of it, unless it is told to be bounded. */
#ifndef PARE_CONVERT_KEEPER_H
#define PARE_CONVERT_KEEPER_H

#include <pthread.h>
#include <stdint.h>

#include "base/error.h"
#include "convert/journal.h"
#include "convert/outputs.h"

struct keeper {
    struct outputs *outputs;
    struct journal *journal;
    uint64_t every;      /* bytes of output per group; 10 seconds and some thousand records end a group too */
    int bounded;         /* a group waits for the one before it, so that no more than two are ahead of the disk */
    /* called before a group is recorded and after it is durable, in the keeper's thread; may be NULL. -1 with *e ends the run */
    int (*before)(void *context, struct error *e);
    int (*durable)(void *context, const struct journal_record *r, size_t n, struct error *e);
    void *context;

    pthread_t thread;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wake, taken;
    struct journal_record *pending;
    size_t n, room;
    uint64_t pending_bytes;
    uint64_t bytes, units, bytes_at_start; /* durable */
    int started, ending, failed;
    struct error error;
};

/* Starts the thread. The fields before `thread`, and bytes and units that are durable already, are set by the caller. */
int keeper_start(struct keeper *k, struct error *e);

/* Hands over records of finished work: a unit (its bytes are written) and complete hashes. Thread-safe. -1 when the keeper
 * has failed or memory is out. */
int keeper_add(struct keeper *k, const struct journal_record *r, size_t n, struct error *e);

/* Makes everything durable that was handed over. No other thread may be adding. */
int keeper_flush(struct keeper *k, struct error *e);

/* Ends the thread; with `commit` what is pending is made durable first. Returns the first error. Safe when not started. */
int keeper_stop(struct keeper *k, int commit, struct error *e);

#endif
