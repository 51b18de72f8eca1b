/* SPDX-License-Identifier: MIT
 * Reader of importance matrices: both forms become entries, then every value is read once and held against the rules. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf.h"
#include "formats/imatrix.h"

enum { MAX_ENTRIES = 1 << 20, MAX_NAME = 255, MAX_DATASET = 1 << 16, MAX_DATASETS = 1 << 16, PIECE = 1 << 14,
       MAX_CALLS = 1 << 24 /* a float holds each */ };

const char *const imatrix_form_names[IMATRIX_FORMS] = {"gguf", "dat"};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

static int at_entry(const struct imatrix *m, const struct imatrix_entry *t, struct error *e)
{
    error_at_file(e, m->path);
    return error_at_tensor(e, t->name);
}

/* ---- dat */

struct dat_cursor {
    const struct io_file *file;
    uint64_t at;
};

static int take_i32(struct dat_cursor *c, int32_t *v, struct error *e)
{
    uint8_t b[4];
    if (io_read(c->file, c->at, b, 4, e))
        return -1;
    *v = (int32_t)((uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24);
    c->at += 4;
    return 0;
}

/* i32 length and so many bytes, without NUL: a terminated copy in the arena. */
static int take_text(struct dat_cursor *c, struct arena *arena, int32_t min, int32_t max, const char **text, struct error *e)
{
    uint64_t at = c->at;
    int32_t n;
    if (take_i32(c, &n, e))
        return -1;
    if (n < min || n > max)
        return error_set(e, ERR_FORMAT, at, "name length %" PRId32 " is not in %" PRId32 "..%" PRId32, n, min, max);
    char *copy = arena_alloc(arena, (size_t)n + 1);
    if (!copy)
        return no_memory(e);
    if (io_read(c->file, c->at, copy, (size_t)n, e))
        return -1;
    if (memchr(copy, 0, (size_t)n))
        return error_set(e, ERR_FORMAT, at, "a name holds a NUL byte");
    c->at += (uint64_t)n;
    *text = copy;
    return 0;
}

static int read_dat_entry(struct imatrix *m, struct dat_cursor *c, struct error *e)
{
    struct imatrix_entry *t = &m->entries[m->n_entries++];
    int32_t ncall, nval;
    uint64_t at;
    if (take_text(c, &m->arena, 1, MAX_NAME, &t->name, e))
        return -1;
    at = c->at;
    if (take_i32(c, &ncall, e) || take_i32(c, &nval, e))
        return error_at_tensor(e, t->name);
    if (ncall < 0 || ncall > MAX_CALLS || nval < 1) {
        error_set(e, ERR_FORMAT, at, "%" PRId32 " values of %" PRId32 " calls", nval, ncall);
        return error_at_tensor(e, t->name);
    }
    if ((uint64_t)nval > (m->file.size - c->at) / 4) {
        error_set(e, ERR_FORMAT, c->at, "%" PRId32 " values exceed the file's %" PRIu64 " bytes", nval, m->file.size);
        return error_at_tensor(e, t->name);
    }
    if (!(t->counts = arena_array(&m->arena, 1, sizeof *t->counts)))
        return no_memory(e);
    t->counts[0] = ncall ? (float)ncall : 1;
    t->n_mat = 1;
    t->n_cols = (uint64_t)nval;
    t->file = &m->file;
    t->at = c->at;
    c->at += 4 * (uint64_t)nval;
    return 0;
}

/* Chunk count and dataset, each of which older writers left out. */
static int read_dat_end(struct imatrix *m, struct dat_cursor *c, struct error *e)
{
    const char *dataset = "";
    int32_t chunks = 0;
    if (c->at == m->file.size)
        return 0;
    uint64_t at = c->at;
    if (take_i32(c, &chunks, e))
        return -1;
    if (chunks < 0)
        return error_set(e, ERR_FORMAT, at, "%" PRId32 " chunks", chunks);
    m->chunk_count = (uint32_t)chunks;
    if (c->at < m->file.size && take_text(c, &m->arena, 0, MAX_DATASET, &dataset, e))
        return -1;
    if (c->at < m->file.size)
        return error_set(e, ERR_FORMAT, c->at, "%" PRIu64 " bytes follow the end", m->file.size - c->at);
    if (!dataset[0])
        return 0;
    if (!(m->datasets = arena_array(&m->arena, 1, sizeof *m->datasets)))
        return no_memory(e);
    m->datasets[m->n_datasets++] = dataset;
    return 0;
}

static int read_dat(struct imatrix *m, struct error *e)
{
    struct dat_cursor c = {.file = &m->file};
    int32_t n;
    m->form = IMATRIX_DAT;
    m->chunk_size = 1;
    if (io_open(&m->file, m->path, e) || take_i32(&c, &n, e))
        return -1;
    /* the smallest entry is a name of one byte and one value */
    if (n < 1 || n > MAX_ENTRIES || (uint64_t)n > m->file.size / 17)
        return error_set(e, ERR_FORMAT, 0, "no imatrix: %" PRId32 " entries do not fit the file", n);
    if (!(m->entries = arena_array(&m->arena, (size_t)n, sizeof *m->entries)))
        return no_memory(e);
    while (m->n_entries < (size_t)n)
        if (read_dat_entry(m, &c, e))
            return -1;
    return read_dat_end(m, &c, e);
}

/* ---- GGUF */

static int is_imatrix(const struct source *s)
{
    const char *text;
    size_t n;
    return s->meta && !gguf_get_string(gguf_find(s->meta, "general.type"), &text, &n) && n == 7 && !memcmp(text, "imatrix", 7);
}

static int read_u32(const struct imatrix *m, const char *key, uint64_t min, uint32_t *out, struct error *e)
{
    uint64_t v;
    if (gguf_get_u64(gguf_find(m->source->meta, key), &v) || v < min || v > UINT32_MAX)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the imatrix has no valid %s", key);
    *out = (uint32_t)v;
    return 0;
}

static int read_datasets(struct imatrix *m, struct error *e)
{
    enum gguf_type element;
    uint64_t n;
    const uint8_t *at;
    if (gguf_get_array(gguf_find(m->source->meta, "imatrix.datasets"), &element, &n, &at) ||
        (n && element != GGUF_STRING) || n > MAX_DATASETS)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the imatrix has no valid imatrix.datasets");
    if (!(m->datasets = arena_array(&m->arena, (size_t)n, sizeof *m->datasets)))
        return no_memory(e);
    while (m->n_datasets < n) { /* the reader has proven the lengths */
        uint64_t size;
        memcpy(&size, at, sizeof size);
        if (size > MAX_DATASET || memchr(at + 8, 0, (size_t)size))
            return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the name of a dataset is too long or holds a NUL byte");
        const char *text = arena_copy(&m->arena, (const char *)at + 8, (size_t)size);
        if (!text)
            return no_memory(e);
        m->datasets[m->n_datasets++] = text;
        at += 8 + size;
    }
    return 0;
}

/* "NAME.in_sum2" -> NAME in the arena. 0 when it ends otherwise, -1 when out of memory. */
static int without_suffix(struct imatrix *m, const char *name, const char *suffix, const char **out)
{
    size_t n = strlen(name), k = strlen(suffix);
    if (n <= k || strcmp(name + n - k, suffix))
        return 0;
    return (*out = arena_copy(&m->arena, name, n - k)) ? 1 : -1;
}

static const struct tensor *counts_of(const struct source *s, const char *name)
{
    char full[GGUF_MAX_NAME + 1];
    if (strlen(name) + sizeof ".counts" > sizeof full)
        return NULL;
    strcpy(full, name);
    strcat(full, ".counts");
    return source_find(s, full);
}

static int bad_entry(const struct tensor *t, const char *what, struct error *e)
{
    error_set(e, ERR_FORMAT, t->offset, "%s", what);
    return error_at_tensor(e, t->name);
}

/* The sums' tensor and its counts become an entry. */
static int read_gguf_entry(struct imatrix *m, const struct tensor *sums, struct error *e)
{
    struct imatrix_entry *t = &m->entries[m->n_entries];
    const struct tensor *counts;
    int found = without_suffix(m, sums->name, ".in_sum2", &t->name);
    if (found <= 0)
        return found ? no_memory(e) : 0;
    if (!(counts = counts_of(m->source, t->name)))
        return bad_entry(sums, "sums without counts", e);
    if (strcmp(sums->type->name, "F32") || strcmp(counts->type->name, "F32"))
        return bad_entry(sums, "sums and counts are not F32", e);
    uint64_t n = tensor_elements(sums);
    t->n_mat = tensor_elements(counts);
    if (n % t->n_mat)
        return bad_entry(sums, "the sums are no whole number of rows, one per count", e);
    t->n_cols = n / t->n_mat;
    t->file = &m->source->files[sums->file];
    t->at = sums->offset;
    if (!(t->counts = arena_array(&m->arena, (size_t)t->n_mat, sizeof *t->counts)))
        return no_memory(e);
    m->n_entries++;
    return source_read(m->source, counts, 0, t->counts, (size_t)counts->bytes, e);
}

static int read_gguf_entries(struct imatrix *m, struct error *e)
{
    const struct source *s = m->source;
    size_t counts = 0;
    const char *name;
    if (!(m->entries = arena_array(&m->arena, s->n_tensors + 1, sizeof *m->entries)))
        return no_memory(e);
    for (size_t i = 0; i < s->n_tensors; i++) {
        int is_counts = without_suffix(m, s->tensors[i].name, ".counts", &name);
        if (is_counts < 0)
            return no_memory(e);
        counts += (size_t)is_counts;
        if (!is_counts && read_gguf_entry(m, &s->tensors[i], e))
            return -1;
    }
    if (counts != m->n_entries)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%zu tensors of counts, %zu of sums", counts, m->n_entries);
    m->n_others = s->n_tensors - 2 * m->n_entries;
    return 0;
}

static int read_gguf(struct imatrix *m, struct error *e)
{
    if (!(m->source = source_open(m->path, e)))
        return -1;
    m->form = IMATRIX_GGUF;
    if (!is_imatrix(m->source))
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "this GGUF is no imatrix: its general.type is another");
    if (m->source->n_files != 1)
        return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "an imatrix in several files");
    if (read_u32(m, "imatrix.chunk_count", 0, &m->chunk_count, e) || read_u32(m, "imatrix.chunk_size", 1, &m->chunk_size, e) ||
        read_datasets(m, e) || read_gguf_entries(m, e))
        return -1;
    return m->n_entries ? 0 : error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "an imatrix without entries");
}

