/* SPDX-License-Identifier: MIT
 * The sum of importance matrices. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/imatrix.h"

enum { PIECE = 1 << 12 };

struct merger {
    struct imatrix *const *in;
    size_t n;
    const struct imatrix *sum;
};

struct part { /* an entry of one of the inputs */
    const struct imatrix *of;
    const struct imatrix_entry *entry;
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct part *)a)->entry->name, ((const struct part *)b)->entry->name);
}

/* Adds one more part to its entry of the sum: the last one, or a new one. */
static int add_part(struct imatrix *sum, const struct part *p, struct error *e)
{
    const struct imatrix_entry *t = p->entry;
    struct imatrix_entry *s = sum->n_entries ? &sum->entries[sum->n_entries - 1] : NULL;
    if (!s || strcmp(s->name, t->name)) {
        s = &sum->entries[sum->n_entries++];
        *s = (struct imatrix_entry){.name = t->name, .n_mat = t->n_mat, .n_cols = t->n_cols};
        if (!(s->counts = arena_array(&sum->arena, (size_t)t->n_mat, sizeof *s->counts)))
            return no_memory(e);
    }
    if (s->n_mat != t->n_mat || s->n_cols != t->n_cols) {
        error_set(e, ERR_FORMAT, t->at, "%" PRIu64 " x %" PRIu64 " sums here, %" PRIu64 " x %" PRIu64 " in another file", t->n_mat,
                  t->n_cols, s->n_mat, s->n_cols);
        error_at_file(e, p->of->path);
        return error_at_tensor(e, t->name);
    }
    for (uint64_t k = 0; k < t->n_mat; k++)
        s->counts[k] += t->counts[k];
    return 0;
}

static int add_entries(struct imatrix *sum, struct imatrix *const *in, size_t n, size_t n_parts, struct error *e)
{
    struct part *parts = calloc(n_parts + 1, sizeof *parts);
    size_t at = 0;
    int rc = parts ? 0 : no_memory(e);
    for (size_t i = 0; parts && i < n; i++)
        for (size_t k = 0; k < in[i]->n_entries; k++)
            parts[at++] = (struct part){in[i], &in[i]->entries[k]};
    if (parts)
        qsort(parts, at, sizeof *parts, by_name);
    for (size_t i = 0; !rc && i < at; i++)
        rc = add_part(sum, &parts[i], e);
    free(parts);
    return rc;
}

/* Chunks and datasets. *n_parts: entries of all. */
static int add_texts(struct imatrix *sum, struct imatrix *const *in, size_t n, size_t *n_parts, struct error *e)
{
    size_t datasets = 0;
    *n_parts = 0;
    sum->chunk_size = in[0]->chunk_size;
    for (size_t i = 0; i < n; i++) {
        *n_parts += in[i]->n_entries;
        datasets += in[i]->n_datasets;
        int calls = in[i]->form != in[0]->form;
        if (calls || in[i]->chunk_size != sum->chunk_size)
            error_set(e, ERR_FORMAT, ERROR_NO_OFFSET,
                      calls ? "a dat file counts calls, a GGUF tokens: they do not add up"
                            : "chunks of %" PRIu32 " tokens here, of %" PRIu32 " in the first file",
                      in[i]->chunk_size, sum->chunk_size);
        else if (__builtin_add_overflow(sum->chunk_count, in[i]->chunk_count, &sum->chunk_count))
            error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "more chunks than an imatrix can count");
        else
            continue;
        return error_at_file(e, in[i]->path);
    }
    sum->entries = arena_array(&sum->arena, *n_parts, sizeof *sum->entries);
    sum->datasets = arena_array(&sum->arena, datasets, sizeof *sum->datasets);
    if (!sum->entries || !sum->datasets)
        return no_memory(e);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < in[i]->n_datasets; k++)
            sum->datasets[sum->n_datasets++] = in[i]->datasets[k];
    return 0;
}

/* Adds one input's n sums to out. */
static int add_sums_of(const struct imatrix *m, const struct imatrix_entry *t, uint64_t first, uint64_t n, float *out, struct error *e)
{
    float piece[PIECE];
    for (uint64_t at = 0; at < n; at += PIECE) {
        uint64_t part = n - at < PIECE ? n - at : PIECE;
        if (imatrix_sums(m, t, first + at, part, piece, e))
            return -1;
        for (uint64_t k = 0; k < part; k++)
            out[at + k] += piece[k];
    }
    return 0;
}

static int add_sums(void *context, size_t entry, uint64_t first, uint64_t n, float *out, struct error *e)
{
    const struct merger *g = context;
    const char *name = g->sum->entries[entry].name;
    memset(out, 0, (size_t)n * sizeof *out);
    for (size_t i = 0; i < g->n; i++) {
        const struct imatrix_entry *t = imatrix_find(g->in[i], name);
        if (t && add_sums_of(g->in[i], t, first, n, out, e))
            return -1;
    }
    for (uint64_t k = 0; k < n; k++)
        if (isinf(out[k])) {
            error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the sum of sums is beyond F32");
            return error_at_tensor(e, name);
        }
    return 0;
}

int imatrix_merge(struct imatrix *const *in, size_t n, enum imatrix_form form, const char *path, struct error *e)
{
    struct imatrix sum = {.form = in[0]->form};
    struct merger g = {.in = in, .n = n, .sum = &sum};
    size_t parts;
    int rc = add_texts(&sum, in, n, &parts, e) || add_entries(&sum, in, n, parts, e) ||
                     imatrix_save(&sum, add_sums, &g, form, path, e)
                 ? -1
                 : 0;
    arena_clear(&sum.arena);
    return rc;
}
