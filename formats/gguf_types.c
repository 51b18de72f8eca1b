/* SPDX-License-Identifier: MIT
 * Geometry of all tensor types of the GGUF specification, encodable here or not, so that any file can be listed and
 * checked. Ids are never invented.
 * Source: ggml-org/llama.cpp ggml/include/ggml.h and ggml/src/ggml-common.h; from id 133 on
 * ikawrakow/ik_llama.cpp ggml/src/ggml-common.h. Where the two disagree on an id, llama.cpp's meaning is taken. */
#include <string.h>

#include "formats/gguf.h"

static const struct storage types[] = {
    {"F32", 1, 4, 0, 0},        {"F16", 1, 2, 1, 0},        {"Q4_0", 32, 18, 2, 0},     {"Q4_1", 32, 20, 3, 0},
    {"Q5_0", 32, 22, 6, 0},     {"Q5_1", 32, 24, 7, 0},     {"Q8_0", 32, 34, 8, 0},     {"Q8_1", 32, 36, 9, 0},
    {"Q2_K", 256, 84, 10, 0},   {"Q3_K", 256, 110, 11, 0},  {"Q4_K", 256, 144, 12, 0},  {"Q5_K", 256, 176, 13, 0},
    {"Q6_K", 256, 210, 14, 0},  {"Q8_K", 256, 292, 15, 0},  {"IQ2_XXS", 256, 66, 16, 0},
    {"IQ2_XS", 256, 74, 17, 0}, {"IQ3_XXS", 256, 98, 18, 0}, {"IQ1_S", 256, 50, 19, 0}, {"IQ4_NL", 32, 18, 20, 0},
    {"IQ3_S", 256, 110, 21, 0}, {"IQ2_S", 256, 82, 22, 0},  {"IQ4_XS", 256, 136, 23, 0},
    {"I8", 1, 1, 24, 0},        {"I16", 1, 2, 25, 0},       {"I32", 1, 4, 26, 0},       {"I64", 1, 8, 27, 0},
    {"F64", 1, 8, 28, 0},       {"IQ1_M", 256, 56, 29, 0},  {"BF16", 1, 2, 30, 0},      {"TQ1_0", 256, 54, 34, 0},
    {"TQ2_0", 256, 66, 35, 0},  {"MXFP4", 32, 17, 39, 0},   {"NVFP4", 64, 36, 40, 0},   {"Q1_0", 128, 18, 41, 0},
    {"Q2_0", 64, 18, 42, 0},
    /* ik_llama.cpp */
    {"Q6_0", 32, 26, 133, 0},   {"IQ2_K", 256, 76, 137, 0}, {"IQ3_K", 256, 110, 138, 0},
    {"IQ4_K", 256, 144, 139, 0}, {"IQ5_K", 256, 176, 140, 0}, {"IQ6_K", 256, 212, 141, 0},
    {"IQ4_KS", 256, 136, 144, 4}, {"IQ2_KS", 256, 70, 145, 2}, {"IQ4_KSS", 256, 128, 146, 4},
    {"Q8_KV", 32, 32, 151, 8},  {"IQ5_KS", 256, 168, 152, 4}, {"IQ2_KT", 256, 68, 153, 4},
    {"IQ3_KT", 256, 100, 154, 4}, {"IQ4_KT", 256, 128, 155, 4}, {"IQ3_KS", 256, 102, 156, 2},
    {"IQ2_KL", 256, 86, 157, 2}, {"IQ1_KT", 256, 56, 158, 4},
};

const struct storage *gguf_storage(uint32_t id)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if ((uint32_t)types[i].gguf_id == id)
            return &types[i];
    return NULL;
}

const struct storage *gguf_storage_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i].name, name))
            return &types[i];
    return NULL;
}
