/* SPDX-License-Identifier: MIT
 * Entropy coded tensors: their tables, and a cache of decoded chunks. */
#include "formats/coded.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/coding.h"

struct slot {
    const struct coded *coded;   /* whose; NULL: nothing is in it */
    uint64_t chunk, used;        /* used: when it was wanted last */
    int busy;                    /* a thread is filling it */
    uint8_t *bytes;              /* room for `room` */
    size_t room;
};

struct coded_cache {
    pthread_mutex_t lock;
    uint64_t clock;
    struct slot slots[CODED_SLOTS];
};

uint64_t coded_table_bytes(uint64_t count)
{
    return count * sizeof(uint32_t);
}

static struct coded_cache *cache_new(void)
{
    struct coded_cache *c = calloc(1, sizeof *c);
    if (c)
        pthread_mutex_init(&c->lock, NULL);
    return c;
}

void coded_cache_free(struct coded_cache *c)
{
    if (!c)
        return;
    for (int i = 0; i < CODED_SLOTS; i++)
        free(c->slots[i].bytes);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

static int damaged(const struct source *s, const struct tensor *t, uint64_t at, const char *what, struct error *e)
{
    error_set(e, ERR_FORMAT, at, "%s", what);
    error_at_file(e, s->files[t->file].path);
    return error_at_tensor(e, t->name);
}

/* Places of the chunks, from the table. */
static int read_table(const struct source *s, const struct tensor *t, uint64_t count, uint64_t stored, uint64_t *at, struct error *e)
{
    uint8_t sizes[4096];
    const uint64_t end = t->offset + stored;
    at[0] = t->offset + coded_table_bytes(count);
    for (uint64_t i = 0; i < count;) {
        uint64_t n = count - i < sizeof sizes / 4 ? count - i : sizeof sizes / 4;
        if (io_read(&s->files[t->file], t->offset + 4 * i, sizes, (size_t)(4 * n), e))
            return error_at_tensor(e, t->name);
        for (uint64_t k = 0; k < n; k++, i++) {
            const uint8_t *b = sizes + 4 * k;
            uint64_t size = b[0] | (uint64_t)b[1] << 8 | (uint64_t)b[2] << 16 | (uint64_t)b[3] << 24;
            if (size > end - at[i])
                return damaged(s, t, t->offset + 4 * i, "a coded chunk reaches behind the tensor's end", e);
            at[i + 1] = at[i] + size;
        }
    }
    return at[count] == end ? 0 : damaged(s, t, t->offset, "the coded chunks do not fill the tensor's place", e);
}

int coded_open(struct source *s, struct tensor *t, uint64_t chunk, uint64_t count, uint64_t stored, struct error *e)
{
    if (!chunk || chunk > CODED_CHUNK_MAX || count != (t->bytes + chunk - 1) / chunk || coded_table_bytes(count) > stored)
        return damaged(s, t, t->offset, "chunks that do not fit the tensor's size", e);
    if (!s->coded && !(s->coded = cache_new()))
        return no_memory(e);
    struct coded *c = arena_alloc(&s->arena, sizeof *c);
    uint64_t *at = arena_array(&s->arena, (size_t)count + 1, sizeof *at);
    if (!c || !at)
        return no_memory(e);
    *c = (struct coded){chunk, count, at};
    t->coded = c;
    return read_table(s, t, count, stored, at, e);
}

static int decode(const struct source *s, const struct tensor *t, uint64_t chunk, uint8_t *out, struct error *e)
{
    const struct coded *c = t->coded;
    const uint64_t left = t->bytes - chunk * c->chunk;
    const size_t stored = (size_t)(c->at[chunk + 1] - c->at[chunk]), n = (size_t)(left < c->chunk ? left : c->chunk);
    uint8_t *bytes = malloc(stored + 1);
    int rc = bytes ? io_read(&s->files[t->file], c->at[chunk], bytes, stored, e) : no_memory(e);
    if (!rc && coding_decode(bytes, stored, out, n, e)) {
        rc = -1;
        if (e && e->code == ERR_FORMAT)
            damaged(s, t, c->at[chunk], "a coded chunk is damaged", e);
    }
    free(bytes);
    return rc ? error_at_tensor(e, t->name) : 0;
}

/* Under the lock: the slot with this chunk, or the one that was wanted least lately; NULL when all are busy. *found tells which. */
static struct slot *look(struct coded_cache *c, const struct tensor *t, uint64_t chunk, int *found)
{
    struct slot *oldest = NULL;
    for (int i = 0; i < CODED_SLOTS; i++) {
        struct slot *s = &c->slots[i];
        if (s->busy)
            continue;
        if (s->coded == t->coded && s->chunk == chunk) {
            *found = 1;
            return s;
        }
        oldest = !oldest || s->used < oldest->used ? s : oldest;
    }
    *found = 0;
    return oldest;
}

/* Makes the slot, which is this thread's alone while it is busy, hold the chunk. */
static int fill(const struct source *s, const struct tensor *t, uint64_t chunk, struct slot *slot, struct error *e)
{
    if (slot->room < t->coded->chunk) {
        free(slot->bytes);
        slot->room = 0;
        if (!(slot->bytes = malloc((size_t)t->coded->chunk)))
            return no_memory(e);
        slot->room = (size_t)t->coded->chunk;
    }
    return decode(s, t, chunk, slot->bytes, e);
}

/* Bytes [at, at + n) of one chunk. */
static int read_chunk(const struct source *s, const struct tensor *t, uint64_t chunk, uint64_t at, uint8_t *out, size_t n, struct error *e)
{
    struct coded_cache *c = s->coded;
    struct slot own = {.busy = 1}, *slot;
    int found, rc = 0;
    pthread_mutex_lock(&c->lock);
    slot = look(c, t, chunk, &found);
    if (found) {
        slot->used = ++c->clock;
        memcpy(out, slot->bytes + at, n);
        pthread_mutex_unlock(&c->lock);
        return 0;
    }
    slot = slot ? slot : &own;
    slot->coded = NULL;
    slot->busy = 1;
    pthread_mutex_unlock(&c->lock);
    rc = fill(s, t, chunk, slot, e);
    if (!rc)
        memcpy(out, slot->bytes + at, n);
    pthread_mutex_lock(&c->lock);
    slot->busy = 0;
    slot->coded = rc ? NULL : t->coded;
    slot->chunk = chunk;
    slot->used = ++c->clock;
    pthread_mutex_unlock(&c->lock);
    if (slot == &own)
        free(own.bytes);
    return rc;
}

int coded_read(const struct source *s, const struct tensor *t, uint64_t at, void *buf, size_t n, struct error *e)
{
    const uint64_t size = t->coded->chunk;
    uint8_t *out = buf;
    while (n) {
        uint64_t chunk = at / size, within = at % size;
        size_t piece = size - within < n ? (size_t)(size - within) : n;
        /* a whole chunk is decoded where it is wanted */
        int whole = !within && (piece == size || at + piece == t->bytes);
        if (whole ? decode(s, t, chunk, out, e) : read_chunk(s, t, chunk, within, out, piece, e))
            return -1;
        out += piece;
        at += piece;
        n -= piece;
    }
    return 0;
}

uint64_t coded_stored(const struct tensor *t)
{
    return t->coded->at[t->coded->count] - t->offset;
}

uint64_t coded_memory(const struct source *s, int threads)
{
    uint64_t chunk = 0;
    for (size_t i = 0; i < s->n_tensors; i++)
        if (s->tensors[i].coded && s->tensors[i].coded->chunk > chunk)
            chunk = s->tensors[i].coded->chunk;
    /* slots, and of each thread what is stored, what the codec works in, and a slot of its own */
    return (CODED_SLOTS + 3 * (uint64_t)threads) * chunk;
}

void coded_range(const struct tensor *t, uint64_t at, uint64_t n, uint64_t *from, uint64_t *to)
{
    const struct coded *c = t->coded;
    *from = c->at[at / c->chunk < c->count ? at / c->chunk : c->count];
    *to = n ? c->at[(at + n - 1) / c->chunk + 1] : *from;
}
