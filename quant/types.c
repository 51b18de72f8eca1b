/* SPDX-License-Identifier: MIT
 * The table of quantization types. A type is one row here and one file. */
#include "quant/types.h"

#include <float.h>
#include <strings.h>

#include "quant/float_types.h"
#include "quant/q4_0.h"
#include "quant/q8_0.h"

const struct quant_type quant_types[] = {
    {"F32", 0, 1, 4, QT_FLOAT, FLT_MAX, {f32_encode, f32_decode}, NULL},
    {"F16", 1, 1, 2, QT_FLOAT, 65504.0f, {f16_encode, f16_decode}, float_types_f16_simd},
    {"BF16", 30, 1, 2, QT_FLOAT, 0x1.fep127f, {bf16_encode, bf16_decode}, float_types_bf16_simd},
    {"Q8_0", 8, 32, 34, 0, 65504.0f * 127, {q8_0_encode, q8_0_decode}, q8_0_simd},
    {"Q4_0", 2, 32, 18, 0, 65504.0f * 8, {q4_0_encode, q4_0_decode}, NULL},
    /* stored next to one scale per tile, or being such a scale */
    {"F8_E4M3", -1, 1, 1, QT_FLOAT | QT_TILED, 448.0f, {f8_e4m3_encode, f8_e4m3_decode}, NULL},
    {"F8_E5M2", -1, 1, 1, QT_FLOAT | QT_TILED, 57344.0f, {f8_e5m2_encode, f8_e5m2_decode}, NULL},
    {"F8_E8M0", -1, 1, 1, QT_FLOAT, 0x1p127f, {f8_e8m0_encode, f8_e8m0_decode}, NULL},
    {0},
};

const struct quant_type *quant_type_find(const char *name)
{
    for (const struct quant_type *t = quant_types; t->name; t++)
        if (!strcasecmp(t->name, name))
            return t;
    return NULL;
}

struct quant_kernels quant_kernels_for(const struct quant_type *t, unsigned cpu)
{
    struct quant_kernels k = t->ref;
    if (t->simd)
        t->simd(&k, cpu);
    return k;
}

double quant_type_bpw(const struct quant_type *t)
{
    return 8.0 * t->block_bytes / t->block_len;
}
