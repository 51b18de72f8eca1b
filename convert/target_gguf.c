/* SPDX-License-Identifier: MIT
 * Target gguf: which tensors the file has, and their types. */
#include "convert/target_gguf.h"

#include <stdlib.h>
#include <string.h>

#include "formats/gguf.h"

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

/* The type of a tensor and, when it is not what was asked for, why. */
static const struct quant_type *choose_type(const struct plan *p, const struct weight *w, const char **note)
{
    const struct recipe *r = &p->options.recipe;
    const struct quant_type *t = r->by_role[w->role] ? r->by_role[w->role] : r->base;
    if (roles[w->role].flags & ROLE_ALWAYS_F32)
        return quant_type_find("F32");
    if (w->cols % t->block_len == 0)
        return t;
    *note = "row length is no multiple of the block: F16 instead";
    return quant_type_find("F16");
}

static int add_layer(struct plan *p, const struct gguf_choices *c, int layer, struct error *e)
{
    for (int role = 0; role < ROLE_COUNT; role++) {
        struct weight w;
        char name[TENSOR_NAME];
        const char *note = NULL;
        if (!role_in_layer((enum tensor_role)role, p->model->family, &p->model->params, layer, 1))
            continue;
        if (roles[role].class == CLASS_INDEXER && !c->with_indexer)
            continue;
        if (!model_weight(p->model, (enum tensor_role)role, layer, &w))
            continue; /* an optional part of an MTP layer; the binding has seen to all others */
        const struct quant_type *type = choose_type(p, &w, &note);
        struct plan_tensor *t = plan_add(p, &w, type, role_gguf_name((enum tensor_role)role, layer, name), e);
        if (!t)
            return -1;
        t->note = note;
    }
    return 0;
}

/* Hands the tensors to the container's layout and takes the offsets back. */
static int lay_out(struct plan *p, const struct gguf_meta *meta, struct error *e)
{
    struct tensor *list = malloc((p->n_tensors + 1) * sizeof *list);
    if (!list)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t i = 0; i < p->n_tensors; i++)
        list[i] = p->tensors[i].out;
    int rc = gguf_layout(meta, list, p->n_tensors, &p->header, &p->total, e);
    for (size_t i = 0; !rc && i < p->n_tensors; i++)
        p->tensors[i].out = list[i];
    free(list);
    return rc;
}

int target_gguf_build(struct plan *p, struct error *e)
{
    struct gguf_choices c;
    if (choose(p, &c, e))
        return -1;
    const struct arch_params *a = &p->model->params;
    int layers = (int)(c.with_mtp ? arch_all_layers(a) : a->num_hidden_layers);
    for (int layer = -1; layer < layers; layer++)
        if (add_layer(p, &c, layer, e))
            return -1;
    struct gguf_meta *meta = calloc(1, sizeof *meta);
    int rc = meta ? gguf_keys_add(p, &c, meta, e) : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc)
        rc = lay_out(p, meta, e);
    gguf_meta_free(meta);
    return rc;
}
