/* SPDX-License-Identifier: MIT
 * Arena: memory for metadata (names, shapes, token texts) that lives and dies with its owner. */
#ifndef PARE_BASE_ARENA_H
#define PARE_BASE_ARENA_H

#include <stddef.h>

struct arena_block;
struct arena {
    struct arena_block *head; /* newest block first; NULL: nothing allocated yet */
};

/* A zeroed struct arena is empty and ready. All pointers from it are valid until arena_clear. Not thread-safe. */

/* Zeroed memory, aligned for any type; NULL when out of memory. size 0 gives a valid pointer. */
void *arena_alloc(struct arena *a, size_t size);

/* Zeroed array; NULL when out of memory or when count * size overflows. */
void *arena_array(struct arena *a, size_t count, size_t size);

/* Terminated copy of n bytes; NULL when out of memory. */
char *arena_copy(struct arena *a, const char *s, size_t n);

/* Frees everything. The arena is empty and ready again. */
void arena_clear(struct arena *a);

#endif
