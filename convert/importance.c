/* SPDX-License-Identifier: MIT
 * Importance: matching entries with tensors, and the rows of weights. */
#include "convert/importance.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const imatrix_missing_names[IMATRIX_MISSING_COUNT] = {"uniform", "layer", "fail"};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

/* The entry for a tensor, or NULL; *one_for_all when it is the one of an undivided kv_b. */
static const struct imatrix_entry *entry_of(const struct plan *p, const struct plan_tensor *t, int *one_for_all)
{
    char name[TENSOR_NAME];
    const struct imatrix_entry *found = imatrix_find(p->options.imatrix, role_gguf_name(t->weight.role, t->weight.layer, name));
    *one_for_all = 0;
    if (found || t->weight.role != ROLE_ATTN_V_B)
        return found;
    *one_for_all = 1;
    return imatrix_find(p->options.imatrix, role_gguf_name(ROLE_ATTN_KV_B, t->weight.layer, name));
}

/* Of the role, of which a checkpoint's tensor is only one. */
static uint64_t slabs_of(const struct plan *p, const struct plan_tensor *t)
{
    return role_slabs(t->weight.role, &p->model->params);
}

static int check_size(const struct plan *p, const struct plan_tensor *t, const struct imatrix_entry *entry, int one_for_all,
                      struct error *e)
{
    uint64_t slabs = one_for_all ? 1 : slabs_of(p, t), cols = t->weight.cols;
    if (entry->n_mat * entry->n_cols == slabs * cols && (entry->n_mat == 1 || entry->n_mat == slabs))
        return 0;
    error_set(e, ERR_FORMAT, ERROR_NO_OFFSET,
              "the imatrix has %" PRIu64 " x %" PRIu64 " columns for a tensor of %" PRIu64 " x %" PRIu64, entry->n_mat, entry->n_cols,
              slabs, cols);
    error_at_file(e, p->options.imatrix->path);
    return error_at_tensor(e, entry->name);
}

/* The mean of the slabs that have data, each with the weight of its count, in place of those that have none. */
static int mean_of_others(const struct plan *p, const struct plan_tensor *t, struct importance *w, struct error *e)
{
    const struct imatrix *m = p->options.imatrix;
    uint64_t cols = t->weight.cols;
    float *row = malloc(cols * sizeof *row);
    double *sum = calloc(cols, sizeof *sum), count = 0;
    int rc = row && sum ? 0 : no_memory(e);
    for (uint64_t slab = 0; !rc && slab < slabs_of(p, t); slab++) {
        if (!w->has_data[slab])
            continue;
        if ((rc = imatrix_sums(m, w->entry, slab * cols, cols, row, e)))
            break;
        count += (double)w->entry->counts[slab * cols / w->entry->n_cols];
        for (uint64_t i = 0; i < cols; i++)
            sum[i] += (double)row[i];
    }
    for (uint64_t i = 0; !rc && count > 0 && i < cols; i++)
        w->instead[i] = (float)(sum[i] / count);
    if (!rc && !(count > 0))
        w->instead = NULL;
    free(row);
    free(sum);
    return rc;
}

/* Which slabs have data, and what the others get. */
static int look_at_slabs(struct plan *p, struct plan_tensor *t, struct importance *w, struct error *e)
{
    uint64_t slabs = w->one_for_all ? 1 : slabs_of(p, t), cols = t->weight.cols, without = 0;
    float *row = malloc(cols * sizeof *row);
    int has = row && (w->has_data = arena_alloc(&p->arena, slabs)) ? 0 : no_memory(e);
    for (uint64_t slab = 0; has >= 0 && slab < slabs; slab++) {
        has = imatrix_means(p->options.imatrix, w->entry, slab * cols, cols, row, e);
        w->has_data[slab] = has > 0;
        without += has == 0;
    }
    free(row);
    if (has < 0)
        return -1;
    p->weighed.matrices += slabs;
    p->weighed.matrices_without += without;
    if (without && !p->weighed.first_without)
        p->weighed.first_without = t->out.name;
    if (!without || w->one_for_all || p->options.imatrix_missing != IMATRIX_MISSING_LAYER)
        return 0;
    if (!(w->instead = arena_array(&p->arena, cols, sizeof *w->instead)))
        return no_memory(e);
    return mean_of_others(p, t, w, e);
}

/* Of these llama-imatrix has no data, and llama-quantize expects none. */
static int is_exempt(enum tensor_role role)
{
    return role == ROLE_TOKEN_EMBD || role == ROLE_OUTPUT;
}

/* Counts a tensor that no entry is for. */
static int without_entry(struct plan *p, const struct plan_tensor *t, struct error *e)
{
    const struct preset *preset = p->options.recipe.preset;
    if (is_exempt(t->weight.role)) {
        p->weighed.exempt++;
        return 0;
    }
    if (preset && preset->needs_imatrix && t->type == quant_type_find(preset->base)) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%s needs an importance for this tensor, and the imatrix has none", preset->name);
        error_at_file(e, p->options.imatrix->path);
        return error_at_tensor(e, t->out.name);
    }
    p->weighed.tensors_without++;
    if (!p->weighed.first_without)
        p->weighed.first_without = t->out.name;
    return 0;
}

