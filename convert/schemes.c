/* SPDX-License-Identifier: MIT
 * The table of schemes. */
#include "convert/schemes.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

const struct preset_scheme schemes[] = {
    {"W4A16", "INT4-G128", "INT4-G128", NULL, "pack-quantized", 0},
    {"W4A16_ASYM", "INT4-G128-ASYM", "INT4-G128-ASYM", NULL, "pack-quantized", 0},
    {"W4A16_EXPERTS", "INT4-G128", NULL, NULL, "pack-quantized", 0},
    {"W4A16_FP8", "INT4-G128", "FP8-BLOCK", "FP8-BLOCK", "pack-quantized", 0},
    {"W4AFP8", "INT4-G128", "FP8-BLOCK", "FP8-BLOCK", "pack-quantized", 1},
    {"W8A16", "INT8-G128", "INT8-G128", NULL, "pack-quantized", 0},
    {"W8A8", "INT8-C", "INT8-C", NULL, "int-quantized", 0},
    {"FP8", "FP8-BLOCK", "FP8-BLOCK", "FP8-BLOCK", NULL, 0},
    {"FP8_UE8M0", "FP8-BLOCK-UE8M0", "FP8-BLOCK-UE8M0", "FP8-BLOCK-UE8M0", NULL, 0},
    {"FP8_CHANNEL", "FP8-C", "FP8-C", NULL, NULL, 0},
    {"MXFP4", "MXFP4-CT", "MXFP4-CT", NULL, NULL, 0},
    {"NVFP4", "NVFP4-CT", "NVFP4-CT", NULL, NULL, 0},
    {"INT8_BLOCK", "INT8-BLOCK", "INT8-BLOCK", "INT8-BLOCK", NULL, 0},
    {"AMXINT8", "INT8-C-F32", NULL, NULL, "kt-amx", 0},
    {"AMXINT4", "INT4-C-F32", NULL, NULL, "kt-amx", 0},
    {"BF16", NULL, NULL, NULL, NULL, 0},
    {0},
};

/* Other names for the same: weights only, and compressed-tensors' longer ones. */
static const struct {
    const char *name, *scheme;
} aliases[] = {{"MXFP4A16", "MXFP4"}, {"NVFP4A16", "NVFP4"}, {"FP8_BLOCK", "FP8"}, {"FP8_DYNAMIC", "FP8_CHANNEL"}, {"INT8", "W8A8"}};

const struct preset_scheme *scheme_find(const char *name)
{
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (!strcasecmp(aliases[i].name, name))
            name = aliases[i].scheme;
    for (const struct preset_scheme *s = schemes; s->name; s++)
        if (!strcasecmp(s->name, name))
            return s;
    return NULL;
}

const struct quant_type *type_with_group(const struct quant_type *type, long group, struct error *e)
{
    char name[64], size[24];
    const char *at = strstr(type->name, "-G128");
    if (!group || !at)
        return type;
    snprintf(size, sizeof size, group < 0 ? "-C" : "-G%ld", group);
    snprintf(name, sizeof name, "%.*s%s%s", (int)(at - type->name), type->name, size, at + strlen("-G128"));
    const struct quant_type *found = quant_type_find(name);
    if (!found)
        error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--group-size %ld: there is no %s (sizes are 32, 64, 128, and -1 for a scale per row)", group, name);
    return found;
}

static const char *type_name(const struct preset_scheme *s, enum tensor_role role)
{
    switch (roles[role].class) {
    case CLASS_EXPERTS: return s->experts;
    case CLASS_DENSE: case CLASS_SHARED: return s->linears;
    case CLASS_ATTENTION: return role == ROLE_ATTN_KV_B ? s->kept : s->linears;
    case CLASS_INDEXER: return s->kept;
    default: return NULL; /* embeddings, router, norms, and what an MTP layer has of its own: never quantized */
    }
}

int scheme_type(const struct preset_scheme *s, enum tensor_role role, long group, const struct quant_type **type, struct error *e)
{
    const char *name = type_name(s, role);
    *type = name ? quant_type_find(name) : NULL;
    return *type && !(*type = type_with_group(*type, group, e)) ? -1 : 0;
}
