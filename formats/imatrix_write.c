/* SPDX-License-Identifier: MIT
 * Writer of importance matrices in both forms. Sums go through a piece of memory, however many they are. */
#include <stdlib.h>
#include <string.h>

#include "formats/gguf.h"
#include "formats/imatrix.h"

enum { PIECE = 1 << 14 };

struct writer {
    const struct imatrix *m;
    imatrix_sums_fn *sums;
    void *context;
    struct io_out out;
    float *piece;
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

/* ---- dat */

static float largest_count(const struct imatrix_entry *t)
{
    float most = 0;
    for (uint64_t i = 0; i < t->n_mat; i++)
        most = t->counts[i] > most ? t->counts[i] : most;
    return most;
}

static int check_dat(const struct imatrix *m, const struct imatrix_entry *t, struct error *e)
{
    if (t->n_mat * t->n_cols <= INT32_MAX && largest_count(t) / (float)m->chunk_size < 0x1p31f && m->chunk_count <= INT32_MAX)
        return 0;
    error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "values, calls or chunks are more than a dat file can say");
    return error_at_tensor(e, t->name);
}

static int32_t calls_of(const struct imatrix *m, const struct imatrix_entry *t)
{
    return (int32_t)(((int64_t)largest_count(t) + m->chunk_size - 1) / m->chunk_size);
}

static void put_text(struct buffer *b, const char *s)
{
    buffer_u32(b, (uint32_t)strlen(s));
    buffer_text(b, s);
}

/* Sums into what a dat file has: the mean times the calls; 1 for the mean of a matrix without data. The values of
 * calls that were counted as calls stay what they are. */
static void scale(float *v, uint64_t n, float count, float ncall)
{
    for (uint64_t i = 0; count != ncall && i < n; i++)
        v[i] = (count > 0 ? v[i] / count : 1.0f) * ncall;
}

/* Writes `b`, empties it, and moves on. */
static int put_bytes(struct writer *w, uint64_t *at, struct buffer *b, struct error *e)
{
    int rc = b->failed ? no_memory(e) : io_out_write(&w->out, *at, b->data, b->size, e);
    *at += b->size;
    buffer_clear(b);
    return rc;
}

static int put_dat_entry(struct writer *w, size_t index, uint64_t *at, struct error *e)
{
    const struct imatrix_entry *t = &w->m->entries[index];
    struct buffer b = {0};
    float ncall = (float)calls_of(w->m, t);
    put_text(&b, t->name);
    buffer_u32(&b, (uint32_t)calls_of(w->m, t));
    buffer_u32(&b, (uint32_t)(t->n_mat * t->n_cols));
    if (put_bytes(w, at, &b, e))
        return -1;
    for (uint64_t i = 0; i < t->n_mat; i++)
        for (uint64_t k = 0; k < t->n_cols; k += PIECE) {
            uint64_t n = t->n_cols - k < PIECE ? t->n_cols - k : PIECE;
            if (w->sums(w->context, index, i * t->n_cols + k, n, w->piece, e))
                return -1;
            scale(w->piece, n, t->counts[i], ncall);
            if (io_out_write(&w->out, *at, w->piece, 4 * (size_t)n, e))
                return -1;
            *at += 4 * n;
        }
    return 0;
}

static int save_dat(struct writer *w, const char *path, struct error *e)
{
    const struct imatrix *m = w->m;
    const char *dataset = m->n_datasets ? m->datasets[m->n_datasets - 1] : "";
    uint64_t size = 4 + 8 + strlen(dataset), at = 0;
    struct buffer b = {0};
    uint32_t n = 0;
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct imatrix_entry *t = &m->entries[i];
        if (check_dat(m, t, e))
            return -1;
        n += largest_count(t) > 0;
        size += largest_count(t) > 0 ? 12 + strlen(t->name) + 4 * t->n_mat * t->n_cols : 0;
    }
    if (!n)
        return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "no entry has data, and a dat file must have some");
    buffer_u32(&b, n);
    if (io_out_create(&w->out, path, size, e) || put_bytes(w, &at, &b, e))
        return -1;
    for (size_t i = 0; i < m->n_entries; i++)
        if (largest_count(&m->entries[i]) > 0 && put_dat_entry(w, i, &at, e))
            return -1;
    buffer_u32(&b, m->chunk_count);
    put_text(&b, dataset);
    return put_bytes(w, &at, &b, e);
}

