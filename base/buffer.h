/* SPDX-License-Identifier: MIT
 * Buffer: bytes that grow at the end; for headers that are written and text that is printed. */
#ifndef PARE_BASE_BUFFER_H
#define PARE_BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct buffer {
    char *data;  /* malloc'd, always terminated by an extra 0 when not NULL */
    size_t size; /* bytes in use */
    size_t room;
    int failed; /* an allocation failed; all later calls do nothing. Check once at the end. */
};

/* A zeroed struct buffer is empty and ready. Not thread-safe. */
void buffer_add(struct buffer *b, const void *bytes, size_t n);
void buffer_text(struct buffer *b, const char *s);
void buffer_printf(struct buffer *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Little-endian integers. */
void buffer_u32(struct buffer *b, uint32_t v);
void buffer_u64(struct buffer *b, uint64_t v);
/* Zero bytes up to a multiple of `align`. */
void buffer_pad(struct buffer *b, size_t align);
/* Frees; the buffer is empty and ready again. */
void buffer_clear(struct buffer *b);

enum { SIZE_TEXT = 24 };
/* "659.42 GB": decimal units, as disks and files are sold; exact bytes below 1 kB. Returns out. */
const char *size_text(uint64_t bytes, char out[SIZE_TEXT]);

#endif
