/* SPDX-License-Identifier: MIT
 * Target pack: which tensors a pack has, in which member, in which file. */
#include "convert/target_pack.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/expert_set.h"
#include "convert/outputs.h"
#include "convert/pack_layout.h"
#include "convert/target_checkpoint.h"
#include "formats/split_name.h"

enum { LEAST_CODED = 4096 };
/* Beyond it tar headers are longer, which must be known before sizes are. */
static const uint64_t MOST_CODED = UINT64_C(8000000000) / 3;

struct build {
    struct plan *p;
    struct expert_set experts;
    int layers;
    int keeps_quantization; /* a matrix is as it was, and quantized */
};

static int is_source_recipe(const struct recipe *r)
{
    return r->scheme && !r->preset && !strcmp(r->scheme->name, RECIPE_SOURCE) && !r->n_rules;
}

/* What the recipe gives; NULL in *type: as it is. */
static int wanted_type(const struct build *b, const struct weight *w, uint64_t slab, const char *name, const struct quant_type **type,
                       size_t *rule, struct error *e)
{
    struct plan *p = b->p;
    const struct arch_params *a = &p->model->params;
    struct recipe_tensor t = {.name = name, .role = w->role, .preset_role = w->role, .layer = w->layer, .layers = (int)a->num_hidden_layers,
                              .experts = (uint32_t)a->n_routed_experts, .has_imatrix = p->options.imatrix != NULL,
                              .held = {(uint32_t)slab, (uint32_t)slab}};
    *rule = p->options.recipe.n_rules;
    *type = NULL;
    return roles[w->role].flags & ROLE_ALWAYS_F32 ? 0 : recipe_type(&p->options.recipe, &t, p->hits, type, rule, e);
}

/* A matrix as it is: all tensors that it is stored in. */
static int add_as_it_is(struct build *b, const struct weight *w, uint64_t slab, int bundled, struct error *e)
{
    const struct stored *s = model_stored(b->p->model, w->role, w->layer, (int)slab);
    for (int i = 0; i < PART_COUNT; i++) {
        if (!s->parts[i])
            continue;
        struct plan_tensor *t = plan_add_verbatim(b->p, s->parts[i], w, s->parts[i]->name, e);
        if (!t)
            return -1;
        t->slab0 = slab;
        t->bundled = bundled;
        t->rule = b->p->options.recipe.n_rules;
        b->keeps_quantization |= s->layout != NULL;
    }
    return 0;
}

/* One matrix of a layer, a single one or an expert's. */
static int add_matrix(struct build *b, const struct weight *w, uint64_t slab, int bundled, struct error *e)
{
    char name[TENSOR_NAME];
    const char *note = NULL;
    const struct quant_type *type;
    size_t rule;
    role_hf_name(w->role, w->layer, (int)slab, name);
    if (wanted_type(b, w, slab, name, &type, &rule, e))
        return -1;
    if (!type)
        return add_as_it_is(b, w, slab, bundled, e);
    if (!(type = plan_fitting_type(b->p, w, type, &note, e)))
        return error_at_tensor(e, name);
    struct tensor out = {.name = name, .type = pack_storage(type->name), .n_dims = 2, .dims = {w->rows, w->cols}};
    struct weight single = *w;
    single.slabs = 1;
    struct plan_tensor *t = plan_add(b->p, &single, type, &out, e);
    if (!t)
        return -1;
    t->slab0 = slab;
    t->bundled = bundled;
    t->note = note;
    t->rule = rule;
    return 0;
}

/* Everything but routed experts. */
static int add_rest(struct build *b, struct error *e)
{
    const struct model *m = b->p->model;
    struct weight w;
    for (int layer = -1; layer < b->layers; layer++)
        for (int role = 0; role < ROLE_COUNT; role++) {
            if (roles[role].flags & ROLE_EXPERT || !role_in_layer((enum tensor_role)role, m->family, &m->params, layer, 0) ||
                !model_weight(m, (enum tensor_role)role, layer, &w))
                continue;
            if (add_matrix(b, &w, 0, 0, e))
                return -1;
        }
    return 0;
}

/* Tensors without a role, such as scales of activations, which only whole sources take along. */
static int add_others(struct build *b, struct error *e)
{
    const struct model *m = b->p->model;
    const struct weight none = {.role = ROLE_OUTPUT_NORM, .layer = -1};
    unsigned char *bound = calloc(m->source->n_tensors + 1, 1);
    int rc = bound ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (int layer = -1; !rc && layer < (int)arch_all_layers(&m->params); layer++)
        for (int role = 0; role < ROLE_COUNT; role++)
            for (uint64_t x = 0; x < (roles[role].flags & ROLE_EXPERT ? m->params.n_routed_experts : 1); x++) {
                const struct stored *s = model_stored(m, (enum tensor_role)role, layer, (int)x);
                for (int i = 0; s && i < PART_COUNT; i++)
                    if (s->parts[i])
                        bound[s->parts[i] - m->source->tensors] = 1;
            }
    for (size_t i = 0; !rc && i < m->source->n_tensors; i++)
        rc = !bound[i] && !plan_add_verbatim(b->p, &m->source->tensors[i], &none, m->source->tensors[i].name, e) ? -1 : 0;
    free(bound);
    return rc;
}

