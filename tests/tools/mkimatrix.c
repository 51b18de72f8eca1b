/* SPDX-License-Identifier: MIT
 * usage: mkimatrix MODEL OUT [--dat] [--seed N] [--idle E] [--kv-b] [--without ENTRY] [--extra ENTRY]
 * Writes an imatrix for every matrix of a model, as llama-imatrix would, of made-up sums: --idle, one expert that no token was sent
 * to; --kv-b, of a kv_b that is not divided; --without, an entry left out; --extra, one more of 32 columns. OUT in GGUF, or --dat. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/imatrix.h"
#include "model/model.h"

enum { TOKENS = 1000, MAX_ENTRIES = 4096 };

struct wish {
    const char *without, *extra;
    uint64_t seed;
    int dat, kv_b, idle;
};

static struct imatrix_entry entries[MAX_ENTRIES];

static void fail(const char *what, const struct error *e)
{
    fprintf(stderr, "mkimatrix: %s: %s\n", what, e ? e->text : "wrong");
    exit(2);
}

/* A number of 24 bits that depends on all of these. */
static uint32_t noise(uint64_t seed, uint64_t entry, uint64_t i)
{
    uint64_t v[3] = {seed, entry, i};
    return (uint32_t)(hash_64(v, sizeof v, 1) >> 40);
}

/* Sums of about [0, 4] per token; every 97th column is 0. */
static int sums(void *context, size_t entry, uint64_t first, uint64_t n, float *out, struct error *e)
{
    const struct wish *w = context;
    const struct imatrix_entry *t = &entries[entry];
    (void)e;
    for (uint64_t i = 0; i < n; i++)
        out[i] = (first + i) % 97 == 96 ? 0 : (float)noise(w->seed, entry, first + i) * 0x1p-22f * t->counts[(first + i) / t->n_cols];
    return 0;
}

static void add(struct imatrix *m, const struct wish *w, const char *name, uint64_t n_mat, uint64_t n_cols)
{
    if (w->without && !strcmp(name, w->without))
        return;
    if (m->n_entries == MAX_ENTRIES)
        fail("model", NULL);
    struct imatrix_entry *t = &m->entries[m->n_entries++];
    *t = (struct imatrix_entry){.name = arena_copy(&m->arena, name, strlen(name)), .n_mat = n_mat, .n_cols = n_cols,
                                .counts = arena_array(&m->arena, n_mat, sizeof(float))};
    if (!t->name || !t->counts)
        fail("memory", NULL);
    for (uint64_t i = 0; i < n_mat; i++)
        t->counts[i] = n_mat == 1 ? TOKENS : (int)i == w->idle ? 0 : (float)(1 + noise(w->seed, 77, i) % TOKENS);
}

static void add_role(struct imatrix *m, const struct wish *w, const struct model *model, enum tensor_role role, int layer)
{
    struct weight weight;
    char name[TENSOR_NAME];
    if (roles[role].flags & (ROLE_ALWAYS_F32 | ROLE_GLOBAL | ROLE_HF_FUSED) || !model_weight(model, role, layer, &weight))
        return;
    role_gguf_name(role, layer, name);
    if (w->kv_b && role == ROLE_ATTN_K_B)
        return;
    if (w->kv_b && role == ROLE_ATTN_V_B)
        add(m, w, role_gguf_name(ROLE_ATTN_KV_B, layer, name), 1, weight.cols);
    else if (roles[role].flags & ROLE_EXPERT)
        add(m, w, name, weight.slabs, weight.cols);
    else
        add(m, w, name, 1, weight.slabs * weight.cols);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct imatrix_entry *)a)->name, ((const struct imatrix_entry *)b)->name);
}

int main(int argc, char **argv)
{
    static const char *datasets[] = {"texts/made-up.txt"};
    struct wish w = {.idle = -1, .seed = 1};
    struct imatrix m = {.entries = entries, .datasets = datasets, .n_datasets = 1, .chunk_count = 7, .chunk_size = 512};
    struct error e = {0};
    for (int i = 3; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        w.dat |= !strcmp(argv[i], "--dat");
        w.kv_b |= !strcmp(argv[i], "--kv-b");
        w.seed = strcmp(argv[i], "--seed") ? w.seed : strtoul(value, NULL, 10);
        w.idle = strcmp(argv[i], "--idle") ? w.idle : atoi(value);
        w.without = strcmp(argv[i], "--without") ? w.without : value;
        w.extra = strcmp(argv[i], "--extra") ? w.extra : value;
    }
    struct source *s = argc < 3 ? NULL : source_open(argv[1], &e);
    struct model *model = s ? model_open(s, &e) : NULL;
    if (!model)
        fail("model", &e);
    for (int layer = 0; layer < (int)model->params.num_hidden_layers; layer++)
        for (int role = 0; role < ROLE_COUNT; role++)
            add_role(&m, &w, model, (enum tensor_role)role, layer);
    w.without = NULL;
    if (w.extra)
        add(&m, &w, w.extra, 1, 32);
    qsort(m.entries, m.n_entries, sizeof *m.entries, by_name);
    if (imatrix_save(&m, sums, &w, w.dat ? IMATRIX_DAT : IMATRIX_GGUF, argv[2], &e))
        fail(argv[2], &e);
    arena_clear(&m.arena);
    model_close(model);
    source_close(s);
    return 0;
}
