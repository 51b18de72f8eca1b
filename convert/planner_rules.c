/* SPDX-License-Identifier: MIT
 * Rules: runs of experts, then of layers, then roles with the same of both. */
#include "convert/planner_rules.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RULES = 4096 }; /* schemas/recipe.json */

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for rules");
}

static int compare(long a, long b)
{
    return (a > b) - (a < b);
}

static int by_matrix(const void *a, const void *b)
{
    const struct typed *s = a, *t = b;
    int c = strcmp(s->type->name, t->type->name);
    c = c ? c : compare(s->role, t->role);
    c = c ? c : compare(s->layer, t->layer);
    return c ? c : compare(s->expert, t->expert);
}

/* A row stands for some experts (or all) of some layers of some roles. */
struct row {
    const struct quant_type *type;
    uint64_t roles;
    int layer;
    struct ranges experts, layers; /* empty: no condition */
};

static int add_number(struct ranges *r, uint32_t v)
{
    if (r->n && r->list[r->n - 1].to + 1 == v) {
        r->list[r->n - 1].to = v;
        return 0;
    }
    r->list[r->n++] = (struct range){v, v};
    return 0;
}

static int same_ranges(const struct ranges *a, const struct ranges *b)
{
    return a->n == b->n && (!a->n || !memcmp(a->list, b->list, a->n * sizeof *a->list));
}

/* One row per type, role and layer. */
static int fold_experts(const struct typed *list, size_t n, struct arena *a, struct row *rows, size_t *n_rows, struct error *e)
{
    for (size_t i = 0, end; i < n; i = end) {
        struct row *r = &rows[(*n_rows)++];
        *r = (struct row){.type = list[i].type, .roles = UINT64_C(1) << list[i].role, .layer = list[i].layer};
        for (end = i + 1; end < n && list[end].type == list[i].type && list[end].role == list[i].role && list[end].layer == list[i].layer;)
            end++;
        if (list[i].expert >= 0 && !(r->experts.list = arena_array(a, end - i, sizeof *r->experts.list)))
            return no_memory(e);
        for (size_t k = i; k < end && list[i].expert >= 0; k++)
            add_number(&r->experts, (uint32_t)list[k].expert);
    }
    return 0;
}

/* Rows of one type and role with the same experts become one. */
static int fold_layers(struct row *rows, size_t *n_rows, struct arena *a, struct error *e)
{
    size_t kept = 0;
    for (size_t i = 0; i < *n_rows; i++) {
        struct row *into = NULL, *r = &rows[i];
        for (size_t k = kept; r->layer >= 0 && k-- > 0 && rows[k].type == r->type && rows[k].roles == r->roles;)
            if (rows[k].layer >= 0 && same_ranges(&rows[k].experts, &r->experts))
                into = &rows[k];
        if (!into) {
            into = &rows[kept++];
            *into = *r;
            /* as many as can follow */
            if (into->layer >= 0 && !(into->layers.list = arena_array(a, *n_rows - i, sizeof *into->layers.list)))
                return no_memory(e);
        }
        if (into->layer >= 0)
            add_number(&into->layers, (uint32_t)r->layer);
    }
    *n_rows = kept;
    return 0;
}

/* Rows of one type with the same layers and experts become one. */
static void fold_roles(struct row *rows, size_t *n_rows)
{
    size_t kept = 0;
    for (size_t i = 0; i < *n_rows; i++) {
        size_t k = 0;
        while (k < kept && !(rows[k].type == rows[i].type && (rows[k].layer < 0) == (rows[i].layer < 0) &&
                             same_ranges(&rows[k].layers, &rows[i].layers) && same_ranges(&rows[k].experts, &rows[i].experts)))
            k++;
        if (k < kept)
            rows[k].roles |= rows[i].roles;
        else
            rows[kept++] = rows[i];
    }
    *n_rows = kept;
}

int planner_rules(struct recipe *r, struct arena *a, struct typed *list, size_t n, struct error *e)
{
    struct row *rows = malloc((n + 1) * sizeof *rows);
    size_t n_rows = 0;
    if (!rows)
        return no_memory(e);
    qsort(list, n, sizeof *list, by_matrix);
    int rc = fold_experts(list, n, a, rows, &n_rows, e) || fold_layers(rows, &n_rows, a, e) ? -1 : 0;
    if (!rc)
        fold_roles(rows, &n_rows);
    if (!rc && r->n_rules + n_rows > MOST_RULES)
        rc = error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "the choice takes %zu rules, a recipe may have %d", n_rows, MOST_RULES);
    for (size_t i = 0; !rc && i < n_rows; i++)
        r->rules[r->n_rules++] = (struct recipe_rule){.text = "", .number = i + 1, .roles = rows[i].roles, .layers = rows[i].layers,
                                                      .experts = rows[i].experts, .type = rows[i].type};
    free(rows);
    return rc;
}

/* ---- text */

static void print_ranges(const char *key, const struct ranges *r, struct buffer *out)
{
    for (size_t i = 0; i < r->n; i++) {
        if (i)
            buffer_text(out, ",");
        else
            buffer_printf(out, "\"%s\": \"", key);
        buffer_printf(out, "%" PRIu32, r->list[i].from);
        if (r->list[i].to > r->list[i].from)
            buffer_printf(out, "-%" PRIu32, r->list[i].to);
    }
    if (r->n)
        buffer_text(out, "\", ");
}

void planner_print_rules(const struct recipe *r, size_t first, struct buffer *out)
{
    for (size_t i = first; i < r->n_rules; i++) {
        const struct recipe_rule *rule = &r->rules[i];
        const char *between = "";
        buffer_text(out, i > first ? ",\n  {\"roles\": [" : "\n  {\"roles\": [");
        for (int role = 0; role < ROLE_COUNT; role++)
            if (rule->roles >> role & 1) {
                buffer_printf(out, "%s\"%s\"", between, roles[role].name);
                between = ", ";
            }
        buffer_text(out, "], ");
        print_ranges("layers", &rule->layers, out);
        print_ranges("experts", &rule->experts, out);
        buffer_printf(out, "\"type\": \"%s\"}", rule->type->name);
    }
}
