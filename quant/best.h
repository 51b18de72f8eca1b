/* SPDX-License-Identifier: MIT
 * `--search best`: scales, mins and codes with the smallest weighted error that a bounded search finds.
 *
 * The error of a block is sum w * (x - y)^2 over its weights, y as the block decodes; w is the importance where there is one,
 * else the block's root mean square + |x| (docs/quality.md tells what else was tried). The search begins at what
 * `--search compat` made, and a block is replaced only when its error, summed in F64 over what both decode to, becomes
 * smaller: no block is worse than llama.cpp's.
 *
 * For given units, groups try whole scales and mins around their own optimum, with the codes that follow by rounding
 * (quant/panel.h). For given scales, mins and codes, the least squares solution gives new units. The two take turns.
 * All functions are deterministic, the same on every instruction set, allocate nothing and are thread-safe. */
#ifndef PARE_QUANT_BEST_H
#define PARE_QUANT_BEST_H

#include <stddef.h>
#include <stdint.h>

#include "quant/panel.h"
#include "quant/types.h"

/* What a block says beside its codes. y = d * scale * value - dmin * min in each group; of blocks with a scale of their own,
 * d and dmin are all, and scale and min are 1. Where scales are codes of numbers (step of struct best), only scale counts. */
struct super {
    float d, dmin; /* F16 numbers, or BF16 */
    int scale[PANEL], min[PANEL];
};

struct searches;
/* A type's decoder by the loops of any instruction set: all give the same numbers. */
typedef void best_decode_fn(const struct searches *search, const void *blocks, float *x, size_t n);

/* NAME_decode_by of a type whose decoder is one for all. */
#define BEST_DECODER(name)                                                                                            \
    static void name##_decode_by(const struct searches *search, const void *blocks, float *x, size_t n)               \
    {                                                                                                                 \
        (void)search;                                                                                                 \
        name##_decode(blocks, x, n);                                                                                  \
    }

enum { BEST_ROUNDS = 3, BEST_MOST_BYTES = 256, BEST_MOST_LEN = 256 };

/* How a type is searched, one constant in its file. */
struct best {
    struct form form;
    int groups;         /* of a block, 1, 4, 8 or 16 */
    size_t block_bytes; /* at most BEST_MOST_BYTES; groups * form.len is at most BEST_MOST_LEN */
    best_decode_fn *decode;
    void (*take)(const void *block, struct super *s);
    void (*give)(const struct super *s, const uint8_t *codes, void *block);
    int reach[BEST_ROUNDS];  /* superblocks: how far from the optimum scales are tried, round by round */
    float (*step)(int code); /* scales as codes of numbers: what they stand for */
    int below, above;        /* how far around the first code others are tried, within form's scales */
    int bf16;                /* units are numbers of BF16 in place of F16 */
    int positive;            /* and above zero */
    int zeros;               /* min counts steps: dmin is d, and only whole mins within form's are stored */
};

/* A unit as a type stores it. */
float best_unit(const struct best *b, double v);

/* Each improves n blocks that hold an encoding of x; importance as quant_encode_fn has it. For superblocks with units that
 * their groups share, for blocks with scales (and mins) of their own, for such blocks with zeros, and for scales that are codes of
 * numbers. */
typedef void best_fn(const struct best *b, const struct searches *search, const float *x, const float *importance,
                     void *blocks, size_t n);
best_fn best_superblocks, best_blocks, best_zeros, best_coded;

#endif
