/* SPDX-License-Identifier: MIT
 * A sweeper's insides, shared between sweep.c and refit.c only. */
#ifndef PARE_CONVERT_FEEDBACK_SWEEP_PARTS_H
#define PARE_CONVERT_FEEDBACK_SWEEP_PARTS_H

#include "convert/feedback/columns.h"
#include "convert/feedback/sweep.h"
#include "quant/best.h"

enum { CHUNK_MOST = 256 };

struct sweeper {
    const struct quant_type *type;
    const struct best *best;
    struct quant_kernels kernels;
    const struct panel_kernels *panels;
    const struct columns *columns;
    gemm_fn *gemm;
    struct sweep_options o;
    size_t n, len, blocks; /* columns; of a block; blocks of a row */
    /* of LANES rows, all [columns][LANES] */
    float *w, *e, *code;   /* weights; w less what is stored; codes from 0 upwards */
    float *sorted;         /* e in the order of the sweep */
    float *t;              /* [chunk]: targets, or gradients e H */
    struct super *super;   /* [blocks][LANES] */
    float *step, *offset;  /* [groups of a row][LANES] */
    /* of a block of LANES rows, row after row */
    float *x, *importance; /* [LANES][len] */
    uint8_t *found;        /* [LANES][block_bytes] */
    float *v[2], *hv[2];   /* [chunk][LANES], for refits: directions, and H times them; v[0] also changes of codes */
};

/* Columns whose errors meet within one step: a superblock, or a panel's worth of smaller blocks. */
struct chunk {
    size_t first, n;
};

static inline size_t group_of(const struct sweeper *s, size_t col)
{
    return col / (size_t)s->best->form.len;
}

/* Steps and offsets of a block's groups, as its supers have them. */
void sweep_take_steps(struct sweeper *s, size_t block);

/* Better units and scales for the blocks of a chunk, all codes fixed; s->t holds the chunk's gradients and follows, as s->e does. */
void refit_chunk(struct sweeper *s, const struct curvature *c, const struct chunk *at);

#endif
