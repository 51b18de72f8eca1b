/* SPDX-License-Identifier: MIT
 * Output files. Bytes go to PATH.partial; the final name appears by a rename, when every byte is on the disk. */
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

/* Reserves the space. File systems without fallocate get a sparse file instead: the up-front check of free
 * space is then all that stands between us and a late ENOSPC. */
static int reserve(int fd, uint64_t size, int sparse)
{
    int rc = -1;
    if (size > INT64_MAX) {
        errno = EFBIG;
        return -1;
    }
    while (size && !sparse && (rc = fallocate(fd, 0, 0, (off_t)size)) && errno == EINTR)
        ;
    if (size && !sparse && (rc == 0 || (errno != EOPNOTSUPP && errno != ENOSYS)))
        return rc;
    while ((rc = ftruncate(fd, (off_t)size)) && errno == EINTR)
        ;
    return rc;
}

/* Whether fd is still what `path` names. Between our open and our lock, another run may have finished (the file that we
 * opened is its output now) or given up (it has no name any more). */
static int is_still_there(int fd, const char *path)
{
    struct stat ours, named;
    return !fstat(fd, &ours) && !lstat(path, &named) && ours.st_dev == named.st_dev && ours.st_ino == named.st_ino;
}

static int try_open_locked(const char *path, int flags, int *fd, struct error *e)
{
    for (;;) {
        while ((*fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0666)) < 0 && errno == EINTR)
            ;
        if (*fd < 0)
            return io_error(e, flags & O_CREAT ? "create" : "open", path, ERROR_NO_OFFSET);
        int locked;
        while ((locked = flock(*fd, LOCK_EX | LOCK_NB)) && errno == EINTR)
            ;
        if (locked && errno != EWOULDBLOCK) {
            io_error(e, "lock", path, ERROR_NO_OFFSET);
            close(*fd);
            *fd = -1;
            return -1;
        }
        if (!locked && is_still_there(*fd, path))
            return 0;
        close(*fd); /* held by another: not ours to touch; or renamed or removed: look again at the name */
        *fd = -1;
        if (locked)
            return 1;
    }
}

int io_open_locked(const char *path, int *fd, struct error *e)
{
    return try_open_locked(path, O_CREAT, fd, e);
}

/* A rename puts a file in the place of whatever is there: of a device too, for root. */
static int replaceable(const char *path, struct error *e)
{
    int kind = 0;
    if (io_look(path, &kind, e))
        return -1;
    if (kind < 2 && *path)
        return 0;
    error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "%s", !*path      ? "the output's name is empty"
                                                 : kind == 2 ? "the output is a folder"
                                                             : "the output is no regular file");
    return error_at_file(e, path);
}

/* Opens PATH.partial into o. */
static int open_partial(struct io_out *o, const char *path, int flags, struct error *e)
{
    *o = (struct io_out){.fd = -1};
    if (replaceable(path, e))
        return -1;
    o->path = strdup(path);
    o->partial = io_append(path, ".partial");
    if (!o->path || !o->partial)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    int busy = try_open_locked(o->partial, flags, &o->fd, e);
    if (busy <= 0)
        return busy;
    error_set(e, ERR_IO, ERROR_NO_OFFSET, "another run is writing this output");
    return error_at_file(e, o->partial);
}

static int create(struct io_out *o, const char *path, uint64_t size, int sparse, struct error *e)
{
    if (open_partial(o, path, O_CREAT, e))
        goto fail;
    int rc;
    while ((rc = ftruncate(o->fd, 0)) && errno == EINTR)
        ;
    if (!rc && !reserve(o->fd, size, sparse))
        return 0;
    error_set(e, ERR_IO, ERROR_NO_OFFSET, "cannot reserve %" PRIu64 " bytes: %s", size, strerror(errno));
    error_at_file(e, o->partial);
fail:
    io_out_abandon(o);
    return -1;
}

int io_out_create(struct io_out *o, const char *path, uint64_t size, struct error *e)
{
    return create(o, path, size, 0, e);
}

int io_out_create_sparse(struct io_out *o, const char *path, uint64_t size, struct error *e)
{
    return create(o, path, size, 1, e);
}

