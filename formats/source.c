/* SPDX-License-Identifier: MIT
 * Sources: what all containers share: choosing the reader, the sorted tensor list, bounded reads. */
#include "formats/source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/coded.h"
#include "formats/gguf_meta.h"
#include "formats/split_name.h"

static int out_of_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

/* Opens the stand-in of a shard that a conversion has consumed; messages keep calling it by the shard's name. */
static int open_consumed(struct source *s, struct io_file *f, const char *path, struct error *e)
{
    char *stand_in = io_append(path, SOURCE_CONSUMED);
    int rc = !stand_in ? out_of_memory(e) : io_open(f, stand_in, e);
    f->path = path;
    free(stand_in);
    if (!rc)
        s->note = "shards of this checkpoint were consumed by a conversion: their weights are gone";
    return rc;
}

static int is_consumed(const char *path)
{
    char *stand_in = io_kind(path) ? NULL : io_append(path, SOURCE_CONSUMED);
    int there = stand_in && io_kind(stand_in) == 1;
    free(stand_in);
    return there;
}

int source_add_file(struct source *s, const char *path, struct error *e)
{
    if ((s->n_files & (s->n_files - 1)) == 0) {
        size_t room = s->n_files ? 2 * s->n_files : 1;
        struct io_file *files = realloc(s->files, room * sizeof *files);
        if (!files)
            return out_of_memory(e);
        s->files = files;
    }
    char *copy = arena_copy(&s->arena, path, strlen(path));
    if (!copy)
        return out_of_memory(e);
    if (is_consumed(copy) ? open_consumed(s, &s->files[s->n_files], copy, e) : io_open(&s->files[s->n_files], copy, e))
        return -1;
    return (int)s->n_files++;
}

/* Of a stand-in nothing but the header may be read. */
static void limit_consumed(struct source *s)
{
    for (size_t i = 0; i < s->n_files; i++)
        if (!io_kind(s->files[i].path)) {
            s->files[i].readable = source_header_size(s, i);
            s->n_consumed++;
        }
}

int source_add_tensor(struct source *s, const struct tensor *t, struct error *e)
{
    if (s->n_tensors == s->tensor_room) {
        size_t room = s->tensor_room ? 2 * s->tensor_room : 64;
        struct tensor *list = realloc(s->tensors, room * sizeof *list);
        if (!list)
            return out_of_memory(e);
        s->tensors = list;
        s->tensor_room = room;
    }
    s->tensors[s->n_tensors++] = *t;
    s->tensor_bytes += t->bytes;
    return 0;
}

uint64_t tensor_elements(const struct tensor *t)
{
    uint64_t n = 1;
    for (uint32_t i = 0; i < t->n_dims; i++)
        n *= t->dims[i];
    return n;
}

int tensor_size(const struct tensor *t, uint64_t *bytes, struct error *e)
{
    uint64_t n = 1, cols = t->n_dims ? t->dims[t->n_dims - 1] : 1;
    char shape[SHAPE_TEXT];
    /* a zero hides an overflow of the others: look at those first */
    for (uint32_t i = 0; i < t->n_dims; i++)
        if (t->dims[i] && __builtin_mul_overflow(n, t->dims[i], &n))
            goto overflow;
    for (uint32_t i = 0; i < t->n_dims; i++)
        if (!t->dims[i])
            n = 0;
    if (cols % t->type->block_len)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET,
                         "row length %" PRIu64 " is no multiple of %s's block of %" PRIu32, cols, t->type->name,
                         t->type->block_len);
    uint64_t headers = cols ? n / cols * t->type->row_header : 0;
    if (__builtin_mul_overflow(n / t->type->block_len, t->type->block_bytes, bytes) ||
        __builtin_add_overflow(*bytes, headers, bytes) || *bytes > INT64_MAX)
        goto overflow;
    return 0;
overflow:
    return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "shape %s is too large", shape_text(t->dims, t->n_dims, shape));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

static int sort_tensors(struct source *s, struct error *e)
{
    if (s->n_tensors > 1)
        qsort(s->tensors, s->n_tensors, sizeof *s->tensors, by_name);
    for (size_t i = 1; i < s->n_tensors; i++)
        if (!by_name(&s->tensors[i - 1], &s->tensors[i])) {
            error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the same tensor stands twice, also in '%s'",
                      io_base_name(s->files[s->tensors[i - 1].file].path));
            error_at_file(e, s->files[s->tensors[i].file].path);
            return error_at_tensor(e, s->tensors[i].name);
        }
    return 0;
}

