/* SPDX-License-Identifier: MIT
 * Recipe files: JSON by schemas/recipe.json. Every key is known, every rule says what it means, or the file is refused. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "convert/recipe.h"

enum { MAX_FILE = 1 << 20, MAX_NAME = 100, MAX_NUMBER = 1 << 20 };

static int bad(struct error *e, const char *what, const char *key)
{
    return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%s '%.100s'", what, key);
}

/* A whole number at *s, which moves behind it. */
static int read_number(const char **s, uint32_t *v)
{
    char *end;
    unsigned long n;
    if (**s < '0' || **s > '9')
        return -1;
    errno = 0;
    n = strtoul(*s, &end, 10);
    *v = (uint32_t)n;
    *s = end;
    return errno || n >= MAX_NUMBER ? -1 : 0;
}

/* "3" or "3-7" at *s. */
static int read_range(const char **s, struct range *r)
{
    if (read_number(s, &r->from))
        return -1;
    r->to = r->from;
    if (**s != '-')
        return 0;
    ++*s;
    return read_number(s, &r->to) || r->to < r->from ? -1 : 0;
}

/* "0-2,58-60": ascending, so that each number is in one range at most. */
static int read_ranges(struct recipe *r, const struct json *v, struct ranges *out, struct error *e)
{
    const char *s = json_string(v), *at = s;
    size_t n = 1;
    if (!s)
        return bad(e, "no text with ranges such as \"0-2,58-60\" for", json_key(v));
    for (const char *c = s; *c; c++)
        n += *c == ',';
    if (!(out->list = arena_array(&r->arena, n, sizeof *out->list)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    do {
        struct range *range = &out->list[out->n++];
        if (read_range(&at, range) || (out->n > 1 && range->from <= range[-1].to))
            return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET,
                             "'%.100s' for '%s' is no list of ascending ranges such as \"0-2,58-60\"", s, json_key(v));
    } while (*at == ',' && at++);
    return *at ? bad(e, "something behind the ranges of", json_key(v)) : 0;
}

/* Readers of a rule's keys. */
typedef int rule_key_fn(struct recipe *r, struct recipe_rule *rule, const struct json *v, struct error *e);

static int read_roles(struct recipe *r, struct recipe_rule *rule, const struct json *v, struct error *e)
{
    (void)r;
    if (json_type(v) != JSON_ARRAY || !json_count(v))
        return bad(e, "no list of names for", json_key(v));
    for (const struct json *name = json_child(v); name; name = json_next(name))
        if (!json_string(name))
            return bad(e, "no list of names for", json_key(v));
        else if (recipe_add_role(r, rule, json_string(name), e))
            return -1;
    return 0;
}

static int read_layers(struct recipe *r, struct recipe_rule *rule, const struct json *v, struct error *e)
{
    return read_ranges(r, v, &rule->layers, e);
}

static int read_experts(struct recipe *r, struct recipe_rule *rule, const struct json *v, struct error *e)
{
    return read_ranges(r, v, &rule->experts, e);
}

static int read_name(struct recipe *r, struct recipe_rule *rule, const struct json *v, struct error *e)
{
    (void)r;
    if (!json_string(v) || !json_string(v)[0])
        return bad(e, "no pattern for", json_key(v));
    return (rule->name = pattern_new(json_string(v), e)) ? 0 : -1;
}

static int read_type(struct recipe *r, struct recipe_rule *rule, const struct json *v, struct error *e)
{
    (void)r;
    if (!json_string(v))
        return bad(e, "no type's name for", json_key(v));
    return (rule->type = recipe_find_type(r, json_string(v), e)) ? 0 : -1;
}

static const struct {
    const char *key;
    rule_key_fn *read;
} rule_keys[] = {
    {"roles", read_roles}, {"layers", read_layers}, {"experts", read_experts}, {"name", read_name}, {"type", read_type},
};

static int read_rule_key(struct recipe *r, struct recipe_rule *rule, const struct json *v, struct error *e)
{
    for (size_t i = 0; i < sizeof rule_keys / sizeof *rule_keys; i++)
        if (!strcmp(rule_keys[i].key, json_key(v)))
            return rule_keys[i].read(r, rule, v, e);
    return bad(e, "unknown key", json_key(v));
}

static int read_rule(struct recipe *r, const struct json *v, struct error *e)
{
    char *text = json_print_line(v);
    struct recipe_rule *rule = text ? recipe_add_rule(r, r->n_rules, text, e) : NULL;
    if (!text)
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    free(text);
    if (!rule)
        return -1;
    rule->number = r->n_rules - r->n_given;
    if (json_type(v) != JSON_OBJECT)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "not an object");
    for (const struct json *key = json_child(v); key; key = json_next(key))
        if (read_rule_key(r, rule, key, e))
            return -1;
    return rule->type ? 0 : error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "it has no 'type'");
}

/* Readers of the file's keys. */
typedef int file_key_fn(struct recipe *r, const struct json *v, struct error *e);

