/* SPDX-License-Identifier: MIT
 * The end of a calibration, of one run or of parts added up: imatrix.gguf, use of experts, calibration.json. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/calibrate_files.h"
#include "formats/imatrix.h"

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the calibration");
}

/* ---- imatrix.gguf */

struct diagonals {
    const struct calibration *c;
    const struct imatrix *m;
    struct entry_of { /* of each entry */
        enum tensor_role role;
        int layer;
    } *of;
    size_t loaded; /* entry whose sums are in `sums`, or SIZE_MAX */
    float *sums;
};

static int read_sums2(const struct diagonals *d, size_t entry, struct error *e)
{
    char name[32];
    const struct source *file = calibration_file(d->c, d->of[entry].layer, HALF_MLP);
    snprintf(name, sizeof name, "%s.sums2", input_names[input_of(d->of[entry].role)]);
    const struct tensor *t = source_find(file, name);
    return calibration_floats(file, t, 0, d->sums, (size_t)t->bytes / sizeof *d->sums, e);
}

/* Diagonals of the moments of all slabs. */
static int read_diagonals(const struct diagonals *d, size_t entry, struct error *e)
{
    enum input input = input_of(d->of[entry].role);
    uint64_t slabs, n;
    input_shape(input, &d->c->model->params, d->of[entry].layer, &slabs, &n);
    for (uint64_t slab = 0; slab < slabs; slab++) {
        struct square s;
        if (square_init(&s, (size_t)n, e) || calibration_moment(d->c, input, d->of[entry].layer, slab, &s, e)) {
            square_clear(&s);
            return -1;
        }
        for (size_t i = 0; i < n; i++)
            d->sums[slab * n + i] = *square_at(&s, i, i);
        square_clear(&s);
    }
    return 0;
}

static int give_sums(void *context, size_t entry, uint64_t first, uint64_t n, float *out, struct error *e)
{
    struct diagonals *d = context;
    const struct imatrix_entry *t = &d->m->entries[entry];
    if (d->loaded != entry) {
        free(d->sums);
        d->loaded = SIZE_MAX;
        if (!(d->sums = malloc((size_t)(t->n_mat * t->n_cols) * sizeof *d->sums)))
            return no_memory(e);
        if (roles[d->of[entry].role].flags & ROLE_EXPERT ? read_sums2(d, entry, e) : read_diagonals(d, entry, e))
            return -1;
        d->loaded = entry;
    }
    memcpy(out, d->sums + first, n * sizeof *out);
    return 0;
}

static int read_counts(const struct calibration *c, int layer, float *counts, struct error *e)
{
    const struct source *file = calibration_file(c, layer, HALF_MLP);
    const struct tensor *t = source_find(file, "expert.counts");
    return calibration_floats(file, t, 0, counts, (size_t)t->bytes / sizeof *counts, e);
}

static int add_entry(const struct calibration *c, struct imatrix *m, struct entry_of *of, enum tensor_role role, int layer, struct error *e)
{
    struct imatrix_entry *t = &m->entries[m->n_entries];
    char name[TENSOR_NAME];
    uint64_t slabs, n, mats = roles[role].flags & ROLE_EXPERT ? c->model->params.n_routed_experts : 1;
    input_shape(input_of(role), &c->model->params, layer, &slabs, &n);
    role_gguf_name(role, layer, name);
    t->name = arena_copy(&m->arena, name, strlen(name));
    t->n_mat = mats;
    t->n_cols = slabs * n / mats;
    t->counts = arena_array(&m->arena, (size_t)mats, sizeof *t->counts);
    if (!t->name || !t->counts)
        return no_memory(e);
    of[m->n_entries++] = (struct entry_of){role, layer};
    t->counts[0] = (float)c->tokens;
    return roles[role].flags & ROLE_EXPERT ? read_counts(c, layer, t->counts, e) : 0;
}

struct sorted {
    struct imatrix_entry entry;
    struct entry_of of;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct sorted *)a)->entry.name, ((const struct sorted *)b)->entry.name);
}

static int sort_entries(struct imatrix *m, struct entry_of *of, struct error *e)
{
    struct sorted *list = malloc((m->n_entries + 1) * sizeof *list);
    if (!list)
        return no_memory(e);
    for (size_t i = 0; i < m->n_entries; i++)
        list[i] = (struct sorted){m->entries[i], of[i]};
    qsort(list, m->n_entries, sizeof *list, by_name);
    for (size_t i = 0; i < m->n_entries; i++) {
        m->entries[i] = list[i].entry;
        of[i] = list[i].of;
    }
    free(list);
    return 0;
}

static int add_entries(const struct calibration *c, struct imatrix *m, struct entry_of *of, struct error *e)
{
    const struct arch_params *p = &c->model->params;
    for (int layer = 0; layer < (int)p->num_hidden_layers; layer++)
        for (int r = 0; r < ROLE_COUNT; r++) {
            enum tensor_role role = (enum tensor_role)r;
            int reads = input_of(role) != INPUT_NONE && !(roles[role].flags & ROLE_GLOBAL);
            if (reads && role_in_layer(role, c->model->family, p, layer, 1) && add_entry(c, m, of, role, layer, e))
                return -1;
        }
    return sort_entries(m, of, e);
}

