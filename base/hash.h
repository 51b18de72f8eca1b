/* SPDX-License-Identifier: MIT
 * XXH3-128 of byte streams (xxHash). It finds accidents, it does not stop attackers. */
#ifndef PARE_BASE_HASH_H
#define PARE_BASE_HASH_H

#include <stddef.h>

enum { HASH_TEXT = 33 };

struct hash; /* a running XXH3-128 */

/* NULL when out of memory. One hash is used by one thread at a time. */
struct hash *hash_new(void);
void hash_add(struct hash *h, const void *bytes, size_t n);
/* 32 lower-case hex digits, most significant first, as `xxhsum -H2` prints. Frees h. */
void hash_finish(struct hash *h, char out[HASH_TEXT]);
/* Frees without a result; NULL is allowed. */
void hash_free(struct hash *h);

#endif
