/* SPDX-License-Identifier: MIT
 * Engines: the walk over a model's modules, each held against what the engine's rules and limits say of it. */
#include "verify/engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/parallel.h"
#include "quant/groups.h"

enum { MAX_CONFIG = 16 << 20, SAID = 400 };

const struct engine *const engines[] = {&engine_vllm, &engine_sglang, &engine_transformers, &engine_llama_cpp, NULL};

const struct engine *engine_find(const char *name)
{
    size_t i = 0;
    while (engines[i] && strcmp(engines[i]->name, name))
        i++;
    return engines[i];
}

int engine_finding(struct engine_run *r, const char *name, const char *fmt, ...)
{
    char text[SAID];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return check_add_finding(r->report, name, text, r->e);
}

int engine_note(struct engine_run *r, const char *fmt, ...)
{
    char text[SAID];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return check_add_note(r->report, text, r->e);
}

int has_layout(const struct stored *s, const char *layout)
{
    return s->layout && !strcmp(s->layout->name, layout);
}

int is_asymmetric(const struct stored *s)
{
    return s->layout && ((s->type->group && s->type->group->asymmetric) || (s->type->tiling && s->type->tiling->asymmetric));
}

const char *stored_text(const struct stored *s, char out[STORED_TEXT])
{
    if (s->layout)
        snprintf(out, STORED_TEXT, "%s in %s", s->type->name, s->layout->name);
    else
        snprintf(out, STORED_TEXT, "plain %s", s->tensor->type->name);
    return out;
}

static int same_form(const struct stored *a, const struct stored *b)
{
    return a->layout == b->layout && (!a->layout || a->type == b->type);
}

/* A module's part in a layer, of experts the one asked for; NULL: not there. */
static const struct stored *part_of(const struct engine_run *r, const struct engine_module *m, int part, int layer, int expert)
{
    const enum tensor_role role = m->part[part];
    if (!(roles[role].flags & ROLE_GLOBAL) != (layer >= 0))
        return NULL;
    return model_stored(r->model, role, layer, roles[role].flags & ROLE_EXPERT ? expert : 0);
}

/* Scales of FP8 are copied into F32: a byte that is no E8M0 by its type would become a number from 0 to 255. */
static int check_scale_type(struct engine_run *r, const struct stored *s)
{
    const int is_fp8 = s->layout && s->type->tiling && s->type->tiling->is_float;
    if (!is_fp8 || !s->parts[PART_SCALES] || strcmp(s->parts[PART_SCALES]->type->name, "U8"))
        return 0;
    return engine_finding(r, s->parts[PART_SCALES]->name, "is U8: %s takes that for whole numbers, and not for powers of two (F8_E8M0)",
                          r->engine->title);
}

/* All that it joins must be stored alike. 1 and nothing more is said of it when it is not. */
static int check_alike(struct engine_run *r, const struct engine_module *m, int layer, const struct stored *first)
{
    const int experts = roles[m->part[0]].flags & ROLE_EXPERT ? (int)r->model->params.n_routed_experts : 1;
    char a[STORED_TEXT], b[STORED_TEXT];
    int odd = 0;
    for (int x = 0; x < experts; x++)
        for (int i = 0; i < m->n_parts; i++) {
            const struct stored *s = part_of(r, m, i, layer, x);
            if (s && check_scale_type(r, s))
                return -1;
            if (!s || same_form(s, first))
                continue;
            if (engine_finding(r, s->tensor->name, "is %s, and '%s', with which %s joins it, is %s", stored_text(s, a), first->tensor->name,
                               r->engine->title, stored_text(first, b)))
                return -1;
            odd = 1;
        }
    return odd;
}

/* What the configuration makes the engine expect against what is there. */
static int check_verdict(struct engine_run *r, const struct engine_module *m, const struct verdict *v, const struct stored *s)
{
    const char *title = r->engine->title;
    char is[STORED_TEXT];
    stored_text(s, is);
    if (v->conflict)
        return engine_finding(r, s->tensor->name, "%s stops at %s: %s", title, m->name, v->why);
    if (!v->quantized && s->layout)
        return engine_finding(r, s->tensor->name, "%s expects plain numbers in %s (%s), and this is %s", title, m->name, v->why, is);
    if (v->quantized && !s->layout)
        return engine_finding(r, s->tensor->name, "%s expects %s weights in %s (%s), and this is %s", title, r->method->name, m->name, v->why, is);
    if (v->scheme && v->scheme->layout && (v->scheme->layout != s->layout || v->scheme->type != s->type))
        return engine_finding(r, s->tensor->name, "%s expects %s in %s for %s (%s), and this is %s", title, v->scheme->type->name,
                              v->scheme->layout->name, m->name, v->why, is);
    return 0;
}

