/* SPDX-License-Identifier: MIT
 * XXH3-128: a thin layer over xxHash that fixes the textual form. */
#include "base/hash.h"

#include <stdint.h>
#include <stdio.h>
#include <xxhash.h>

struct hash *hash_new(void)
{
    XXH3_state_t *s = XXH3_createState();
    if (s)
        XXH3_128bits_reset(s);
    return (struct hash *)s;
}

void hash_add(struct hash *h, const void *bytes, size_t n)
{
    XXH3_128bits_update((XXH3_state_t *)h, bytes, n);
}

void hash_finish(struct hash *h, char out[HASH_TEXT])
{
    XXH128_hash_t v = XXH3_128bits_digest((XXH3_state_t *)h);
    snprintf(out, HASH_TEXT, "%016llx%016llx", (unsigned long long)v.high64,
             (unsigned long long)v.low64);
    hash_free(h);
}

void hash_free(struct hash *h)
{
    XXH3_freeState((XXH3_state_t *)h);
}
