/* SPDX-License-Identifier: MIT
 * Binding a source's tensors to roles. `slots` holds, for layer -1 (globals) to the last MTP layer, one struct stored per
 * role and, behind them, n_routed_experts for each of the three expert roles: a fixed stride per layer. */
#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "formats/pack.h"
#include "model/binding.h"

enum { MAX_CONFIG = 16 << 20, EXPERT_ROLES = 3 };

static size_t stride(const struct model *m)
{
    return ROLE_COUNT + EXPERT_ROLES * (size_t)m->params.n_routed_experts;
}

/* Where a place's tensor belongs; NULL when layer or expert do not exist. expert -1: a stack or a single matrix. */
static struct stored *slot_of(const struct model *m, const struct place *at)
{
    if (at->layer < -1 || at->layer >= (int)arch_all_layers(&m->params) ||
        at->expert >= (int)m->params.n_routed_experts)
        return NULL;
    size_t base = (size_t)(at->layer + 1) * stride(m);
    if (at->expert < 0)
        return &m->slots[base + at->role];
    size_t kind = (size_t)(at->role - ROLE_FFN_GATE_EXPS);
    return &m->slots[base + ROLE_COUNT + kind * m->params.n_routed_experts + (size_t)at->expert];
}

const struct stored *model_stored(const struct model *m, enum tensor_role role, int layer, int expert)
{
    struct place at = {role, layer, -1};
    const struct stored *s = slot_of(m, &at);
    if (s && !s->tensor && roles[role].flags & ROLE_EXPERT) {
        at.expert = expert;
        s = slot_of(m, &at);
    }
    return s && s->tensor ? s : NULL;
}

const char *stored_type(const struct stored *s)
{
    int is_number = !s->layout || (s->type->tiling && s->type->tiling->is_float);
    return is_number ? s->tensor->type->name : s->type->name;
}

static int refuse(const struct model *m, const struct tensor *t, struct error *e, const char *what)
{
    error_set(e, ERR_FORMAT, t->offset, "%s", what);
    error_at_file(e, m->source->files[t->file].path);
    return error_at_tensor(e, t->name);
}

static int is_ignored(const struct model *m, const char *name)
{
    size_t n = strlen(name);
    static const char inv_freq[] = "rotary_emb.inv_freq"; /* a constant that some exports carry along */
    if (n >= sizeof inv_freq - 1 && !strcmp(name + n - (sizeof inv_freq - 1), inv_freq))
        return 1;
    return m->params.tie_word_embeddings && !strcmp(name, roles[ROLE_OUTPUT].hf);
}

/* Into a slot; with `fused` rows of ours and as many of another's. */
static int put(struct model *m, struct stored *s, const struct tensor *t, enum companion companion, enum layout_part part, int fused,
               uint64_t first_row, struct error *e)
{
    if (companion == COMPANION_INPUT)
        return 0;
    const struct tensor **to = companion == COMPANION_FACTOR ? &s->factor : &s->parts[part];
    if (*to)
        return refuse(m, t, e, "this part of a weight is there twice, under two names");
    *to = t;
    if (fused && companion != COMPANION_FACTOR) {
        s->slab_rows = 2 * m->params.moe_intermediate_size;
        s->first_row = first_row;
    }
    return 0;
}

/* Puts one tensor (or a part of its layout) into its slot, experts' gates that have their ups with them into two. */
static int bind_tensor(struct model *m, const struct tensor *t, struct error *e)
{
    char weight_name[TENSOR_NAME];
    struct place at;
    enum layout_part part = PART_CODES;
    int gguf = m->source->meta != NULL;
    enum companion companion = binding_companion(t->name, gguf, weight_name, &part);
    const char *name = companion ? weight_name : t->name;
    if (is_ignored(m, name))
        return 0;
    if (gguf ? role_parse_gguf(name, &at) : role_parse_hf(name, &at))
        return refuse(m, t, e, "unknown tensor: no part of a DeepSeek model");
    struct stored *s = slot_of(m, &at);
    /* a GGUF may hold either form of kv_b */
    int known = role_in_layer(at.role, m->family, &m->params, at.layer, gguf) ||
                (gguf && roles[at.role].flags & ROLE_HF_FUSED && at.layer >= 0);
    if (!s || !known)
        return refuse(m, t, e, "the configuration has no place for this tensor (layer, expert or part)");
    if (put(m, s, t, companion, part, at.fused, 0, e))
        return -1;
    if (!at.fused)
        return 0;
    at.role = ROLE_FFN_UP_EXPS;
    return put(m, slot_of(m, &at), t, companion, part, 1, m->params.moe_intermediate_size, e);
}

