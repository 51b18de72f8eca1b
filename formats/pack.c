/* SPDX-License-Identifier: MIT
 * Names and types of packs. */
#include "formats/pack.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/gguf.h"
#include "formats/safetensors.h"

const char *const pack_subset_names[PACK_SUBSETS] = {"", "experts", "experts-only"};

/* Groups of integers behind their F32 scale and, in asymmetric ones, their zero. */
static const struct storage groups[] = {
    {"INT4-G32", 32, 20, -1, 0},        {"INT4-G64", 64, 36, -1, 0},        {"INT4-G128", 128, 68, -1, 0},
    {"INT4-G32-ASYM", 32, 24, -1, 0},   {"INT4-G64-ASYM", 64, 40, -1, 0},   {"INT4-G128-ASYM", 128, 72, -1, 0},
    {"INT4-G32-F16", 32, 20, -1, 0},    {"INT4-G64-F16", 64, 36, -1, 0},    {"INT4-G128-F16", 128, 68, -1, 0},
    {"INT4-G32-ASYM-F16", 32, 24, -1, 0}, {"INT4-G64-ASYM-F16", 64, 40, -1, 0}, {"INT4-G128-ASYM-F16", 128, 72, -1, 0},
    {"INT8-G32", 32, 36, -1, 0},        {"INT8-G64", 64, 68, -1, 0},        {"INT8-G128", 128, 132, -1, 0},
    {"INT8-G32-F16", 32, 36, -1, 0},    {"INT8-G64-F16", 64, 68, -1, 0},    {"INT8-G128-F16", 128, 132, -1, 0},
};

const struct storage *pack_storage(const char *name)
{
    const struct storage *s = safetensors_dtype(name);
    if (!s)
        s = gguf_storage_by_name(name);
    for (size_t i = 0; !s && i < sizeof groups / sizeof *groups; i++)
        if (!strcmp(groups[i].name, name))
            s = &groups[i];
    return s;
}

const char *pack_bundle_name(uint64_t layer, uint64_t expert, char out[PACK_NAME])
{
    snprintf(out, PACK_NAME, "experts/%03" PRIu64 "/%03" PRIu64, layer, expert);
    return out;
}

int pack_side_name_is_valid(const char *name)
{
    char part[PACK_NAME];
    if (!strcmp(name, PACK_MANIFEST) || !strncmp(name, PACK_TENSORS, strlen(PACK_TENSORS)) || !strncmp(name, "experts/", 8))
        return 0;
    for (const char *at = name;; at++) {
        size_t n = strcspn(at, "/");
        if (n >= sizeof part)
            return 0;
        memcpy(part, at, n);
        part[n] = '\0';
        if (!io_name_is_plain(part))
            return 0;
        at += n;
        if (!*at)
            return 1;
    }
}
