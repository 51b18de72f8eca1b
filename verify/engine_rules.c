/* SPDX-License-Identifier: MIT
 * Rules of engines: lists of modules that are left out, targets, GPTQ's dynamic overrides, matched as each engine matches them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pattern.h"
#include "verify/engine.h"

struct rule {
    const char *text;        /* of the configuration's tree */
    struct pattern *pattern; /* NULL: a name */
};
struct rules {
    struct rule *list;
    size_t n;
};

enum { PREFIX = 64, MODULE_NAME = PREFIX + 2 * TENSOR_NAME };

/* Python's re.match: from the start, not to the end. `boundary`: up to a dot or the end, as transformers asks. */
static int compile(struct engine_run *r, struct rule *rule, const char *text, int boundary)
{
    size_t n = strlen(text) + 48;
    char *anchored = malloc(n);
    if (!anchored)
        return error_set(r->e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    snprintf(anchored, n, boundary ? "\\A(?:%s)(?:(?<=\\.)|(?=\\.|$))" : "\\A(?:%s)", text);
    rule->pattern = pattern_new(anchored, r->e);
    free(anchored);
    return rule->pattern ? 0 : -1;
}

/* Adds one; what comes before the pattern is its mark. */
static int add_rule(struct engine_run *r, struct rules *to, const char *text, const char *pattern, int boundary)
{
    struct rule *list = realloc(to->list, (to->n + 1) * sizeof *list);
    if (!list)
        return error_set(r->e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    to->list = list;
    list[to->n] = (struct rule){.text = text};
    return pattern && compile(r, &list[to->n], pattern, boundary) ? -1 : (to->n++, 0);
}

static const char *behind(const char *text, const char *mark)
{
    size_t n = strlen(mark);
    return strncmp(text, mark, n) ? NULL : text + n;
}

static int add_list(struct engine_run *r, struct rules *to, const struct json *list, int boundary)
{
    for (const struct json *v = json_child(list); v; v = json_next(v)) {
        const char *text = json_string(v);
        if (text && add_rule(r, to, text, boundary ? text : behind(text, "re:"), boundary))
            return -1;
    }
    return 0;
}

/* {"-:pattern": {}, "+:pattern": {..}}: both, in their order, since the first that matches counts. */
static int add_dynamic(struct engine_run *r, struct rules *to, const struct json *dynamic)
{
    for (const struct json *v = json_child(dynamic); v; v = json_next(v)) {
        const char *key = json_key(v) ? json_key(v) : ""; /* of a list: nothing that names a module */
        const char *pattern = behind(key, "-:") ? key + 2 : behind(key, "+:") ? key + 2 : key;
        if (add_rule(r, to, key, pattern, 0))
            return -1;
    }
    return 0;
}

static int read_all(struct engine_run *r)
{
    const struct engine_method *m = r->method;
    const struct json *list = json_get(r->quant, m->lists[0]);
    if (m->lists[1] && !json_count(list))
        list = json_get(r->quant, m->lists[1]);
    if (!strcmp(m->lists[0], "dynamic"))
        return add_dynamic(r, r->left_out, list);
    if (add_list(r, r->left_out, list, m->how == MATCH_BOUNDARY))
        return -1;
    for (const struct json *g = json_child(json_get(r->quant, "config_groups")); g; g = json_next(g))
        if (add_list(r, r->targets, json_get(g, "targets"), 0))
            return -1;
    return 0;
}

int rules_read(struct engine_run *r)
{
    r->left_out = calloc(1, sizeof *r->left_out);
    r->targets = calloc(1, sizeof *r->targets);
    if (!r->left_out || !r->targets)
        return error_set(r->e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    return read_all(r);
}

void rules_free(struct rules *rules)
{
    for (size_t i = 0; rules && i < rules->n; i++)
        pattern_free(rules->list[i].pattern);
    if (rules)
        free(rules->list);
    free(rules);
}

/* ---- names */

/* What stands before a module's name. A global has nothing. */
static void prefix_of(const struct engine_run *r, int layer, char out[PREFIX])
{
    const int mtp = layer >= (int)r->model->params.num_hidden_layers;
    if (layer < 0)
        *out = '\0';
    else if (mtp && r->engine->mtp)
        snprintf(out, PREFIX, "%s", r->engine->mtp);
    else
        snprintf(out, PREFIX, "model.layers.%d.", layer);
}

static void module_name(const struct engine_run *r, const struct engine_module *m, int layer, char out[MODULE_NAME])
{
    char prefix[PREFIX];
    prefix_of(r, layer, prefix);
    snprintf(out, MODULE_NAME, "%s%s", prefix, m->name);
}

/* A part as it is asked for: of experts the first expert's. */
static void part_name(const struct engine_run *r, const struct engine_module *m, int part, int layer, char out[MODULE_NAME])
{
    char prefix[PREFIX];
    const struct role *role = &roles[m->part[part]];
    const char *end = strstr(role->hf, ".weight");
    prefix_of(r, layer, prefix);
    snprintf(out, MODULE_NAME, "%s%s%.*s", prefix, role->flags & ROLE_EXPERT ? "mlp.experts.0." : "", (int)(end - role->hf), role->hf);
}

/* ---- matching */

/* Whole steps of a dotted path, anywhere in it. */
static int is_in_path(const char *text, const char *name)
{
    size_t n = strlen(text);
    while (n && text[n - 1] == '.')
        n--;
    for (const char *at = name; (at = strstr(at, text)); at++)
        if ((at == name || at[-1] == '.') && (!at[n] || at[n] == '.'))
            return 1;
    return 0;
}

static int ends_with(const char *name, const char *text)
{
    size_t n = strlen(name), k = strlen(text);
    return n >= k && !strcmp(name + n - k, text);
}

/* 1, 0 or -1. */
static int matches(const struct rule *rule, const char *name, enum matching how, struct error *e)
{
    int found = rule->pattern ? pattern_matches(rule->pattern, name, e) : 0;
    if (found || (rule->pattern && how != MATCH_BOUNDARY))
        return found;
    return how == MATCH_EXACT ? !strcmp(rule->text, name) : how == MATCH_PART ? strstr(name, rule->text) != NULL
           : how == MATCH_PATH                                                ? is_in_path(rule->text, name)
                                                                              : ends_with(name, rule->text);
}

/* The first rule that matches, *found NULL: none. */
static int find_rule(struct engine_run *r, const struct rules *rules, const char *name, enum matching how, const struct rule **found)
{
    *found = NULL;
    for (size_t i = 0; i < rules->n && !*found; i++) {
        int yes = matches(&rules->list[i], name, how, r->e);
        if (yes < 0)
            return -1;
        *found = yes ? &rules->list[i] : NULL;
    }
    return 0;
}

/* compressed-tensors' ignored names are exact, or in some engines any part, in any case of letters. */
static int find_ignored(struct engine_run *r, const char *name, const struct rule **found)
{
    if (find_rule(r, r->left_out, name, MATCH_EXACT, found))
        return -1;
    for (size_t i = 0; r->engine->ignores_parts && i < r->left_out->n && !*found; i++)
        if (!r->left_out->list[i].pattern && strcasestr(name, r->left_out->list[i].text))
            *found = &r->left_out->list[i];
    return 0;
}

static int is_split(const struct engine_run *r, const struct engine_module *m)
{
    return (m->split & 1u << r->method->how) != 0;
}

/* Where names must be exact, an entry for one expert stands for all of them. */
static int find_listed(struct engine_run *r, const char *name, const struct rule **found)
{
    const enum matching how = r->method->how;
    if (find_rule(r, r->left_out, name, how, found))
        return -1;
    for (size_t i = 0; how == MATCH_EXACT && strstr(name, "experts") && i < r->left_out->n && !*found; i++)
        if (strstr(r->left_out->list[i].text, name))
            *found = &r->left_out->list[i];
    return 0;
}

/* Asks for each name of a module: its own, or those of its parts where those count, which must agree. */
static int find_left_out(struct engine_run *r, const struct engine_module *m, int layer, struct verdict *v,
                         int (*find)(struct engine_run *, const char *, const struct rule **))
{
    const struct rule *found = NULL, *first = NULL;
    char name[MODULE_NAME];
    module_name(r, m, layer, name);
    if (find(r, name, &found))
        return -1;
    if (found && is_split(r, m) && (find == find_listed || strcmp(found->text, name))) /* the joined name itself counts only as it is */
        found = NULL;
    for (int i = 0; !found && is_split(r, m) && i < m->n_parts; i++) {
        const struct rule *of;
        part_name(r, m, i, layer, name);
        if (find(r, name, &of))
            return -1;
        if (i && !of != !first) {
            v->conflict = 1;
            snprintf(v->why, sizeof v->why, "'%.60s' leaves out some of what it joins as %s, and not all", (of ? of : first)->text, m->name);
            return 0;
        }
        first = i ? first : of;
    }
    found = found ? found : first;
    v->quantized = !found;
    snprintf(v->why, sizeof v->why, found ? "its rule '%.100s' leaves it out" : "no rule leaves it out", found ? found->text : "");
    return 0;
}

/* ---- judges */

int judge_by_list(struct engine_run *r, const struct engine_module *m, int layer, struct verdict *v)
{
    return find_left_out(r, m, layer, v, find_listed);
}

/* Modules of an engine are asked for by the engine's own name only. */
int judge_by_dynamic(struct engine_run *r, const struct engine_module *m, int layer, struct verdict *v)
{
    const struct rule *found;
    char name[MODULE_NAME];
    module_name(r, m, layer, name);
    if (find_rule(r, r->left_out, name, MATCH_EXACT, &found))
        return -1;
    v->quantized = !found || strncmp(found->text, "-:", 2);
    snprintf(v->why, sizeof v->why, v->quantized ? "no rule of 'dynamic' leaves it out" : "the rule '%.100s' of 'dynamic' leaves it out",
             found ? found->text : "");
    return 0;
}

/* The class as targets name it: any part of its name, in any case of letters. */
static const struct rule *find_class(const struct engine_run *r, const char *class)
{
    for (size_t i = 0; i < r->targets->n; i++)
        if (!r->targets->list[i].pattern && strcasestr(class, r->targets->list[i].text))
            return &r->targets->list[i];
    return NULL;
}

/* The target of one name: by name, then by class, then, of what is joined, by all its parts. */
static int find_target(struct engine_run *r, const struct engine_module *m, const char *name, int layer, const struct rule **found)
{
    char part[MODULE_NAME];
    const struct rule *first = NULL;
    if (find_rule(r, r->targets, name, MATCH_EXACT, found))
        return -1;
    if (*found || (*found = find_class(r, m->class)))
        return 0;
    for (int i = 0; is_split(r, m) && i < m->n_parts; i++) {
        const struct rule *of;
        part_name(r, m, i, layer, part);
        if (find_rule(r, r->targets, part, MATCH_EXACT, &of))
            return -1;
        first = !of ? NULL : i ? first : of;
        if (!first)
            return 0;
    }
    *found = first;
    return 0;
}

static const struct scheme *scheme_of(const struct engine_run *r, const struct rule *target)
{
    const struct quantization *q = &r->model->quantization;
    for (size_t i = 0; i < q->n_schemes; i++)
        if (q->schemes[i]->target ? !strcmp(q->schemes[i]->target, target->text) : !target->pattern)
            return q->schemes[i];
    return NULL;
}

/* Experts are asked for as the first expert's three matrices, which must have one answer. */
static int judge_experts(struct engine_run *r, const struct engine_module *m, int layer, struct verdict *v)
{
    const struct rule *first = NULL;
    char name[MODULE_NAME];
    for (int i = 0; i < m->n_parts; i++) {
        const struct rule *target, *ignored;
        part_name(r, m, i, layer, name);
        if (find_ignored(r, name, &ignored) || find_target(r, m, name, layer, &target))
            return -1;
        if (ignored)
            target = NULL;
        if (i && (!target != !first || (target && scheme_of(r, target) != scheme_of(r, first)))) {
            v->conflict = 1;
            snprintf(v->why, sizeof v->why, "its rules give gate_proj, up_proj and down_proj of experts more than one scheme");
            return 0;
        }
        first = target;
        snprintf(v->why, sizeof v->why, ignored  ? "its rule '%.100s' leaves it out" : target ? "its target '%.100s' names it" : "none of its targets names it",
                 ignored ? ignored->text : target ? target->text : "");
    }
    v->quantized = first != NULL;
    v->scheme = first ? scheme_of(r, first) : NULL;
    return 0;
}

/* The package's ignored names are classes too, those that a linear layer is made of. */
static int find_ignored_class(struct engine_run *r, const char *name, const struct rule **found)
{
    if (find_ignored(r, name, found))
        return -1;
    for (size_t i = 0; i < r->left_out->n && !*found; i++)
        if (!strcmp(r->left_out->list[i].text, "Linear") || !strcmp(r->left_out->list[i].text, "Module"))
            *found = &r->left_out->list[i];
    return 0;
}

/* As the compressed-tensors package itself matches: each matrix by its own name. Of experts the first stands for all. */
int judge_by_package(struct engine_run *r, const struct engine_module *m, int layer, struct verdict *v)
{
    for (int i = 0; i < m->n_parts; i++) {
        const struct rule *ignored;
        char name[MODULE_NAME];
        part_name(r, m, i, layer, name);
        if (find_ignored_class(r, name, &ignored))
            return -1;
        const struct scheme *s = ignored ? NULL : quantization_scheme(&r->model->quantization, name);
        s = s && s->layout ? s : NULL;
        v->conflict = i && s != v->scheme && (!s || !v->scheme || s->type != v->scheme->type);
        v->quantized = s != NULL;
        v->scheme = s;
        snprintf(v->why, sizeof v->why, ignored ? "its rule '%.100s' leaves it out" : s ? "its target '%.100s' names it" : "none of its targets names it",
                 ignored ? ignored->text : s && s->target ? s->target : "Linear");
        if (v->conflict)
            return 0;
    }
    return 0;
}

int judge_by_targets(struct engine_run *r, const struct engine_module *m, int layer, struct verdict *v)
{
    const struct rule *target;
    char name[MODULE_NAME];
    if (find_left_out(r, m, layer, v, find_ignored))
        return -1;
    if (v->conflict || !v->quantized)
        return 0;
    if (roles[m->part[0]].flags & ROLE_EXPERT)
        return judge_experts(r, m, layer, v);
    module_name(r, m, layer, name);
    if (find_target(r, m, name, layer, &target))
        return -1;
    v->quantized = target != NULL;
    v->scheme = target ? scheme_of(r, target) : NULL;
    v->conflict = !target && r->engine->needs_target;
    snprintf(v->why, sizeof v->why, target ? "its target '%.100s' names it" : "none of its targets names it", target ? target->text : "");
    return 0;
}
