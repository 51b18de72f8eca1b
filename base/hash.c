/* SPDX-License-Identifier: MIT
 * XXH3-128: a thin layer over xxHash that fixes the textual form; and zlib's CRC-32. */
#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>
#include <zlib.h>

enum { CHUNK = 1 << 22 };

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

void hash_finish_128(struct hash *h, uint64_t *high, uint64_t *low)
{
    XXH128_hash_t v = XXH3_128bits_digest((XXH3_state_t *)h);
    *high = v.high64;
    *low = v.low64;
    hash_free(h);
}

void hash_text(uint64_t high, uint64_t low, char out[HASH_TEXT])
{
    snprintf(out, HASH_TEXT, "%016" PRIx64 "%016" PRIx64, high, low);
}

void hash_finish(struct hash *h, char out[HASH_TEXT])
{
    uint64_t high, low;
    hash_finish_128(h, &high, &low);
    hash_text(high, low, out);
}

void hash_free(struct hash *h)
{
    XXH3_freeState((XXH3_state_t *)h);
}

int hash_range(const struct io_file *f, uint64_t at, uint64_t n, char out[HASH_TEXT], struct error *e)
{
    struct hash *h = hash_new();
    void *buf = malloc(n < CHUNK ? (size_t)n + 1 : CHUNK);
    int rc = h && buf ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    while (!rc && n) {
        size_t part = n < CHUNK ? (size_t)n : CHUNK;
        rc = io_read(f, at, buf, part, e);
        if (!rc)
            hash_add(h, buf, part);
        at += part;
        n -= part;
    }
    free(buf);
    if (rc)
        hash_free(h);
    else
        hash_finish(h, out);
    return rc;
}

uint64_t hash_64(const void *bytes, size_t n, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, n, seed);
}

uint32_t hash_crc32(uint32_t crc, const void *bytes, size_t n)
{
    return (uint32_t)crc32_z(crc, bytes, n);
}

uint32_t hash_crc32_combine(uint32_t first, uint32_t then, uint64_t n)
{
    return (uint32_t)crc32_combine(first, then, (z_off_t)n);
}
