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
 *   asymmetric   range with 0 in it, scale = (max - min) / (2^bits - 1), zero = clamp(rint(low - min / scale)) - low
 *   a scale of 0 becomes the package's epsilon.
 * best: quant/best.h. */
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

#endif
