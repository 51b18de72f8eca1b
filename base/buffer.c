/* SPDX-License-Identifier: MIT
 * Buffer: growing bytes. An allocation failure is remembered in the buffer, so that writers need not
 * check every call. */
#include "base/buffer.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int buffer_reserve(struct buffer *b, size_t more)
{
    if (b->failed || more >= SIZE_MAX / 2 - b->size)
        return b->failed = 1;
    size_t need = b->size + more + 1;
    if (need <= b->room)
        return 0;
    size_t room = b->room ? b->room : 256;
    while (room < need)
        room *= 2;
    char *data = realloc(b->data, room);
    if (!data)
        return b->failed = 1;
    b->data = data;
    b->room = room;
    return 0;
}

void buffer_add(struct buffer *b, const void *bytes, size_t n)
{
    if (buffer_reserve(b, n))
        return;
    if (n)
        memcpy(b->data + b->size, bytes, n);
    b->size += n;
    b->data[b->size] = '\0';
}

void buffer_text(struct buffer *b, const char *s)
{
    buffer_add(b, s, strlen(s));
}

void buffer_printf(struct buffer *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || buffer_reserve(b, (size_t)n))
        return;
    va_start(ap, fmt);
    vsnprintf(b->data + b->size, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->size += (size_t)n;
}

void buffer_u32(struct buffer *b, uint32_t v)
{
    uint8_t le[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    buffer_add(b, le, sizeof le);
}

void buffer_u64(struct buffer *b, uint64_t v)
{
    buffer_u32(b, (uint32_t)v);
    buffer_u32(b, (uint32_t)(v >> 32));
}

void buffer_pad(struct buffer *b, size_t align)
{
    static const char zeros[64];
    while (!b->failed && b->size % align) {
        size_t n = align - b->size % align;
        buffer_add(b, zeros, n < sizeof zeros ? n : sizeof zeros);
    }
}

void buffer_clear(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){0};
}

const char *size_text(uint64_t bytes, char out[SIZE_TEXT])
{
    static const char *const unit[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    double v = (double)bytes / 1000;
    size_t u = 0;
    for (; v >= 999.995 && u + 1 < sizeof unit / sizeof *unit; u++)
        v /= 1000;
    if (bytes < 1000)
        snprintf(out, SIZE_TEXT, "%" PRIu64 " B", bytes);
    else
        snprintf(out, SIZE_TEXT, "%.2f %s", v, unit[u]);
    return out;
}
