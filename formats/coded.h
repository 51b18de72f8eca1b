/* SPDX-License-Identifier: MIT
 * Tensors of packs whose bytes are entropy coded (base/coding.h), in chunks that are decoded each by itself:
 *
 *   u32 little endian [count]   bytes of each chunk as stored
 *   the chunks                  behind one another; each stands for `chunk` bytes of the tensor, the last for the rest
 *
 * Chunks that were decoded last are kept, CODED_SLOTS of them per source, since rows are read in pieces. */
#ifndef PARE_FORMATS_CODED_H
#define PARE_FORMATS_CODED_H

#include "formats/source.h"

enum { CODED_SLOTS = 8, CODED_CHUNK_MAX = 64 << 20 };

struct coded {
    uint64_t chunk, count;
    const uint64_t *at; /* [count + 1] places in the file */
};

/* Bytes of the table of sizes. */
uint64_t coded_table_bytes(uint64_t count);

/* For the readers: sets t->coded of a tensor of t->bytes, whose table lies at t->offset and takes, with the chunks, `stored` bytes (checked
 * to lie in the file). ERR_FORMAT for chunk and count that do not fit t->bytes, and for a table that does not add up. */
int coded_open(struct source *s, struct tensor *t, uint64_t chunk, uint64_t count, uint64_t stored, struct error *e);

/* Reads n bytes at `at` of what the tensor stands for; at + n <= t->bytes is the caller's duty. Thread-safe. */
int coded_read(const struct source *s, const struct tensor *t, uint64_t at, void *buf, size_t n, struct error *e);

/* Bytes that it takes in the file, table and all. */
uint64_t coded_stored(const struct tensor *t);

/* The stored bytes behind n bytes at `at`. */
void coded_range(const struct tensor *t, uint64_t at, uint64_t n, uint64_t *from, uint64_t *to);

/* Bytes that reading coded tensors takes at most with so many threads, for plans; 0 of sources without any. */
uint64_t coded_memory(const struct source *s, int threads);

void coded_cache_free(struct coded_cache *c); /* NULL is allowed */

#endif
