/* SPDX-License-Identifier: MIT
 * Conversion: a plan becomes files and their manifest. A run that ends early, by whatever cause, is gone on with by calling
 * convert_run again with the same plan. */
#ifndef PARE_CONVERT_CONVERT_H
#define PARE_CONVERT_CONVERT_H

#include "convert/plan.h"
#include "convert/stream.h"

struct convert_options {
    const char *path;  /* the output */
    const char *tool;  /* program and version, for identity and manifest */
    int force;         /* an existing output is replaced */
    int restart;       /* what an interrupted run left is thrown away */
    int rehash;        /* everything that an interrupted run left is read again and held against its hashes, source and output */
    int with_paths;    /* the manifest names the source's and the output's folders */
};

struct convert_result {
    uint64_t units, units_reused, units_redone; /* of this part; kept from an earlier run, or found damaged and made again */
    uint64_t blocks_carried, blocks_not_carried; /* of this run: without loss, or by search because a scale did not fit */
    uint64_t records_damaged;  /* of the journal */
    uint64_t bytes_written;    /* of all files when they are complete */
    uint64_t bytes_durable;    /* of output, when the run ended early: what the next run need not do */
    int resumed, resumable;    /* an earlier run's work was found; work is kept for a later one */
    uint64_t shards_removed, bytes_freed;
    struct scale_cost cost;    /* size 0: no scales were compared */
};

/* Refuses what must not be started: an output that is one of the source's files or lies where a folder is, an existing
 * output without `force`, too little free disk. Touches nothing. */
int convert_check_output(const struct plan *p, const struct convert_options *o, struct error *e);

/* Whether PATH and its manifest are what a finished run of this very plan left: by the plan's hash and the files' sizes. */
int convert_is_done(const struct plan *p, const struct convert_options *o);

/* One output of a run. */
struct conversion {
    const struct plan *plan;
    const struct convert_options *options;
    struct convert_result *result;
};

/* Writes the files (each by its .partial) and PATH.manifest.json, going on with an interrupted run's work when there is some
 * of the same plan and source; ERR_USAGE says what differs. On any error there is no PATH, or the old one. After bad input
 * nothing is left behind unless something was durable already; after any other failure the work done is kept. Results are filled in
 * either case. Several outputs, up to STREAM_RUNGS, are made of one reading of the source, each with a journal and a manifest of its own and
 * the same bytes as alone; their plans must have the same units (stream.h). */
int convert_run(const struct conversion *c, size_t n, const struct stream_hooks *hooks, struct error *e);

#endif
