/* SPDX-License-Identifier: MIT
 * What the tools that write changed copies of GGUF files share. Nothing is checked: a test may want nonsense. */
#ifndef PARE_TESTS_TOOLS_GGUF_COPY_H
#define PARE_TESTS_TOOLS_GGUF_COPY_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf.h"
#include "formats/source.h"

struct copied { /* a tensor of the output */
    struct tensor t;
    const struct tensor *from; /* of the input, byte for byte; NULL: `bytes`, malloc'd */
    void *bytes;
};

static inline void copy_fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(2);
}

static inline void copy_write_at(FILE *f, uint64_t at, const void *bytes, size_t n)
{
    if (fseek(f, (long)at, SEEK_SET) || fwrite(bytes, 1, n, f) != n)
        copy_fail("output", "cannot be written");
}

static inline void copy_tensor(FILE *f, const struct source *s, const struct copied *c, uint64_t to)
{
    struct error e = {0};
    void *bytes = c->from ? malloc((size_t)c->t.bytes + 1) : c->bytes;
    if (!bytes || (c->from && source_read(s, c->from, 0, bytes, (size_t)c->t.bytes, &e)))
        copy_fail(c->t.name, e.text);
    copy_write_at(f, to, bytes, (size_t)c->t.bytes);
    free(bytes);
}

/* The pairs of s and these tensors as a file. */
static inline void copy_write(const char *path, const struct source *s, struct copied *list, size_t n)
{
    struct error e = {0};
    struct tensor *tensors = calloc(n + 1, sizeof *tensors);
    struct buffer header = {0};
    uint64_t size;
    for (size_t i = 0; tensors && i < n; i++)
        tensors[i] = list[i].t;
    if (!tensors || gguf_layout(s->meta, tensors, n, &header, &size, &e))
        copy_fail("layout", e.text);
    FILE *f = fopen(path, "wb");
    if (!f)
        copy_fail(path, "cannot be made");
    copy_write_at(f, 0, header.data, header.size);
    copy_write_at(f, size - 1, "", 1);
    for (size_t i = 0; i < n; i++)
        copy_tensor(f, s, &list[i], tensors[i].offset);
    if (fclose(f))
        copy_fail(path, "cannot be written");
    free(tensors);
    buffer_clear(&header);
}

#endif
