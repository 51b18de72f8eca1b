/* SPDX-License-Identifier: MIT
 * Reader of the safetensors container, as strict as the reference and stricter where it is lax: duplicate keys are
 * refused. Does not look at values. */
#include "formats/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static const struct storage dtypes[] = {
    {.name = "BOOL", .block_len = 1, .block_bytes = 1, .gguf_id = -1},
    {.name = "U8", .block_len = 1, .block_bytes = 1, .gguf_id = -1},
    {.name = "I8", .block_len = 1, .block_bytes = 1, .gguf_id = 24},
    {.name = "F8_E4M3", .block_len = 1, .block_bytes = 1, .gguf_id = -1},
    {.name = "F8_E5M2", .block_len = 1, .block_bytes = 1, .gguf_id = -1},
    {.name = "F8_E8M0", .block_len = 1, .block_bytes = 1, .gguf_id = -1},
    {.name = "F4", .block_len = 2, .block_bytes = 1, .gguf_id = -1},
    {.name = "I16", .block_len = 1, .block_bytes = 2, .gguf_id = 25},
    {.name = "U16", .block_len = 1, .block_bytes = 2, .gguf_id = -1},
    {.name = "F16", .block_len = 1, .block_bytes = 2, .gguf_id = 1},
    {.name = "BF16", .block_len = 1, .block_bytes = 2, .gguf_id = 30},
    {.name = "I32", .block_len = 1, .block_bytes = 4, .gguf_id = 26},
    {.name = "U32", .block_len = 1, .block_bytes = 4, .gguf_id = -1},
    {.name = "F32", .block_len = 1, .block_bytes = 4, .gguf_id = 0},
    {.name = "I64", .block_len = 1, .block_bytes = 8, .gguf_id = 27},
    {.name = "U64", .block_len = 1, .block_bytes = 8, .gguf_id = -1},
    {.name = "F64", .block_len = 1, .block_bytes = 8, .gguf_id = 28},
    {.name = "C64", .block_len = 1, .block_bytes = 8, .gguf_id = -1},
};

const struct storage *safetensors_dtype(const char *name)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (!strcmp(dtypes[i].name, name))
            return &dtypes[i];
    return NULL;
}

static int read_shape(const struct json *v, struct tensor *t, struct error *e)
{
    if (!v || json_type(v) != JSON_ARRAY)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "shape is missing or no list");
    for (const struct json *d = json_child(v); d; d = json_next(d)) {
        if (t->n_dims == TENSOR_MAX_DIMS)
            return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "more than %d dimensions", TENSOR_MAX_DIMS);
        if (json_u64(d, &t->dims[t->n_dims++]))
            return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "a dimension is no whole number");
    }
    return 0;
}

/* One header entry. `t->offset` stays relative to the data section here. */
static int read_entry(const struct json *v, struct tensor *t, struct error *e)
{
    const char *dtype = json_string(json_get(v, "dtype"));
    const struct json *range = json_get(v, "data_offsets"), *begin = json_child(range);
    uint64_t end, need;

    if (!dtype)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "dtype is missing");
    if (!(t->type = safetensors_dtype(dtype)))
        return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "unknown dtype '%s'", dtype);
    if (read_shape(json_get(v, "shape"), t, e))
        return -1;
    if (json_type(range) != JSON_ARRAY || json_count(range) != 2 || json_u64(begin, &t->offset) ||
        json_u64(json_next(begin), &end) || end < t->offset)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "data_offsets is no [begin, end]");
    t->bytes = end - t->offset;
    if (tensor_size(t, &need, e))
        return -1;
    if (need != t->bytes) {
        char shape[SHAPE_TEXT];
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%s %s needs %" PRIu64 " bytes, data_offsets give %" PRIu64,
                         t->type->name, shape_text(t->dims, t->n_dims, shape), need, t->bytes);
    }
    return 0;
}

static int check_metadata(const struct json *v, struct error *e)
{
    if (json_type(v) != JSON_OBJECT)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "__metadata__ is no object");
    for (const struct json *m = json_child(v); m; m = json_next(m))
        if (!json_string(m))
            return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "__metadata__ '%s' is no string", json_key(m));
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const struct tensor *s = a, *t = b;
    /* empty tensors share an offset with their neighbour: the shorter range comes first */
    if (s->offset != t->offset)
        return s->offset < t->offset ? -1 : 1;
    return s->bytes < t->bytes ? -1 : s->bytes > t->bytes;
}

/* The tensors [first, n_tensors) of one file, relative offsets: no hole, no overlap, ends with the file. */
static int check_coverage(struct source *s, size_t first, uint64_t data_at, uint64_t data_size, struct error *e)
{
    size_t n = s->n_tensors - first;
    struct tensor *list = n ? s->tensors + first : NULL;
    uint64_t end = 0;
    if (n > 1)
        qsort(list, n, sizeof *list, by_offset);
    for (size_t i = 0; i < n; i++) {
        if (list[i].offset != end) {
            error_set(e, ERR_FORMAT, data_at + list[i].offset,
                      list[i].offset < end ? "tensor data overlaps the tensor before it"
                                           : "there is a hole before the tensor's data");
            return error_at_tensor(e, list[i].name);
        }
        end += list[i].bytes;
        if (end > data_size) {
            error_set(e, ERR_FORMAT, data_at + list[i].offset,
                      "the file is truncated: the tensor ends %" PRIu64 " bytes behind the end of the file",
                      end - data_size);
            return error_at_tensor(e, list[i].name);
        }
    }
    if (end != data_size)
        return error_set(e, ERR_FORMAT, data_at + end, "%" PRIu64 " bytes follow the last tensor", data_size - end);
    for (size_t i = 0; i < n; i++)
        list[i].offset += data_at;
    return 0;
}

