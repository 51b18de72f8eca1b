/* SPDX-License-Identifier: MIT
 * Importance matrices as text and JSON. */
#include "cli/imatrix_text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "convert/importance.h"

struct counts { /* of one entry */
    float least, most;
    uint64_t without; /* matrices without data */
};

struct totals {
    uint64_t matrices, without, entries_without;
    float most; /* the largest count: tokens, or calls */
};

/* Matrices without data by both of their marks: count and values. */
static int look(const struct imatrix *m, const struct imatrix_entry *t, struct counts *c, struct error *e)
{
    float *row = malloc((size_t)t->n_cols * sizeof *row);
    int has = row ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    *c = (struct counts){.least = t->counts[0]};
    for (uint64_t i = 0; has >= 0 && i < t->n_mat; i++) {
        c->least = t->counts[i] < c->least ? t->counts[i] : c->least;
        c->most = t->counts[i] > c->most ? t->counts[i] : c->most;
        has = imatrix_means(m, t, i * t->n_cols, t->n_cols, row, e);
        c->without += has == 0;
    }
    free(row);
    return has < 0 ? -1 : 0;
}

static int look_at_all(const struct imatrix *m, struct counts *list, struct totals *sum, struct error *e)
{
    *sum = (struct totals){.matrices = 0};
    for (size_t i = 0; i < m->n_entries; i++) {
        if (look(m, &m->entries[i], &list[i], e))
            return -1;
        sum->matrices += m->entries[i].n_mat;
        sum->without += list[i].without;
        sum->entries_without += list[i].without > 0;
        sum->most = list[i].most > sum->most ? list[i].most : sum->most;
    }
    return 0;
}

static int print_text_form(const struct imatrix *m, const struct counts *list, const struct totals *sum, int all, struct error *e)
{
    struct buffer b = {0};
    char size[SIZE_TEXT], name[512];
    const char *unit = m->form == IMATRIX_DAT ? "calls" : "tokens";
    buffer_printf(&b, "%s: imatrix, %s, %zu entries, %" PRIu64 " matrices, %s\n", m->path, imatrix_form_names[m->form], m->n_entries,
                  sum->matrices, size_text(m->bytes, size));
    buffer_printf(&b, "%" PRIu32 " chunks", m->chunk_count);
    if (m->form == IMATRIX_GGUF)
        buffer_printf(&b, " of %" PRIu32 " tokens", m->chunk_size);
    buffer_printf(&b, ", at most %.0f %s\n", (double)sum->most, unit);
    for (size_t i = 0; i < m->n_datasets; i++) {
        escape_controls(m->datasets[i], name, sizeof name);
        buffer_printf(&b, "dataset %s\n", name);
    }
    if (m->n_others)
        buffer_printf(&b, "%zu other tensors, ignored\n", m->n_others);
    buffer_printf(&b, "without data: %" PRIu64 " matrices in %" PRIu64 " entries\n", sum->without, sum->entries_without);
    if (all || sum->without)
        buffer_printf(&b, "\n%-40s %9s %8s %12s %12s %8s\n", "entry", "matrices", "columns", "least", "most", "no data");
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct imatrix_entry *t = &m->entries[i];
        escape_controls(t->name, name, sizeof name);
        if (all || list[i].without)
            buffer_printf(&b, "%-40s %9" PRIu64 " %8" PRIu64 " %12.0f %12.0f %8" PRIu64 "\n", name, t->n_mat, t->n_cols,
                          (double)list[i].least, (double)list[i].most, list[i].without);
    }
    return print_buffer(&b, e);
}