static int read_rules(struct recipe *r, const struct json *v, struct error *e)
{
    char text[sizeof e->text];
    size_t n = 0;
    if (json_type(v) != JSON_ARRAY)
        return bad(e, "no list for", json_key(v));
    for (const struct json *rule = json_child(v); rule; rule = json_next(rule)) {
        n++;
        if (!read_rule(r, rule, e))
            continue;
        snprintf(text, sizeof text, "rule %zu: %.480s", n, e->text);
        return error_set(e, e->code == ERR_MEMORY ? ERR_MEMORY : ERR_FORMAT, ERROR_NO_OFFSET, "%s", text);
    }
    return 0;
}

static int read_recipe_name(struct recipe *r, const struct json *v, struct error *e)
{
    const char *name = json_string(v);
    if (!name || !name[0] || strlen(name) > MAX_NAME || recipe_has_controls(name))
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "'name' is no text of 1 to %d bytes without control bytes", MAX_NAME);
    r->name = arena_copy(&r->arena, name, strlen(name));
    return r->name ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

static int read_base(struct recipe *r, const struct json *v, struct error *e)
{
    const char *name = json_string(v);
    if (!name || recipe_set_base(r, name))
        return bad(e, r->of_packs ? "'base' is neither source, TYPE_EXPERTS nor a preset:" : r->of_schemes ? "'base' is no scheme:" : "'base' is no preset:", name ? name : "(not a text)");
    return 0;
}

/* llama.cpp's number for files of mostly this type: that of the first preset that is built upon it. */
static uint32_t file_type_of(const struct quant_type *t)
{
    enum { MOSTLY_MXFP4_MOE = 38, MOSTLY_NVFP4 = 39 }; /* which no preset has as its base */
    for (const struct preset *p = presets; p->name; p++)
        if (!strcmp(p->base, t->name))
            return p->file_type;
    return strcmp(t->name, "NVFP4") ? MOSTLY_MXFP4_MOE : MOSTLY_NVFP4;
}

static int read_default(struct recipe *r, const struct json *v, struct error *e)
{
    if (!json_string(v))
        return bad(e, "no type's name for", json_key(v));
    if (!(r->all = recipe_find_type(r, json_string(v), e)))
        return -1;
    r->file_type = file_type_of(r->all);
    return 0;
}

static int read_pure(struct recipe *r, const struct json *v, struct error *e)
{
    return json_bool(v, &r->pure) ? bad(e, "neither true nor false for", json_key(v)) : 0;
}

/* What 'pare plan' says of a recipe that it chose. The rules are what counts: of this only the prediction is taken. */
static int read_planned(struct recipe *r, const struct json *v, struct error *e)
{
    if (json_type(v) != JSON_OBJECT || json_f64(json_get(v, "predicted_kl"), &r->predicted_kl) || !(r->predicted_kl >= 0))
        return bad(e, "no object with a 'predicted_kl' for", json_key(v));
    r->is_planned = 1;
    return 0;
}

static const struct {
    const char *key;
    file_key_fn *read;
} file_keys[] = {
    {"name", read_recipe_name}, {"base", read_base}, {"default", read_default}, {"pure", read_pure}, {"rules", read_rules},
    {"planned", read_planned},
};

static int read_file_key(struct recipe *r, const struct json *v, struct error *e)
{
    for (size_t i = 0; i < sizeof file_keys / sizeof *file_keys; i++)
        if (!strcmp(file_keys[i].key, json_key(v)))
            return file_keys[i].read(r, v, e);
    return bad(e, "unknown key", json_key(v));
}

static int read_root(struct recipe *r, const struct json *root, struct error *e)
{
    if (json_type(root) != JSON_OBJECT)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "a recipe is an object with 'base' or 'default' and 'rules'");
    for (const struct json *v = json_child(root); v; v = json_next(v))
        if (read_file_key(r, v, e))
            return -1;
    if (r->of_schemes && !r->of_packs && r->all)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "'default' is for GGUF: for this target a recipe has a 'base', such as W4A16 or BF16");
    if (!(r->preset || r->scheme) == !r->all)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "a recipe has either 'base' (a preset) or 'default' (a type)");
    if (r->pure && r->all)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "'pure' is for a 'base': one type is no mixture");
    return 0;
}

int recipe_file_read(struct recipe *r, const char *path, struct error *e)
{
    struct json *root = json_parse_file(path, MAX_FILE, e);
    const char *base = io_base_name(path);
    r->file = arena_copy(&r->arena, path, strlen(path));
    r->name = arena_copy(&r->arena, base, strlen(base));
    int rc = !root ? -1 : r->file && r->name ? read_root(r, root, e) : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    json_free(root);
    if (!rc)
        return 0;
    if (e->code == ERR_USAGE)
        e->code = ERR_FORMAT; /* a role or type of the file, not of the command line */
    return error_at_file(e, path);
}