static int heeds_importance(const struct plan *p, const struct quant_type *type)
{
    return type->flags & QT_WEIGHED || ((type->ref.improve || type->tiling) && !p->options.recipe.compat);
}

/* Experts that are tensors of their own share what was found for the first of them that has a type which weighs. */
static const struct plan_tensor *earlier_expert(const struct plan *p, const struct plan_tensor *t)
{
    for (const struct plan_tensor *s = t; t->slab0 && s-- > p->tensors && s->weight.layer == t->weight.layer;)
        if (s->weight.role == t->weight.role && s->units != UNITS_OF_PREVIOUS && heeds_importance(p, s->type))
            return s;
    return NULL;
}

/* *used: entries that some tensor of the plan has the name of. */
static int match(struct plan *p, struct plan_tensor *t, unsigned char *used, struct error *e)
{
    int one_for_all;
    const struct plan_tensor *earlier = earlier_expert(p, t);
    if (earlier && heeds_importance(p, t->type))
        t->importance = earlier->importance;
    if (earlier || (t->layout && t->units == UNITS_OF_PREVIOUS))
        return 0;
    const struct imatrix_entry *entry = entry_of(p, t, &one_for_all);
    if (entry)
        used[entry - p->options.imatrix->entries] = 1;
    if (roles[t->weight.role].flags & ROLE_ALWAYS_F32)
        return 0;
    if (entry && check_size(p, t, entry, one_for_all, e)) {
        if (t->weight.role != ROLE_TOKEN_EMBD) /* a table that nothing is multiplied with: whatever the entry is, it is not that */
            return -1;
        entry = NULL;
    }
    if (!heeds_importance(p, t->type))
        return 0;
    p->weighed.tensors++;
    if (!entry)
        return without_entry(p, t, e);
    struct importance *w = arena_alloc(&p->arena, sizeof *w);
    if (!w)
        return no_memory(e);
    *w = (struct importance){.entry = entry, .one_for_all = one_for_all};
    t->importance = w;
    p->weighed.from_kv_b += (size_t)one_for_all;
    return look_at_slabs(p, t, w, e);
}

static int match_all(struct plan *p, struct error *e)
{
    const struct imatrix *m = p->options.imatrix;
    struct weighed *w = &p->weighed;
    unsigned char *used = calloc(m->n_entries, 1);
    int rc = used ? 0 : no_memory(e);
    w->entries = m->n_entries;
    for (size_t i = 0; !rc && i < p->n_tensors; i++)
        rc = match(p, &p->tensors[i], used, e);
    for (size_t i = 0; !rc && i < m->n_entries; i++) {
        w->entries_unused += !used[i];
        if (!used[i] && !w->first_unused)
            w->first_unused = m->entries[i].name;
    }
    free(used);
    return rc;
}

int importance_plan(struct plan *p, struct error *e)
{
    const struct weighed *w = &p->weighed;
    const struct preset *preset = p->options.recipe.preset;
    if (!p->options.imatrix && preset && preset->needs_imatrix)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "%s needs an importance matrix (--imatrix)", preset->name);
    if (!p->options.imatrix)
        return 0;
    if (match_all(p, e))
        return -1;
    if (p->options.imatrix_missing != IMATRIX_MISSING_FAIL || !(w->tensors_without + w->matrices_without))
        return 0;
    error_set(e, ERR_FORMAT, ERROR_NO_OFFSET,
              "--imatrix-missing fail: %zu of %zu tensors have no entry, %" PRIu64 " of %" PRIu64 " matrices no data, the first",
              w->tensors_without, w->tensors, w->matrices_without, w->matrices);
    error_at_file(e, p->options.imatrix->path);
    return error_at_tensor(e, w->first_without);
}

int importance_read(const struct plan *p, const struct plan_tensor *t, uint64_t slab, float *out, struct error *e)
{
    const struct importance *w = t->importance;
    uint64_t at = w->one_for_all ? 0 : slab, cols = t->weight.cols;
    if (w->has_data[at]) {
        int has = imatrix_means(p->options.imatrix, w->entry, at * cols, cols, out, e);
        if (has > 0)
            return 0;
        if (has == 0) {
            error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the imatrix changed while it was used");
            error_at_file(e, p->options.imatrix->path);
        }
        return -1;
    }
    for (uint64_t i = 0; i < cols; i++)
        out[i] = w->instead ? w->instead[i] : 1;
    return 0;
}

const char *importance_text(const struct plan *p, char out[IMPORTANCE_TEXT])
{
    const struct imatrix *m = p->options.imatrix;
    snprintf(out, IMPORTANCE_TEXT, "%.255s, %" PRIu64 " bytes, XXH3-128 %s, without data: %s", io_base_name(m->path), m->bytes, m->hash,
             imatrix_missing_names[p->options.imatrix_missing]);
    return out;
}
