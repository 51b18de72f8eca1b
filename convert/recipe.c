/* SPDX-License-Identifier: MIT
 * Recipe: rules, their trial, and what tells recipes apart. */
#include "convert/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "base/io.h"

enum { MAX_RULES = 4096 }; /* as schemas/recipe.json says */

static int fits_packs(const struct quant_type *t)
{
    return t->gguf_id >= 0 || t->group;
}

/* Of packs: "source", or "TYPE_EXPERTS" for any type that packs take. */
static const struct preset_scheme *pack_scheme(struct recipe *r, const char *name)
{
    static const char end[] = "_experts";
    char type[64];
    size_t n = strlen(name), k = sizeof end - 1;
    struct preset_scheme *s = arena_alloc(&r->arena, sizeof *s);
    const struct quant_type *t = NULL;
    int is_source = !strcasecmp(name, RECIPE_SOURCE);
    if (n > k && n - k < sizeof type && !strcasecmp(name + n - k, end)) {
        snprintf(type, sizeof type, "%.*s", (int)(n - k), name);
        t = quant_type_find(type);
    }
    if (!s || (!is_source && (!t || !fits_packs(t) || !t->ref.encode)))
        return NULL;
    s->name = is_source ? RECIPE_SOURCE : arena_copy(&r->arena, name, n);
    s->experts = t ? t->name : NULL;
    return s->name ? s : NULL;
}

int recipe_set_base(struct recipe *r, const char *name)
{
    r->preset = r->of_schemes && !r->of_packs ? NULL : preset_find(name);
    r->scheme = r->of_packs && !r->preset ? pack_scheme(r, name) : r->of_schemes && !r->of_packs ? scheme_find(name) : NULL;
    r->file_type = r->preset ? r->preset->file_type : 0;
    return r->preset || r->scheme ? 0 : -1;
}

const char *recipe_base_name(const struct recipe *r)
{
    return r->preset ? r->preset->name : r->scheme ? r->scheme->name : r->all->name;
}

int recipe_open(struct recipe *r, const char *name, enum recipe_kind kind, struct error *e)
{
    char known[400];
    size_t n = 0;
    const int of_schemes = kind == RECIPE_CHECKPOINT;
    *r = (struct recipe){.of_schemes = kind != RECIPE_GGUF, .of_packs = kind == RECIPE_PACK};
    if (!recipe_set_base(r, name)) {
        r->name = recipe_base_name(r);
        return 0;
    }
    if (io_kind(name) == 1)
        return recipe_file_read(r, name, e);
    if (r->of_packs)
        n += (size_t)snprintf(known, sizeof known, "source, TYPE_EXPERTS");
    for (const struct preset *p = presets; !of_schemes && p->name && n < sizeof known; p++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", p->name);
    for (const struct preset_scheme *s = schemes; of_schemes && s->name && n < sizeof known; s++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", s->name);
    return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "recipe '%.60s' is neither a file nor one of %s", name, known);
}

void recipe_clear(struct recipe *r)
{
    for (size_t i = 0; i < r->n_rules; i++)
        pattern_free(r->rules[i].name);
    free(r->rules);
    arena_clear(&r->arena);
    *r = (struct recipe){.preset = NULL};
}

struct recipe_rule *recipe_add_rule(struct recipe *r, size_t at, const char *text, struct error *e)
{
    const char *copy = arena_copy(&r->arena, text, strlen(text));
    struct recipe_rule *rules = realloc(r->rules, (r->n_rules + 1) * sizeof *rules);
    r->rules = rules ? rules : r->rules;
    const char *wrong = r->n_rules == MAX_RULES ? "too many rules" : recipe_has_controls(text) ? "a control byte in a rule" : NULL;
    if (wrong)
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%s", wrong);
    else if (!copy || !rules)
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (wrong || !copy || !rules)
        return NULL;
    memmove(rules + at + 1, rules + at, (r->n_rules++ - at) * sizeof *rules);
    rules[at] = (struct recipe_rule){.text = copy};
    return &rules[at];
}

const struct quant_type *recipe_find_type(const struct recipe *r, const char *name, struct error *e)
{
    const struct quant_type *type = quant_type_find(name);
    if (!type)
        error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "unknown type '%s'", name);
    else if (!r->of_schemes && type->gguf_id < 0)
        error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "unknown type '%s': GGUF has none of that name", name);
    else if (r->of_packs && !fits_packs(type))
        error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "packs hold rows of blocks: %s is stored otherwise", type->name);
    else if (!type->ref.encode && !type->tiling)
        error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "%s can be read, not written", type->name);
    else
        return type;
    return NULL;
}

int recipe_has_controls(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return 1;
    return 0;
}

int recipe_add_role(const struct recipe *r, struct recipe_rule *rule, const char *name, struct error *e)
{
    enum tensor_role role = role_find(name);
    if (role == ROLE_COUNT)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "unknown role '%s' (roles are GGUF names, such as ffn_down_exps)", name);
    if (roles[role].flags & ROLE_ALWAYS_F32)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, r->of_schemes ? "%s is never quantized" : "%s is always F32 in GGUF", name);
    if (r->of_schemes && roles[role].flags & ROLE_GGUF_SPLIT)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "checkpoints have attn_kv_b in place of %s", name);
    if (!r->of_schemes && roles[role].flags & ROLE_HF_FUSED)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "GGUF has attn_k_b and attn_v_b in place of %s", name);
    rule->roles |= UINT64_C(1) << role;
    return 0;
}