static int write_imatrix(const struct calibration *c, const char *text, struct error *e)
{
    size_t room = c->n_layers * ROLE_COUNT;
    struct imatrix m = {.form = IMATRIX_GGUF, .datasets = &text, .n_datasets = 1, .chunk_count = (uint32_t)c->chunks,
                        .chunk_size = (uint32_t)c->ctx};
    struct entry_of *of = calloc(room, sizeof *of);
    struct diagonals d = {.c = c, .m = &m, .of = of, .loaded = SIZE_MAX};
    char *path = io_join(c->folder, "imatrix.gguf");
    m.entries = arena_array(&m.arena, room, sizeof *m.entries);
    int rc = !of || !path || !m.entries ? no_memory(e)
                                        : add_entries(c, &m, of, e) || imatrix_save(&m, give_sums, &d, IMATRIX_GGUF, path, e);
    arena_clear(&m.arena);
    free(d.sums);
    free(of);
    free(path);
    return rc ? -1 : 0;
}

/* ---- use of experts */

enum { TOKENS_AT_ONCE = 4096 };

static void count(struct expert_record *use, const int16_t *chosen, const float *gates, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct expert_record *u = &use[chosen[i]];
        u->tokens++;
        u->gates += (double)gates[i];
        u->gates2 += (double)gates[i] * (double)gates[i];
    }
}

static int count_layer(const struct calibration *c, int layer, struct expert_record *use, struct error *e)
{
    const size_t used = (size_t)c->model->params.num_experts_per_tok;
    int16_t *chosen = malloc(TOKENS_AT_ONCE * used * sizeof *chosen);
    float *gates = malloc(TOKENS_AT_ONCE * used * sizeof *gates);
    int rc = chosen && gates ? 0 : no_memory(e);
    for (uint64_t at = 0, some; !rc && at < c->tokens; at += some) {
        some = c->tokens - at < TOKENS_AT_ONCE ? c->tokens - at : TOKENS_AT_ONCE;
        rc = calibration_routing(c, layer, at, (size_t)some, chosen, gates, e);
        if (!rc)
            count(use, chosen, gates, (size_t)some * used);
    }
    free(chosen);
    free(gates);
    return rc ? -1 : 0;
}

static int count_all(const struct calibration *c, struct calibration_record *r, struct error *e)
{
    const size_t dense = (size_t)r->params.first_k_dense_replace, experts = (size_t)r->params.n_routed_experts;
    if (record_make_use(r, e))
        return -1;
    for (size_t i = 0; i < record_moe_layers(r); i++)
        if (count_layer(c, (int)(dense + i), r->use + i * experts, e))
            return -1;
    return 0;
}

/* ---- calibration.json */

static int add_file(struct json *list, const struct io_file *f, uint64_t *bytes, struct error *e)
{
    char hash[HASH_TEXT];
    if (hash_range(f, 0, f->size, hash, e))
        return -1;
    struct json *j = json_add_object(list, NULL);
    json_add_string(j, "name", io_base_name(f->path));
    json_add_u64(j, "bytes", f->size);
    json_add_string(j, "xxh3_128", hash);
    *bytes += f->size;
    return 0;
}

static int add_tokens(struct json *list, const struct calibration *c, uint64_t *bytes, struct error *e)
{
    struct io_file f = {0};
    char *path = io_join(c->folder, "tokens.safetensors");
    int rc = path ? io_open(&f, path, e) || add_file(list, &f, bytes, e) : no_memory(e);
    io_close(&f);
    free(path);
    return rc ? -1 : 0;
}

static int write_json(const struct calibration *c, const struct calibration_record *r, uint64_t *bytes, struct error *e)
{
    struct json *files, *j = record_json(r, &files);
    char *path = io_join(c->folder, "calibration.json"), *text = NULL;
    int rc = 0;
    for (size_t i = 0; !rc && i <= c->n_layers * HALVES; i++)
        rc = add_file(files, &c->files[i]->files[0], bytes, e);
    rc = rc || add_tokens(files, c, bytes, e) ? -1 : 0;
    if (!rc) {
        text = j ? json_print(j) : NULL;
        rc = path && text ? io_write_all(path, text, strlen(text), e) : no_memory(e);
    }
    json_free(j);
    free(text);
    free(path);
    return rc;
}

int calibrate_finish(const char *folder, const struct model *m, struct calibration_record *r, uint64_t *bytes, struct error *e)
{
    struct calibration *c = calibration_new(folder, m, r->chunks, r->ctx, 0, e);
    *bytes = 0;
    int rc = c ? calibration_load_all(c, e) || write_imatrix(c, r->text, e) || count_all(c, r, e) || write_json(c, r, bytes, e) : -1;
    calibration_close(c);
    return rc ? -1 : 0;
}
