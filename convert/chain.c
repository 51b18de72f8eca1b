/* SPDX-License-Identifier: MIT
 * Chains: waiting for one's turn, and hashing outside the lock. */
#include "convert/chain.h"

#include <stdlib.h>

void chains_init(struct chains *c)
{
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->turn, NULL);
}

void chains_clear(struct chains *c, size_t n)
{
    for (size_t i = 0; c->list && i < n; i++)
        hash_free(c->list[i].running);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->turn);
}

void chains_stop(struct chains *c)
{
    pthread_mutex_lock(&c->lock);
    c->stopped = 1;
    pthread_cond_broadcast(&c->turn);
    pthread_mutex_unlock(&c->lock);
}

/* Waits until the chain stands inside or behind [at, ...). Holds the lock on return. */
static int await_turn(struct chains *c, const struct chain *k, uint64_t at)
{
    pthread_mutex_lock(&c->lock);
    while (!c->stopped && !k->done && (k->busy || k->fed < at))
        pthread_cond_wait(&c->turn, &c->lock);
    return c->stopped ? -1 : 0;
}

int chain_feed(struct chains *c, size_t which, uint64_t at, const void *bytes, uint64_t n, struct error *e)
{
    return chain_feed_stored(c, which, at, bytes, n, NULL, 0, e);
}

int chain_feed_stored(struct chains *c, size_t which, uint64_t at, const void *bytes, uint64_t n, const void *stored, size_t stored_bytes,
                      struct error *e)
{
    struct chain *k = &c->list[which];
    int rc = await_turn(c, k, at);
    uint64_t known = k->fed - at;
    if (rc || k->done || known >= n) {
        pthread_mutex_unlock(&c->lock);
        return rc;
    }
    if (!k->running && !(k->running = hash_new())) {
        pthread_mutex_unlock(&c->lock);
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    }
    k->busy = 1;
    pthread_mutex_unlock(&c->lock);
    hash_add(k->running, (const char *)bytes + known, (size_t)(n - known));
    if (c->with_crc)
        k->crc = stored ? hash_crc32(k->crc, stored, stored_bytes) : hash_crc32(k->crc, (const char *)bytes + known, (size_t)(n - known));
    pthread_mutex_lock(&c->lock);
    k->busy = 0;
    k->fed = at + n;
    k->done = k->fed == k->bytes;
    if (k->done) {
        hash_finish_128(k->running, &k->high, &k->low);
        k->running = NULL;
    }
    rc = k->done;
    pthread_cond_broadcast(&c->turn);
    pthread_mutex_unlock(&c->lock);
    return rc;
}