int recipe_override(struct recipe *r, const char *text, struct error *e)
{
    char list[256];
    const char *eq = strchr(text, '=');
    struct recipe_rule made = {.option = "type"}, *rule;
    if (!eq || eq == text || (size_t)(eq - text) >= sizeof list)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--type '%s' is no ROLE=TYPE", text);
    if (!(made.type = recipe_find_type(r, eq + 1, e)))
        return -1;
    snprintf(list, sizeof list, "%.*s", (int)(eq - text), text);
    for (char *word = list, *comma; word; word = comma) {
        if ((comma = strchr(word, ',')))
            *comma++ = '\0';
        if (recipe_add_role(r, &made, word, e)) /* an empty word is an unknown role, too */
            return -1;
    }
    if (!(rule = recipe_add_rule(r, 0, text, e)))
        return -1;
    made.text = rule->text;
    *rule = made;
    r->n_given++;
    return 0;
}

static int in_ranges(const struct ranges *r, uint32_t v)
{
    for (size_t i = 0; i < r->n; i++)
        if (v >= r->list[i].from && v <= r->list[i].to)
            return 1;
    return 0;
}

/* How many of the experts that a tensor holds are in these ranges. */
static uint32_t experts_in(const struct ranges *r, const struct range *held)
{
    uint32_t n = 0;
    for (size_t i = 0; i < r->n; i++) {
        uint32_t from = r->list[i].from > held->from ? r->list[i].from : held->from;
        uint32_t to = r->list[i].to < held->to ? r->list[i].to : held->to;
        n += from <= to ? to - from + 1 : 0;
    }
    return n;
}

/* 1, 0 or -1. */
static int matches(const struct recipe *r, const struct recipe_rule *rule, const struct recipe_tensor *t, struct error *e)
{
    char text[RULE_TEXT];
    uint32_t n, held = t->held.to - t->held.from + 1;
    int found = 1;
    if (rule->roles && !(rule->roles >> t->role & 1))
        return 0;
    if (rule->layers.n && (t->layer < 0 || !in_ranges(&rule->layers, (uint32_t)t->layer)))
        return 0;
    if (rule->experts.n && !(roles[t->role].flags & ROLE_EXPERT))
        return 0;
    if (rule->name && !(found = pattern_matches(rule->name, t->name, e)))
        return 0;
    if (found < 0)
        return error_set(e, e->code, ERROR_NO_OFFSET, "%s: the pattern %s", recipe_rule_text(r, rule, text),
                         e->code == ERR_MEMORY ? "needs more memory than there is" : "takes too many steps");
    if (!rule->experts.n || !(n = experts_in(&rule->experts, &t->held)))
        return !rule->experts.n;
    if (n == held)
        return 1;
    return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "%s takes %u of the %u experts that lie in one tensor and have one type here",
                     recipe_rule_text(r, rule, text), n, held);
}

int recipe_type(const struct recipe *r, const struct recipe_tensor *t, struct rule_hits *hits, const struct quant_type **type,
                size_t *rule, struct error *e)
{
    *rule = r->n_rules;
    for (size_t i = 0; i < r->n_rules; i++) {
        int found = matches(r, &r->rules[i], t, e);
        if (found < 0)
            return error_at_tensor(e, t->name);
        if (!found)
            continue;
        if (*rule == r->n_rules)
            hits[*rule = i].tensors++;
        else
            hits[i].overridden++;
        if (i >= r->n_given)
            break;
    }
    if (*rule == r->n_rules && r->scheme)
        return scheme_type(r->scheme, t->role, r->group, type, e);
    *type = *rule < r->n_rules ? r->rules[*rule].type
            : r->all           ? r->all
            : r->pure          ? quant_type_find(r->preset->base)
                               : preset_type(r->preset, t->preset_role, t->layer, t->layers, (int)t->experts, t->has_imatrix);
    return 0;
}

const char *recipe_rule_text(const struct recipe *r, const struct recipe_rule *rule, char out[RULE_TEXT])
{
    if (rule->option)
        snprintf(out, RULE_TEXT, "--%s %.200s", rule->option, rule->text);
    else
        snprintf(out, RULE_TEXT, "rule %zu of '%.60s' (%.150s)", rule->number, io_base_name(r->file), rule->text);
    return out;
}

/* All rules, in order. Roles of --type need no option's name before them. */
static void add_rules(const struct recipe *r, struct buffer *b)
{
    for (size_t i = 0; i < r->n_rules; i++) {
        const struct recipe_rule *rule = &r->rules[i];
        if (rule->option && !rule->roles)
            buffer_printf(b, " --%s", rule->option);
        buffer_printf(b, " %s", rule->text);
    }
}

const char *recipe_text(const struct recipe *r, char out[RECIPE_TEXT])
{
    struct buffer b = {0};
    char hash[HASH_TEXT];
    char group[40] = "";
    if (r->group)
        snprintf(group, sizeof group, " group %ld", r->group);
    int n = snprintf(out, RECIPE_TEXT, "%s%s%s%s%s%s%s", r->name, !r->file ? "" : r->all ? " default " : " base ",
                     r->file ? recipe_base_name(r) : "", group, r->pure ? " pure" : "", r->via_bf16 ? " via bf16" : "", r->compat ? " compat" : "");
    add_rules(r, &b);
    if (!b.failed && n + b.size < RECIPE_TEXT) {
        snprintf(out + n, RECIPE_TEXT - (size_t)n, "%s", b.size ? b.data : "");
    } else if (!b.failed) {
        struct hash *h = hash_new();
        b.failed = !h;
        if (h) {
            hash_add(h, b.data, b.size);
            hash_finish(h, hash);
            snprintf(out + n, RECIPE_TEXT - (size_t)n, " %zu rules, XXH3-128 %s", r->n_rules, hash);
        }
    }
    int failed = b.failed;
    buffer_clear(&b);
    return failed ? NULL : out;
}