/* Experts one behind the other, gate, up and down together. */
static int add_experts(struct build *b, struct error *e)
{
    const struct model *m = b->p->model;
    struct weight w;
    for (int layer = 0; layer < b->layers; layer++)
        for (uint64_t x = 0; x < b->experts.experts; x++)
            for (int role = ROLE_FFN_GATE_EXPS; role <= ROLE_FFN_DOWN_EXPS && expert_set_has(&b->experts, layer, x); role++)
                if (model_weight(m, (enum tensor_role)role, layer, &w) && add_matrix(b, &w, x, !b->p->options.pack.plain, e))
                    return -1;
    return 0;
}

/* ---- files */

static int add_cut(struct plan *p, size_t first, size_t end, struct error *e)
{
    return plan_add_file(p, first, end - first, e) ? 0 : -1;
}

/* Cuts the members into files, none of which exceeds the bound with all that a manifest and alignment may take. */
static int cut_files(struct plan *p, struct error *e)
{
    const uint64_t max = p->options.split_max, least = PACK_HEAD + 4 * PACK_BLOCK + PACK_END;
    uint64_t size = least;
    size_t first = 0;
    for (size_t i = 0; i < p->n_sides; i++)
        size += p->sides[i].text.size + PACK_ENTRY + 2 * PACK_BLOCK;
    for (size_t i = 0, n; i < p->n_tensors; i += n) {
        n = pack_together(p, i);
        const uint64_t more = pack_inner(p, NULL, i, n, NULL) + (n + 1) * PACK_ENTRY + p->options.pack.align + 4 * PACK_BLOCK;
        if (max && i > first && size + more > max) {
            if (add_cut(p, first, i, e))
                return -1;
            first = i;
            size = least;
        }
        size += more;
    }
    return add_cut(p, first, p->n_tensors, e);
}

/* One file: room for its manifest, and the place of every tensor. */
static int lay_out(struct plan *p, size_t file, struct error *e)
{
    struct plan_file *f = &p->files[file];
    struct buffer text = {0};
    struct pack_item m;
    int rc = pack_manifest(p, file, "", NULL, NULL, &text) ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory") : 0;
    f->reserved = text.size + 1;
    buffer_clear(&text);
    if (rc || pack_headers(&f->header, PACK_MANIFEST, 0, f->reserved, PACK_BLOCK, e))
        return -1;
    struct pack_cursor c = pack_begin(p, file);
    while (pack_next(&c, &m)) {
        uint64_t inner[3 * PART_COUNT];
        if (!m.side && m.n <= sizeof inner / sizeof *inner)
            pack_inner(p, NULL, m.first, m.n, inner);
        for (size_t i = 0; i < m.n; i++) {
            p->tensors[m.first + i].out.offset = p->options.compress ? 0 : m.offset + inner[i];
            p->tensors[m.first + i].out.file = (uint32_t)file;
        }
    }
    f->bytes = c.at + PACK_END;
    return 0;
}

char *target_pack_file_name(const char *path, size_t i, size_t n)
{
    return split_part(path, i + 1, n, ".tar");
}

/* Which tensors are coded: all that could become shorter than their table and its chunk's own tables make them longer. */
static int choose_coded(struct plan *p, struct error *e)
{
    plan_size_units(p);
    for (size_t i = 0; i < p->n_tensors; i++) {
        struct plan_tensor *t = &p->tensors[i];
        t->coded = p->options.compress && t->out.bytes >= LEAST_CODED;
        if (t->out.bytes < MOST_CODED || !p->options.compress)
            continue;
        error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "--compress: a tensor of 8 GiB or more");
        return error_at_tensor(e, t->out.name);
    }
    return 0;
}

static int add_all(struct build *b, struct error *e)
{
    struct plan *p = b->p;
    const struct pack *from = p->model->source->pack;
    const int whole = is_source_recipe(&p->options.recipe), only = p->options.pack.experts_only || (from && from->subset == PACK_EXPERTS_ONLY);
    if (expert_set_read(&b->experts, p->model, p->options.pack.experts, p->options.pack.profile, e) || (!only && add_rest(b, e)) ||
        (!only && whole && p->options.mtp != MTP_DROP && add_others(b, e)) || add_experts(b, e))
        return -1;
    p->pack_subset = only ? PACK_EXPERTS_ONLY : b->experts.all ? PACK_WHOLE : PACK_SOME_EXPERTS;
    if (sides_make_packed(p, whole && p->options.mtp != MTP_DROP, b->keeps_quantization, e) || choose_coded(p, e) || cut_files(p, e))
        return -1;
    for (size_t i = 0; i < p->n_files; i++)
        if (lay_out(p, i, e))
            return -1;
    return 0;
}