static int check_module(struct engine_run *r, const struct engine_module *m, int layer)
{
    const struct stored *first = part_of(r, m, 0, layer, 0);
    struct verdict v = {.why = "it never quantizes this"};
    const char *limit;
    if (!first || (m->unless != ROLE_COUNT && model_stored(r->model, m->unless, layer, 0)))
        return 0;
    int odd = check_alike(r, m, layer, first);
    if (odd)
        return odd < 0 ? -1 : 0;
    if (!r->method)
        snprintf(v.why, sizeof v.why, "the configuration names no method");
    else if (m->class && *m->class && r->method->judge(r, m, layer, &v))
        return error_at_file(r->e, "config.json");
    limit = r->engine->limit ? r->engine->limit(r, m, first) : NULL;
    if (limit)
        return engine_finding(r, first->tensor->name, "%s", limit);
    return m->class && !*m->class ? 0 : check_verdict(r, m, &v, first);
}

static int check_modules(struct engine_run *r)
{
    const struct arch_params *p = &r->model->params;
    const int layers = (int)(r->engine->passes_mtp ? p->num_hidden_layers : arch_all_layers(p));
    for (int layer = -1; layer < layers; layer++)
        for (const struct engine_module *m = r->engine->modules; m->name; m++)
            if (check_module(r, m, layer))
                return -1;
    return 0;
}

/* ---- devices */

static int all_divide(const struct engine_run *r, uint64_t n)
{
    const struct arch_params *p = &r->model->params;
    if (p->num_attention_heads % n)
        return 0;
    for (int layer = -1; layer < (int)arch_all_layers(p); layer++)
        for (int role = 0; role < ROLE_COUNT; role++) {
            const struct stored *s = model_stored(r->model, (enum tensor_role)role, layer, 0);
            uint64_t rows, cols;
            role_shape((enum tensor_role)role, p, &rows, &cols);
            if (s && s->layout && !parallel_divides((enum tensor_role)role, rows, cols, s->type, n))
                return 0;
        }
    return 1;
}

static int find_sizes(struct engine_run *r)
{
    for (unsigned n = 1; n <= PARALLEL_MOST; n *= 2)
        r->report->parallel |= n == 1 || all_divide(r, n) ? n : 0;
    return 0;
}

/* ---- */

static int read_config(struct engine_run *r)
{
    char *text = NULL;
    size_t n;
    int found = source_side_file(r->model->source, "config.json", MAX_CONFIG, &text, &n, r->e);
    if (found > 0)
        r->config = json_parse(text, n, r->e);
    free(text);
    if (!r->config)
        return found ? -1 : error_set(r->e, ERR_FORMAT, ERROR_NO_OFFSET, "the folder has no config.json");
    r->quant = json_get(r->config, "quantization_config");
    if (!r->quant || json_type(r->quant) != JSON_OBJECT)
        r->quant = json_get(r->config, "compression_config");
    return 0;
}

static int check_folder(struct engine_run *r)
{
    if (read_config(r) || engine_check_files(r) || engine_check_config(r) || (r->method && rules_read(r)))
        return -1;
    if (r->quant && !r->method) /* a method that it does not know: nothing can be said of modules */
        return 0;
    return check_modules(r) || (r->engine->parallel && find_sizes(r)) ? -1 : 0;
}

int engine_check(const struct engine *g, const struct model *m, struct check_report *report, struct error *e)
{
    struct engine_run r = {.engine = g, .model = m, .report = report, .e = e};
    const char *name = io_base_name(m->source->path);
    int rc;
    if (m->source->pack)
        rc = engine_finding(&r, name, "%s does not load expert packs: convert it", g->title);
    else if (g->gguf)
        rc = m->source->meta ? engine_check_gguf(&r) : engine_finding(&r, name, "%s loads GGUF files, and this is a folder", g->title);
    else
        rc = m->source->meta ? engine_finding(&r, name, "%s loads this family from a folder, and this is a GGUF", g->title) : check_folder(&r);
    rules_free(r.left_out);
    rules_free(r.targets);
    json_free(r.config);
    return rc;
}
