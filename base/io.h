/* SPDX-License-Identifier: MIT
 * Files: bounded positional reads, and output that exists under its final name only when complete. */
#ifndef PARE_BASE_IO_H
#define PARE_BASE_IO_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* An input file. Read with pread and never mapped: a file cut short under us is an error, not a SIGBUS. */
struct io_file {
    int fd;           /* -1: closed */
    uint64_t size;    /* bytes, when it was opened */
    uint64_t dev, ino; /* which file it is, whatever its name */
    const char *path; /* borrowed; for messages */
};

/* Opens a regular file for reading; `path` must outlive f. Anything else (folder, FIFO, device) is ERR_FORMAT,
 * a file that cannot be opened ERR_IO. Returns 0 or -1; f is closed on failure. */
int io_open(struct io_file *f, const char *path, struct error *e);

/* Reads exactly n bytes at `at`. A read past the end is ERR_FORMAT ("file ends ..."). Thread-safe. */
int io_read(const struct io_file *f, uint64_t at, void *buf, size_t n, struct error *e);

/* Safe on a closed or zeroed-with-fd=-1 file. */
void io_close(struct io_file *f);

/* Reads a whole file of at most `max` bytes into malloc'd, 0-terminated memory that the caller frees. */
int io_read_all(const char *path, uint64_t max, char **text, size_t *size, struct error *e);

/* 0 not there, 1 regular file, 2 folder, 3 anything else. Follows symbolic links. */
int io_kind(const char *path);

/* malloc'd "dir/name" (the caller frees), or NULL. */
char *io_join(const char *dir, const char *name);

/* Whether a name taken from data may be used as a file inside a folder: not empty, no '/', no '\\', no
 * control byte, not "." or "..". */
int io_name_is_plain(const char *name);

/* An output file. Bytes go to PATH.partial in the same folder; io_out_finish makes it PATH. */
struct io_out {
    int fd;          /* -1: none */
    char *path, *partial; /* owned */
};

/* Creates PATH.partial with all its space allocated, so that a full disk is an error now and not in the
 * night. Takes an exclusive lock: a second writer of the same output is refused. A stale PATH.partial of a
 * killed run is replaced. Returns 0 or -1. */
int io_out_create(struct io_out *o, const char *path, uint64_t size, struct error *e);

/* Writes n bytes at `at`. Thread-safe, any order. */
int io_out_write(const struct io_out *o, uint64_t at, const void *buf, size_t n, struct error *e);

/* fsync, rename to PATH, fsync the folder. On failure PATH is untouched, unless only the folder's fsync failed: then PATH is
 * complete, and the error says that a power cut may still undo the renaming. Closes o either way. */
int io_out_finish(struct io_out *o, struct error *e);

/* Removes PATH.partial and closes; safe on a finished or never created output (zeroed with fd = -1). */
void io_out_abandon(struct io_out *o);

/* Writes a small file in one go, by the same temporary name, fsync and rename. */
int io_write_all(const char *path, const void *bytes, size_t n, struct error *e);

/* Free bytes that an unprivileged writer can use on the file system that would hold `path`. */
int io_free_space(const char *path, uint64_t *bytes, struct error *e);

/* The part after the last '/'. */
const char *io_base_name(const char *path);

#endif
