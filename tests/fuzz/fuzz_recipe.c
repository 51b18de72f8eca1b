/* SPDX-License-Identifier: MIT
 * Fuzz target: convert/recipe.h, convert/tensor_types.h. A recipe file [NUL a list of tensor types [NUL overrides, one a line]]. */
#include <stdlib.h>
#include <string.h>

#include "convert/recipe.h"
#include "convert/tensor_types.h"
#include "tests/fuzz/fuzz.h"

enum { LINE = 600, EXPERTS = 8, LAYERS = 4 };

/* The part up to a NUL or the end; moves behind it. */
static const uint8_t *take_part(const uint8_t **data, size_t *size, size_t *n)
{
    const uint8_t *part = *data, *end = *size ? memchr(part, 0, *size) : NULL;
    *n = end ? (size_t)(end - part) : *size;
    *data += end ? *n + 1 : *n;
    *size -= end ? *n + 1 : *n;
    return part;
}

/* What every rule promises. */
static void rules_must_hold(const struct recipe *r)
{
    must(r->name && !recipe_has_controls(r->name) && r->n_given <= r->n_rules && !r->preset != !r->all);
    for (size_t i = 0; i < r->n_rules; i++) {
        const struct recipe_rule *rule = &r->rules[i];
        must(rule->text && !recipe_has_controls(rule->text) && rule->type && (rule->type->ref.encode || rule->type->tiling));
        must(!rule->option == (i >= r->n_given) && (rule->option || r->file));
        for (int role = 0; role < ROLE_COUNT; role++)
            must(!(rule->roles >> role & 1) || !(roles[role].flags & (ROLE_ALWAYS_F32 | ROLE_HF_FUSED)));
        for (size_t k = 0; k < rule->layers.n; k++)
            must(rule->layers.list[k].from <= rule->layers.list[k].to &&
                 (!k || rule->layers.list[k].from > rule->layers.list[k - 1].to));
    }
}

/* Some tensors of a small model: each gets a type, or it is said why not. */
static void try_tensors(const struct recipe *r)
{
    struct rule_hits *hits = calloc(r->n_rules + 1, sizeof *hits);
    struct error e = {0};
    must(hits);
    for (int role = 0; role < ROLE_COUNT; role += 3) {
        struct recipe_tensor t = {.name = roles[role].gguf, .role = (enum tensor_role)role, .layers = LAYERS,
                                  .preset_role = (enum tensor_role)role, .layer = role % LAYERS, .experts = EXPERTS,
                                  .held = {0, EXPERTS - 1}};
        const struct quant_type *type = NULL;
        size_t rule;
        if (recipe_type(r, &t, hits, &type, &rule, &e))
            must((e.code == ERR_USAGE || e.code == ERR_FORMAT) && e.text[0]);
        else
            must(type && rule <= r->n_rules && (rule == r->n_rules || hits[rule].tensors));
    }
    free(hits);
}

static void add_overrides(struct recipe *r, const uint8_t *data, size_t size)
{
    struct error e = {0};
    char line[LINE];
    for (size_t at = 0, n; at < size && r->n_rules < 64; at += n + 1) {
        size_t before = r->n_rules;
        for (n = 0; at + n < size && data[at + n] != '\n' && n < LINE - 1; n++)
            line[n] = (char)data[at + n];
        line[n] = '\0';
        if (recipe_override(r, line, &e))
            must(e.code == ERR_USAGE && e.text[0] && r->n_rules == before);
        else
            must(r->n_rules == before + 1 && r->rules[0].roles); /* one that overrides nothing is a mistake that nobody sees */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct recipe r;
    struct error e = {0};
    char text[RECIPE_TEXT];
    size_t n;
    const uint8_t *part = take_part(&data, &size, &n);
    if (recipe_open(&r, fuzz_file("recipe.json", part, n), 0, &e)) {
        fuzz_must_say(&e);
        must(e.code == ERR_FORMAT);
        recipe_clear(&r);
        must(!recipe_open(&r, presets[0].name, 0, &e));
    }
    part = take_part(&data, &size, &n);
    if (tensor_type_file_add(&r, fuzz_file("types", part, n), &e)) {
        fuzz_must_say(&e);
        recipe_clear(&r);
        return 0;
    }
    add_overrides(&r, data, size);
    rules_must_hold(&r);
    try_tensors(&r);
    must(recipe_text(&r, text) && strlen(text) < RECIPE_TEXT);
    recipe_clear(&r);
    return 0;
}