static int read_entries(struct source *s, uint32_t file, const struct json *root, struct error *e)
{
    if (json_type(root) != JSON_OBJECT)
        return error_set(e, ERR_FORMAT, 8, "the header is no JSON object");
    for (const struct json *v = json_child(root); v; v = json_next(v)) {
        const char *key = json_key(v);
        struct tensor t = {.file = file};
        if (!strcmp(key, "__metadata__")) {
            if (check_metadata(v, e))
                return -1;
            continue;
        }
        if (read_entry(v, &t, e)) {
            if (e)
                e->offset = e->offset == ERROR_NO_OFFSET ? 8 : e->offset;
            return error_at_tensor(e, key);
        }
        if (!(t.name = arena_copy(&s->arena, key, strlen(key))))
            return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        if (source_add_tensor(s, &t, e))
            return -1;
    }
    return 0;
}

/* What a pointer file of Git LFS begins with; such a file is 130 bytes of text in place of a shard. As a header length it is
 * far beyond any limit, so only a refused file is looked at. */
static int is_lfs_pointer(const struct io_file *f)
{
    static const char start[] = "version https://git-lfs";
    char head[sizeof start - 1];
    return f->size >= sizeof head && !io_read(f, 0, head, sizeof head, NULL) && !memcmp(head, start, sizeof head);
}

static uint64_t le64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

int safetensors_read_header(struct source *s, uint32_t file, struct error *e)
{
    const struct io_file *f = &s->files[file];
    size_t first = s->n_tensors;
    struct json *root = NULL;
    char *text = NULL;
    uint8_t word[8];
    uint64_t n;
    int rc = -1;

    if (f->size < 8) {
        error_set(e, ERR_FORMAT, 0, "the file has %" PRIu64 " bytes, too few for a safetensors header", f->size);
        goto out;
    }
    if (io_read(f, 0, word, 8, e))
        goto out;
    if ((n = le64(word)) > SAFETENSORS_MAX_HEADER || n > f->size - 8) {
        if (is_lfs_pointer(f))
            error_set(e, ERR_FORMAT, 0, "this is a Git LFS pointer, not the weights: run 'git lfs pull'");
        else
            error_set(e, ERR_FORMAT, 0, "header length %" PRIu64 " exceeds %s", n,
                  n > f->size - 8 ? "the file" : "the limit of 100000000");
        goto out;
    }
    if (!(text = malloc((size_t)n + 1))) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        goto out;
    }
    if (io_read(f, 8, text, (size_t)n, e))
        goto out;
    if (!(root = json_parse(text, (size_t)n, e))) {
        if (e && e->offset != ERROR_NO_OFFSET)
            e->offset += 8;
        goto out;
    }
    free(text); /* the tree holds its own copies, and is large enough */
    text = NULL;
    rc = read_entries(s, file, root, e) || check_coverage(s, first, 8 + n, f->size - 8 - n, e) ? -1 : 0;
out:
    if (rc)
        error_at_file(e, f->path);
    json_free(root);
    free(text);
    return rc;
}

int safetensors_read_text(struct source *s, uint32_t file, const char *header, size_t n, uint64_t *file_bytes, struct error *e)
{
    const size_t first = s->n_tensors;
    if (n < 8 || le64((const uint8_t *)header) != n - 8)
        return error_set(e, ERR_FORMAT, 0, "the header has %zu bytes, which is not the length that it says", n);
    struct json *root = json_parse(header + 8, n - 8, e);
    int rc = root ? read_entries(s, file, root, e) : -1;
    *file_bytes = n;
    for (size_t i = first; !rc && i < s->n_tensors; i++)
        *file_bytes += s->tensors[i].bytes;
    rc = rc || check_coverage(s, first, n, *file_bytes - n, e) ? -1 : 0;
    json_free(root);
    return rc;
}

static int probe(const char *path, int is_folder, const uint8_t *head, size_t n)
{
    size_t len = strlen(path);
    if (is_folder)
        return 0;
    if (n >= 10 && head[8] == '{' && le64(head) <= SAFETENSORS_MAX_HEADER)
        return 60;
    /* by name too, so that a damaged file gets a message about safetensors */
    return len > 12 && !strcmp(path + len - 12, ".safetensors") ? 20 : 0;
}

static int open_single(struct source *s, struct error *e)
{
    int file = source_add_file(s, s->path, e);
    return file < 0 ? -1 : safetensors_read_header(s, (uint32_t)file, e);
}

const struct format format_safetensors = {.name = "safetensors", .probe = probe, .open = open_single};
