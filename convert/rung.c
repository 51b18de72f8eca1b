/* SPDX-License-Identifier: MIT
 * Rungs: storing, reading back and hashing of units. */
#include "convert/rung.h"

#include <stdlib.h>
#include <string.h>

#include "base/coding.h"

int rung_buffers_init(struct rung_buffers *b, const struct plan *p, const struct unit_room *room)
{
    b->coded = p->options.compress ? malloc(coding_bound(room->encoded)) : NULL;
    int rc = encode_buffers_init(&b->b, room);
    return rc || (p->options.compress && !b->coded) ? -1 : 0;
}

void rung_buffers_clear(struct rung_buffers *b)
{
    encode_buffers_clear(&b->b);
    free(b->coded);
    b->coded = NULL;
}

static int write_bytes(struct outputs *o, size_t tensor, uint64_t at, uint8_t *bytes, size_t n, struct error *e)
{
    return outputs_write(o, tensor, at, bytes, n, e);
}

static int read_bytes(struct outputs *o, size_t tensor, uint64_t at, uint8_t *bytes, size_t n, struct error *e)
{
    return outputs_read(o, tensor, at, bytes, n, e);
}

/* Moves a unit's stored bytes to or from the output files. */
static int transfer(const struct rung *g, const struct unit *u, const struct passage *w,
                    int (*move)(struct outputs *, size_t, uint64_t, uint8_t *, size_t, struct error *), struct error *e)
{
    struct unit_output out[UNIT_OUTPUTS];
    uint8_t *bytes = w->stored.bytes;
    if (g->plan->options.compress)
        return move(g->out, u->tensor, w->stored.at, bytes, (size_t)w->stored.size, e);
    int n = unit_outputs(g->plan, u, out), rc = 0;
    for (int i = 0; !rc && i < n; i++) {
        rc = out[i].bytes ? move(g->out, out[i].tensor, out[i].at, bytes, (size_t)out[i].bytes, e) : 0;
        bytes += out[i].bytes;
    }
    return rc;
}

/* ---- hashes */

static size_t source_index(const struct rung *g, const struct tensor *t)
{
    return (size_t)(t - g->plan->model->source->tensors);
}

static int check_expected(const struct rung *g, size_t source, struct error *e)
{
    const struct chain *c = &g->state->source.list[source];
    const struct tensor *t = &g->plan->model->source->tensors[source];
    char is[HASH_TEXT];
    if (!g->state->expected || !g->state->expected[source][0])
        return 0;
    hash_text(c->high, c->low, is);
    if (!strcmp(is, g->state->expected[source]))
        return 0;
    error_set(e, ERR_FORMAT, t->offset, "the tensor's bytes are not those of its hash, which the source's manifest or an earlier run recorded");
    error_at_file(e, g->plan->model->source->files[t->file].path);
    return error_at_tensor(e, t->name);
}

static void add_record(struct passage *w, const struct journal_record *record)
{
    w->records[w->n_records++] = *record;
}

/* Of all slices of a unit only one completes a tensor's hash. */
int rung_source(const struct rung *g, const struct weight_seen *seen, struct passage *w, struct error *e)
{
    for (int i = 0; i < seen->n; i++) {
        const struct weight_range *range = &seen->ranges[i];
        if (range->shared) /* comes out of order: has no hash */
            continue;
        size_t source = source_index(g, range->tensor);
        const struct chain *c = &g->state->source.list[source];
        int rc = chain_feed(&g->state->source, source, range->at, range->bytes, range->n, e);
        if (rc < 0 || (rc && check_expected(g, source, e)))
            return -1;
        if (rc)
            add_record(w, &(struct journal_record){JOURNAL_SOURCE, source, c->high, c->low, 0});
    }
    return 0;
}

static int feed_output(const struct rung *g, const struct rung_buffers *b, const struct unit *u, struct passage *w, struct error *e)
{
    struct unit_output out[UNIT_OUTPUTS];
    const uint8_t *bytes = b->b.encoded;
    for (int i = 0, n = unit_outputs(g->plan, u, out); i < n; bytes += out[i++].bytes) {
        const struct chain *c = &g->state->output.list[out[i].tensor];
        const int coded = g->plan->tensors[out[i].tensor].coded;
        int rc = !out[i].bytes ? 0 : chain_feed_stored(&g->state->output, out[i].tensor, out[i].at, bytes, out[i].bytes,
                                                       coded ? w->stored.bytes : NULL, (size_t)w->stored.size, e);
        if (rc < 0)
            return -1;
        if (rc)
            add_record(w, &(struct journal_record){JOURNAL_OUTPUT, out[i].tensor, c->high, c->low, c->crc});
    }
    return 0;
}

