/* SPDX-License-Identifier: MIT
 * Checkpoint folders: which tensors they have, of which type, in which layout, in which shard. */
#include "convert/target_checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/schemes.h"
#include "formats/safetensors.h"
#include "model/parallel.h"

/* Shards as the hub likes them. */
static const uint64_t default_shard = 5000000000;

/* How one role of one layer is written. */
struct choice {
    struct weight weight;
    const struct quant_type *type;
    const struct layout *layout; /* NULL: plain numbers */
    const char *note;
    size_t rule;
};

static const struct layout *layout_for(const struct plan *p, const struct quant_type *type)
{
    const struct checkpoint_form *form = p->target->form;
    const struct preset_scheme *s = p->options.recipe.scheme;
    const struct layout *preferred = s && s->layout ? layout_find(s->layout) : NULL, *first = NULL;
    if (form->only && strncmp(type->name, form->only, strlen(form->only)))
        return NULL;
    for (size_t i = 0; i < FORM_LAYOUTS && form->layouts[i]; i++) {
        const struct layout *l = layout_find(form->layouts[i]);
        if (!layout_takes(l, type))
            continue;
        if (l == preferred)
            return l;
        first = first ? first : l;
    }
    return first;
}

/* The type as this target stores it: group types with F16 scales have names of their own. */
static const struct quant_type *own_form(const struct plan *p, const struct quant_type *type)
{
    char name[64];
    if (!p->target->form->f16_scales || layout_for(p, type))
        return type;
    snprintf(name, sizeof name, "%s-F16", type->name);
    const struct quant_type *f16 = quant_type_find(name);
    return f16 ? f16 : type;
}

/* What a weight is without being quantized: as it is stored, or BF16. */
static const struct quant_type *plain_type(const struct plan *p, const struct weight *w)
{
    const struct quant_type *stored = model_stored(p->model, w->role, w->layer, 0)->type;
    const int keeps = stored && stored->flags & QT_FLOAT && stored->block_bytes > 1;
    if (p->target->form->bf16 && !(roles[w->role].flags & ROLE_ALWAYS_F32))
        return quant_type_find("BF16");
    return keeps ? stored : quant_type_find("BF16");
}

static int is_plain(const struct quant_type *type)
{
    return type->flags & QT_FLOAT && !(type->flags & QT_TILED) && type->block_bytes > 1;
}

/* What the recipe gives; NULL in *type: as it is. */
static int wanted_type(struct plan *p, const struct weight *w, const char *name, const struct quant_type **type, size_t *rule, struct error *e)
{
    const struct arch_params *a = &p->model->params;
    uint32_t experts = (uint32_t)a->n_routed_experts;
    struct recipe_tensor t = {.name = name, .role = w->role, .preset_role = w->role, .layer = w->layer, .layers = (int)a->num_hidden_layers,
                              .experts = experts, .has_imatrix = p->options.imatrix != NULL, .held = {0, experts ? experts - 1 : 0}};
    *rule = p->options.recipe.n_rules;
    *type = NULL;
    return roles[w->role].flags & ROLE_ALWAYS_F32 ? 0 : recipe_type(&p->options.recipe, &t, p->hits, type, rule, e);
}

/* Whether all parts exist in this size. */
static int fits(const struct layout *l, const struct quant_type *type, const struct weight *w)
{
    struct part_shape s;
    return w->cols % type->block_len == 0 && l->shape(l, type, PART_CODES, w->rows, w->cols, &s) > 0;
}

static int note_unfit(struct plan *p, struct choice *c, const char *wanted, struct error *e)
{
    char text[200];
    int n = snprintf(text, sizeof text, "a matrix of %" PRIu64 " x %" PRIu64 " cannot be stored as %s", c->weight.rows, c->weight.cols, wanted);
    if (p->options.recipe.no_fallback || p->target->form->experts_only)
        return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "%s, and %s allows no other type", text,
                         p->options.recipe.no_fallback ? "--no-fallback" : p->target->name);
    snprintf(text + n, sizeof text - (size_t)n, ": %s instead", c->type->name);
    c->note = arena_copy(&p->arena, text, strlen(text));
    return c->note ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

