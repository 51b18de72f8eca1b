/* SPDX-License-Identifier: MIT
 * Files. Reads and writes are complete or an error: short transfers and EINTR are retried. */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int system_error(struct error *e, const char *what, const char *path, uint64_t offset)
{
    error_set(e, ERR_IO, offset, "cannot %s: %s", what, strerror(errno));
    return error_at_file(e, path);
}

int io_open(struct io_file *f, const char *path, struct error *e)
{
    struct stat st;
    *f = (struct io_file){.fd = -1, .path = path};
    /* O_NONBLOCK: opening a FIFO that nobody writes must not hang */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return system_error(e, "open", path, ERROR_NO_OFFSET);
    if (fstat(fd, &st)) {
        system_error(e, "stat", path, ERROR_NO_OFFSET);
        close(fd);
        return -1;
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "not a regular file");
        return error_at_file(e, path);
    }
    *f = (struct io_file){.fd = fd, .size = (uint64_t)st.st_size, .dev = (uint64_t)st.st_dev,
                          .ino = (uint64_t)st.st_ino, .path = path};
    return 0;
}

int io_read(const struct io_file *f, uint64_t at, void *buf, size_t n, struct error *e)
{
    size_t done = 0;
    while (done < n) {
        size_t want = n - done < 1 << 30 ? n - done : 1 << 30;
        ssize_t got = pread(f->fd, (char *)buf + done, want, (off_t)(at + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return system_error(e, "read", f->path, at + done);
        if (got == 0) {
            error_set(e, ERR_FORMAT, at + done, "the file ends %zu bytes early", n - done);
            return error_at_file(e, f->path);
        }
        done += (size_t)got;
    }
    return 0;
}

void io_close(struct io_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
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

int io_kind(const char *path)
{
    struct stat st;
    if (stat(path, &st))
        return 0;
    return S_ISREG(st.st_mode) ? 1 : S_ISDIR(st.st_mode) ? 2 : 3;
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

/* malloc'd folder part of path: "." when it has none. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

/* Reserves the space. File systems without fallocate get a sparse file instead: the up-front check of free
 * space is then all that stands between us and a late ENOSPC. */
static int reserve(int fd, uint64_t size)
{
    if (size > INT64_MAX) {
        errno = EFBIG;
        return -1;
    }
    if (size == 0 || fallocate(fd, 0, 0, (off_t)size) == 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return -1;
    return ftruncate(fd, (off_t)size);
}

/* Whether fd is still what `path` names. Between our open and our lock, another run may have finished (the file that we
 * opened is its output now) or given up (it has no name any more). */
static int is_still_there(int fd, const char *path)
{
    struct stat ours, named;
    return !fstat(fd, &ours) && !lstat(path, &named) && ours.st_dev == named.st_dev && ours.st_ino == named.st_ino;
}

/* Opens and locks PATH.partial. Returns an fd, or -1. */
static int open_locked(const char *partial, struct error *e)
{
    for (;;) {
        int fd = open(partial, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (fd < 0)
            return system_error(e, "create", partial, ERROR_NO_OFFSET);
        if (flock(fd, LOCK_EX | LOCK_NB)) {
            close(fd); /* not ours: leave the file alone */
            error_set(e, ERR_IO, ERROR_NO_OFFSET, "another run is writing this output");
            return error_at_file(e, partial);
        }
        if (is_still_there(fd, partial))
            return fd;
        close(fd);
    }
}

int io_out_create(struct io_out *o, const char *path, uint64_t size, struct error *e)
{
    size_t room = strlen(path) + sizeof ".partial";
    *o = (struct io_out){.fd = -1, .path = strdup(path), .partial = malloc(room)};
    if (!o->path || !o->partial) {
        io_out_abandon(o);
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    }
    snprintf(o->partial, room, "%s.partial", path);
    if ((o->fd = open_locked(o->partial, e)) < 0)
        goto fail;
    if (ftruncate(o->fd, 0) || reserve(o->fd, size)) {
        error_set(e, ERR_IO, ERROR_NO_OFFSET, "cannot reserve %" PRIu64 " bytes: %s", size, strerror(errno));
        error_at_file(e, o->partial);
        goto fail;
    }
    return 0;
fail:
    io_out_abandon(o);
    return -1;
}

int io_out_write(const struct io_out *o, uint64_t at, const void *buf, size_t n, struct error *e)
{
    size_t done = 0;
    while (done < n) {
        size_t want = n - done < 1 << 30 ? n - done : 1 << 30;
        ssize_t put = pwrite(o->fd, (const char *)buf + done, want, (off_t)(at + done));
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return system_error(e, "write", o->partial, at + done);
        done += (size_t)put;
    }
    return 0;
}

static int sync_folder(const char *path, struct error *e)
{
    char *dir = folder_of(path);
    int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    /* some file systems (FUSE, CIFS) cannot sync a folder and say EINVAL: nothing more can be done there */
    int rc = fd < 0 || (fsync(fd) && errno != EINVAL) ? system_error(e, "sync the folder of", path, ERROR_NO_OFFSET) : 0;
    if (fd >= 0)
        close(fd);
    free(dir);
    return rc;
}

int io_out_finish(struct io_out *o, struct error *e)
{
    int rc = -1;
    if (fsync(o->fd)) {
        system_error(e, "sync", o->partial, ERROR_NO_OFFSET);
        goto out;
    }
    if (rename(o->partial, o->path)) {
        system_error(e, "rename to its final name", o->partial, ERROR_NO_OFFSET);
        goto out;
    }
    /* from here on the partial name is gone; nothing may unlink it */
    free(o->partial);
    o->partial = NULL;
    rc = sync_folder(o->path, e);
out:
    io_out_abandon(o);
    return rc;
}

void io_out_abandon(struct io_out *o)
{
    if (o->fd >= 0) {
        if (o->partial)
            unlink(o->partial);
        close(o->fd);
    }
    free(o->partial);
    free(o->path);
    *o = (struct io_out){.fd = -1};
}

int io_write_all(const char *path, const void *bytes, size_t n, struct error *e)
{
    struct io_out o;
    if (io_out_create(&o, path, n, e))
        return -1;
    if (io_out_write(&o, 0, bytes, n, e)) {
        io_out_abandon(&o);
        return -1;
    }
    return io_out_finish(&o, e);
}

int io_free_space(const char *path, uint64_t *bytes, struct error *e)
{
    struct statvfs v;
    char *dir = folder_of(path);
    int rc = 0;
    if (!dir || statvfs(dir, &v))
        rc = system_error(e, "look at the folder of", path, ERROR_NO_OFFSET);
    else
        *bytes = (uint64_t)v.f_bavail * v.f_frsize;
    free(dir);
    return rc;
}
