/* SPDX-License-Identifier: MIT
 * Alone: a third pass with the base's weights, a stream for each model of which only one part is the candidate's. Such a model is the
 * base up to its part: its stream begins behind it, with what the candidate's layer makes of the base's states, which is the
 * candidate's second stream. Behind layer l that leaves l + 1 of them, half of all layers on the average. */
#include <stdlib.h>
#include <string.h>

#include "verify/walk.h"

/* Tiles of one stream. */
static size_t tiles_of(const struct walk *w)
{
    return w->c->alone_chunks * w->any->tiles_per_chunk;
}

/* The first chunks of one pass's hidden states to another's. */
static void copy_states(const struct walk *w, struct forward *to, size_t to_tile, const struct forward *from, size_t from_tile)
{
    memcpy(panel_row(&to->hidden, to_tile, 0), panel_row(&from->hidden, from_tile, 0), tiles_of(w) * to->hidden.rows * LANES * sizeof(float));
}

int alone_start(struct walk *w, const struct model *base, struct error *e)
{
    const struct forward_tokens t = {w->tokens, w->c->alone_chunks, w->c->ctx};
    const struct forward_options o = {w->o->threads, w->c->n_layers + 1, w->o->group_routing, &w->store, .rounding = w->o->base,
                                      .stop = w->hooks->stop, .stop_context = w->hooks->context};
    if (!w->c->alone_chunks)
        return 0;
    if (!(w->alone = forward_new(base, &t, &o, e)))
        return -1;
    copy_states(w, w->alone, 0, w->cand, 0); /* the candidate's embeddings */
    forward_set_streams(w->alone, 1);
    return 0;
}

void alone_add(struct walk *w, size_t layer)
{
    copy_states(w, w->alone, (layer + 1) * tiles_of(w), w->cand, w->base->tiles);
    forward_set_streams(w->alone, layer + 2);
}

/* Divergences of one chunk, of every part. */
static int score_chunk(struct walk *w, const struct head_side *sides, size_t chunk, struct position *positions, uint32_t *places, struct error *e)
{
    struct alone_sums *sums = w->c->alone_sums + chunk * w->c->n_parts;
    struct head_list list = {places, 0};
    for (size_t i = walk_first_scored(w); i + 1 < w->c->ctx; i++)
        places[list.n++] = walk_place(w, chunk, i);
    for (size_t i = 0; i < list.n * w->c->n_parts; i++)
        positions[i] = (struct position){.target = -1};
    if (head_run(&(struct head_side){w->base, 0}, sides, w->c->n_parts, ROLE_OUTPUT_NORM, -1, &list, positions, e))
        return -1;
    for (size_t p = 0; p < w->c->n_parts; p++)
        for (size_t i = 0; i < list.n; i++) {
            const double kld = position_kld(&positions[p * list.n + i]);
            sums[p].kld += kld;
            sums[p].kld2 += kld * kld;
        }
    return 0;
}

int alone_scores(struct walk *w, struct error *e)
{
    const size_t n = w->c->n_parts;
    struct head_side *sides = calloc(n + 1, sizeof *sides);
    struct position *positions = calloc(n * w->c->ctx + 1, sizeof *positions);
    uint32_t *places = calloc(w->c->ctx + 1, sizeof *places);
    int rc = sides && positions && places ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the scores");
    if (!rc) {
        copy_states(w, w->cand, w->base->tiles, w->base, 0); /* the base's states under the candidate's head */
        for (size_t p = 0; p + 1 < n; p++)
            sides[p] = (struct head_side){w->alone, p * tiles_of(w)};
        sides[n - 1] = (struct head_side){w->cand, w->base->tiles};
    }
    for (size_t chunk = 0; !rc && chunk < w->c->alone_chunks; chunk++)
        rc = score_chunk(w, sides, chunk, positions, places, e);
    free(sides);
    free(positions);
    free(places);
    return rc;
}
