/* SPDX-License-Identifier: MIT
 * Rules for modules: a few regular expressions in place of a name for each of a large model's modules. All are of a kind that Python's
 * re.match and re.fullmatch understand alike, with ".*" in front for engines that put names of their own before "model". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "convert/target_checkpoint.h"

int module_set_init(struct module_set *s, const struct plan *p)
{
    s->layers = (int)arch_all_layers(&p->model->params);
    s->of = calloc((size_t)(s->layers + 1) * ROLE_COUNT, 1);
    return s->of ? 0 : -1;
}

void module_set_clear(struct module_set *s)
{
    free(s->of);
    s->of = NULL;
}

void module_set_add(struct module_set *s, enum tensor_role role, int layer)
{
    s->of[(size_t)(layer + 1) * ROLE_COUNT + role] = 1;
}

int module_set_has(const struct module_set *s, enum tensor_role role, int layer)
{
    return s->of[(size_t)(layer + 1) * ROLE_COUNT + role];
}

static int same_layers(const struct module_set *s, enum tensor_role a, enum tensor_role b)
{
    int same = 1;
    for (int layer = 0; layer < s->layers; layer++)
        same &= module_set_has(s, a, layer) == module_set_has(s, b, layer);
    return same;
}

const char *module_joined_name(enum tensor_role role)
{
    const enum tensor_role partner = role_partner(role);
    if (partner == ROLE_COUNT || partner < role || roles[role].flags & ROLE_EXPERT)
        return NULL;
    return role == ROLE_ATTN_Q_A ? "fused_qkv_a_proj" : "gate_up_proj";
}

/* The same where the set has both of the pair. */
static const char *joined_in(const struct module_set *s, enum tensor_role role)
{
    const char *name = module_joined_name(role);
    return name && same_layers(s, role, role_partner(role)) ? name : NULL;
}

/* "mlp.down_proj.weight" -> "mlp\.down_proj", with another name for its last part -> "mlp\.(gate_proj|gate_up_proj)". */
static void add_module(struct buffer *b, const char *weight, const char *other)
{
    const char *end = strstr(weight, ".weight"), *last = weight;
    for (const char *p = weight; p < end; p++)
        last = *p == '.' ? p + 1 : last;
    for (; weight < end; weight++) {
        if (weight == last && other)
            buffer_text(b, "(");
        if (*weight == '.')
            buffer_text(b, "\\.");
        else
            buffer_add(b, weight, 1);
    }
    if (other)
        buffer_printf(b, strstr(other, "qkv") ? "|%s(_with_mqa)?)" : "|%s)", other);
}

/* ".*\.layers\.(3|4)\.", or ".*\." when the set has the role wherever there is one. */
static void add_place(struct buffer *b, const struct module_set *s, const struct module_set *all, enum tensor_role role)
{
    int everywhere = 1, any = 0;
    for (int layer = 0; layer < s->layers; layer++)
        everywhere &= module_set_has(s, role, layer) == module_set_has(all, role, layer);
    buffer_text(b, "re:.*\\.");
    if (everywhere)
        return;
    buffer_text(b, "layers\\.(");
    for (int layer = 0; layer < s->layers; layer++)
        if (module_set_has(s, role, layer))
            buffer_printf(b, "%s%d", any++ ? "|" : "", layer);
    buffer_text(b, ")\\.");
}

static int in_some_layer(const struct module_set *s, enum tensor_role role)
{
    int any = 0;
    for (int layer = 0; layer < s->layers; layer++)
        any |= module_set_has(s, role, layer);
    return any;
}

/* The three roles of experts as one rule where they go together, which also matches the module that holds all experts. */
static int joins_experts(const struct module_set *s, enum tensor_role role)
{
    return roles[role].flags & ROLE_EXPERT && same_layers(s, ROLE_FFN_GATE_EXPS, ROLE_FFN_UP_EXPS) &&
           same_layers(s, ROLE_FFN_GATE_EXPS, ROLE_FFN_DOWN_EXPS);
}

int module_set_rules(const struct module_set *s, const struct module_set *all, struct json *list)
{
    int failed = !list;
    for (int role = 0; role < ROLE_COUNT; role++) {
        struct buffer b = {0};
        if (roles[role].flags & ROLE_GLOBAL && module_set_has(s, (enum tensor_role)role, -1)) {
            const char *end = strstr(roles[role].hf, ".weight");
            buffer_add(&b, roles[role].hf, (size_t)(end - roles[role].hf));
        } else if (in_some_layer(s, (enum tensor_role)role)) {
            const int joined = joins_experts(s, (enum tensor_role)role);
            if (joined && role != ROLE_FFN_GATE_EXPS)
                continue;
            add_place(&b, s, all, (enum tensor_role)role);
            if (joined) {
                buffer_text(&b, "mlp\\.experts.*");
            } else {
                buffer_text(&b, roles[role].flags & ROLE_EXPERT ? "mlp\\.experts\\.[0-9]+\\." : "");
                add_module(&b, roles[role].hf, joined_in(s, (enum tensor_role)role));
                buffer_text(&b, "$");
            }
        }
        failed |= b.failed || (b.size && !json_add_string(list, NULL, b.data));
        buffer_clear(&b);
    }
    return failed ? -1 : 0;
}
