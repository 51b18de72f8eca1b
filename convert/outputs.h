/* SPDX-License-Identifier: MIT
 * Outputs: the files of a run, by number in the plan, opened as they are written and closed when others take their turn, so that
 * hundreds of split files need few descriptors. All of them are NAME.partial until outputs_finish. */
#ifndef PARE_CONVERT_OUTPUTS_H
#define PARE_CONVERT_OUTPUTS_H

#include <pthread.h>

#include "base/error.h"
#include "base/io.h"
#include "convert/plan.h"

struct output_file {
    char *path;
    uint64_t bytes;    /* of the finished file; of plans that compress the most it can be, until outputs_cut */
    struct io_out out; /* fd -1: not open just now */
    int pins;          /* threads that are writing */
    int dirty;         /* written since the last sync began */
};

struct outputs {
    const struct plan *plan;
    struct output_file *files; /* of the whole plan; those of other parts stay untouched */
    pthread_mutex_t lock;
};

/* Names only. `path` is what the user gave. Clear it in either case; clearing closes and removes nothing. */
int outputs_init(struct outputs *o, const struct plan *p, const char *path, struct error *e);
void outputs_clear(struct outputs *o);

/* Creates all partial files of this part with their space reserved (not with plan->options.consume), headers written. */
int outputs_create(struct outputs *o, struct error *e);
/* Whether the partial files of an earlier run are all there, of the right size; with `or_final` a file that has its final name
 * already will do. 1, 0 or -1. */
int outputs_present(struct outputs *o, int or_final, struct error *e);
/* Whether any of them is there. */
int outputs_any(const struct outputs *o);
/* Removes the partial files of this part. */
void outputs_abandon(struct outputs *o);

/* Writes or reads back n bytes at `at` of output tensor `tensor`. Thread-safe. */
int outputs_write(struct outputs *o, size_t tensor, uint64_t at, const void *bytes, size_t n, struct error *e);
int outputs_read(struct outputs *o, size_t tensor, uint64_t at, void *bytes, size_t n, struct error *e);

/* For what belongs to no tensor (struct target: finish). File `file` of the plan: 1 while it has its temporary name, 0 when an interrupted
 * finish has given it its final one, or -1. */
int outputs_is_partial(struct outputs *o, size_t file, struct error *e);
/* Writes n bytes at `at` of a file that has its temporary name. */
int outputs_write_file(struct outputs *o, size_t file, uint64_t at, const void *bytes, size_t n, struct error *e);
/* Makes a file `bytes` long; one with its final name must be. */
int outputs_cut(struct outputs *o, size_t file, uint64_t bytes, struct error *e);

/* Returns when everything written before the call is on the disk. One thread at a time; others may go on writing. */
int outputs_sync(struct outputs *o, struct error *e);

/* Gives every file its final name. Files that an earlier, interrupted finish renamed already are left alone: they must have
 * the planned header. */
int outputs_finish(struct outputs *o, struct error *e);

#endif
