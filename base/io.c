/* SPDX-License-Identifier: MIT
 * Input files. Reads are complete or an error: short transfers and EINTR are retried.
 *
 * A checkpoint can have more shards than a process may have descriptors, so all inputs share a pool: a list of the open
 * ones, latest used first. A file that is read while it is not open is opened again, and the one that was longest unused is
 * closed for it; one that a thread is just reading is pinned. */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct io_handle {
    int fd;                          /* -1: not open just now */
    int pins;                        /* threads that are reading */
    struct io_handle *newer, *older; /* neighbours in the pool, while open */
    char path[];
};

static struct {
    pthread_mutex_t lock;
    struct io_handle *newest, *oldest;
    int n;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

int io_error(struct error *e, const char *what, const char *path, uint64_t offset)
{
    error_set(e, ERR_IO, offset, "cannot %s: %s", what, strerror(errno));
    return error_at_file(e, path);
}

/* The pool's lock is held in all of these. */
static void pool_remove(struct io_handle *h)
{
    *(h->newer ? &h->newer->older : &pool.newest) = h->older;
    *(h->older ? &h->older->newer : &pool.oldest) = h->newer;
    pool.n--;
}

static void pool_add(struct io_handle *h)
{
    h->newer = NULL;
    h->older = pool.newest;
    *(pool.newest ? &pool.newest->newer : &pool.oldest) = h;
    pool.newest = h;
    pool.n++;
}

/* Closes the one that was longest unused. 0 when all are in use. */
static int pool_evict(void)
{
    for (struct io_handle *h = pool.oldest; h; h = h->newer)
        if (!h->pins) {
            pool_remove(h);
            close(h->fd);
            h->fd = -1;
            return 1;
        }
    return 0;
}

/* Half of what the process may have, IO_MAX_OPEN at most: outputs need some too. */
static int pool_room(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur / 2 >= IO_MAX_OPEN)
        return IO_MAX_OPEN;
    return limit.rlim_cur < 4 ? 2 : (int)(limit.rlim_cur / 2);
}

/* A descriptor of the file, or -1 with errno. */
static int pool_open(const char *path)
{
    int fd, room = pool_room();
    while (pool.n >= room && pool_evict())
        ;
    /* O_NONBLOCK: opening a FIFO that nobody writes must not hang */
    while ((fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)) < 0 && (errno == EINTR || (errno == EMFILE && pool_evict())))
        ;
    return fd;
}

static int64_t mtime_of(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static int check_same(const struct io_file *f, const struct stat *st, struct error *e)
{
    if (f->dev == (uint64_t)st->st_dev && f->ino == (uint64_t)st->st_ino && f->size == (uint64_t)st->st_size &&
        f->mtime_ns == mtime_of(st))
        return 0;
    error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the file was changed or replaced while it was in use");
    return error_at_file(e, f->path);
}

static int reopen(const struct io_file *f, struct error *e)
{
    struct stat st;
    struct io_handle *h = f->handle;
    int fd = pool_open(h->path);
    if (fd < 0)
        return io_error(e, "open again", f->path, ERROR_NO_OFFSET);
    if (fstat(fd, &st) ? io_error(e, "stat", f->path, ERROR_NO_OFFSET) : check_same(f, &st, e)) {
        close(fd);
        return -1;
    }
    h->fd = fd;
    pool_add(h);
    return 0;
}

/* Pins the file's descriptor until release; -1 with *e when it cannot be opened again. */
static int acquire(const struct io_file *f, struct error *e)
{
    struct io_handle *h = f->handle;
    int fd = -1;
    pthread_mutex_lock(&pool.lock);
    if (h->fd >= 0 && h != pool.newest) {
        pool_remove(h);
        pool_add(h);
    }
    if (h->fd >= 0 || !reopen(f, e)) {
        h->pins++;
        fd = h->fd;
    }
    pthread_mutex_unlock(&pool.lock);
    return fd;
}

static void release(const struct io_file *f)
{
    pthread_mutex_lock(&pool.lock);
    f->handle->pins--;
    pthread_mutex_unlock(&pool.lock);
}

int io_open(struct io_file *f, const char *path, struct error *e)
{
    struct stat st;
    size_t n = strlen(path) + 1;
    struct io_handle *h = malloc(sizeof *h + n);
    *f = (struct io_file){.path = path};
    if (!h)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    *h = (struct io_handle){.fd = -1};
    memcpy(h->path, path, n);
    pthread_mutex_lock(&pool.lock);
    h->fd = pool_open(path);
    if (h->fd < 0) {
        io_error(e, "open", path, ERROR_NO_OFFSET);
    } else if (fstat(h->fd, &st)) {
        io_error(e, "stat", path, ERROR_NO_OFFSET);
    } else if (!S_ISREG(st.st_mode)) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "not a regular file");
        error_at_file(e, path);
    } else {
        *f = (struct io_file){.handle = h, .size = (uint64_t)st.st_size, .readable = (uint64_t)st.st_size,
                              .dev = (uint64_t)st.st_dev, .ino = (uint64_t)st.st_ino, .mtime_ns = mtime_of(&st),
                              .links = (uint64_t)st.st_nlink, .path = path};
        pool_add(h);
    }
    pthread_mutex_unlock(&pool.lock);
    if (f->handle)
        return 0;
    if (h->fd >= 0)
        close(h->fd);
    free(h);
    return -1;
}

