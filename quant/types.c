/* SPDX-License-Identifier: MIT
 * The table of quantization types. A type is one row here and one file. */
#include "quant/types.h"

#include <float.h>
#include <strings.h>

#include "quant/float_types.h"
#include "quant/fp4.h"
#include "quant/fp4_ct.h"
#include "quant/groups.h"
#include "quant/iq.h"
#include "quant/iq4.h"
#include "quant/legacy.h"
#include "quant/low_bits.h"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"
#include "quant/tiled.h"

/* Largest scale that F16 takes. Where a search may step past the largest weight, only half of the range is given away. */
#define SCALE 65504.0f
/* Of scales in BF16 or F32, which take nearly what F32 takes: weights that leave the decoded ones room. */
#define WIDE 0x1p125f

#define MOST_BF16(bits) WIDE
#define MOST_F16(bits) (SCALE * ((1 << bits) - 1) / 2)
#define GROUP_ROW(id, name, bits, len, asymmetric, scales)                                                            \
    {name, -1, len, 4 + 4 * asymmetric + len * bits / 8, 0, MOST_##scales(bits), {id##_encode, id##_decode, id##_improve}, \
     id##_simd, &id##_best, &id##_form, NULL},

/* tile rows and columns, bits, what the largest weight is divided by, type of the scales */
#define TILED_ROW(name, most, ...) {name, -1, 1, 1, QT_TILED, most, {NULL, NULL, NULL}, NULL, .tiling = &(const struct tiling){__VA_ARGS__}}

const struct quant_type quant_types[] = {
    {"F32", 0, 1, 4, QT_FLOAT, FLT_MAX, {f32_encode, f32_decode, NULL}, NULL},
    {"F16", 1, 1, 2, QT_FLOAT, 65504.0f, {f16_encode, f16_decode, NULL}, float_types_f16_simd},
    {"BF16", 30, 1, 2, QT_FLOAT, 0x1.fep127f, {bf16_encode, bf16_decode, NULL}, float_types_bf16_simd},
    {"Q8_0", 8, 32, 34, 0, SCALE * 127, {q8_0_encode, q8_0_decode, NULL}, q8_0_simd},
    {"Q4_0", 2, 32, 18, QT_WEIGHED, SCALE * 7, {q4_0_encode, q4_0_decode, q4_0_improve}, q4_0_simd, &q4_0_best},
    {"Q4_1", 3, 32, 20, QT_WEIGHED, SCALE / 2, {q4_1_encode, q4_1_decode, q4_1_improve}, q4_1_simd, &q4_1_best},
    {"Q5_0", 6, 32, 22, QT_WEIGHED, SCALE * 15, {q5_0_encode, q5_0_decode, q5_0_improve}, q5_0_simd, &q5_0_best},
    {"Q5_1", 7, 32, 24, QT_WEIGHED, SCALE / 2, {q5_1_encode, q5_1_decode, q5_1_improve}, q5_1_simd, &q5_1_best},
    {"Q2_K", 10, 256, 84, QT_WEIGHED, SCALE * 15 / 2, {q2_k_encode, q2_k_decode, q2_k_improve}, q2_k_simd, &q2_k_best},
    {"Q3_K", 11, 256, 110, QT_WEIGHED, SCALE * 31 * 3 / 2, {q3_k_encode, q3_k_decode, q3_k_improve}, q3_k_simd, &q3_k_best},
    {"Q4_K", 12, 256, 144, QT_WEIGHED, SCALE * 63 / 2, {q4_k_encode, q4_k_decode, q4_k_improve}, q4_k_simd, &q4_k_best},
    {"Q5_K", 13, 256, 176, QT_WEIGHED, SCALE * 63 / 2, {q5_k_encode, q5_k_decode, q5_k_improve}, q5_k_simd, &q5_k_best},
    {"Q6_K", 14, 256, 210, QT_WEIGHED, SCALE * 127 * 31 / 2, {q6_k_encode, q6_k_decode, q6_k_improve}, q6_k_simd, &q6_k_best},
    {"IQ4_NL", 20, 32, 18, QT_WEIGHED, SCALE * 113 / 2, {iq4_nl_encode, iq4_nl_decode, iq4_nl_improve}, iq4_nl_simd, &iq4_nl_best},
    {"IQ4_XS", 23, 256, 136, QT_WEIGHED, SCALE * 31 * 113 / 2, {iq4_xs_encode, iq4_xs_decode, iq4_xs_improve}, iq4_xs_simd, &iq4_xs_best},
    {"MXFP4", 39, 32, 17, 0, FLT_MAX, {mxfp4_encode, mxfp4_decode, mxfp4_improve}, mxfp4_simd, &mxfp4_best},
    {"NVFP4", 40, 64, 36, 0, 448.0f * 6, {nvfp4_encode, nvfp4_decode, nvfp4_improve}, nvfp4_simd, &nvfp4_best},
    /* what checkpoints hold, in tensors of their own layouts (layouts.h) */
    GROUP_TYPES(GROUP_ROW)
    {"MXFP4-CT", -1, 32, 17, 0, 0x1p127f, {mxfp4_ct_encode, mxfp4_ct_decode, mxfp4_ct_improve}, mxfp4_ct_simd, &mxfp4_ct_best},
    {"NVFP4-CT", -1, 16, 9, 0, 448.0f * 6, {nvfp4_ct_encode, nvfp4_ct_decode, nvfp4_ct_improve}, nvfp4_ct_simd, &nvfp4_ct_best},
    TILED_ROW("FP8-BLOCK", WIDE, 128, 128, 8, 448, "F32", .is_float = 1),
    TILED_ROW("FP8-BLOCK-UE8M0", WIDE, 128, 128, 8, 448, "F8_E8M0", .is_float = 1),
    TILED_ROW("FP8-C", WIDE, 1, 0, 8, 448, "F32", .is_float = 1),
    TILED_ROW("INT8-BLOCK", WIDE, 128, 128, 8, 127, "F32"),
    TILED_ROW("INT8-C", WIDE, 1, 0, 8, 127.5f, "BF16"),
    TILED_ROW("INT8-C-F16", SCALE * 127.5f, 1, 0, 8, 127.5f, "F16"),
    TILED_ROW("INT8-C-F32", WIDE, 1, 0, 8, 127, "F32"),
    TILED_ROW("INT4-C-F32", WIDE, 1, 0, 4, 7, "F32"),
    TILED_ROW("INT4-C", WIDE, 1, 0, 4, 7.5f, "BF16"),
    TILED_ROW("INT4-C-ASYM", WIDE, 1, 0, 4, 7.5f, "BF16", .asymmetric = 1),
    TILED_ROW("INT4-C-F16", SCALE * 7.5f, 1, 0, 4, 7.5f, "F16"),
    /* read only */
    {"IQ1_S", 19, 256, 50, 0, SCALE, {NULL, iq1_s_decode, NULL}, NULL},
    {"IQ1_M", 29, 256, 56, 0, SCALE, {NULL, iq1_m_decode, NULL}, NULL},
    {"IQ2_XXS", 16, 256, 66, 0, SCALE, {NULL, iq2_xxs_decode, NULL}, NULL},
    {"IQ2_XS", 17, 256, 74, 0, SCALE, {NULL, iq2_xs_decode, NULL}, NULL},
    {"IQ2_S", 22, 256, 82, 0, SCALE, {NULL, iq2_s_decode, NULL}, NULL},
    {"IQ3_XXS", 18, 256, 98, 0, SCALE, {NULL, iq3_xxs_decode, NULL}, NULL},
    {"IQ3_S", 21, 256, 110, 0, SCALE, {NULL, iq3_s_decode, NULL}, NULL},
    {"TQ1_0", 34, 256, 54, 0, SCALE, {NULL, tq1_0_decode, NULL}, NULL},
    {"TQ2_0", 35, 256, 66, 0, SCALE, {NULL, tq2_0_decode, NULL}, NULL},
    {"Q1_0", 41, 128, 18, 0, SCALE, {NULL, q1_0_decode, NULL}, NULL},
    {"Q2_0", 42, 64, 18, 0, SCALE, {NULL, q2_0_decode, NULL}, NULL},
    /* stored next to one scale per tile, or being such a scale */
    {"F8_E4M3", -1, 1, 1, QT_FLOAT | QT_TILED, 448.0f, {f8_e4m3_encode, f8_e4m3_decode, NULL}, NULL},
    {"F8_E5M2", -1, 1, 1, QT_FLOAT | QT_TILED, 57344.0f, {f8_e5m2_encode, f8_e5m2_decode, NULL}, NULL},
    {"F8_E8M0", -1, 1, 1, QT_FLOAT, 0x1p127f, {f8_e8m0_encode, f8_e8m0_decode, NULL}, NULL},
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
    const struct group_form *g = t->group;
    if (g) /* stored scales have two bytes, zeros the bits of a code */
        return g->bits + (16.0 + (g->asymmetric ? g->bits : 0)) / g->len;
    if (t->tiling)
        return t->tiling->bits;
    return 8.0 * t->block_bytes / t->block_len;
}
