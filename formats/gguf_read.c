/* SPDX-License-Identifier: MIT
 * Reader of GGUF v3 (and v2, which differs in nothing that we read), single files and split ones. Every count, length and
 * offset is held against the file's real size before it is used. Big-endian files and version 1 are refused. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf.h"
#include "formats/split_name.h"

enum { WINDOW = 1 << 16, MAX_KV = 8192, MAX_ARRAY = 1 << 30, MAX_HEADER = 1 << 29, MAX_SPLITS = 4096 };

/* A place in the header, read through a window so that a walk over 128,000 strings is not as many system calls. */
struct cursor {
    const struct io_file *file;
    uint64_t at;            /* next byte */
    uint64_t window_at;     /* file offset of window[0] */
    size_t window_size;     /* valid bytes */
    uint8_t window[WINDOW];
};

static int bad(struct error *e, uint64_t at, const char *what)
{
    return error_set(e, ERR_FORMAT, at, "%s", what);
}

/* Fails unless n more bytes are in the file. */
static int need(const struct cursor *c, uint64_t n, const char *what, struct error *e)
{
    if (n <= c->file->size - c->at)
        return 0;
    return error_set(e, ERR_FORMAT, c->at, "%s of %" PRIu64 " bytes exceeds the file", what, n);
}

static int take(struct cursor *c, void *out, size_t n, struct error *e)
{
    uint8_t *to = out;
    if (need(c, n, "header field", e))
        return -1;
    while (n) {
        if (c->at < c->window_at || c->at >= c->window_at + c->window_size) {
            uint64_t rest = c->file->size - c->at;
            c->window_at = c->at;
            c->window_size = rest < WINDOW ? (size_t)rest : WINDOW;
            if (io_read(c->file, c->at, c->window, c->window_size, e))
                return -1;
        }
        size_t here = (size_t)(c->window_at + c->window_size - c->at);
        size_t part = n < here ? n : here;
        memcpy(to, c->window + (c->at - c->window_at), part);
        to += part;
        c->at += part;
        n -= part;
    }
    return 0;
}

static int take_u32(struct cursor *c, uint32_t *v, struct error *e)
{
    uint8_t b[4];
    if (take(c, b, 4, e))
        return -1;
    *v = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    return 0;
}

static int take_u64(struct cursor *c, uint64_t *v, struct error *e)
{
    uint32_t lo, hi;
    if (take_u32(c, &lo, e) || take_u32(c, &hi, e))
        return -1;
    *v = (uint64_t)hi << 32 | lo;
    return 0;
}

