/* SPDX-License-Identifier: MIT
 * Panels: allocation, in memory or in a mapped scratch file of our own. (Inputs are never mapped; this file is ours alone
 * and unlinked, so nobody can cut it short.) */
#include "model/forward/panels.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int map_scratch(struct panels *p, struct panel_store *store, size_t bytes, struct error *e)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/pare-scratch-XXXXXX", store->scratch);
    int fd = mkstemp(path);
    if (fd >= 0)
        unlink(path);
    /* posix_fallocate: a full disk is an error here, not a SIGBUS later */
    int err = fd < 0 ? errno : posix_fallocate(fd, 0, (off_t)bytes);
    void *m = err ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (!err && m == MAP_FAILED)
        err = errno;
    if (fd >= 0)
        close(fd);
    if (err) {
        error_set(e, ERR_IO, ERROR_NO_OFFSET, "cannot make a scratch file of %zu bytes: %s", bytes, strerror(err));
        return error_at_file(e, store->scratch);
    }
    p->data = m;
    p->mapped = bytes;
    store->spilled += bytes;
    return 0;
}

/* By several threads: what takes the time is the system's first touch of the pages. */
static void zero(char *m, size_t bytes, int threads)
{
    enum { PIECE = 1 << 20 };
#pragma omp parallel for num_threads(threads > 0 ? threads : 1) if (bytes > 4 * PIECE && threads > 1)
    for (size_t at = 0; at < bytes; at += PIECE)
        memset(m + at, 0, bytes - at < PIECE ? bytes - at : PIECE);
}

/* Gives the i-th kept one back to the system. */
static void let_go(struct panel_store *store, int i)
{
    store->room += store->kept[i].bytes;
    free(store->kept[i].data);
    store->kept[i].data = NULL;
    store->kept[i].bytes = 0;
}

void panel_store_clear(struct panel_store *store)
{
    for (int i = 0; i < PANELS_KEPT; i++)
        let_go(store, i);
}

/* Kept memory of about this size, or NULL. */
static void *take_kept(struct panel_store *store, size_t bytes, size_t *have)
{
    for (int i = 0; i < PANELS_KEPT; i++)
        if (store->kept[i].bytes >= bytes && store->kept[i].bytes - bytes <= bytes / 4) {
            void *m = store->kept[i].data;
            *have = store->kept[i].bytes;
            store->kept[i].data = NULL;
            store->kept[i].bytes = 0;
            return m;
        }
    return NULL;
}

/* Into an empty place, or that of the smallest; 0 when there is none. */
static int keep(struct panel_store *store, void *data, size_t bytes)
{
    int at = 0;
    for (int i = 1; i < PANELS_KEPT; i++)
        at = store->kept[i].bytes < store->kept[at].bytes ? i : at;
    if (!store->keeps || store->kept[at].bytes >= bytes)
        return 0;
    let_go(store, at);
    store->kept[at].data = data;
    store->kept[at].bytes = bytes;
    return 1;
}

int panels_init(struct panels *p, struct panel_store *store, size_t tiles, size_t rows, struct error *e)
{
    size_t n, bytes;
    *p = (struct panels){.tiles = tiles, .rows = rows};
    if (__builtin_mul_overflow(tiles, rows, &n) || __builtin_mul_overflow(n, LANES * sizeof(float), &bytes))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "activations of %zu tiles x %zu rows are too large", tiles, rows);
    bytes = bytes ? bytes : LANES * sizeof(float);
    void *m = take_kept(store, bytes, &p->bytes);
    for (int i = 0; !m && i < PANELS_KEPT && bytes > store->room; i++)
        let_go(store, i);
    if (!m && bytes > store->room)
        return map_scratch(p, store, bytes, e);
    if (!m) {
        if (posix_memalign(&m, 64, bytes))
            return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for %zu bytes of activations", bytes);
        store->room -= bytes;
        p->bytes = bytes;
    }
    zero(m, bytes, store->threads);
    p->data = m;
    return 0;
}

void panels_clear(struct panels *p, struct panel_store *store)
{
    if (p->mapped) {
        munmap(p->data, p->mapped);
        store->spilled -= p->mapped;
    } else if (p->data && !keep(store, p->data, p->bytes)) {
        store->room += p->bytes;
        free(p->data);
    }
    *p = (struct panels){0};
}

void panels_rest(const struct panels *p)
{
    if (p->mapped)
        madvise(p->data, p->mapped, MADV_DONTNEED);
}
