/* SPDX-License-Identifier: MIT
 * Files: bounded positional reads, and output that exists under its final name only when complete. */
#ifndef PARE_BASE_IO_H
#define PARE_BASE_IO_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* An input file. Read with pread and never mapped: a file cut short under us is an error, not a SIGBUS. Of all inputs of the
 * process at most IO_MAX_OPEN descriptors (and half of RLIMIT_NOFILE) are open at a time; a file is opened again when it is read again, and must then be
 * the same one. Copy and move the struct freely. */
struct io_handle;
struct io_file {
    struct io_handle *handle; /* NULL: closed */
    uint64_t size;            /* bytes, when it was opened */
    uint64_t readable;        /* bytes that may be read: size, unless an owner knows that the rest is gone */
    uint64_t dev, ino;        /* which file it is, whatever its name */
    int64_t mtime_ns;         /* last modified, nanoseconds since 1970 */
    uint64_t links;           /* names that it has */
    const char *path;         /* borrowed; for messages */
};
enum { IO_MAX_OPEN = 64 };

/* Opens a regular file for reading; `path` must outlive f. Anything else (folder, FIFO, device) is ERR_FORMAT,
 * a file that cannot be opened ERR_IO. Returns 0 or -1; f is closed on failure. */
int io_open(struct io_file *f, const char *path, struct error *e);

/* Reads exactly n bytes at `at`. A read past the end is ERR_FORMAT ("file ends ..."). Thread-safe. */
int io_read(const struct io_file *f, uint64_t at, void *buf, size_t n, struct error *e);

/* Tells the system that these bytes are about to be read, so that the disk works ahead. Never fails. Thread-safe. */
void io_will_need(const struct io_file *f, uint64_t at, uint64_t n);

/* 0 when the name still leads to the same file, with the size and modification time that it had when f was opened, else -1 with
 * ERR_FORMAT. Thread-safe. */
int io_unchanged(const struct io_file *f, struct error *e);

/* Safe on a closed or zeroed f. */
void io_close(struct io_file *f);

/* Reads a whole file of at most `max` bytes into malloc'd, 0-terminated memory that the caller frees. */
int io_read_all(const char *path, uint64_t max, char **text, size_t *size, struct error *e);

/* What a path is, symbolic links followed: 0 not there, 1 regular file, 2 folder, 3 anything else. -1 with ERR_IO when the system
 * cannot tell. */
int io_look(const char *path, int *kind, struct error *e);
/* The same in short: what the system cannot tell is 3, so that opening it says why. */
int io_kind(const char *path);

/* malloc'd "dir/name" (the caller frees), or NULL. */
char *io_join(const char *dir, const char *name);
/* malloc'd "path" + "suffix", or NULL. */
char *io_append(const char *path, const char *suffix);
/* malloc'd folder part of path: "." when it has none. */
char *io_folder(const char *path);

/* Whether a name taken from data may be used as a file inside a folder: not empty, no '/', no '\\', no
 * control byte, not "." or "..". */
int io_name_is_plain(const char *name);

/* ERR_IO with errno's words: "cannot WHAT: ...", at this path and offset. Returns -1. */
int io_error(struct error *e, const char *what, const char *path, uint64_t offset);

/* An output file. Bytes go to PATH.partial in the same folder; io_out_finish makes it PATH. */
struct io_out {
    int fd;               /* -1: none */
    char *path, *partial; /* owned */
};

/* Creates PATH.partial with all its space allocated, so that a full disk is an error now and not in the
 * night. Takes an exclusive lock: a second writer of the same output is refused. A stale PATH.partial of a
 * killed run is replaced. What is there already under the name must be a regular file. Returns 0 or -1. */
int io_out_create(struct io_out *o, const char *path, uint64_t size, struct error *e);
/* The same without reserving space: it is taken as bytes are written. */
int io_out_create_sparse(struct io_out *o, const char *path, uint64_t size, struct error *e);
/* Opens the PATH.partial of an earlier run, to go on with it. 1 when it is there and has `size` bytes (IO_ANY_SIZE: any), 0 when not, or -1. */
#define IO_ANY_SIZE UINT64_MAX
int io_out_reopen(struct io_out *o, const char *path, uint64_t size, struct error *e);

/* Writes n bytes at `at`. Thread-safe, any order. */
int io_out_write(const struct io_out *o, uint64_t at, const void *buf, size_t n, struct error *e);
/* Reads back. Thread-safe. */
int io_out_read(const struct io_out *o, uint64_t at, void *buf, size_t n, struct error *e);
/* Makes it `size` bytes long. */
int io_out_cut(const struct io_out *o, uint64_t size, struct error *e);
/* Lets the disk begin with these bytes; does not wait and never fails. Thread-safe. */
void io_out_flush(const struct io_out *o, uint64_t at, uint64_t n);
/* Returns when all that was written is on the disk (fdatasync). After a failure nothing that was written since the last
 * success may be taken as written. Thread-safe. */
int io_out_sync(const struct io_out *o, struct error *e);

/* fsync, rename to PATH, fsync the folder. On failure PATH is untouched, unless only the folder's fsync failed: then PATH is
 * complete, and the error says that a power cut may still undo the renaming. Closes o on success; on failure the caller keeps or
 * abandons it. */
int io_out_finish(struct io_out *o, struct error *e);

/* Closes and leaves PATH.partial where it is, to be reopened. Safe as io_out_abandon is. */
void io_out_keep(struct io_out *o);
/* Removes PATH.partial and closes; safe on a finished or never created output (zeroed with fd = -1). */
void io_out_abandon(struct io_out *o);

/* Opens for reading and appending, creating it when it is not there, and locks it: *fd, or -1 with ERR_IO. Returns 0, 1 when
 * another process holds the lock (nothing is open then), or -1. Closing the descriptor gives the lock back. */
int io_open_locked(const char *path, int *fd, struct error *e);

/* Makes the creation, renaming or removal of `path` itself durable (fsync of its folder). */
int io_sync_folder(const char *path, struct error *e);

/* Writes a small file in one go, by the same temporary name, fsync and rename. */
int io_write_all(const char *path, const void *bytes, size_t n, struct error *e);

/* Free bytes that an unprivileged writer can use on the file system that would hold `path`. */
int io_free_space(const char *path, uint64_t *bytes, struct error *e);

/* The part after the last '/'. */
const char *io_base_name(const char *path);

#endif