/* The wanted type, or the next smaller group that divides the row, or plain numbers. */
static int fit_type(struct plan *p, struct choice *c, struct error *e)
{
    static const long groups[] = {0, 64, 32};
    const char *wanted = c->type->name;
    const struct quant_type *type = c->type;
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        c->type = i ? type_with_group(type, groups[i], e) : type;
        if (c->type && (c->layout = layout_for(p, c->type)) && fits(c->layout, c->type, &c->weight))
            return i ? note_unfit(p, c, wanted, e) : 0;
        if (p->target->form->one_type || !strstr(type->name, "-G128"))
            break;
    }
    c->layout = NULL;
    c->type = plain_type(p, &c->weight);
    return note_unfit(p, c, wanted, e);
}

/* 1 and *c, 0 when the model has no such weight, or -1. */
static int choose(struct plan *p, enum tensor_role role, int layer, struct choice *c, struct error *e)
{
    char name[TENSOR_NAME];
    *c = (struct choice){.note = NULL};
    if (p->target->form->experts_only && !(roles[role].flags & ROLE_EXPERT))
        return 0;
    if (!role_in_layer(role, p->model->family, &p->model->params, layer, 0) || !model_weight(p->model, role, layer, &c->weight))
        return 0;
    role_hf_name(role, layer, 0, name);
    if (wanted_type(p, &c->weight, name, &c->type, &c->rule, e))
        return -1;
    if (p->target->form->experts_only && (!c->type || is_plain(c->type)))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "%s experts are INT8 or INT4, not %s", p->target->name, c->type ? c->type->name : "as they are");
    if (!c->type || is_plain(c->type)) {
        c->type = c->type ? c->type : plain_type(p, &c->weight);
        return 1;
    }
    c->type = own_form(p, c->type);
    if (roles[role].class == CLASS_EMBEDDING || roles[role].class == CLASS_MTP)
        error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "engines read this tensor as plain numbers: %s cannot be its type", c->type->name);
    else if (!layout_for(p, c->type))
        error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "%s checkpoints cannot store %s", p->target->name, c->type->name);
    else
        return fit_type(p, c, e) ? error_at_tensor(e, name) : 1;
    return error_at_tensor(e, name);
}

/* FP8 tiles of a stored matrix that are those of `type`. */
static int has_tiles(const struct stored *s, const struct quant_type *type)
{
    const struct tiling *a = s && s->layout && s->type ? s->type->tiling : NULL, *b = type->tiling;
    return a && b && a->is_float && b->is_float && a->rows == b->rows && a->cols == b->cols;
}

/* Whether the source's own codes and scales are what would be written. */
static int can_copy(const struct plan *p, const struct weight *w, const struct quant_type *type, uint64_t slab)
{
    const struct stored *s = model_stored(p->model, w->role, w->layer, (int)slab);
    return has_tiles(s, type) && !strcmp(type->tiling->scales, "F32") && !p->options.scales_from;
}

/* The matrix whose scales a new one takes. What is no FP8 there is the source's affair. */
static int find_scales(struct plan *p, struct plan_tensor *t, uint64_t slab, struct error *e)
{
    const struct model *m = p->options.scales_from;
    const struct stored *s = m ? model_stored(m, t->weight.role, t->weight.layer, (int)slab) : NULL;
    if (!s || !s->layout || !t->type->tiling || !t->type->tiling->is_float)
        return 0;
    if (!has_tiles(s, t->type) || s->tensor->dims[0] != t->weight.rows || s->tensor->dims[1] != t->weight.cols) {
        error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--scales-from: another shape or other tiles than what is written");
        return error_at_tensor(e, s->tensor->name);
    }
    t->scales_from = s;
    return 0;
}

static void part_name(const char *weight, const char *suffix, char out[TENSOR_NAME])
{
    static const char end[] = ".weight";
    size_t n = strlen(weight), k = sizeof end - 1;
    if (n > k && !strcmp(weight + n - k, end))
        n -= k;
    snprintf(out, TENSOR_NAME, "%.*s%s", (int)n, weight, suffix);
}

static int add_plain(struct plan *p, const struct choice *c, const struct weight *w, uint64_t slab, const char *name, struct error *e)
{
    struct tensor out = {.name = name, .type = safetensors_dtype(c->type->name)};
    if (!(roles[w->role].flags & ROLE_VECTOR))
        out.dims[out.n_dims++] = w->rows;
    out.dims[out.n_dims++] = w->cols;
    struct plan_tensor *t = plan_add(p, w, c->type, &out, e);
    if (!t)
        return -1;
    t->slab0 = slab;
    t->note = c->note;
    t->rule = c->rule;
    return 0;
}

