/* SPDX-License-Identifier: MIT
 * Target gguf: which tensors the file has, and their types. */
#include "convert/target_gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf.h"
#include "formats/split_name.h"

static int choose(struct plan *p, struct gguf_choices *c, struct error *e)
{
    const struct model *m = p->model;
    int has_mtp = m->params.num_nextn_predict_layers > 0;
    *c = (struct gguf_choices){.arch = m->family->gguf_arch, .with_indexer = m->family->has_indexer};
    c->with_mtp = has_mtp && (p->options.mtp == MTP_KEEP || (p->options.mtp == MTP_AS_TARGET && m->family->mtp_in_gguf));
    if (p->options.mtp == MTP_KEEP && !has_mtp)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--mtp keep, but the model has no MTP layer");
    if (p->options.dialect != DIALECT_IK)
        return 0;
    if (p->options.mtp == MTP_KEEP)
        return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "ik_llama.cpp cannot load an MTP layer of this model");
    /* it knows no deepseek32: without the indexer, attention is dense, which is exact up to index_topk tokens */
    if (c->with_indexer)
        p->notes[p->n_notes++] = "dialect ik: the indexer is left out, attention is dense";
    *c = (struct gguf_choices){.arch = "deepseek2"};
    return 0;
}

/* What the recipe gives a tensor, all experts of a layer being one, and the rule that did. NULL on error. */
static const struct quant_type *wanted_type(const struct plan *p, const struct gguf_choices *c, const struct weight *w,
                                            const char *name, size_t *rule, struct error *e)
{
    const struct arch_params *a = &p->model->params;
    uint32_t experts = (uint32_t)a->n_routed_experts;
    int is_output = w->role == ROLE_TOKEN_EMBD && a->tie_word_embeddings;
    struct recipe_tensor t = {.name = name, .role = w->role, .preset_role = is_output ? ROLE_OUTPUT : w->role, .layer = w->layer, .layers = c->layers, .experts = experts,
                              .has_imatrix = p->options.imatrix != NULL, .held = {0, experts ? experts - 1 : 0}};
    const struct quant_type *type;
    *rule = p->options.recipe.n_rules;
    if (roles[w->role].flags & ROLE_ALWAYS_F32)
        return quant_type_find("F32");
    return recipe_type(&p->options.recipe, &t, p->hits, &type, rule, e) ? NULL : type;
}

static struct plan_tensor *add_tensor(struct plan *p, const struct weight *w, const struct quant_type *type, const char *name, struct error *e)
{
    struct tensor out = {.name = name, .type = gguf_storage_by_name(type->name)};
    unsigned flags = roles[w->role].flags;
    if (flags & (ROLE_EXPERT | ROLE_PER_HEAD))
        out.dims[out.n_dims++] = w->slabs;
    if (!(flags & ROLE_VECTOR))
        out.dims[out.n_dims++] = w->rows;
    out.dims[out.n_dims++] = w->cols;
    return plan_add(p, w, type, &out, e);
}

/* How many experts of a stack are stored in each type: "5 x Q4_K, 3 x Q8_0". Returns how many types there are. */
static size_t count_types(const struct model *m, const struct weight *w, char *out, size_t room)
{
    const char *types[32];
    uint64_t counts[32] = {0};
    size_t n = 0, used = 0;
    for (uint64_t x = 0; x < w->slabs; x++) {
        const char *type = stored_type(model_stored(m, w->role, w->layer, (int)x));
        size_t i = 0;
        while (i < n && strcmp(types[i], type))
            i++;
        if (i == n && n == sizeof types / sizeof *types)
            continue;
        n += i == n;
        types[i] = type;
        counts[i]++;
    }
    out[0] = '\0';
    for (size_t i = 0; i < n && used < room; i++)
        used += (size_t)snprintf(out + used, room - used, "%s%" PRIu64 " x %s", i ? ", " : "", counts[i], types[i]);
    return n;
}

/* GGUF has one type for all experts of a layer and role. A pack that mixes them is not requantized without being told. */
static int check_mixed(const struct plan *p, int layers, struct error *e)
{
    char list[360] = "", types[160];
    size_t used = 0, more = 0;
    struct weight w;
    for (int layer = 0; layer < layers && p->model->source->pack && !p->options.requantize; layer++)
        for (int role = ROLE_FFN_GATE_EXPS; role <= ROLE_FFN_DOWN_EXPS; role++) {
            if (!model_weight(p->model, (enum tensor_role)role, layer, &w) || count_types(p->model, &w, types, sizeof types) < 2)
                continue;
            if (used + 200 > sizeof list)
                more++;
            else
                used += (size_t)snprintf(list + used, sizeof list - used, "%slayer %d %s %s", used ? "; " : "", layer, roles[role].name, types);
        }
    if (!used)
        return 0;
    if (more)
        snprintf(list + used, sizeof list - used, "; and %zu more", more);
    return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "a layer's experts are one tensor in GGUF, and here they have several types: %s (--requantize)", list);
}

