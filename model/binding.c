/* SPDX-License-Identifier: MIT
 * Checks of a bound model. A missing or misshapen tensor found now costs a second; found later it costs a night. */
#include "model/binding.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/pack.h"

static const struct {
    const char *suffix, *of_weight;
    int gguf;
    enum companion kind;
    enum layout_part part;
} companions[] = { /* beside the parts of quant/layouts.c */
    {".scale", ".weight", 1, COMPANION_FACTOR, 0},
    {".input_scale", ".weight", 1, COMPANION_INPUT, 0},
    {".input_scale", ".weight", 0, COMPANION_INPUT, 0},
    {".input_global_scale", ".weight", 0, COMPANION_INPUT, 0},
    {".input_zero_point", ".weight", 0, COMPANION_INPUT, 0},
    {".weight_g_idx", ".weight", 0, COMPANION_PART, PART_INDEX},
    {"_scale_inv", "", 0, COMPANION_PART, PART_SCALES}, /* of whatever has FP8 codes */
};

static const char *const part_words[PART_COUNT] = {
    [PART_CODES] = "codes", [PART_SCALES] = "scale", [PART_ZEROS] = "zero point", [PART_GLOBAL] = "global scale",
    [PART_SHAPE] = "shape", [PART_INDEX] = "group index",
};

static int ends_with(const char *name, const char *suffix)
{
    size_t n = strlen(name), k = strlen(suffix);
    return n > k && !strcmp(name + n - k, suffix);
}

/* A name with another suffix; 0 when that is too long. */
static int weight_of(const char *name, const char *suffix, const char *of_weight, char weight[TENSOR_NAME])
{
    return snprintf(weight, TENSOR_NAME, "%.*s%s", (int)(strlen(name) - strlen(suffix)), name, of_weight) < TENSOR_NAME;
}

