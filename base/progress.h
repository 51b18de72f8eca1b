/* SPDX-License-Identifier: MIT
 * Progress: how far a job of known bytes is, as a line of text. It formats; cli/ prints. */
#ifndef PARE_BASE_PROGRESS_H
#define PARE_BASE_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

struct progress {
    const char *verb;     /* "converting" */
    const char *unit;     /* what is counted; NULL: bytes */
    uint64_t total;       /* to do; 0: unknown */
    double started, last; /* seconds, monotonic */
};

/* Starts the clock; counts bytes unless p->unit is set afterwards. */
void progress_start(struct progress *p, const char *verb, uint64_t total);

/* 1 when at least `interval` seconds passed since the last time this returned 1. One thread at a time. */
int progress_due(struct progress *p, double interval);

/* "converting  42 %  1.20 GB of 2.86 GB  812.00 MB/s  ETA 0:00:02" without a newline; with `bar` not 0 a bar of that many
 * columns, 60 at most, is put first. Always terminated. */
void progress_line(const struct progress *p, uint64_t done, int bar, char *out, size_t size);

/* Seconds since progress_start. */
double progress_elapsed(const struct progress *p);

#endif
