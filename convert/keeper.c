/* SPDX-License-Identifier: MIT
 * Keeper: the thread that waits for the disk. */
#include "convert/keeper.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/thread.h"

enum { SECONDS = 10, RECORDS = 8192 };

/* Makes one group durable. What is written while this runs belongs to the next group. */
static int commit(struct keeper *k, struct journal_record *r, size_t n, struct error *e)
{
    uint64_t bytes = k->bytes, units = k->units;
    for (size_t i = 0; i < n; i++)
        if (r[i].kind == JOURNAL_UNIT) {
            bytes += r[i].b;
            units++;
        }
    r[n] = (struct journal_record){JOURNAL_PROGRESS, (uint64_t)time(NULL), bytes, units, k->bytes_at_start};
    if (outputs_sync(k->outputs, e) || (k->before && k->before(k->context, e)) || journal_append(k->journal, r, n + 1, e))
        return -1;
    k->bytes = bytes;
    k->units = units;
    return k->durable ? k->durable(k->context, r, n, e) : 0;
}

/* Takes what is pending and commits it. The lock is held on call and on return, not meanwhile. */
static void commit_pending(struct keeper *k)
{
    struct journal_record *r = k->pending;
    size_t n = k->n;
    struct error e = {0};
    k->pending = NULL;
    k->n = k->room = 0;
    k->pending_bytes = 0;
    pthread_cond_broadcast(&k->taken);
    pthread_mutex_unlock(&k->lock);
    int rc = n ? commit(k, r, n, &e) : 0;
    free(r);
    pthread_mutex_lock(&k->lock);
    if (rc && !k->failed) {
        k->failed = 1;
        k->error = e;
        pthread_cond_broadcast(&k->taken);
    }
}

/* Whether what is pending should be made durable now. */
static int is_full(const struct keeper *k)
{
    return k->pending_bytes >= k->every || k->n >= RECORDS;
}

static void *run(void *context)
{
    struct keeper *k = context;
    struct timespec due;
    pthread_mutex_lock(&k->lock);
    clock_gettime(CLOCK_MONOTONIC, &due);
    due.tv_sec += SECONDS;
    while (!k->ending && !k->failed) {
        int timeout = !is_full(k) && pthread_cond_timedwait(&k->wake, &k->lock, &due) != 0;
        if (k->ending || (!timeout && !is_full(k)))
            continue;
        commit_pending(k);
        clock_gettime(CLOCK_MONOTONIC, &due);
        due.tv_sec += SECONDS;
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

int keeper_start(struct keeper *k, struct error *e)
{
    pthread_condattr_t monotonic;
    pthread_mutex_init(&k->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&k->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&k->taken, NULL);
    k->bytes_at_start = k->bytes;
    k->ending = 0;
    int rc = thread_start(&k->thread, run, k);
    if (rc) {
        pthread_mutex_destroy(&k->lock);
        pthread_cond_destroy(&k->wake);
        pthread_cond_destroy(&k->taken);
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "cannot start a thread: %s", strerror(rc));
    }
    k->started = 1;
    return 0;
}

/* Room for n more records and the one that ends a group. */
static int make_room(struct keeper *k, size_t n)
{
    if (k->n + n + 1 <= k->room)
        return 0;
    size_t room = 2 * (k->n + n + 64);
    struct journal_record *r = realloc(k->pending, room * sizeof *r);
    if (!r)
        return -1;
    k->pending = r;
    k->room = room;
    return 0;
}

int keeper_add(struct keeper *k, const struct journal_record *r, size_t n, struct error *e)
{
    int rc = 0;
    pthread_mutex_lock(&k->lock);
    while (k->bounded && is_full(k) && !k->failed)
        pthread_cond_wait(&k->taken, &k->lock);
    if (k->failed) {
        if (e)
            *e = k->error;
        rc = -1;
    } else if (make_room(k, n)) {
        rc = error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    } else {
        memcpy(k->pending + k->n, r, n * sizeof *r);
        k->n += n;
        for (size_t i = 0; i < n; i++)
            k->pending_bytes += r[i].kind == JOURNAL_UNIT ? r[i].b : 0;
        if (is_full(k))
            pthread_cond_signal(&k->wake);
    }
    pthread_mutex_unlock(&k->lock);
    return rc;
}

int keeper_stop(struct keeper *k, int with_commit, struct error *e)
{
    if (!k->started)
        return 0;
    pthread_mutex_lock(&k->lock);
    k->ending = 1;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->lock);
    pthread_join(k->thread, NULL);
    pthread_mutex_lock(&k->lock);
    if (with_commit && !k->failed)
        commit_pending(k);
    pthread_mutex_unlock(&k->lock);
    if (k->failed && e)
        *e = k->error;
    free(k->pending);
    k->pending = NULL;
    k->started = 0;
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->wake);
    pthread_cond_destroy(&k->taken);
    return k->failed ? -1 : 0;
}

int keeper_flush(struct keeper *k, struct error *e)
{
    return keeper_stop(k, 1, e) || keeper_start(k, e) ? -1 : 0;
}