static const struct format *probe(const char *path, int kind, struct error *e)
{
    uint8_t head[64];
    size_t n = 0;
    int best = 0;
    const struct format *found = NULL;
    struct io_file f = {.handle = NULL};

    if (kind != 2) { /* let io_open say what is wrong with a missing or special file */
        if (io_open(&f, path, e))
            return NULL;
        n = f.size < sizeof head ? (size_t)f.size : sizeof head;
        int rc = io_read(&f, 0, head, n, e);
        io_close(&f);
        if (rc)
            return NULL;
    }
    for (const struct format *const *it = formats; *it; it++) {
        int score = (*it)->probe(path, kind == 2, head, n);
        if (score > best) {
            best = score;
            found = *it;
        }
    }
    if (!found) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET,
                  kind == 2 ? "no checkpoint: neither model.safetensors nor its index is in this folder"
                            : "neither safetensors nor GGUF nor an expert pack");
        error_at_file(e, path);
    }
    return found;
}

static struct source *open_path(const char *path, int kind, struct error *e)
{
    const struct format *format = probe(path, kind, e);
    struct source *s = format ? calloc(1, sizeof *s) : NULL;
    if (!s) {
        if (format)
            out_of_memory(e);
        return NULL;
    }
    s->format = format;
    s->path = arena_copy(&s->arena, path, strlen(path));
    if (!s->path) {
        out_of_memory(e);
        goto fail;
    }
    if (format->open(s, e) || sort_tensors(s, e))
        goto fail;
    limit_consumed(s);
    return s;
fail:
    source_close(s);
    return NULL;
}

struct source *source_open(const char *path, struct error *e)
{
    char *part = NULL; /* the whole of a split file stands for its first part */
    int kind;
    if (io_look(path, &kind, e) || (!kind && split_find(path, &part, e)))
        return NULL;
    struct source *s = open_path(part ? part : path, part ? 1 : kind, e);
    free(part);
    return s;
}

void source_close(struct source *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_files; i++)
        io_close(&s->files[i]);
    free(s->files);
    free(s->tensors);
    gguf_meta_free(s->meta);
    coded_cache_free(s->coded);
    arena_clear(&s->arena);
    free(s);
}

const struct tensor *source_find(const struct source *s, const char *name)
{
    struct tensor key = {.name = name};
    return s->n_tensors ? bsearch(&key, s->tensors, s->n_tensors, sizeof key, by_name) : NULL;
}

int source_read(const struct source *s, const struct tensor *t, uint64_t at, void *buf, size_t n,
                struct error *e)
{
    if (t->coded)
        return coded_read(s, t, at, buf, n, e);
    if (io_read(&s->files[t->file], t->offset + at, buf, n, e))
        return error_at_tensor(e, t->name);
    return 0;
}

void source_will_need(const struct source *s, const struct tensor *t, uint64_t at, uint64_t n)
{
    uint64_t from = t->offset + at, to = from + n;
    if (t->coded)
        coded_range(t, at, n, &from, &to);
    io_will_need(&s->files[t->file], from, to - from);
}

static int hash_coded(const struct source *s, const struct tensor *t, struct hash *h, struct error *e)
{
    size_t room = (size_t)t->coded->chunk;
    uint8_t *bytes = malloc(room);
    int rc = bytes ? 0 : out_of_memory(e);
    for (uint64_t at = 0; !rc && at < t->bytes;) {
        size_t n = t->bytes - at < room ? (size_t)(t->bytes - at) : room;
        if (!(rc = coded_read(s, t, at, bytes, n, e)))
            hash_add(h, bytes, n);
        at += n;
    }
    free(bytes);
    return rc;
}

int source_hash(const struct source *s, const struct tensor *t, char out[HASH_TEXT], struct error *e)
{
    if (!t->coded)
        return hash_range(&s->files[t->file], t->offset, t->bytes, out, e);
    struct hash *h = hash_new();
    if (!h)
        return out_of_memory(e);
    int rc = hash_coded(s, t, h, e);
    hash_finish(h, out);
    return rc;
}

uint64_t source_header_size(const struct source *s, size_t file)
{
    uint64_t end = s->files[file].size;
    for (size_t i = 0; i < s->n_tensors; i++)
        if (s->tensors[i].file == file && s->tensors[i].offset < end)
            end = s->tensors[i].offset;
    return end;
}

const char *shape_text(const uint64_t *dims, uint32_t n, char out[SHAPE_TEXT])
{
    size_t used = (size_t)snprintf(out, SHAPE_TEXT, "[");
    for (uint32_t i = 0; i < n; i++)
        used += (size_t)snprintf(out + used, SHAPE_TEXT - used, "%s%" PRIu64, i ? ", " : "", dims[i]);
    snprintf(out + used, SHAPE_TEXT - used, "]");
    return out;
}