/* ---- GGUF */

static struct gguf_meta *make_meta(const struct imatrix *m)
{
    struct gguf_meta *meta = calloc(1, sizeof *meta);
    struct buffer b = {0};
    if (!meta)
        return NULL;
    gguf_add_string(meta, "general.type", "imatrix", 7);
    for (size_t i = 0; i < m->n_datasets; i++) {
        buffer_u64(&b, strlen(m->datasets[i]));
        buffer_text(&b, m->datasets[i]);
    }
    meta->failed |= b.failed;
    gguf_add_array(meta, "imatrix.datasets", GGUF_STRING, m->n_datasets, b.data, b.size);
    gguf_add_u32(meta, "imatrix.chunk_count", m->chunk_count);
    gguf_add_u32(meta, "imatrix.chunk_size", m->chunk_size);
    buffer_clear(&b);
    return meta;
}

/* An F32 tensor NAME + suffix of [rows][cols]; like ggml, without a dimension of one row. */
static int make_tensor(struct arena *a, struct tensor *t, const char *name, const char *suffix, uint64_t rows, uint64_t cols)
{
    size_t n = strlen(name), k = strlen(suffix);
    char *full = arena_alloc(a, n + k + 1);
    *t = (struct tensor){.name = full, .type = gguf_storage_by_name("F32"), .bytes = 4 * rows * cols};
    if (!full)
        return -1;
    memcpy(full, name, n);
    memcpy(full + n, suffix, k);
    if (rows > 1)
        t->dims[t->n_dims++] = rows;
    t->dims[t->n_dims++] = cols;
    return 0;
}

static int make_tensors(const struct imatrix *m, struct arena *a, struct tensor *list)
{
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct imatrix_entry *t = &m->entries[i];
        if (make_tensor(a, &list[2 * i], t->name, ".in_sum2", t->n_mat, t->n_cols) ||
            make_tensor(a, &list[2 * i + 1], t->name, ".counts", t->n_mat, 1))
            return -1;
    }
    return 0;
}

static int put_gguf_entry(struct writer *w, size_t index, const struct tensor *sums, const struct tensor *counts, struct error *e)
{
    const struct imatrix_entry *t = &w->m->entries[index];
    uint64_t total = t->n_mat * t->n_cols;
    for (uint64_t at = 0; at < total; at += PIECE) {
        uint64_t n = total - at < PIECE ? total - at : PIECE;
        if (w->sums(w->context, index, at, n, w->piece, e) ||
            io_out_write(&w->out, sums->offset + 4 * at, w->piece, 4 * (size_t)n, e))
            return -1;
    }
    return io_out_write(&w->out, counts->offset, t->counts, 4 * (size_t)t->n_mat, e);
}

static int save_gguf(struct writer *w, const char *path, struct error *e)
{
    const struct imatrix *m = w->m;
    struct arena arena = {NULL};
    struct buffer header = {0};
    struct gguf_meta *meta = make_meta(m);
    struct tensor *list = arena_array(&arena, 2 * m->n_entries + 1, sizeof *list);
    uint64_t size;
    int rc = meta && list && !make_tensors(m, &arena, list) ? 0 : no_memory(e);
    if (!rc)
        rc = gguf_layout(meta, list, 2 * m->n_entries, &header, &size, e) || io_out_create(&w->out, path, size, e) ||
                     io_out_write(&w->out, 0, header.data, header.size, e)
                 ? -1
                 : 0;
    for (size_t i = 0; !rc && i < m->n_entries; i++)
        rc = put_gguf_entry(w, i, &list[2 * i], &list[2 * i + 1], e);
    gguf_meta_free(meta);
    buffer_clear(&header);
    arena_clear(&arena);
    return rc;
}

int imatrix_save(const struct imatrix *m, imatrix_sums_fn *sums, void *context, enum imatrix_form form, const char *path,
                 struct error *e)
{
    static int (*const save[IMATRIX_FORMS])(struct writer *, const char *, struct error *) = {save_gguf, save_dat};
    struct writer w = {.m = m, .sums = sums, .context = context, .out = {.fd = -1}, .piece = malloc(PIECE * sizeof(float))};
    int rc = w.piece ? save[form](&w, path, e) : no_memory(e);
    if (!rc)
        rc = io_out_finish(&w.out, e);
    if (rc)
        io_out_abandon(&w.out);
    free(w.piece);
    return rc;
}
