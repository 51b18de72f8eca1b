/* SPDX-License-Identifier: MIT
 * The table of presets. Those whose types are read, not written, are missing. */
#include "convert/presets.h"

#include <string.h>
#include <strings.h>

const struct preset presets[] = {
    {"F32", 0, "F32"},
    {"F16", 1, "F16"},
    {"BF16", 32, "BF16"},
    {"Q8_0", 7, "Q8_0"},
    {"Q6_K", 18, "Q6_K"},
    {"Q5_K_M", 17, "Q5_K", .output = "Q6_K", .ffn_down = "Q6_K", .lifted = LAYERS_SPREAD},
    {"Q5_K_S", 16, "Q5_K", .output = "Q6_K"},
    {"Q4_K_M", 15, "Q4_K", .output = "Q6_K", .ffn_down = "Q6_K", .lifted = LAYERS_SPREAD, .attn_output_of_8 = "Q5_K"},
    {"Q4_K_S", 14, "Q4_K", .output = "Q6_K", .ffn_down = "Q5_K", .lifted = LAYERS_FIRST_EIGHTH, .attn_output_of_8 = "Q5_K"},
    {"Q3_K_L", 13, "Q3_K", .output = "Q6_K", .ffn_down = "Q5_K", .attn_output = "Q5_K", .attn_output_of_8 = "Q3_K"},
    {"Q3_K_M", 12, "Q3_K", .output = "Q6_K", .ffn_down = "Q5_K", .ffn_down_rest = "Q4_K", .lifted = LAYERS_FIRST_SIXTEENTH,
     .attn_output = "Q4_K", .attn_output_of_8 = "Q5_K"},
    {"Q3_K_S", 11, "Q3_K", .output = "Q6_K", .attn_output_of_8 = "Q5_K"},
    {"Q2_K", 10, "Q2_K", .output = "Q6_K", .ffn_down = "Q3_K", .attn_output = "Q3_K", .attn_output_of_8 = "Q5_K"},
    {"Q2_K_S", 21, "Q2_K", .output = "Q6_K", .ffn_down = "Q4_K", .lifted = LAYERS_FIRST_EIGHTH, .needs_imatrix = 1},
    {"Q5_1", 9, "Q5_1", .output = "Q6_K"},
    {"Q5_0", 8, "Q5_0", .output = "Q6_K", .ffn_down = "Q5_1", .lifted = LAYERS_FIRST_EIGHTH, .lift_when = LIFT_WITH_IMATRIX},
    {"Q4_1", 3, "Q4_1", .output = "Q6_K"},
    {"Q4_0", 2, "Q4_0", .output = "Q6_K", .ffn_down = "Q4_1", .lifted = LAYERS_FIRST_EIGHTH, .lift_when = LIFT_WITH_IMATRIX},
    {"IQ4_XS", 30, "IQ4_XS", .output = "Q6_K", .ffn_down = "Q5_K", .lifted = LAYERS_FIRST_EIGHTH,
     .lift_when = LIFT_WITHOUT_IMATRIX, .attn_output_of_8 = "Q5_K"},
    {"IQ4_NL", 25, "IQ4_NL", .output = "Q6_K", .ffn_down = "Q5_K", .lifted = LAYERS_FIRST_EIGHTH,
     .lift_when = LIFT_WITHOUT_IMATRIX, .attn_output_of_8 = "Q5_K"},
    {"MXFP4_MOE", 38, "Q8_0", .stacked = "MXFP4"},
    {0},
};

static const struct {
    const char *type, *instead;
} fallbacks[] = {
    {"Q2_K", "Q4_0"}, {"Q3_K", "Q4_0"}, {"Q4_K", "Q5_0"}, {"Q5_K", "Q5_1"}, {"Q6_K", "Q8_0"}, {"IQ4_XS", "IQ4_NL"},
};

/* llama-quantize's short names. */
static const struct {
    const char *name, *preset;
} aliases[] = {{"Q3_K", "Q3_K_M"}, {"Q4_K", "Q4_K_M"}, {"Q5_K", "Q5_K_M"}};

const struct preset *preset_find(const char *name)
{
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (!strcasecmp(aliases[i].name, name))
            name = aliases[i].preset;
    for (const struct preset *p = presets; p->name; p++)
        if (!strcasecmp(p->name, name))
            return p;
    return NULL;
}

static int is_lifted(const struct preset *p, int layer, int layers, int has_imatrix)
{
    int eighth = layers / 8;
    if (p->lift_when != LIFT_ALWAYS && (p->lift_when == LIFT_WITH_IMATRIX) != has_imatrix)
        return 0;
    switch (p->lifted) {
    case LAYERS_FIRST_EIGHTH:
        return layer < eighth;
    case LAYERS_FIRST_SIXTEENTH:
        return layer < layers / 16;
    case LAYERS_SPREAD:
        return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
    default:
        return 1;
    }
}

static const char *type_name(const struct preset *p, enum tensor_role role, int layer, int layers, int experts,
                             int has_imatrix)
{
    switch (role) {
    case ROLE_OUTPUT:
        return p->output;
    case ROLE_FFN_DOWN:
    case ROLE_FFN_DOWN_EXPS:
    case ROLE_FFN_DOWN_SHEXP:
        if (p->ffn_down)
            return is_lifted(p, layer, layers, has_imatrix) ? p->ffn_down : p->ffn_down_rest;
        break;
    case ROLE_ATTN_OUTPUT:
        return experts == 8 && p->attn_output_of_8 ? p->attn_output_of_8 : p->attn_output;
    default:
        break;
    }
    return roles[role].flags & (ROLE_EXPERT | ROLE_PER_HEAD) ? p->stacked : NULL;
}

const struct quant_type *preset_type(const struct preset *p, enum tensor_role role, int layer, int layers, int experts,
                                    int has_imatrix)
{
    const char *name = type_name(p, role, layer, layers, experts, has_imatrix);
    return quant_type_find(name ? name : p->base);
}

const struct quant_type *type_fallback(const struct quant_type *t)
{
    for (size_t i = 0; i < sizeof fallbacks / sizeof *fallbacks; i++)
        if (!strcmp(fallbacks[i].type, t->name))
            return quant_type_find(fallbacks[i].instead);
    return NULL;
}
