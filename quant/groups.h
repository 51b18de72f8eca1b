/* SPDX-License-Identifier: MIT
 * Group types: INT4 and INT8 with one scale, and in asymmetric types one zero, per group of 32, 64 or 128 weights of a row. What
 * compressed-tensors, GPTQ and AWQ checkpoints hold, before a layout (quant/layouts.h) spreads it over tensors. A block is a group:
 *
 *   0        4         (8)
 *   | scale  | zero    | codes, group * bits / 8 bytes |
 *   | F32 LE | i32 LE, asymmetric types only
 *
 * u = code: 0 .. 2^bits - 1, element i in bits i * bits of the little-endian bytes. y = (u - zero) * scale, zero 2^(bits-1) in symmetric
 * types, 0 .. 2^bits - 1 else. The scale is a number of BF16, or of F16 in the types named -F16: it is rounded before codes are made.
 *
 * compat, F32 throughout (vllm-project/compressed-tensors quantization/utils/helpers.py, calculate_qparams; lifecycle/forward.py):
 *   symmetric    scale = amax / ((2^bits - 1) / 2), u = clamp(rint(x / scale)) + 2^(bits-1)
 *   asymmetric   range with 0 in it, scale = (max - min) / (2^bits - 1), zero = clamp(rint(low - min / scale)) - low with
 *                low = -2^(bits-1) and that scale before it is rounded, u = clamp(rint(x / scale + zero)) with the rounded one
 *                in the types named -F16 zero is 1 at least, with scale = max / (2^bits - 2): GPTQ's first version cannot store 0
 *   a scale of 0, also when rounding makes it 0, becomes the package's epsilon, 2^-23, and its zero 2^(bits-1).
 * best: quant/best.h. Scales stay above zero: engines read negative ones, but no quantizer writes them. */
#ifndef PARE_QUANT_GROUPS_H
#define PARE_QUANT_GROUPS_H

#include "quant/types.h"

struct group_form {
    int len, bits;     /* weights of a group; bits of a code */
    int asymmetric;
    const char *scales; /* "BF16" or "F16" */
};

struct group { /* a block's parts */
    float scale;
    int zero;                  /* 2^(bits-1) in symmetric types */
    const uint8_t *codes;      /* within the block */
};
struct group group_take(const struct group_form *f, const void *block);
/* Writes a block's head and returns where its codes go. */
uint8_t *group_give(const struct group_form *f, float scale, int zero, void *block);

/* All of them: GROUP(identifier, name, bits, weights, asymmetric, type of the scale). */
#define GROUP_TYPES(GROUP)                                                                                            \
    GROUP(int4_g32, "INT4-G32", 4, 32, 0, BF16)                                                                       \
    GROUP(int4_g64, "INT4-G64", 4, 64, 0, BF16)                                                                       \
    GROUP(int4_g128, "INT4-G128", 4, 128, 0, BF16)                                                                    \
    GROUP(int4_g32_asym, "INT4-G32-ASYM", 4, 32, 1, BF16)                                                             \
    GROUP(int4_g64_asym, "INT4-G64-ASYM", 4, 64, 1, BF16)                                                             \
    GROUP(int4_g128_asym, "INT4-G128-ASYM", 4, 128, 1, BF16)                                                          \
    GROUP(int4_g32_f16, "INT4-G32-F16", 4, 32, 0, F16)                                                                \
    GROUP(int4_g64_f16, "INT4-G64-F16", 4, 64, 0, F16)                                                                \
    GROUP(int4_g128_f16, "INT4-G128-F16", 4, 128, 0, F16)                                                             \
    GROUP(int4_g32_asym_f16, "INT4-G32-ASYM-F16", 4, 32, 1, F16)                                                      \
    GROUP(int4_g64_asym_f16, "INT4-G64-ASYM-F16", 4, 64, 1, F16)                                                      \
    GROUP(int4_g128_asym_f16, "INT4-G128-ASYM-F16", 4, 128, 1, F16)                                                   \
    GROUP(int8_g32, "INT8-G32", 8, 32, 0, BF16)                                                                       \
    GROUP(int8_g64, "INT8-G64", 8, 64, 0, BF16)                                                                       \
    GROUP(int8_g128, "INT8-G128", 8, 128, 0, BF16)                                                                    \
    GROUP(int8_g32_f16, "INT8-G32-F16", 8, 32, 0, F16)                                                                \
    GROUP(int8_g64_f16, "INT8-G64-F16", 8, 64, 0, F16)                                                                \
    GROUP(int8_g128_f16, "INT8-G128-F16", 8, 128, 0, F16)

#define GROUP_DECLARED(id, name, bits, len, asymmetric, scales)                                                       \
    extern quant_encode_fn id##_encode, id##_improve;                                                                 \
    extern quant_decode_fn id##_decode;                                                                               \
    extern quant_simd_fn id##_simd;                                                                                   \
    extern const struct best id##_best;                                                                               \
    extern const struct group_form id##_form;
GROUP_TYPES(GROUP_DECLARED)

#endif