/* One matrix: a tensor per part, of which the first makes the units. */
static int add_matrix(struct plan *p, const struct choice *c, uint64_t slab, struct error *e)
{
    char name[TENSOR_NAME], part[TENSOR_NAME];
    struct weight w = c->weight;
    const size_t first = p->n_tensors;
    w.slabs = 1;
    if (p->target->form->name)
        p->target->form->name(w.role, w.layer, (int)slab, name);
    else
        role_hf_name(w.role, w.layer, (int)slab, name);
    if (!c->layout)
        return add_plain(p, c, &w, slab, name, e);
    for (int k = 0; k < PART_COUNT; k++) {
        struct part_shape s;
        if (c->layout->shape(c->layout, c->type, (enum layout_part)k, w.rows, w.cols, &s) <= 0)
            continue;
        part_name(name, s.suffix, part);
        struct tensor out = {.name = part, .type = safetensors_dtype(s.dtype), .n_dims = s.n_dims, .dims = {s.dims[0], s.dims[1]}};
        struct plan_tensor *t = plan_add(p, &w, c->type, &out, e);
        if (!t)
            return -1;
        t->layout = c->layout;
        t->part = (enum layout_part)k;
        t->slab0 = slab;
        t->note = first + 1 == p->n_tensors ? c->note : NULL;
        t->rule = c->rule;
        t->units = first + 1 == p->n_tensors ? UNITS_WITH_PARTS : UNITS_OF_PREVIOUS;
        p->tensors[first].n_parts++;
    }
    struct plan_tensor *maker = &p->tensors[first];
    maker->copied = can_copy(p, &w, c->type, slab);
    return find_scales(p, maker, slab, e);
}

static int check_pair(const struct choice *a, const struct choice *b, struct error *e)
{
    char name[TENSOR_NAME], other[TENSOR_NAME];
    if (a->type == b->type)
        return 0;
    role_hf_name(a->weight.role, a->weight.layer, 0, name);
    error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "engines join this with '%s', which would be %s and not %s",
              role_hf_name(b->weight.role, b->weight.layer, 0, other), b->type->name, a->type->name);
    return error_at_tensor(e, name);
}

/* A layer's experts have one type: where rows of one matrix force a smaller group, or none, the others follow. */
static void unify_experts(struct choice *of)
{
    const struct choice *least = NULL;
    for (int role = ROLE_FFN_GATE_EXPS; role <= ROLE_FFN_DOWN_EXPS; role++)
        if (of[role].note && (!least || !of[role].layout || (least->layout && of[role].type->block_len < least->type->block_len)))
            least = &of[role];
    for (int role = ROLE_FFN_GATE_EXPS; least && role <= ROLE_FFN_DOWN_EXPS; role++)
        if (of[role].layout && of[role].type != least->type) {
            of[role].type = least->type;
            of[role].layout = least->layout;
            of[role].note = "as the other matrices of these experts";
        }
}

/* What engines join has one type; a layer's experts are one to them. */
static int check_pairs(const struct choice *of, struct error *e)
{
    for (int role = 0; role < ROLE_COUNT; role++) {
        enum tensor_role with = role == ROLE_FFN_DOWN_EXPS ? ROLE_FFN_GATE_EXPS : role_partner((enum tensor_role)role);
        if (with != ROLE_COUNT && of[role].type && of[with].type && check_pair(&of[with], &of[role], e))
            return -1;
    }
    return 0;
}

/* Experts one behind the other, gate, up and down together. */
static int add_experts(struct plan *p, const struct choice *of, struct error *e)
{
    for (uint64_t expert = 0; expert < p->model->params.n_routed_experts; expert++)
        for (int role = ROLE_FFN_GATE_EXPS; role <= ROLE_FFN_DOWN_EXPS; role++)
            if (add_matrix(p, &of[role], expert, e))
                return -1;
    return 0;
}

static int add_layer(struct plan *p, int layer, struct error *e)
{
    struct choice of[ROLE_COUNT];
    for (int role = 0; role < ROLE_COUNT; role++)
        if (choose(p, (enum tensor_role)role, layer, &of[role], e) < 0)
            return -1;
    unify_experts(of);
    if (check_pairs(of, e))
        return -1;
    for (int role = 0; role < ROLE_COUNT; role++) {
        if (!of[role].type || (roles[role].flags & ROLE_EXPERT && role != ROLE_FFN_GATE_EXPS))
            continue;
        if (role == ROLE_FFN_GATE_EXPS ? add_experts(p, of, e) : add_matrix(p, &of[role], 0, e))
            return -1;
    }
    return 0;
}

