/* SPDX-License-Identifier: MIT
 * Panels: activations of many tokens, laid out for SIMD across tokens.
 *
 * Tokens come in tiles of LANES. A tile holds all rows (features) of its tokens, one row after the other:
 *
 *   tile t, row r:  data[(t * rows + r) * LANES + lane]     lane: the token within its tile
 *
 * so that one feature of 64 tokens is one run of memory. Operations that treat tokens independently are loops over lanes,
 * which vectorize without changing a bit: a token never meets another token's numbers in a sum. */
#ifndef PARE_MODEL_FORWARD_PANELS_H
#define PARE_MODEL_FORWARD_PANELS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { LANES = 64 };

struct panels {
    float *data;
    size_t tiles, rows;
    size_t last_lanes; /* lanes in use of the last tile, a multiple of 16; 0: all */
    size_t mapped;     /* bytes when backed by a scratch file, else 0 */
    size_t bytes;      /* of memory, else 0 */
};

enum { PANELS_KEPT = 8 };
/* Where activations live: in memory while they fit `room`, in unlinked files of the folder `scratch` beyond. */
struct panel_store {
    uint64_t room;       /* bytes left for memory */
    const char *scratch; /* a folder */
    uint64_t spilled;    /* bytes in files so far, for the report */
    int threads;         /* that zero large ones; 0: the caller's alone */
    int keeps;           /* memory that is given back is kept for the next panels of its size, as long as there is room; ends with
                            panel_store_clear */
    struct {
        void *data;
        size_t bytes;    /* part of what room lacks */
    } kept[PANELS_KEPT];
};
/* Frees what is kept. */
void panel_store_clear(struct panel_store *store);

/* Zeroed panels. ERR_MEMORY or ERR_IO. */
int panels_init(struct panels *p, struct panel_store *store, size_t tiles, size_t rows, struct error *e);
/* Gives memory back to the store; safe on zeroed panels. */
void panels_clear(struct panels *p, struct panel_store *store);

/* Row r of tile t: LANES floats. */
static inline float *panel_row(const struct panels *p, size_t tile, size_t row)
{
    return p->data + (tile * p->rows + row) * LANES;
}

/* Tells the system that spilled panels will not be used for a while, so that they leave memory. */
void panels_rest(const struct panels *p);

#endif