enum companion binding_companion(const char *name, int gguf, char weight[TENSOR_NAME], enum layout_part *part)
{
    for (size_t i = 0; i < sizeof companions / sizeof *companions; i++)
        if (companions[i].gguf == gguf && ends_with(name, companions[i].suffix)) {
            *part = companions[i].part;
            return weight_of(name, companions[i].suffix, companions[i].of_weight, weight) ? companions[i].kind : COMPANION_NONE;
        }
    if (gguf || ends_with(name, ".weight"))
        return COMPANION_NONE;
    for (const struct layout *l = layouts; l->name; l++)
        for (int p = 0; p < PART_COUNT; p++)
            if (l->suffix[p] && ends_with(name, l->suffix[p])) {
                *part = (enum layout_part)p;
                return weight_of(name, l->suffix[p], ".weight", weight) ? COMPANION_PART : COMPANION_NONE;
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

/* The module of a tensor whose name ends with one of the layouts' suffixes for codes. Returns that suffix. */
static const char *module_of(const char *name, char module[TENSOR_NAME])
{
    for (const struct layout *l = layouts; l->name; l++)
        if (ends_with(name, l->suffix[PART_CODES])) {
            snprintf(module, TENSOR_NAME, "%.*s", (int)(strlen(name) - strlen(l->suffix[PART_CODES])), name);
            return l->suffix[PART_CODES];
        }
    snprintf(module, TENSOR_NAME, "%s", name);
    return "";
}

static int has_parts(const struct stored *s)
{
    for (int p = 0; p < PART_COUNT; p++)
        if (p != PART_CODES && s->parts[p])
            return p;
    return 0;
}

/* Whether a tensor may hold quantized codes: not plain numbers, which need no explanation. */
static int is_quantized(const struct stored *s)
{
    const char *dtype = s->tensor->type->name;
    return s->tensor->n_dims == 2 && (!strcmp(dtype, "F8_E4M3") || !strcmp(dtype, "I8") || !ends_with(s->tensor->name, ".weight"));
}

int binding_resolve(const struct model *m, struct stored *s, struct error *e)
{
    char module[TENSOR_NAME];
    const struct tensor *t = s->tensor = s->parts[PART_CODES];
    const struct quantization *q = &m->quantization;
    const char *suffix = module_of(t->name, module);
    s->type = quant_type_find(t->type->name);
    if (m->source->meta || !is_quantized(s))
        return 0;
    int is_fp8 = !strcmp(t->type->name, "F8_E4M3");
    const struct scheme *found = quantization_scheme(q, module);
    if (!q->method)
        error_set(e, ERR_FORMAT, t->offset, "%s, but the configuration has no %squantization_config",
                  is_fp8 ? "an FP8 tensor" : "a quantized tensor", is_fp8 ? "FP8 " : "");
    else if (!found || !found->layout)
        error_set(e, ERR_FORMAT, t->offset, "a quantized tensor, but the configuration's quantization does not name its module");
    else if (strcmp(found->layout->suffix[PART_CODES], suffix))
        error_set(e, ERR_FORMAT, t->offset, "the configuration says %s, which stores this weight as '%s%s'", found->layout->name, module,
                  found->layout->suffix[PART_CODES]);
    else {
        s->layout = found->layout;
        s->type = found->type;
        return 0;
    }
    return fail_at(m, t, e);
}

/* Scales may be of any float type where their layout does not prescribe codes of one byte. */
static int is_dtype(const struct stored *s, enum layout_part p, const char *want, const char *is)
{
    static const char *const floats[] = {"F32", "BF16", "F16"};
    int want_float = 0, is_float = 0;
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        want_float |= !strcmp(want, floats[i]);
        is_float |= !strcmp(is, floats[i]);
    }
    int is_e8m0 = !strcmp(is, "F8_E8M0") || !strcmp(is, "U8");
    if (p == PART_SCALES && want_float)
        return is_float || (is_e8m0 && s->type->tiling && s->type->tiling->is_float);
    return !strcmp(want, is) || (p == PART_SCALES && !strcmp(want, "U8") && is_e8m0);
}

/* A part that the type has in its layout. */
static int check_part(const struct model *m, const struct stored *s, enum layout_part p, const struct part_shape *shape, struct error *e)
{
    const struct tensor *t = s->parts[p];
    char module[TENSOR_NAME];
    module_of(s->tensor->name, module);
    if (!t && (p == PART_SHAPE || p == PART_INDEX))
        return 0;
    if (!t) {
        error_set(e, ERR_FORMAT, s->tensor->offset, "%s tensor without its %s (%s%s) in any shard",
                  !strcmp(s->tensor->type->name, "F8_E4M3") ? "an FP8" : "a quantized", part_words[p], module, shape->suffix);
        return fail_at(m, s->tensor, e);
    }
    if (!ends_with(t->name, shape->suffix))
        error_set(e, ERR_FORMAT, t->offset, "the configuration says %s, which stores this %s as '%s%s'", s->layout->name, part_words[p],
                  module, shape->suffix);
    else if (!is_dtype(s, p, shape->dtype, t->type->name))
        error_set(e, ERR_UNSUPPORTED, t->offset, "a %s of type %s", part_words[p], t->type->name);
    else
        return p == PART_GLOBAL && !t->n_dims ? 0 : check_shape(m, t, shape->dims, shape->n_dims, e);
    return fail_at(m, t, e);
}

static int check_layout(const struct model *m, enum tensor_role role, const struct stored *s, struct error *e)
{
    uint64_t rows, cols;
    role_shape(role, &m->params, &rows, &cols);
    for (int p = 0; p < PART_COUNT; p++) {
        struct part_shape shape;
        int has = s->layout->shape(s->layout, s->type, (enum layout_part)p, rows, cols, &shape);
        if (has < 0) {
            error_set(e, ERR_FORMAT, s->tensor->offset, "the configuration says %s in %s, which a matrix of %" PRIu64 " x %" PRIu64
                      " cannot be", s->type->name, s->layout->name, rows, cols);
            return fail_at(m, s->tensor, e);
        }
        if (!has && s->parts[p]) {
            error_set(e, ERR_FORMAT, s->parts[p]->offset, "a %s, which the configuration's %s in %s has not", part_words[p], s->type->name,
                      s->layout->name);
            return fail_at(m, s->parts[p], e);
        }
        if (has && check_part(m, s, (enum layout_part)p, &shape, e))
            return -1;
    }
    return 0;
}

/* Storage types that may hold a weight of a checkpoint or GGUF by themselves. One-byte integers are no FP8. */
static int check_type(const struct model *m, const struct stored *s, struct error *e)
{
    const struct tensor *t = s->tensor;
    int p = has_parts(s);
    if (p) {
        error_set(e, ERR_FORMAT, s->parts[p]->offset, "a %s for a %s tensor", part_words[p], t->type->name);
        return fail_at(m, s->parts[p], e);
    }
    if (m->source->meta || (s->type && s->type->flags & QT_FLOAT && s->type->block_bytes > 1))
        return 0;
    if (m->source->pack && s->type && !(s->type->flags & QT_FLOAT) && !s->type->tiling) /* blocks speak for themselves */
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
    if (s->slab_rows)
        dims[1] = s->slab_rows;
    if (s->layout)
        return check_layout(m, role, s, e);
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

/* Packs leave out whole experts, or all but experts, when they say so. */
static int may_be_absent(const struct model *m, enum tensor_role role, int layer, int expert)
{
    const struct pack *k = m->source->pack;
    if (!k || k->subset == PACK_WHOLE)
        return 0;
    if (!(roles[role].flags & ROLE_EXPERT))
        return k->subset == PACK_EXPERTS_ONLY;
    for (int other = ROLE_FFN_GATE_EXPS; other <= ROLE_FFN_DOWN_EXPS; other++)
        if (model_stored(m, (enum tensor_role)other, layer, expert))
            return 0;
    return 1;
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
        if (!s && !(roles[role].flags & ROLE_OPTIONAL) && !may_be_absent(m, role, layer, x))
            note_missing(m, role, layer, x, miss);
        if (s && check_stored(m, role, stacked, s, e))
            return -1;
    }
    return 0;
}

/* A scale or another part whose weight is nowhere. */
static int check_orphans(const struct model *m, struct error *e)
{
    for (size_t i = 0; i < m->source->n_tensors; i++) {
        const struct tensor *t = &m->source->tensors[i];
        char name[TENSOR_NAME];
        struct place at;
        enum layout_part part = PART_CODES;
        int gguf = m->source->meta != NULL;
        if (!binding_companion(t->name, gguf, name, &part) || (gguf ? role_parse_gguf(name, &at) : role_parse_hf(name, &at)) ||
            model_stored(m, at.role, at.layer, at.expert))
            continue;
        if (!gguf && !role_in_layer(at.role, m->family, &m->params, at.layer, 0)) /* a tied output is ignored with all its parts */
            continue;
        error_set(e, ERR_FORMAT, t->offset, "a %s without its weight", part == PART_CODES ? "scale" : part_words[part]);
        return fail_at(m, t, e);
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
    return check_orphans(m, e);
}
