/* SPDX-License-Identifier: MIT
 * Checks of a bound model. A missing or misshapen tensor found now costs a second; found later it costs a night. */
#include "model/binding.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *suffix, *of_weight;
    int gguf;
    enum companion kind;
} companions[] = {
    {"_scale_inv", "", 0, COMPANION_TILE_SCALES},
    {".scale", ".weight", 1, COMPANION_FACTOR},
    {".input_scale", ".weight", 1, COMPANION_INPUT_SCALE},
};

enum companion binding_companion(const char *name, int gguf, char weight[TENSOR_NAME])
{
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof companions / sizeof *companions; i++) {
        size_t k = strlen(companions[i].suffix);
        if (companions[i].gguf != gguf || n <= k || strcmp(name + n - k, companions[i].suffix))
            continue;
        int length = snprintf(weight, TENSOR_NAME, "%.*s%s", (int)(n - k), name, companions[i].of_weight);
        return length < TENSOR_NAME ? companions[i].kind : COMPANION_NONE;
    }
    return COMPANION_NONE;
}

static int fail_at(const struct model *m, const struct tensor *t, struct error *e)
{
    error_at_file(e, m->source->files[t->file].path);
    return error_at_tensor(e, t->name);
}

/* The shape that a tensor must have: [slabs][rows][cols] for a stack, [cols] for a vector, else [rows][cols]. */
static uint32_t expected_dims(const struct model *m, enum tensor_role role, int stacked, uint64_t dims[3])
{
    uint64_t rows, cols;
    uint32_t n = 0;
    role_shape(role, &m->params, &rows, &cols);
    if (stacked)
        dims[n++] = role_slabs(role, &m->params);
    if (!(roles[role].flags & ROLE_VECTOR))
        dims[n++] = rows;
    dims[n++] = cols;
    return n;
}

static int check_shape(const struct model *m, const struct tensor *t, const uint64_t *dims, uint32_t n, struct error *e)
{
    char is[SHAPE_TEXT], want[SHAPE_TEXT];
    if (t->n_dims == n && !memcmp(t->dims, dims, n * sizeof *dims))
        return 0;
    error_set(e, ERR_FORMAT, t->offset, "shape %s contradicts the configuration, which says %s",
              shape_text(t->dims, t->n_dims, is), shape_text(dims, n, want));
    return fail_at(m, t, e);
}

/* ik_llama.cpp writes per-head stacks as one matrix of the same bytes. */
static int is_flat_stack(const struct tensor *t, const uint64_t *dims, uint32_t n)
{
    return n == 3 && t->n_dims == 2 && t->dims[0] == dims[0] * dims[1] && t->dims[1] == dims[2];
}

static int check_tiles(const struct model *m, const struct stored *s, struct error *e)
{
    const struct arch_params *p = &m->params;
    const struct tensor *t = s->tensor, *c = s->scale;
    const char *type = c ? c->type->name : "";
    if (!p->tile_rows) {
        error_set(e, ERR_FORMAT, t->offset, "an FP8 tensor, but the configuration has no FP8 quantization_config");
        return fail_at(m, t, e);
    }
    if (!c) {
        error_set(e, ERR_FORMAT, t->offset, "an FP8 tensor without its scale (%s_scale_inv) in any shard", t->name);
        return fail_at(m, t, e);
    }
    if (strcmp(type, "F32") && strcmp(type, "F8_E8M0") && strcmp(type, "U8")) {
        error_set(e, ERR_UNSUPPORTED, c->offset, "a scale of type %s", type);
        return fail_at(m, c, e);
    }
    uint64_t grid[2] = {(t->dims[0] + p->tile_rows - 1) / p->tile_rows, (t->dims[1] + p->tile_cols - 1) / p->tile_cols};
    return check_shape(m, c, grid, 2, e);
}

/* Storage types that may hold a weight of a checkpoint or GGUF. One-byte integers are no FP8. */
static int check_type(const struct model *m, const struct stored *s, struct error *e)
{
    const struct tensor *t = s->tensor;
    if (s->type && s->type->flags & QT_TILED && !strcmp(s->type->name, "F8_E4M3") && t->n_dims == 2)
        return check_tiles(m, s, e);
    if (s->scale) {
        error_set(e, ERR_FORMAT, s->scale->offset, "a scale for a %s tensor", t->type->name);
        return fail_at(m, s->scale, e);
    }
    if (m->source->meta || (s->type && s->type->flags & QT_FLOAT && s->type->block_bytes > 1))
        return 0;
    error_set(e, ERR_UNSUPPORTED, t->offset, "a weight of type %s", t->type->name);
    return fail_at(m, t, e);
}