/* Whether hashes still lack this unit's bytes. */
static void look_at_hashes(const struct rung *g, const struct unit *u, struct passage *w)
{
    struct unit_output out[UNIT_OUTPUTS];
    struct weight_range r[WEIGHT_RANGES];
    for (int i = 0, n = unit_outputs(g->plan, u, out); i < n; i++)
        w->hashes |= out[i].bytes && !g->state->output.list[out[i].tensor].done;
    for (int i = 0, n = unit_ranges(g->plan, u, r); i < n; i++)
        w->source |= !r[i].shared && !g->state->source.list[source_index(g, r[i].tensor)].done;
    w->hashes |= w->source;
}

/* ---- entropy coding */

static int is_coded(const struct rung *g, const struct unit *u)
{
    return g->plan->tensors[u->tensor].coded;
}

/* Bytes of the numbers that a tensor of the output consists of. */
static unsigned element_bytes(const struct tensor *t)
{
    return t->type->block_len == 1 && t->type->block_bytes <= 4 ? t->type->block_bytes : 1;
}

static int code(const struct rung *g, struct rung_buffers *b, const struct unit *u, struct passage *w, struct error *e)
{
    size_t size = (size_t)w->bytes;
    w->stored.bytes = b->b.encoded;
    if (is_coded(g, u)) {
        w->stored.bytes = b->coded;
        if (coding_encode(b->b.encoded, (size_t)w->bytes, element_bytes(&g->plan->tensors[u->tensor].out), b->coded, &size, e))
            return -1;
    }
    w->stored.size = size;
    return 0;
}

/* Waits for the unit's turn. */
static int take_place(const struct rung *g, const struct unit *u, struct passage *w)
{
    return g->plan->options.compress ? places_take(&g->state->places, u->number, w->stored.size, &w->stored.at) : 0;
}

/* ---- units */

static uint64_t durable_size(const struct rung *g, const struct unit *u, const struct passage *w)
{
    return g->plan->options.compress ? g->state->places.size[u->number] : w->bytes;
}

/* A unit that is on the disk already: 1 when its bytes are there (now in b->b.encoded) and 0 when they are not what the
 * journal says. */
static int read_back(const struct rung *g, struct rung_buffers *b, const struct unit *u, struct passage *w, struct error *e)
{
    w->stored.bytes = is_coded(g, u) ? b->coded : b->b.encoded;
    if (transfer(g, u, w, read_bytes, e))
        return -1;
    if (hash_64(w->stored.bytes, (size_t)w->stored.size, 0) != g->state->unit_hash[u->number])
        return 0;
    return !is_coded(g, u) || !coding_decode(w->stored.bytes, (size_t)w->stored.size, b->b.encoded, (size_t)w->bytes, NULL);
}

int rung_begin(const struct rung *g, struct rung_buffers *b, const struct unit *u, struct passage *w, struct error *e)
{
    struct unit_output out[UNIT_OUTPUTS];
    *w = (struct passage){.bytes = unit_bytes(out, unit_outputs(g->plan, u, out)), .kept = g->state->done[u->number]};
    look_at_hashes(g, u, w);
    w->encode = !w->kept;
    if (!w->kept)
        return 0;
    w->stored.size = durable_size(g, u, w);
    if (take_place(g, u, w))
        return -1;
    if (w->hashes && (w->kept = read_back(g, b, u, w, e)) < 0)
        return -1;
    w->encode = !w->kept;
    return 0;
}

/* What was damaged is stored again in its old place. */
static int store(const struct rung *g, struct rung_buffers *b, const struct unit *u, struct passage *w, struct error *e)
{
    const int again = g->state->done[u->number];
    const uint64_t was = w->stored.size;
    if (code(g, b, u, w, e) || (!again && take_place(g, u, w)))
        return -1;
    if (again && w->stored.size != was)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "entropy coding gave another size than in the interrupted run (--restart throws it away)");
    return transfer(g, u, w, write_bytes, e);
}

int rung_end(const struct rung *g, struct rung_buffers *b, const struct unit *u, struct passage *w, struct error *e)
{
    if (w->encode) {
        if (store(g, b, u, w, e))
            return -1;
        add_record(w, &(struct journal_record){JOURNAL_UNIT, u->number, w->stored.size, hash_64(w->stored.bytes, (size_t)w->stored.size, 0), 0});
    }
    if ((w->encode || w->hashes) && feed_output(g, b, u, w, e))
        return -1;
    return w->n_records ? keeper_add(g->keeper, w->records, w->n_records, e) : 0;
}

void rung_stop(const struct rung *g)
{
    chains_stop(&g->state->output);
    chains_stop(&g->state->source);
    places_stop(&g->state->places);
}
