/* SPDX-License-Identifier: MIT
 * XXH3-128 of byte streams (xxHash), and zlib's CRC-32 for readers that have nothing else. They find accidents, they do not stop
 * attackers. */
#ifndef PARE_BASE_HASH_H
#define PARE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/io.h"

enum { HASH_TEXT = 33 };

struct hash; /* a running XXH3-128 */

/* NULL when out of memory. One hash is used by one thread at a time. */
struct hash *hash_new(void);
void hash_add(struct hash *h, const void *bytes, size_t n);
/* 32 lower-case hex digits, most significant first, as `xxhsum -H2` prints. Frees h. */
void hash_finish(struct hash *h, char out[HASH_TEXT]);
/* The same as two halves of the 128-bit number. */
void hash_finish_128(struct hash *h, uint64_t *high, uint64_t *low);
void hash_text(uint64_t high, uint64_t low, char out[HASH_TEXT]);
/* Frees without a result; NULL is allowed. */
void hash_free(struct hash *h);

/* XXH3-128 of n bytes of a file at `at`. Thread-safe. */
int hash_range(const struct io_file *f, uint64_t at, uint64_t n, char out[HASH_TEXT], struct error *e);

/* XXH3-64 of a piece of memory. */
uint64_t hash_64(const void *bytes, size_t n, uint64_t seed);

/* CRC-32 (zlib's, gzip's, Python's zlib.crc32) of what gave `crc` and n bytes more; of the first ones crc is 0. */
uint32_t hash_crc32(uint32_t crc, const void *bytes, size_t n);
/* Of what `first` is of and behind it n bytes that `then` is of. */
uint32_t hash_crc32_combine(uint32_t first, uint32_t then, uint64_t n);

#endif
