/* SPDX-License-Identifier: MIT
 * usage: gguf-scale IN.gguf OUT.gguf NAME=NUMBER[,NUMBER...] ...
 * Copies a GGUF file and adds F32 tensors of one dimension: such as "blk.1.ffn_up_exps.scale", by which NVFP4 files multiply a
 * weight. Pairs and tensors are copied byte for byte. Nothing is checked: a test may add nonsense. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf.h"
#include "formats/source.h"

enum { MAX_NUMBERS = 1024 };

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "gguf-scale: %s: %s\n", what, why);
    exit(2);
}

/* One NAME=NUMBER,... as a tensor; its data into *values. */
static struct tensor added(char *text, float **values)
{
    char *eq = strchr(text, '='), *at = eq ? eq + 1 : text;
    struct tensor t = {.name = text, .type = gguf_storage_by_name("F32"), .n_dims = 1};
    if (!eq || !(*values = calloc(MAX_NUMBERS, sizeof **values)))
        fail(text, "no NAME=NUMBERS");
    *eq = '\0';
    do {
        (*values)[t.dims[0]++] = strtof(at, &at);
    } while (*at == ',' && at++ && t.dims[0] < MAX_NUMBERS);
    t.bytes = 4 * t.dims[0];
    return t;
}

static void write_at(FILE *f, uint64_t at, const void *bytes, size_t n)
{
    if (fseek(f, (long)at, SEEK_SET) || fwrite(bytes, 1, n, f) != n)
        fail("output", "cannot be written");
}

static void copy(FILE *f, const struct source *s, const struct tensor *from, uint64_t to)
{
    struct error e = {0};
    void *bytes = malloc((size_t)from->bytes + 1);
    if (!bytes || source_read(s, from, 0, bytes, (size_t)from->bytes, &e))
        fail(from->name, e.text);
    write_at(f, to, bytes, (size_t)from->bytes);
    free(bytes);
}

int main(int argc, char **argv)
{
    struct error e = {0};
    struct source *s = argc > 3 ? source_open(argv[1], &e) : NULL;
    if (!s || !s->meta)
        fail("usage", argc > 3 ? e.text : "gguf-scale IN OUT NAME=NUMBERS ...");
    size_t n = s->n_tensors, more = (size_t)argc - 3;
    struct tensor *list = calloc(n + more, sizeof *list);
    float **values = calloc(more, sizeof *values);
    struct buffer header = {0};
    uint64_t size;
    memcpy(list, s->tensors, n * sizeof *list);
    for (size_t i = 0; i < more; i++)
        list[n + i] = added(argv[3 + i], &values[i]);
    if (gguf_layout(s->meta, list, n + more, &header, &size, &e))
        fail("layout", e.text);
    FILE *f = fopen(argv[2], "wb");
    if (!f)
        fail(argv[2], "cannot be made");
    write_at(f, 0, header.data, header.size);
    write_at(f, size - 1, "", 1);
    for (size_t i = 0; i < n; i++)
        copy(f, s, &s->tensors[i], list[i].offset);
    for (size_t i = 0; i < more; i++) {
        write_at(f, list[n + i].offset, values[i], (size_t)list[n + i].bytes);
        free(values[i]);
    }
    if (fclose(f))
        fail(argv[2], "cannot be written");
    free(values);
    free(list);
    buffer_clear(&header);
    source_close(s);
    return 0;
}