/* A name or key: terminated copy in the arena; at most `max` bytes, not empty, without NUL. */
static int take_name(struct cursor *c, struct arena *arena, uint64_t max, char **name, struct error *e)
{
    uint64_t n, at = c->at;
    if (take_u64(c, &n, e))
        return -1;
    if (n == 0 || n > max)
        return error_set(e, ERR_FORMAT, at, "name length %" PRIu64 " is not in 1..%" PRIu64, n, max);
    if (need(c, n, "name", e))
        return -1;
    if (!(*name = arena_alloc(arena, (size_t)n + 1)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (take(c, *name, (size_t)n, e))
        return -1;
    return memchr(*name, 0, (size_t)n) ? bad(e, at, "a name holds a NUL byte") : 0;
}

/* Moves over one value of this type; all lengths are checked against the file. */
static int skip_value(struct cursor *c, uint32_t type, struct error *e)
{
    uint64_t n;
    if (type == GGUF_STRING) {
        if (take_u64(c, &n, e) || need(c, n, "string", e))
            return -1;
        c->at += n;
        return 0;
    }
    size_t size = gguf_type_size((enum gguf_type)type);
    if (need(c, size, "value", e))
        return -1;
    c->at += size;
    return 0;
}

static int skip_array(struct cursor *c, struct error *e)
{
    uint64_t count, at = c->at;
    uint32_t element;
    if (take_u32(c, &element, e) || take_u64(c, &count, e))
        return -1;
    if (element >= GGUF_TYPE_COUNT || element == GGUF_ARRAY)
        return error_set(e, ERR_FORMAT, at, "array of unknown element type %" PRIu32, element);
    if (count > MAX_ARRAY)
        return error_set(e, ERR_FORMAT, at, "array of %" PRIu64 " elements is too long", count);
    if (element != GGUF_STRING) {
        uint64_t bytes = count * gguf_type_size((enum gguf_type)element);
        if (need(c, bytes, "array", e))
            return -1;
        c->at += bytes;
        return 0;
    }
    if (need(c, 8 * count, "array", e))
        return -1;
    for (uint64_t i = 0; i < count; i++)
        if (skip_value(c, GGUF_STRING, e))
            return -1;
    return 0;
}

static int read_kv(struct cursor *c, struct gguf_meta *m, struct error *e)
{
    char *key;
    uint32_t type;
    uint64_t at = c->at;
    if (take_name(c, &m->arena, 65535, &key, e) || take_u32(c, &type, e))
        return -1;
    if (gguf_find(m, key))
        return error_set(e, ERR_FORMAT, at, "duplicate key '%s'", key);
    if (type >= GGUF_TYPE_COUNT)
        return error_set(e, ERR_FORMAT, at, "key '%s' has the unknown type %" PRIu32, key, type);
    uint64_t start = c->at;
    if (type == GGUF_ARRAY ? skip_array(c, e) : skip_value(c, type, e))
        return -1;
    if (c->at > MAX_HEADER)
        return bad(e, start, "the header is larger than 512 MiB");
    /* the extent is proven: now fetch it in one read */
    size_t size = (size_t)(c->at - start);
    void *value = malloc(size ? size : 1);
    if (!value)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    int rc = io_read(c->file, start, value, size, e);
    if (!rc)
        gguf_add(m, key, (enum gguf_type)type, value, size);
    free(value);
    if (!rc && m->failed)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    return rc;
}

static int read_alignment(const struct gguf_meta *m, uint64_t *alignment, struct error *e)
{
    const struct gguf_kv *kv = gguf_find(m, "general.alignment");
    *alignment = GGUF_ALIGNMENT;
    if (!kv)
        return 0;
    if (kv->type != GGUF_U32 || gguf_get_u64(kv, alignment) || !*alignment || (*alignment & (*alignment - 1)))
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "general.alignment is no power of two");
    return 0;
}

/* One tensor info; t->offset stays relative to the data section. */
static int read_info(struct cursor *c, struct arena *arena, struct tensor *t, struct error *e)
{
    uint64_t ne[GGUF_MAX_DIMS], at = c->at;
    uint32_t type;
    char *name;
    if (take_name(c, arena, GGUF_MAX_NAME, &name, e))
        return -1;
    t->name = name;
    if (take_u32(c, &t->n_dims, e))
        return -1;
    if (t->n_dims < 1 || t->n_dims > GGUF_MAX_DIMS) {
        error_set(e, ERR_FORMAT, at, "%" PRIu32 " dimensions", t->n_dims);
        return error_at_tensor(e, name);
    }
    for (uint32_t i = 0; i < t->n_dims; i++)
        if (take_u64(c, &ne[i], e))
            return -1;
    for (uint32_t i = 0; i < t->n_dims; i++)
        t->dims[i] = ne[t->n_dims - 1 - i];
    if (take_u32(c, &type, e) || take_u64(c, &t->offset, e))
        return -1;
    for (uint32_t i = 0; i < t->n_dims; i++)
        if (ne[i] == 0 || ne[i] > INT64_MAX) {
            error_set(e, ERR_FORMAT, at, "a dimension is %" PRIu64, ne[i]);
            return error_at_tensor(e, name);
        }
    if (!(t->type = gguf_storage(type))) {
        error_set(e, ERR_UNSUPPORTED, at, "unknown tensor type %" PRIu32, type);
        return error_at_tensor(e, name);
    }
    if (tensor_size(t, &t->bytes, e)) {
        if (e)
            e->offset = at;
        return error_at_tensor(e, name);
    }
    return 0;
}

/* The tensors [first, n_tensors): offsets contiguous in info order, data inside the file. */
static int place_tensors(struct source *s, size_t first, uint64_t data_at, uint64_t file_size, uint64_t alignment,
                         struct error *e)
{
    uint64_t at = 0, end = data_at;
    for (size_t i = first; i < s->n_tensors; i++) {
        struct tensor *t = &s->tensors[i];
        if (t->offset != at) {
            error_set(e, ERR_FORMAT, data_at, "tensor offset %" PRIu64 " is not the %" PRIu64 " of its place", t->offset,
                      at);
            return error_at_tensor(e, t->name);
        }
        if (__builtin_add_overflow(data_at, at, &t->offset) || __builtin_add_overflow(t->offset, t->bytes, &end) ||
            end > file_size) {
            error_set(e, ERR_FORMAT, t->offset, "the file is truncated: %" PRIu64 " bytes of data, the file has %" PRIu64,
                      t->bytes, file_size);
            return error_at_tensor(e, t->name);
        }
        at = end - data_at;
        if (__builtin_add_overflow(at, (alignment - at % alignment) % alignment, &at))
            return bad(e, data_at, "the data size overflows");
    }
    if (file_size > data_at + at) /* less is no fault: the padding after the last tensor may be missing */
        return error_set(e, ERR_FORMAT, end, "%" PRIu64 " bytes follow the last tensor", file_size - end);
    return 0;
}

static int read_header(struct cursor *c, uint64_t *n_tensors, uint64_t *n_kv, struct error *e)
{
    uint8_t magic[4];
    uint32_t version;
    if (take(c, magic, 4, e))
        return -1;
    if (memcmp(magic, "GGUF", 4))
        return bad(e, 0, "no GGUF magic");
    if (take_u32(c, &version, e) || take_u64(c, n_tensors, e) || take_u64(c, n_kv, e))
        return -1;
    if ((version & 0xffff) == 0 && version)
        return error_set(e, ERR_UNSUPPORTED, 4, "a big-endian GGUF is not supported");
    if (version < 2 || version > 3)
        return error_set(e, ERR_UNSUPPORTED, 4, "GGUF version %" PRIu32 " is not supported", version);
    /* the smallest pair takes 8 + 1 + 4 + 1 bytes, the smallest info 8 + 1 + 4 + 8 + 4 + 8 */
    if (*n_kv > MAX_KV || *n_kv > c->file->size / 14)
        return error_set(e, ERR_FORMAT, 16, "%" PRIu64 " key-value pairs do not fit the file", *n_kv);
    if (*n_tensors > c->file->size / 33)
        return error_set(e, ERR_FORMAT, 8, "%" PRIu64 " tensors do not fit the file", *n_tensors);
    return 0;
}

/* Reads one part: its pairs into m, its tensors into s. */
static int read_part(struct source *s, uint32_t file, struct gguf_meta *m, struct error *e)
{
    struct cursor *c = calloc(1, sizeof *c);
    size_t first = s->n_tensors;
    uint64_t n_tensors, n_kv, alignment;
    int rc = -1;
    if (!c)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    c->file = &s->files[file];
    if (read_header(c, &n_tensors, &n_kv, e))
        goto out;
    for (uint64_t i = 0; i < n_kv; i++)
        if (read_kv(c, m, e))
            goto out;
    if (read_alignment(m, &alignment, e))
        goto out;
    for (uint64_t i = 0; i < n_tensors; i++) {
        struct tensor t = {.file = file};
        if (read_info(c, &s->arena, &t, e) || source_add_tensor(s, &t, e))
            goto out;
    }
    uint64_t data_at = c->at + (alignment - c->at % alignment) % alignment;
    rc = place_tensors(s, first, data_at, c->file->size, alignment, e);
out:
    if (rc)
        error_at_file(e, s->files[file].path);
    free(c);
    return rc;
}

static uint64_t split_key(const struct gguf_meta *m, const char *key, uint64_t otherwise)
{
    uint64_t v;
    return gguf_get_u64(gguf_find(m, key), &v) ? otherwise : v;
}

/* Opens part `no` of a split file, 1-based, and reads it. */
static int open_part(struct source *s, uint64_t no, uint64_t count, struct error *e)
{
    char *whole = split_whole(s->path), *path = whole ? split_part(whole, no, count, ".gguf") : NULL;
    free(whole);
    if (!path) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "a part of %" PRIu64 " whose name does not end in -NNNNN-of-NNNNN.gguf",
                  count);
        return error_at_file(e, s->path);
    }
    struct gguf_meta *m = no == 1 ? s->meta : calloc(1, sizeof *m);
    int rc = -1, file = -1;
    if (!m) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    } else if (!io_kind(path)) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "part %" PRIu64 " of %" PRIu64 " is missing", no, count);
        error_at_file(e, path);
    } else {
        file = source_add_file(s, path, e);
    }
    free(path);
    if (file >= 0 && !read_part(s, (uint32_t)file, m, e)) {
        rc = 0;
        if (split_key(m, "split.no", 0) != no - 1 || split_key(m, "split.count", 0) != count) {
            rc = error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "this is not part %" PRIu64 " of %" PRIu64, no, count);
            error_at_file(e, s->files[file].path);
        }
    }
    if (no != 1)
        gguf_meta_free(m);
    return rc;
}

