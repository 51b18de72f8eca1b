/* SPDX-License-Identifier: MIT
 * Fuzz target: formats/imatrix.h. What opens holds the header's promises; written in either form it opens again and means the
 * same; added to itself it counts twice. */
#include <math.h>
#include <string.h>

#include "formats/imatrix.h"
#include "tests/fuzz/fuzz.h"

enum { COLUMNS = 64 };

/* The first means of each matrix, in range or none. */
static void means_must_hold(const struct imatrix *m, const struct imatrix_entry *t)
{
    float v[COLUMNS];
    struct error e = {0};
    uint64_t n = t->n_cols < COLUMNS ? t->n_cols : COLUMNS;
    must(n > 0 && t->n_mat > 0 && t->n_mat * t->n_cols <= t->file->size / 4 && t->name[0]);
    for (uint64_t i = 0; i < t->n_mat && i < COLUMNS; i++) {
        int rc = imatrix_means(m, t, i * t->n_cols, n, v, &e);
        must(rc >= 0 && t->counts[i] >= 0 && isfinite(t->counts[i]));
        must(!rc || t->counts[i] > 0);
        for (uint64_t k = 0; rc && k < n; k++)
            must(v[k] >= 0 && v[k] < IMATRIX_MAX);
    }
}

static void must_hold(const struct imatrix *m)
{
    must(m->n_entries > 0 && m->chunk_size > 0 && strlen(m->hash) == HASH_TEXT - 1);
    for (size_t i = 0; i < m->n_entries; i++) {
        must(imatrix_find(m, m->entries[i].name) == &m->entries[i]);
        means_must_hold(m, &m->entries[i]);
    }
}

/* The same sums and counts under the same name. */
static void must_be_equal(const struct imatrix *a, const struct imatrix *b)
{
    float x[COLUMNS], y[COLUMNS];
    must(a->n_entries == b->n_entries && a->n_datasets == b->n_datasets && a->chunk_count == b->chunk_count);
    for (size_t i = 0; i < a->n_entries; i++) {
        const struct imatrix_entry *s = &a->entries[i], *t = &b->entries[i];
        uint64_t n = s->n_cols < COLUMNS ? s->n_cols : COLUMNS;
        must(!strcmp(s->name, t->name) && s->n_mat == t->n_mat && s->n_cols == t->n_cols);
        must(!memcmp(s->counts, t->counts, (size_t)s->n_mat * sizeof *s->counts));
        must(!imatrix_sums(a, s, 0, n, x, NULL) && !imatrix_sums(b, t, 0, n, y, NULL));
        for (uint64_t k = 0; k < n; k++)
            must(x[k] == y[k]);
    }
}

static void write_again(struct imatrix *m, enum imatrix_form form)
{
    struct error e = {0};
    const char *path = fuzz_path("again");
    if (imatrix_merge(&m, 1, form, path, &e)) {
        fuzz_must_say(&e);
        must(m->form != form || form == IMATRIX_GGUF); /* GGUF's names are shorter than its own tensors' could be */
        return;
    }
    struct imatrix *again = imatrix_open(path, &e);
    if (!again) {
        fuzz_must_say(&e);
        must(m->form == IMATRIX_GGUF && form == IMATRIX_DAT); /* sum / count * calls may pass F32's range */
        return;
    }
    must_hold(again);
    if (form == IMATRIX_GGUF || m->form == IMATRIX_DAT)
        must_be_equal(m, again);
    imatrix_close(again);
}

static void add_to_itself(struct imatrix *m)
{
    struct error e = {0};
    struct imatrix *twice[2] = {m, m};
    const char *path = fuzz_path("twice");
    if (imatrix_merge(twice, 2, IMATRIX_GGUF, path, &e)) {
        fuzz_must_say(&e);
        return;
    }
    struct imatrix *sum = imatrix_open(path, &e);
    must(sum || e.code == ERR_FORMAT); /* counts may have become infinite */
    for (size_t i = 0; sum && i < m->n_entries; i++)
        must(sum->entries[i].counts[0] == 2 * m->entries[i].counts[0]);
    imatrix_close(sum);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = {0};
    const char *path = fuzz_file("x.imatrix", data, size);
    int probed = imatrix_probe(path);
    struct imatrix *m = imatrix_open(path, &e);
    if (!m) {
        fuzz_must_say(&e);
        return 0;
    }
    must(probed || m->form == IMATRIX_DAT); /* of any GGUF the type tells; names in a dat file may be odd */
    must_hold(m);
    for (int form = 0; form < IMATRIX_FORMS; form++)
        write_again(m, (enum imatrix_form)form);
    add_to_itself(m);
    imatrix_close(m);
    return 0;
}