static int read_fd(int fd, const struct io_file *f, uint64_t at, void *buf, size_t n, struct error *e)
{
    size_t done = 0;
    while (done < n) {
        size_t want = n - done < 1 << 30 ? n - done : 1 << 30;
        ssize_t got = pread(fd, (char *)buf + done, want, (off_t)(at + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return io_error(e, "read", f->path, at + done);
        if (got == 0) {
            error_set(e, ERR_FORMAT, at + done, "the file ends %zu bytes early", n - done);
            return error_at_file(e, f->path);
        }
        done += (size_t)got;
    }
    return 0;
}

int io_read(const struct io_file *f, uint64_t at, void *buf, size_t n, struct error *e)
{
    if (f->readable < f->size && (at > f->readable || n > f->readable - at)) {
        error_set(e, ERR_FORMAT, at, "these bytes were consumed by a conversion and are gone");
        return error_at_file(e, f->path);
    }
    int fd = acquire(f, e);
    if (fd < 0)
        return -1;
    int rc = read_fd(fd, f, at, buf, n, e);
    release(f);
    return rc;
}

void io_will_need(const struct io_file *f, uint64_t at, uint64_t n)
{
    int fd = acquire(f, NULL);
    if (fd < 0)
        return; /* the read itself will say why */
    posix_fadvise(fd, (off_t)at, (off_t)n, POSIX_FADV_WILLNEED);
    release(f);
}

int io_unchanged(const struct io_file *f, struct error *e)
{
    struct stat st;
    if (!stat(f->handle->path, &st))
        return check_same(f, &st, e);
    if (errno != ENOENT)
        return io_error(e, "stat", f->path, ERROR_NO_OFFSET);
    error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the file was removed while it was in use");
    return error_at_file(e, f->path);
}

void io_close(struct io_file *f)
{
    struct io_handle *h = f->handle;
    f->handle = NULL;
    if (!h)
        return;
    pthread_mutex_lock(&pool.lock);
    if (h->fd >= 0) {
        pool_remove(h);
        close(h->fd);
    }
    pthread_mutex_unlock(&pool.lock);
    free(h);
}

int io_read_all(const char *path, uint64_t max, char **text, size_t *size, struct error *e)
{
    struct io_file f;
    char *p = NULL;
    int rc = -1;

    if (io_open(&f, path, e))
        return -1;
    if (f.size > max) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%" PRIu64 " bytes are more than the %" PRIu64 " allowed",
                  f.size, max);
        error_at_file(e, path);
        goto out;
    }
    if (!(p = malloc((size_t)f.size + 1))) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for %" PRIu64 " bytes", f.size);
        error_at_file(e, path);
        goto out;
    }
    if (io_read(&f, 0, p, (size_t)f.size, e))
        goto out;
    p[f.size] = '\0';
    *text = p;
    *size = (size_t)f.size;
    p = NULL;
    rc = 0;
out:
    free(p);
    io_close(&f);
    return rc;
}

int io_look(const char *path, int *kind, struct error *e)
{
    struct stat st;
    if (!stat(path, &st))
        *kind = S_ISREG(st.st_mode) ? 1 : S_ISDIR(st.st_mode) ? 2 : 3;
    else if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == ENAMETOOLONG)
        *kind = 0; /* nothing can be there */
    else
        return io_error(e, "look at", path, ERROR_NO_OFFSET);
    return 0;
}

int io_kind(const char *path)
{
    int kind = 3;
    return io_look(path, &kind, NULL) ? 3 : kind;
}

char *io_append(const char *path, const char *suffix)
{
    size_t room = strlen(path) + strlen(suffix) + 1;
    char *p = malloc(room);
    if (p)
        snprintf(p, room, "%s%s", path, suffix);
    return p;
}

char *io_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

char *io_join(const char *dir, const char *name)
{
    size_t n = strlen(dir), room = n + strlen(name) + 2;
    char *p = malloc(room);
    if (p)
        snprintf(p, room, "%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name);
    return p;
}

int io_name_is_plain(const char *name)
{
    if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
        return 0;
    for (const unsigned char *c = (const unsigned char *)name; *c; c++)
        if (*c == '/' || *c == '\\' || *c < 0x20 || *c == 0x7f)
            return 0;
    return 1;
}

const char *io_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