static int add_layer(struct plan *p, const struct gguf_choices *c, int layer, struct error *e)
{
    for (int role = 0; role < ROLE_COUNT; role++) {
        struct weight w;
        char name[TENSOR_NAME];
        const char *note = NULL;
        size_t rule;
        if (!role_in_layer((enum tensor_role)role, p->model->family, &p->model->params, layer, 1))
            continue;
        if (roles[role].class == CLASS_INDEXER && !c->with_indexer)
            continue;
        if (!model_weight(p->model, (enum tensor_role)role, layer, &w))
            continue; /* an optional part of an MTP layer; the binding has seen to all others */
        role_gguf_name((enum tensor_role)role, layer, name);
        const struct quant_type *type = wanted_type(p, c, &w, name, &rule, e);
        if (!type || !(type = plan_fitting_type(p, &w, type, &note, e)))
            return error_at_tensor(e, name);
        struct plan_tensor *t = add_tensor(p, &w, type, name, e);
        if (!t)
            return -1;
        t->note = note;
        t->rule = rule;
        if (w.from_kv_b && role == ROLE_ATTN_V_B) {
            t[-1].units = UNITS_WITH_NEXT;
            t->units = UNITS_OF_PREVIOUS;
        }
    }
    return 0;
}

/* The pairs that every part of a split file has. */
static void add_split_keys(struct gguf_meta *meta, size_t no, size_t count, size_t tensors)
{
    gguf_add_u16(meta, "split.no", (uint16_t)no);
    gguf_add_u16(meta, "split.count", (uint16_t)count);
    gguf_add_i32(meta, "split.tensors.count", (int32_t)tensors);
}

/* Bytes that a file begins with, without its tensors' infos. */
static uint64_t meta_bytes(const struct gguf_meta *meta)
{
    uint64_t n = 4096;
    for (size_t i = 0; i < meta->n; i++)
        n += strlen(meta->kvs[i].key) + meta->kvs[i].size + 12;
    return n;
}

/* Hands the tensors of one file to the container's layout and takes the offsets back. */
static int lay_out(struct plan *p, size_t file, const struct gguf_meta *meta, struct error *e)
{
    struct plan_file *f = &p->files[file];
    struct tensor *list = malloc((f->n + 1) * sizeof *list);
    if (!list)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t i = 0; i < f->n; i++)
        list[i] = p->tensors[f->first + i].out;
    int rc = gguf_layout(meta, list, f->n, &f->header, &f->bytes, e);
    for (size_t i = 0; !rc && i < f->n; i++) {
        p->tensors[f->first + i].out = list[i];
        p->tensors[f->first + i].out.file = (uint32_t)file;
    }
    free(list);
    return rc;
}

/* All files: the first has the model's pairs, the others those of the split only. */
static int lay_out_all(struct plan *p, struct gguf_meta *meta, struct error *e)
{
    if (plan_cut_files(p, meta_bytes(meta), e))
        return -1;
    if (p->n_files > UINT16_MAX)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--split-max-size gives %zu files, GGUF allows %d", p->n_files,
                         UINT16_MAX);
    int rc = 0;
    for (size_t i = 0; !rc && i < p->n_files; i++) {
        struct gguf_meta *more = i ? calloc(1, sizeof *more) : meta;
        if (more && p->n_files > 1)
            add_split_keys(more, i, p->n_files, p->n_tensors);
        rc = more ? lay_out(p, i, more, e) : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        if (i)
            gguf_meta_free(more);
    }
    return rc;
}

char *target_gguf_file_name(const char *path, size_t i, size_t n)
{
    return split_part(path, i + 1, n, ".gguf");
}

int target_gguf_build(struct plan *p, struct error *e)
{
    struct gguf_choices c;
    if (choose(p, &c, e))
        return -1;
    const struct arch_params *a = &p->model->params;
    c.layers = (int)(c.with_mtp ? arch_all_layers(a) : a->num_hidden_layers);
    if (check_mixed(p, c.layers, e))
        return -1;
    for (int layer = -1; layer < c.layers; layer++)
        if (add_layer(p, &c, layer, e))
            return -1;
    struct gguf_meta *meta = calloc(1, sizeof *meta);
    int rc = meta ? gguf_keys_add(p, &c, meta, e) : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc)
        rc = lay_out_all(p, meta, e);
    gguf_meta_free(meta);
    return rc;
}