static int print_json_form(const struct imatrix *m, const struct counts *list, const struct totals *sum, struct error *e)
{
    struct json *root = json_new_object(), *o, *a;
    json_add_string(root, "path", io_base_name(m->path));
    json_add_string(root, "format", m->form == IMATRIX_DAT ? "imatrix dat" : "imatrix gguf");
    o = json_add_object(root, "imatrix");
    json_add_string(o, "xxh3_128", m->hash);
    json_add_u64(o, "bytes", m->bytes);
    json_add_u64(o, "chunk_count", m->chunk_count);
    if (m->form == IMATRIX_GGUF)
        json_add_u64(o, "chunk_size", m->chunk_size);
    json_add_f64(o, m->form == IMATRIX_DAT ? "most_calls" : "most_tokens", (double)sum->most);
    a = json_add_array(o, "datasets");
    for (size_t i = 0; i < m->n_datasets; i++)
        json_add_string(a, NULL, m->datasets[i]);
    json_add_u64(o, "matrices", sum->matrices);
    json_add_u64(o, "matrices_without_data", sum->without);
    json_add_u64(o, "other_tensors", m->n_others);
    a = json_add_array(o, "entries");
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct imatrix_entry *t = &m->entries[i];
        struct json *j = json_add_object(a, NULL);
        json_add_string(j, "name", t->name);
        json_add_u64(j, "matrices", t->n_mat);
        json_add_u64(j, "columns", t->n_cols);
        json_add_f64(j, "least_count", (double)list[i].least);
        json_add_f64(j, "most_count", (double)list[i].most);
        json_add_u64(j, "matrices_without_data", list[i].without);
    }
    return print_json(root, e);
}

int print_imatrix(const struct imatrix *m, int all, int json, struct error *e)
{
    struct counts *list = calloc(m->n_entries, sizeof *list);
    struct totals sum;
    int rc = list ? look_at_all(m, list, &sum, e) : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc)
        rc = json ? print_json_form(m, list, &sum, e) : print_text_form(m, list, &sum, all, e);
    free(list);
    return rc;
}

void add_weighed_text(const struct plan *p, struct buffer *b)
{
    static const char *const what[IMATRIX_MISSING_COUNT] = {"weighed as 1", "weighed by the mean of their tensor's others",
                                                            "refused"};
    const struct weighed *w = &p->weighed;
    char name[256];
    if (!p->options.imatrix)
        return;
    buffer_printf(b, "imatrix: %zu of %zu tensors weighed", w->tensors - w->tensors_without - w->exempt, w->tensors);
    if (w->from_kv_b)
        buffer_printf(b, ", %zu attn_v_b by what kv_b saw", w->from_kv_b);
    if (w->exempt)
        buffer_printf(b, ", %zu of token_embd and output have no entry", w->exempt);
    buffer_printf(b, "; without an entry, encoded without: %zu", w->tensors_without);
    buffer_printf(b, "; %" PRIu64 " of %" PRIu64 " matrices without data", w->matrices_without, w->matrices);
    if (w->matrices_without)
        buffer_printf(b, ", %s", what[p->options.imatrix_missing]);
    buffer_text(b, "\n");
    if (w->first_without)
        buffer_printf(b, "imatrix: the first without data is %s\n", w->first_without);
    if (w->first_unused)
        escape_controls(w->first_unused, name, sizeof name);
    if (w->entries_unused)
        buffer_printf(b, "imatrix: %zu of %zu entries match no tensor, the first is %s\n", w->entries_unused, w->entries, name);
}

void add_weighed_json(const struct plan *p, struct json *root)
{
    const struct weighed *w = &p->weighed;
    if (!p->options.imatrix)
        return;
    struct json *o = json_add_object(root, "imatrix");
    json_add_string(o, "file", io_base_name(p->options.imatrix->path));
    json_add_string(o, "xxh3_128", p->options.imatrix->hash);
    json_add_string(o, "missing", imatrix_missing_names[p->options.imatrix_missing]);
    json_add_u64(o, "tensors", w->tensors);
    json_add_u64(o, "tensors_without_entry", w->tensors_without);
    json_add_u64(o, "exempt_without_entry", w->exempt);
    json_add_u64(o, "tensors_from_kv_b", w->from_kv_b);
    json_add_u64(o, "matrices", w->matrices);
    json_add_u64(o, "matrices_without_data", w->matrices_without);
    json_add_u64(o, "entries", w->entries);
    json_add_u64(o, "entries_unused", w->entries_unused);
    if (w->first_without)
        json_add_string(o, "first_without", w->first_without);
    if (w->first_unused)
        json_add_string(o, "first_unused", w->first_unused);
}