/* ---- both */

static int check_counts(const struct imatrix_entry *t, struct error *e)
{
    for (uint64_t i = 0; i < t->n_mat; i++)
        if (!(t->counts[i] >= 0) || isinf(t->counts[i]) || rintf(t->counts[i]) != t->counts[i])
            return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "count %g of matrix %" PRIu64 " is no whole number", (double)t->counts[i],
                             i);
    return 0;
}

int imatrix_sums(const struct imatrix *m, const struct imatrix_entry *t, uint64_t first, uint64_t n, float *out, struct error *e)
{
    uint64_t at = t->at + 4 * first;
    if (io_read(t->file, at, out, (size_t)n * sizeof *out, e))
        return at_entry(m, t, e);
    for (uint64_t i = 0; i < n; i++)
        if (!(out[i] >= 0) || isinf(out[i])) {
            error_set(e, ERR_FORMAT, at + 4 * i, "a sum of squares is %g", (double)out[i]);
            return at_entry(m, t, e);
        }
    return 0;
}

/* n sums of one matrix become means; what imatrix_means returns. */
static int turn_into_means(const struct imatrix *m, const struct imatrix_entry *t, uint64_t first, uint64_t n, float *v,
                           struct error *e)
{
    float count = t->counts[first / t->n_cols], least = IMATRIX_MAX, most = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (count > 0)
            v[i] /= count;
        least = v[i] < least ? v[i] : least;
        most = v[i] > most ? v[i] : most;
    }
    if (count > 0 && !(most < IMATRIX_MAX)) {
        error_set(e, ERR_FORMAT, t->at + 4 * first, "a mean square of %g is beyond anything that an activation is", (double)most);
        return at_entry(m, t, e);
    }
    if (!(count > 0) && most > 0) {
        error_set(e, ERR_FORMAT, t->at + 4 * first, "sums of %" PRIu64 " columns without a single token", n);
        return at_entry(m, t, e);
    }
    return most > 0 && !(m->form == IMATRIX_DAT && least == 1 && most == 1);
}

