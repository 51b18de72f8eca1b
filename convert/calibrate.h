/* SPDX-License-Identifier: MIT
 * Calibration: one streaming pass over a model that leaves, layer by layer, what convert/calibration.h describes. A layer's file
 * appears under its name when it is complete; the hidden state behind the last layer lies in DIR/resume.hidden, so that a run
 * that ended early goes on with the next layer. */
#ifndef PARE_CONVERT_CALIBRATE_H
#define PARE_CONVERT_CALIBRATE_H

#include "convert/calibration.h"
#include "convert/stream.h"
#include "model/forward/forward.h"

/* Who quantizes as the pass goes. The pass then has two streams: the original hidden states, and those behind what is quantized. */
struct calibrate_follower {
    void *context;
    /* Once, when f's hidden states are those before the first layer that is to do. */
    int (*begin)(void *context, struct forward *f, int first, struct error *e);
    /* The inputs of this half are in its file (which is removed afterwards): quantize it, and put the hidden states behind the
     * quantized half into f's second stream. layer -1: the output; nothing follows. */
    int (*follow)(void *context, struct forward *f, int layer, enum half half, struct error *e);
};

/* One of n parts of a text, each run for itself (convert/calibrate_merge.h adds them up); n 0: no part, the whole. */
struct calibrate_part {
    size_t i, n;               /* i from 1 */
    size_t first_chunk;
    struct forward_tokens all; /* the whole's */
};

struct calibrate_options {
    struct forward_tokens tokens; /* of this run */
    struct calibrate_part part;
    int threads, group_routing;
    uint64_t memory;      /* room for activations; beyond it they go to files in the folder */
    const char *tool;     /* program and version */
    const char *text;     /* what the tokens are of, for people: a file name */
    const struct calibrate_follower *follower; /* or NULL: the folder is what is wanted */
    int restart;          /* what an interrupted run left is thrown away */
};

struct calibrate_result {
    int layers_reused;
    uint64_t bytes;       /* of the layers' files */
};

/* What a run takes, before anything is read. Bytes. */
struct calibrate_plan {
    uint64_t moments;     /* the largest second moments at one time, with what they are made of */
    uint64_t least;       /* what the process holds at its most without activations: now, moments, buffers of workers */
    uint64_t memory;      /* the same with the activations that o->memory leaves room for: never more than that or least */
    uint64_t activations; /* at their most, in memory or on disk */
    uint64_t scratch;     /* those on disk, at their most */
    uint64_t folder;      /* of the finished folder */
    uint64_t disk;        /* of the folder at its most: files so far, scratch, the state to go on from */
    double flops;         /* forward pass and moments */
};
/* o->memory is for the whole process here. Reads nothing. */
void calibrate_plan(const struct model *m, const struct calibrate_options *o, struct calibrate_plan *p);
/* Floating point operations a second of the matrix product on so many threads, measured for a fifth of a second. */
double calibrate_rate(int threads);

/* Removes what an unfinished run or one with a follower left, and the folder when nothing else is in it. A finished one stays. */
void calibrate_remove(const char *folder);

/* Makes the folder. ERR_USAGE when it holds something else, or an interrupted run of other tokens or another source. Hooks
 * count layers. */
int calibrate_run(const struct model *m, const struct calibrate_options *o, const char *folder, const struct stream_hooks *hooks,
                  struct calibrate_result *r, struct error *e);

#endif
