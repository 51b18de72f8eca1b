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

int panels_init(struct panels *p, struct panel_store *store, size_t tiles, size_t rows, struct error *e)
{
    size_t n, bytes;
    *p = (struct panels){.tiles = tiles, .rows = rows};
    if (__builtin_mul_overflow(tiles, rows, &n) || __builtin_mul_overflow(n, LANES * sizeof(float), &bytes))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "activations of %zu tiles x %zu rows are too large", tiles, rows);
    bytes = bytes ? bytes : LANES * sizeof(float);
    if (bytes > store->room)
        return map_scratch(p, store, bytes, e);
    void *m = NULL;
    if (posix_memalign(&m, 64, bytes))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for %zu bytes of activations", bytes);
    memset(m, 0, bytes);
    p->data = m;
    store->room -= bytes;
    return 0;
}

void panels_clear(struct panels *p, struct panel_store *store)
{
    if (p->mapped) {
        munmap(p->data, p->mapped);
        store->spilled -= p->mapped;
    } else if (p->data) {
        size_t bytes = p->tiles * p->rows * LANES * sizeof(float);
        store->room += bytes ? bytes : LANES * sizeof(float);
        free(p->data);
    }
    *p = (struct panels){0};
}

void panels_rest(const struct panels *p)
{
    if (p->mapped)
        madvise(p->data, p->mapped, MADV_DONTNEED);
}