/* Of forms that describe all matrices by one type. */
static int check_one_type(const struct plan *p, struct error *e)
{
    const struct plan_tensor *first = NULL;
    for (size_t i = 0; i < p->n_tensors && p->target->form->one_type; i++) {
        const struct plan_tensor *t = &p->tensors[i];
        if (!t->layout)
            continue;
        first = first ? first : t;
        if (t->type == first->type)
            continue;
        error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "a %s checkpoint has one type for all that is quantized, and this would be %s beside %s",
                  p->target->name, t->type->name, first->type->name);
        return error_at_tensor(e, t->out.name);
    }
    return 0;
}

char *target_checkpoint_file_name(const char *path, size_t i, size_t n)
{
    char name[80] = "model.safetensors";
    if (n > 1)
        snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, n);
    return io_join(path, name);
}

/* Headers of all shards; offsets go back into the plan. */
static int lay_out(struct plan *p, struct error *e)
{
    for (size_t i = 0; i < p->n_files; i++) {
        struct plan_file *f = &p->files[i];
        struct tensor *list = malloc((f->n + 1) * sizeof *list);
        if (!list)
            return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        for (size_t k = 0; k < f->n; k++)
            list[k] = p->tensors[f->first + k].out;
        int rc = safetensors_header(list, f->n, "pt", &f->header, &f->bytes, e);
        for (size_t k = 0; !rc && k < f->n; k++) {
            p->tensors[f->first + k].out = list[k];
            p->tensors[f->first + k].out.file = (uint32_t)i;
        }
        free(list);
        if (rc)
            return -1;
    }
    return 0;
}

static int find_parallel(struct plan *p, struct error *e)
{
    char text[PARALLEL_TEXT];
    unsigned sizes = 0;
    for (unsigned n = 1; n <= PARALLEL_MOST; n *= 2) {
        int all = p->model->params.num_attention_heads % n == 0;
        for (size_t i = 0; all && i < p->n_tensors; i++) {
            const struct plan_tensor *t = &p->tensors[i];
            all = !t->layout || t->units == UNITS_OF_PREVIOUS || n == 1 ||
                  parallel_divides(t->weight.role, t->weight.rows, t->weight.cols, t->type, n);
        }
        sizes |= all ? n : 0;
    }
    parallel_text(sizes, text);
    p->parallel = arena_copy(&p->arena, text, strlen(text));
    return p->parallel ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

/* What only a GGUF can have. */
int target_check_options(const struct plan *p, struct error *e)
{
    const struct plan_options *o = &p->options;
    const char *wrong = p->model->source->meta         ? "a GGUF has its attention cut and no tokenizer.json: only a checkpoint folder becomes one"
                        : o->fold                      ? "--fold is for GGUF output"
                        : o->sequential.tokens.chunks  ? "--sequential is for GGUF output"
                        : o->dialect != DIALECT_LLAMA_CPP ? "--dialect is for GGUF output"
                        : o->no_vocab                  ? "--no-vocab is for GGUF output"
                        : o->recipe.pure && !o->recipe.preset ? "--pure is for llama-quantize's mixtures"
                                                       : NULL;
    return wrong ? error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--to %s: %s", p->target->name, wrong) : 0;
}

int target_checkpoint_build(struct plan *p, struct error *e)
{
    const struct arch_params *a = &p->model->params;
    const int drops = p->options.mtp == MTP_DROP || (p->options.mtp == MTP_AS_TARGET && p->target->form->experts_only);
    int layers = (int)(drops ? a->num_hidden_layers : arch_all_layers(a));
    if (p->options.mtp == MTP_KEEP && !a->num_nextn_predict_layers)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--mtp keep, but the model has no MTP layer");
    if (target_check_options(p, e))
        return -1;
    p->options.split_max = p->options.split_max ? p->options.split_max : default_shard;
    for (int layer = -1; layer < layers; layer++)
        if (add_layer(p, layer, e))
            return -1;
    return check_one_type(p, e) || find_parallel(p, e) || plan_cut_files(p, 4096, e) || lay_out(p, e) || (!p->options.sizes_only && sides_make(p, e)) ? -1 : 0;
}