/* One number, or one for each expert of a stack: what llama.cpp loads. */
static int check_factor(const struct model *m, enum tensor_role role, const struct tensor *t, struct error *e)
{
    uint64_t want = roles[role].flags & ROLE_EXPERT ? m->params.n_routed_experts : 1;
    if (roles[role].flags & ROLE_ALWAYS_F32) {
        error_set(e, ERR_FORMAT, t->offset, "a scale for a tensor that is always F32");
        return fail_at(m, t, e);
    }
    if (strcmp(t->type->name, "F32")) {
        error_set(e, ERR_UNSUPPORTED, t->offset, "a scale of type %s", t->type->name);
        return fail_at(m, t, e);
    }
    return check_shape(m, t, &want, 1, e);
}

static int check_stored(const struct model *m, enum tensor_role role, int stacked, const struct stored *s,
                        struct error *e)
{
    uint64_t dims[3];
    uint32_t n = expected_dims(m, role, stacked, dims);
    if (!is_flat_stack(s->tensor, dims, n) && check_shape(m, s->tensor, dims, n, e))
        return -1;
    if (s->factor && check_factor(m, role, s->factor, e))
        return -1;
    return check_type(m, s, e);
}

struct missing { /* what was looked for in vain */
    char first[TENSOR_NAME];
    uint64_t count;
};

static void note_missing(const struct model *m, enum tensor_role role, int layer, int expert, struct missing *miss)
{
    if (miss->count++)
        return;
    if (m->source->meta)
        role_gguf_name(role, layer, miss->first);
    else
        role_hf_name(role, layer, expert, miss->first);
}

/* One role in one layer: present and well-formed. */
static int check_role(const struct model *m, enum tensor_role role, int layer, struct missing *miss, struct error *e)
{
    int gguf = m->source->meta != NULL, stacked = gguf && role_slabs(role, &m->params) > 1;
    int each = roles[role].flags & ROLE_EXPERT && !gguf ? (int)m->params.n_routed_experts : 1;
    stacked |= gguf && roles[role].flags & (ROLE_EXPERT | ROLE_PER_HEAD);
    if (gguf && roles[role].flags & ROLE_GGUF_SPLIT && model_stored(m, ROLE_ATTN_KV_B, layer, 0) &&
        !model_stored(m, role, layer, 0))
        return check_stored(m, ROLE_ATTN_KV_B, 0, model_stored(m, ROLE_ATTN_KV_B, layer, 0), e);
    for (int x = 0; x < each; x++) {
        const struct stored *s = model_stored(m, role, layer, x);
        if (!s && !(roles[role].flags & ROLE_OPTIONAL))
            note_missing(m, role, layer, x, miss);
        if (s && check_stored(m, role, stacked, s, e))
            return -1;
    }
    return 0;
}

/* A scale whose weight is nowhere. */
static int check_orphan_scales(const struct model *m, struct error *e)
{
    for (size_t i = 0; i < m->source->n_tensors; i++) {
        const struct tensor *t = &m->source->tensors[i];
        char name[TENSOR_NAME];
        if (binding_companion(t->name, m->source->meta != NULL, name) && !source_find(m->source, name)) {
            error_set(e, ERR_FORMAT, t->offset, "a scale without its weight");
            return fail_at(m, t, e);
        }
    }
    return 0;
}

int binding_check(const struct model *m, struct error *e)
{
    struct missing miss = {.count = 0};
    int gguf = m->source->meta != NULL;
    for (int layer = -1; layer < (int)arch_all_layers(&m->params); layer++)
        for (int role = 0; role < ROLE_COUNT; role++)
            if (role_in_layer((enum tensor_role)role, m->family, &m->params, layer, gguf) &&
                check_role(m, (enum tensor_role)role, layer, &miss, e))
                return -1;
    if (miss.count) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%" PRIu64 " tensor%s missing, the first is this", miss.count,
                  miss.count == 1 ? " is" : "s are");
        error_at_file(e, m->source->path);
        return error_at_tensor(e, miss.first);
    }
    return check_orphan_scales(m, e);
}
