/* SPDX-License-Identifier: MIT
 * Error feedback for the workers of a conversion: the curvature of the matrix that they are at, made once and shared. There is one at
 * a time: a worker that is through with a matrix waits until the others are, too. */
#ifndef PARE_CONVERT_FEEDBACK_FEEDBACK_H
#define PARE_CONVERT_FEEDBACK_FEEDBACK_H

#include <pthread.h>

#include "convert/feedback/hessian.h"

struct feedback_options {
    struct hessian_options hessian;
    struct sweep_options sweep;
};

/* "XXH3-128 .., 4 chunks of 512 tokens, damping 0.03, blend 0.25, 2 passes, order importance": all that decides bytes, for identity and
 * manifest. Returns out. */
enum { FEEDBACK_TEXT = 260 };
const char *feedback_text(const struct calibration *cal, const struct feedback_options *o, char out[FEEDBACK_TEXT]);

struct feedback {
    const struct calibration *cal; /* borrowed */
    struct feedback_options o;
    int threads;
    pthread_mutex_t lock;
    pthread_cond_t free;
    struct feedback_key {
        enum input input;
        int layer;
        uint64_t slab;
        enum column_order order;
    } key;                         /* of what is held; INPUT_NONE: nothing */
    int users, making, without;    /* without: there are no data */
    struct curvature curvature;
};

void feedback_init(struct feedback *f, const struct calibration *cal, const struct feedback_options *o, int threads);
void feedback_clear(struct feedback *f);

/* Whether rows of this weight in this type go through error feedback: there is no calibration of MTP layers. */
int feedback_applies(const struct calibration *cal, const struct weight *w, const struct quant_type *type);

/* The order of columns for a type with a struct best. */
enum column_order feedback_order(const struct feedback *f, const struct quant_type *type);

/* The curvature of a matrix that gets this type and whose columns were changed so, made when nobody has it yet; to be given back with
 * feedback_put. 0, 1 without data (nothing is to be given back), or -1. ORDER_BY_TYPE: blocks with one scale take columns by importance;
 * superblocks, whose scales are worth more when they are chosen late, as they lie. */
int feedback_get(struct feedback *f, const struct weight *w, const struct quant_type *type, uint64_t slab, const struct column_change *change,
                 const struct curvature **c, struct error *e);
void feedback_put(struct feedback *f);

#endif