static int bind_all(struct model *m, struct error *e)
{
    size_t n = ((size_t)arch_all_layers(&m->params) + 1) * stride(m);
    if (!(m->slots = arena_array(&m->arena, n, sizeof *m->slots)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t i = 0; i < m->source->n_tensors; i++)
        if (bind_tensor(m, &m->source->tensors[i], e))
            return -1;
    for (size_t i = 0; i < n; i++)
        if (m->slots[i].parts[PART_CODES] && binding_resolve(m, &m->slots[i], e))
            return -1;
    return 0;
}

/* Whether the source has anything of this layer. */
static int layer_has_tensors(const struct source *s, uint64_t layer)
{
    char prefix[TENSOR_NAME];
    size_t lo = 0, hi = s->n_tensors;
    snprintf(prefix, sizeof prefix, s->meta ? "blk.%" PRIu64 "." : "model.layers.%" PRIu64 ".", layer);
    while (lo < hi) { /* the first name not below the prefix: names are sorted */
        size_t mid = (lo + hi) / 2;
        if (strcmp(s->tensors[mid].name, prefix) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < s->n_tensors && !strncmp(s->tensors[lo].name, prefix, strlen(prefix));
}

/* Re-exports often drop the MTP layer and keep the configuration that announces it. */
static void drop_absent_mtp(struct model *m)
{
    struct arch_params *p = &m->params;
    if (!p->num_nextn_predict_layers)
        return;
    for (uint64_t i = p->num_hidden_layers; i < arch_all_layers(p); i++)
        if (layer_has_tensors(m->source, i))
            return;
    p->num_nextn_predict_layers = 0;
    m->notes[m->n_notes++] = "the configuration announces an MTP layer that the files do not have";
}

static int read_config(struct model *m, struct error *e)
{
    static const char *const names[] = {"config.json", "inference/config_671B_v3.2.json", "quantize_config.json"};
    enum { FILES = sizeof names / sizeof *names };
    char *text[FILES] = {NULL};
    size_t n[FILES] = {0};
    int found[FILES], rc = -1;
    for (int i = 0; i < FILES; i++)
        if ((found[i] = source_side_file(m->source, names[i], MAX_CONFIG, &text[i], &n[i], e)) < 0)
            goto out;
    if (!found[0]) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET,
                  m->source->pack        ? "the pack has no config.json"
                  : m->source->is_folder ? "the folder has no config.json"
                                         : "one safetensors file is no model: give the folder with config.json");
        error_at_file(e, m->source->path);
        goto out;
    }
    m->family = arch_from_config(text[0], n[0], text[1], n[1], &m->params, e);
    if (m->family)
        rc = quantization_read(&m->quantization, text[0], n[0], text[2], n[2], e);
    if (rc)
        error_at_file(e, names[0]);
out:
    for (int i = 0; i < FILES; i++)
        free(text[i]);
    return rc;
}

struct model *model_open(const struct source *s, struct error *e)
{
    struct model *m = calloc(1, sizeof *m);
    if (!m) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        return NULL;
    }
    m->source = s;
    m->cpu = cpu_features();
    if (s->note)
        m->notes[m->n_notes++] = s->note;
    if (s->meta) {
        if (!(m->family = arch_from_gguf(s->meta, &m->params, e))) {
            error_at_file(e, s->path);
            goto fail;
        }
        m->params.tie_word_embeddings = source_find(s, roles[ROLE_OUTPUT].gguf) == NULL;
    } else if (read_config(m, e)) {
        goto fail;
    }
    if (!s->pack || s->pack->subset != PACK_EXPERTS_ONLY)
        drop_absent_mtp(m);
    if (bind_all(m, e) || binding_check(m, e))
        goto fail;
    if (s->pack && s->pack->subset)
        m->notes[m->n_notes++] = s->pack->subset == PACK_SOME_EXPERTS ? "this pack holds some of the routed experts" : "this pack holds routed experts only";
    return m;
fail:
    model_close(m);
    return NULL;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    quantization_clear(&m->quantization);
    arena_clear(&m->arena);
    free(m);
}

static uint64_t expert_slots(const struct model *m, enum tensor_role role)
{
    return roles[role].flags & ROLE_EXPERT && m->source->pack ? m->params.n_routed_experts : 1;
}

static const struct stored *first_stored(const struct model *m, enum tensor_role role, int layer)
{
    const struct stored *s = NULL;
    for (uint64_t x = 0; !s && x < expert_slots(m, role); x++)
        s = model_stored(m, role, layer, (int)x);
    return s;
}

int weight_has(const struct model *m, const struct weight *w, uint64_t slab)
{
    return w->from_kv_b || model_stored(m, w->role, w->layer, (int)slab) != NULL;
}

const struct stored *weight_stored(const struct model *m, const struct weight *w)
{
    return first_stored(m, w->from_kv_b ? ROLE_ATTN_KV_B : w->role, w->layer);
}

int model_require_whole(const struct model *m, struct error *e)
{
    const struct pack *k = m->source->pack;
    uint64_t missing = 0, all = 0, layer_of = 0, expert_of = 0;
    if (!k || k->subset == PACK_WHOLE)
        return 0;
    for (uint64_t layer = 0; layer < arch_all_layers(&m->params); layer++)
        for (uint64_t x = 0; x < m->params.n_routed_experts; x++) {
            if (!role_in_layer(ROLE_FFN_GATE_EXPS, m->family, &m->params, (int)layer, 0))
                continue;
            all++;
            if (model_stored(m, ROLE_FFN_GATE_EXPS, (int)layer, (int)x) || missing++)
                continue;
            layer_of = layer;
            expert_of = x;
        }
    if (missing)
        error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "%" PRIu64 " of %" PRIu64 " routed experts are not in this pack, the first is expert %" PRIu64
                  " of layer %" PRIu64, missing, all, expert_of, layer_of);
    else if (k->subset == PACK_EXPERTS_ONLY)
        error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "this pack holds experts only");
    else
        return 0;
    return error_at_file(e, m->source->path);
}

int model_weight(const struct model *m, enum tensor_role role, int layer, struct weight *w)
{
    const struct arch_params *p = &m->params;
    *w = (struct weight){.role = role, .layer = layer, .slabs = role_slabs(role, p)};
    role_shape(role, p, &w->rows, &w->cols);
    if (first_stored(m, role, layer))
        return 1;
    w->from_kv_b = 1;
    return roles[role].flags & ROLE_GGUF_SPLIT && model_stored(m, ROLE_ATTN_KV_B, layer, 0);
}