int imatrix_means(const struct imatrix *m, const struct imatrix_entry *t, uint64_t first, uint64_t n, float *out, struct error *e)
{
    return imatrix_sums(m, t, first, n, out, e) ? -1 : turn_into_means(m, t, first, n, out, e);
}

static int check_values(const struct imatrix *m, const struct imatrix_entry *t, float *piece, struct error *e)
{
    uint64_t total = t->n_mat * t->n_cols;
    if (check_counts(t, e))
        return at_entry(m, t, e);
    for (uint64_t at = 0; at < total; at += PIECE) {
        uint64_t n = total - at < PIECE ? total - at : PIECE;
        if (imatrix_sums(m, t, at, n, piece, e))
            return -1;
        for (uint64_t k = 0, part; k < n; k += part) { /* up to the end of each matrix */
            part = t->n_cols - (at + k) % t->n_cols;
            part = part < n - k ? part : n - k;
            if (turn_into_means(m, t, at + k, part, piece + k, e) < 0)
                return -1;
        }
    }
    return 0;
}

static int check_all(struct imatrix *m, struct error *e)
{
    float *piece = malloc(PIECE * sizeof *piece);
    int rc = piece ? 0 : no_memory(e);
    for (size_t i = 0; !rc && i < m->n_entries; i++)
        rc = check_values(m, &m->entries[i], piece, e);
    free(piece);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct imatrix_entry *)a)->name, ((const struct imatrix_entry *)b)->name);
}

