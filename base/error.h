/* SPDX-License-Identifier: MIT
 * Errors: what went wrong, and where. Libraries fill a struct error and return -1; only cli/ prints. */
#ifndef PARE_BASE_ERROR_H
#define PARE_BASE_ERROR_H

#include <stddef.h>
#include <stdint.h>

enum error_code {
    ERR_NONE = 0,
    ERR_CHECK,       /* a check or gate failed, or a difference was found */
    ERR_USAGE,       /* wrong options */
    ERR_FORMAT,      /* the input contradicts its format or itself */
    ERR_UNSUPPORTED, /* valid, but not something we read or write */
    ERR_IO,          /* the system refused: disk, permission, space */
    ERR_MEMORY,
    ERR_INTERRUPTED, /* stopped by the user */
};

#define ERROR_NO_OFFSET UINT64_MAX

struct error {
    enum error_code code;
    uint64_t offset;  /* byte offset in `file`, or ERROR_NO_OFFSET */
    char file[256];   /* name of the file as the user knows it; empty: none */
    char tensor[192]; /* empty: none */
    char text[512];   /* lower case, no full stop */
};

/* Sets code, offset and text and clears file and tensor. A NULL `e` is allowed. Returns -1, so that
 * `return error_set(...)` reads well. Not thread-safe on one `e`. */
int error_set(struct error *e, enum error_code code, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds what an outer level knows; keeps what an inner level said. Returns -1. */
int error_at_file(struct error *e, const char *file);
int error_at_tensor(struct error *e, const char *tensor);

/* The process exit status for a code: 0, 1, 2, 3, 4 or 130 (docs: README, "Exit status"). */
int error_exit_status(enum error_code code);

/* One line without a newline into `out`: text: 'file', tensor 'name', offset N. Control bytes, which
 * names from files may hold, are written as \xNN. Always terminated. */
void error_line(const struct error *e, char *out, size_t size);

/* Copies `in` to `out` with control bytes as \xNN, cut to fit. Always terminated. */
void escape_controls(const char *in, char *out, size_t size);

#endif
