/* SPDX-License-Identifier: MIT
 * A manifest without its last line gets the right one, for tests and fuzz targets whose inputs are made by hand. */
#ifndef PARE_TESTS_SEAL_H
#define PARE_TESTS_SEAL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* malloc'd; *n becomes its size. */
static inline char *manifest_sealed(const void *text, size_t *n)
{
    char hash[HASH_TEXT], *sealed = malloc(*n + 100);
    struct hash *h = hash_new();
    if (!sealed || !h)
        abort();
    hash_add(h, text, *n);
    hash_finish(h, hash);
    memcpy(sealed, text, *n);
    *n += (size_t)snprintf(sealed + *n, 100, ",\n\t\"manifest_xxh3_128\":\t\"%s\"\n}\n", hash);
    return sealed;
}

#endif