static int sort_entries(struct imatrix *m, struct error *e)
{
    qsort(m->entries, m->n_entries, sizeof *m->entries, by_name);
    for (size_t i = 1; i < m->n_entries; i++)
        if (!by_name(&m->entries[i - 1], &m->entries[i])) {
            error_set(e, ERR_FORMAT, m->entries[i].at, "the same entry stands twice");
            return error_at_tensor(e, m->entries[i].name);
        }
    return 0;
}

static int looks_like_gguf(const char *path)
{
    struct io_file f;
    char magic[4] = "";
    if (io_open(&f, path, NULL))
        return 0;
    int rc = f.size >= 4 && !io_read(&f, 0, magic, 4, NULL) && !memcmp(magic, "GGUF", 4);
    io_close(&f);
    return rc;
}

/* A count of entries, then the first one's name, which is made of plain characters. */
static int looks_like_dat(const char *path)
{
    struct io_file f;
    struct dat_cursor c = {.file = &f};
    struct arena arena = {NULL};
    const char *name;
    int32_t n;
    if (io_open(&f, path, NULL))
        return 0;
    int rc = !take_i32(&c, &n, NULL) && n > 0 && n <= MAX_ENTRIES && !take_text(&c, &arena, 1, MAX_NAME, &name, NULL);
    for (; rc && *name; name++)
        rc = *name > ' ' && *name < 127;
    arena_clear(&arena);
    io_close(&f);
    return rc;
}

int imatrix_probe(const char *path)
{
    if (io_kind(path) != 1)
        return 0;
    if (!looks_like_gguf(path))
        return looks_like_dat(path);
    struct source *s = source_open(path, NULL);
    int rc = s && is_imatrix(s);
    source_close(s);
    return rc;
}

const struct io_file *imatrix_file(const struct imatrix *m)
{
    return m->source ? &m->source->files[0] : &m->file;
}

struct imatrix *imatrix_open(const char *path, struct error *e)
{
    struct imatrix *m = calloc(1, sizeof *m);
    if (!m || !(m->path = arena_copy(&m->arena, path, strlen(path)))) {
        no_memory(e);
        imatrix_close(m);
        return NULL;
    }
    int rc = looks_like_gguf(path) ? read_gguf(m, e) : read_dat(m, e);
    if (!rc)
        rc = sort_entries(m, e) || check_all(m, e) ? -1 : 0;
    if (!rc) {
        const struct io_file *f = imatrix_file(m);
        m->bytes = f->size;
        rc = hash_range(f, 0, f->size, m->hash, e);
    }
    if (!rc)
        return m;
    error_at_file(e, path);
    imatrix_close(m);
    return NULL;
}

void imatrix_close(struct imatrix *m)
{
    if (!m)
        return;
    source_close(m->source);
    io_close(&m->file);
    arena_clear(&m->arena);
    free(m);
}

const struct imatrix_entry *imatrix_find(const struct imatrix *m, const char *name)
{
    struct imatrix_entry key = {.name = name};
    return m->n_entries ? bsearch(&key, m->entries, m->n_entries, sizeof key, by_name) : NULL;
}
