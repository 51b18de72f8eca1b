/* SPDX-License-Identifier: MIT
 * Recipe: names and overrides. */
#include "convert/recipe.h"

#include <stdio.h>
#include <string.h>

int recipe_from_name(struct recipe *r, const char *name, struct error *e)
{
    const struct preset *p = preset_find(name);
    char known[512];
    size_t n = 0;
    *r = (struct recipe){.preset = p};
    if (p)
        return 0;
    for (p = presets; p->name && n < sizeof known; p++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", p->name);
    return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "unknown recipe '%s' (%s)", name, known);
}

const struct quant_type *recipe_type(const struct recipe *r, enum tensor_role role, int layer, int layers, int experts,
                                    int has_imatrix)
{
    if (r->by_role[role])
        return r->by_role[role];
    return r->pure ? quant_type_find(r->preset->base) : preset_type(r->preset, role, layer, layers, experts, has_imatrix);
}

const char *recipe_text(const struct recipe *r, char out[RECIPE_TEXT])
{
    size_t n = (size_t)snprintf(out, RECIPE_TEXT, "%s%s%s", r->preset->name, r->pure ? " pure" : "",
                                r->compat ? " compat" : "");
    for (int role = 0; role < ROLE_COUNT && n < RECIPE_TEXT; role++)
        if (r->by_role[role])
            n += (size_t)snprintf(out + n, RECIPE_TEXT - n, " %s=%s", roles[role].name, r->by_role[role]->name);
    return out;
}

static int override_one(struct recipe *r, const char *role_text, const struct quant_type *type, struct error *e)
{
    enum tensor_role role = role_find(role_text);
    if (role == ROLE_COUNT)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "unknown role '%s' (roles are GGUF names, such as ffn_down_exps)",
                         role_text);
    if (roles[role].flags & ROLE_ALWAYS_F32)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "%s is always F32 in GGUF", role_text);
    if (roles[role].flags & ROLE_HF_FUSED)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "GGUF has attn_k_b and attn_v_b in place of %s", role_text);
    r->by_role[role] = type;
    return 0;
}

int recipe_override(struct recipe *r, const char *text, struct error *e)
{
    char list[256];
    const char *eq = strchr(text, '=');
    const struct quant_type *type = eq ? quant_type_find(eq + 1) : NULL;
    if (!eq || eq == text || (size_t)(eq - text) >= sizeof list)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--type '%s' is no ROLE=TYPE", text);
    if (!type || type->gguf_id < 0)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "unknown type '%s'", eq + 1);
    if (!type->ref.encode)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "%s can be read, not written", type->name);
    snprintf(list, sizeof list, "%.*s", (int)(eq - text), text);
    for (char *word = list, *comma; word; word = comma) {
        if ((comma = strchr(word, ',')))
            *comma++ = '\0';
        if (override_one(r, word, type, e)) /* an empty word is an unknown role, too */
            return -1;
    }
    return 0;
}