static int check_options(const struct plan *p, struct error *e)
{
    const struct pack_options *o = &p->options.pack;
    if (target_check_options(p, e))
        return -1;
    if (p->options.scales_from)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--scales-from is for checkpoints");
    if (o->align < PACK_BLOCK || o->align > PACK_ALIGN_MOST || (o->align & (o->align - 1)))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--align %" PRIu64 " is no power of two from %d to %d", o->align,
                         PACK_BLOCK, PACK_ALIGN_MOST);
    if (p->options.mtp == MTP_KEEP && !p->model->params.num_nextn_predict_layers)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--mtp keep, but the model has no MTP layer");
    return 0;
}

int target_pack_build(struct plan *p, struct error *e)
{
    const struct arch_params *a = &p->model->params;
    struct build b = {.p = p, .layers = (int)(p->options.mtp == MTP_DROP ? a->num_hidden_layers : arch_all_layers(a))};
    p->options.pack.align = p->options.pack.align ? p->options.pack.align : PACK_ALIGN;
    if (check_options(p, e))
        return -1;
    int rc = add_all(&b, e);
    expert_set_clear(&b.experts);
    return rc;
}

/* ---- what is written when all units are durable */

/* Headers of a member, and its text. */
static int write_item(struct outputs *o, size_t file, const struct pack_item *m, struct error *e)
{
    struct buffer b = {0};
    int rc = pack_headers(&b, m->name, m->at, m->size, m->align, e) || outputs_write_file(o, file, m->at, b.data, b.size, e);
    buffer_clear(&b);
    if (!rc && m->side && m->size)
        rc = outputs_write_file(o, file, m->offset, m->side->text.data, m->size, e);
    return rc ? -1 : 0;
}

/* The manifest, with spaces up to what was kept free for it. */
static int write_manifest(const struct plan *p, size_t file, const char *tool, const struct stream_state *state, const struct placed *placed,
                          struct outputs *o, struct error *e)
{
    const uint64_t reserved = p->files[file].reserved;
    struct buffer b = {0};
    int rc = pack_manifest(p, file, tool, state, placed, &b) || b.size + 1 > reserved ? -1 : 0;
    while (!rc && b.size + 1 < reserved && !b.failed)
        buffer_text(&b, " ");
    buffer_text(&b, "\n");
    if (rc || b.failed)
        rc = error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the manifest");
    else
        rc = outputs_write_file(o, file, PACK_BLOCK, b.data, b.size, e);
    buffer_clear(&b);
    return rc;
}

static int write_table(const struct plan_tensor *t, const struct stream_state *state, uint64_t at, struct outputs *o, struct error *e)
{
    enum { AT_ONCE = 1024 };
    uint8_t bytes[4 * AT_ONCE];
    const uint64_t count = unit_count(t);
    for (uint64_t k = 0; k < count; k += AT_ONCE) {
        const uint64_t n = count - k < AT_ONCE ? count - k : AT_ONCE;
        pack_table(t, state, k, n, bytes);
        if (outputs_write_file(o, t->out.file, at + 4 * k, bytes, (size_t)(4 * n), e))
            return -1;
    }
    return 0;
}

static int finish_file(const struct plan *p, size_t file, const char *tool, const struct stream_state *state, const struct placed *placed,
                       struct outputs *o, struct error *e)
{
    static const char end[PACK_END];
    struct pack_cursor c = pack_begin(p, file);
    struct pack_item m;
    c.placed = placed;
    while (pack_next(&c, &m)) {
        if (write_item(o, file, &m, e))
            return -1;
        for (size_t i = m.first; i < m.first + m.n; i++)
            if (p->tensors[i].coded && write_table(&p->tensors[i], state, placed[i].offset, o, e))
                return -1;
    }
    return outputs_write_file(o, file, c.at, end, sizeof end, e) || write_manifest(p, file, tool, state, placed, o, e) ||
                   (placed && outputs_cut(o, file, c.at + sizeof end, e))
               ? -1
               : 0;
}

int target_pack_finish(const struct plan *p, const char *tool, const struct stream_state *state, struct outputs *o, struct error *e)
{
    uint64_t *ends = NULL;
    struct placed *placed = p->options.compress ? places_of_tensors(&state->places, &ends) : NULL;
    int rc = p->options.compress && !placed ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the places of tensors") : 0;
    for (size_t i = p->file_from; !rc && i < p->file_to; i++) {
        int partial = outputs_is_partial(o, i, e);
        if (partial > 0)
            rc = finish_file(p, i, tool, state, placed, o, e);
        else if (partial < 0)
            rc = -1;
        else if (placed) /* an earlier finish has renamed it: its size is still to be known */
            rc = outputs_cut(o, i, pack_after(ends[i], 0) + PACK_END, e);
    }
    free(placed);
    free(ends);
    return rc;
}