int io_out_reopen(struct io_out *o, const char *path, uint64_t size, struct error *e)
{
    struct stat st;
    char *partial = io_append(path, ".partial");
    int there = 0;
    *o = (struct io_out){.fd = -1};
    if (!partial)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!lstat(partial, &st))
        there = S_ISREG(st.st_mode) && (size == IO_ANY_SIZE || (uint64_t)st.st_size == size);
    else if (errno != ENOENT)
        there = io_error(e, "look at", partial, ERROR_NO_OFFSET);
    free(partial);
    if (there > 0 && open_partial(o, path, 0, e)) {
        io_out_keep(o);
        return -1;
    }
    return there;
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
            return io_error(e, "write", o->partial, at + done);
        done += (size_t)put;
    }
    return 0;
}

int io_out_read(const struct io_out *o, uint64_t at, void *buf, size_t n, struct error *e)
{
    size_t done = 0;
    while (done < n) {
        ssize_t got = pread(o->fd, (char *)buf + done, n - done, (off_t)(at + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0)
            errno = EIO;
        if (got <= 0)
            return io_error(e, "read back", o->partial, at + done);
        done += (size_t)got;
    }
    return 0;
}

int io_out_cut(const struct io_out *o, uint64_t size, struct error *e)
{
    int rc;
    while ((rc = ftruncate(o->fd, (off_t)size)) && errno == EINTR)
        ;
    return rc ? io_error(e, "set the size of", o->partial, ERROR_NO_OFFSET) : 0;
}

void io_out_flush(const struct io_out *o, uint64_t at, uint64_t n)
{
#ifdef SYNC_FILE_RANGE_WRITE
    sync_file_range(o->fd, (off_t)at, (off_t)n, SYNC_FILE_RANGE_WRITE);
#else
    (void)o, (void)at, (void)n;
#endif
}

int io_out_sync(const struct io_out *o, struct error *e)
{
    int rc;
    while ((rc = fdatasync(o->fd)) && errno == EINTR)
        ;
    return rc ? io_error(e, "sync", o->partial, ERROR_NO_OFFSET) : 0;
}

int io_sync_folder(const char *path, struct error *e)
{
    char *dir = io_folder(path);
    int rc = 0, fd;
    if (!dir)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    while ((fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 && errno == EINTR)
        ;
    while (fd >= 0 && (rc = fsync(fd)) && errno == EINTR)
        ;
    /* some file systems (FUSE, CIFS) cannot sync a folder and say EINVAL: nothing more can be done there */
    if (fd < 0 || (rc && errno != EINVAL))
        rc = io_error(e, "sync the folder of", path, ERROR_NO_OFFSET);
    else
        rc = 0;
    if (fd >= 0)
        close(fd);
    free(dir);
    return rc;
}

int io_out_finish(struct io_out *o, struct error *e)
{
    int rc;
    while ((rc = fsync(o->fd)) && errno == EINTR)
        ;
    if (rc)
        return io_error(e, "sync", o->partial, ERROR_NO_OFFSET);
    while ((rc = rename(o->partial, o->path)) && errno == EINTR)
        ;
    if (rc)
        return io_error(e, "rename to its final name", o->partial, ERROR_NO_OFFSET);
    /* from here on the partial name is gone; nothing may unlink it */
    free(o->partial);
    o->partial = NULL;
    rc = io_sync_folder(o->path, e);
    io_out_keep(o);
    return rc;
}

void io_out_keep(struct io_out *o)
{
    if (o->fd >= 0)
        close(o->fd);
    free(o->partial);
    free(o->path);
    *o = (struct io_out){.fd = -1};
}

void io_out_abandon(struct io_out *o)
{
    if (o->fd >= 0 && o->partial)
        unlink(o->partial);
    io_out_keep(o);
}

int io_write_all(const char *path, const void *bytes, size_t n, struct error *e)
{
    struct io_out o;
    if (io_out_create(&o, path, n, e))
        return -1;
    if (!io_out_write(&o, 0, bytes, n, e) && !io_out_finish(&o, e))
        return 0;
    io_out_abandon(&o);
    return -1;
}

int io_free_space(const char *path, uint64_t *bytes, struct error *e)
{
    struct statvfs v;
    char *dir = io_folder(path);
    int rc = 0;
    if (!dir || statvfs(dir, &v))
        rc = io_error(e, "look at the folder of", path, ERROR_NO_OFFSET);
    else
        *bytes = (uint64_t)v.f_bavail * v.f_frsize;
    free(dir);
    return rc;
}