static int check_split_total(const struct source *s, struct error *e)
{
    uint64_t total = split_key(s->meta, "split.tensors.count", s->n_tensors);
    if (total == s->n_tensors)
        return 0;
    error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the parts hold %zu tensors, split.tensors.count says %" PRIu64,
              s->n_tensors, total);
    return error_at_file(e, s->path);
}

static int open_gguf(struct source *s, struct error *e)
{
    int file = source_add_file(s, s->path, e);
    if (file < 0)
        return -1;
    if (!(s->meta = calloc(1, sizeof *s->meta)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (read_part(s, (uint32_t)file, s->meta, e))
        return -1;
    uint64_t count = split_key(s->meta, "split.count", 0);
    if (count <= 1)
        return 0;
    if (count > MAX_SPLITS) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%" PRIu64 " parts are too many", count);
        return error_at_file(e, s->path);
    }
    /* start over with the parts in order, whichever was named */
    gguf_meta_free(s->meta);
    io_close(&s->files[0]);
    s->n_files = s->n_tensors = 0;
    s->tensor_bytes = 0;
    if (!(s->meta = calloc(1, sizeof *s->meta)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (uint64_t no = 1; no <= count; no++)
        if (open_part(s, no, count, e))
            return -1;
    return check_split_total(s, e);
}

static int probe(const char *path, int is_folder, const uint8_t *head, size_t n)
{
    size_t len = strlen(path);
    if (is_folder)
        return 0;
    if (n >= 4 && !memcmp(head, "GGUF", 4))
        return 100;
    return len > 5 && !strcmp(path + len - 5, ".gguf") ? 20 : 0;
}

const struct format format_gguf = {.name = "gguf", .probe = probe, .open = open_gguf};
