/* SPDX-License-Identifier: MIT
 * Encoder: from the weights of a unit to the bytes of its outputs. One encoder for a run, shared by its workers; buffers per worker. */
#ifndef PARE_CONVERT_ENCODE_H
#define PARE_CONVERT_ENCODE_H

#include "convert/feedback/feedback.h"
#include "convert/feedback/sweep.h"
#include "convert/fold.h"
#include "convert/plan.h"
#include "convert/unit.h"

/* What scales that are powers of two cost: sums of squares of the weights, of what is off, and of what would be with F32 scales. */
struct scale_cost {
    double size, error, error_f32;
};

struct encoder {
    const struct plan *plan;
    unsigned cpu;
    struct fold *fold;        /* or NULL */
    struct feedback own, *feedback; /* when the plan has a calibration; NULL: it has none */
};

struct encode_buffers {
    float *floats;   /* what was read: the caller fills it, slice by slice */
    void *scratch;   /* for reading */
    uint8_t *encoded; /* the unit's outputs, behind one another */
    float *turned, *folded, *importance;
    uint8_t *blocks;         /* of a slice, before they become parts */
    float global;            /* NVFP4's second scale, of the unit's matrix */
    struct sweeper *sweeper; /* of the last type and row length under error feedback */
    const struct quant_type *swept;
    uint64_t swept_cols;
    struct scale_cost cost;  /* of the units encoded with these buffers */
    uint64_t carried, not_carried; /* their blocks that the output's type could hold without loss (convert/lossless.h): did, or did not */
    float *compared;         /* with such scales: a slice as it decodes, and one with other scales before that */
    uint8_t *other;
};

/* shared: curvatures of another encoder, of the same calibration and options; NULL: it makes its own. */
int encoder_init(struct encoder *c, const struct plan *p, struct feedback *shared, struct error *e);
void encoder_clear(struct encoder *c); /* safe after a failed init */

/* 0, or -1 without memory. Clear it in either case. */
int encode_buffers_init(struct encode_buffers *b, const struct unit_room *room);
void encode_buffers_clear(struct encode_buffers *b);

/* Before the first slice of a unit: what all of its weights must be known for (NVFP4's global scale). Reads them, and uses b->floats. */
int encode_begin(struct encoder *c, struct encode_buffers *b, const struct unit *u, struct error *e);

/* Encodes a slice (convert/unit.h: unit_slice; the unit itself where it has one) whose weights are in b->floats into b->encoded. `seen` is
 * what reading said; its ranges are still valid. ERR_FORMAT for weights that do not fit the type. Thread-safe for different buffers. */
int encode_slice(struct encoder *c, struct encode_buffers *b, const struct unit *u, const struct unit *slice, const struct weight_seen *seen,
                 struct error *e);

/* What rows of one matrix (`slice` says which; t is of any plan with the encoder's options) become in t's type and are when they are read
 * again: x and y [rows][cols]. b has room for such a slice. NVFP4's scale of the whole matrix is made from these rows. */
int encode_try(struct encoder *c, struct encode_buffers *b, const struct plan_tensor *t, const struct unit *slice, const struct weight_seen *seen,
               const float *x, float *y, struct error *e);

/* Encoders that share curvatures, of one unit after the other: whether, and in which order of columns (enum column_order), a unit goes through
 * error feedback, else -1. Those of one order hold the curvature from the first to the last, so that no other is made between: 0, and then
 * encode_release is due, 1 when there is none, or -1. */
int encode_order(const struct encoder *c, const struct unit *u);
int encode_hold(struct encoder *c, const struct unit *u, struct error *e);
void encode_release(struct encoder *c);

#endif
