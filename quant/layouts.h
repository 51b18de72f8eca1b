/* SPDX-License-Identifier: MIT
 * Layouts: how a checkpoint stores one quantized matrix W [rows][cols], its parts, in tensors beside one another. A layout turns what
 * codecs make (quant/types.h: blocks; quant/tiled.h: tiled rows) into parts and back, without changing a number.
 *
 * Names are a weight's name "X.weight" with the suffix in place of ".weight". O rows, I cols, G = I / group, u = q + 2^(b-1):
 *
 *   pack-quantized       .weight_packed      I32 [O][ceil(I*b/32)]   u of element i in bits i*b of the row's words
 *                        .weight_scale       [O][G] (G 1: a scale per row)
 *                        .weight_zero_point  I32 [ceil(O*b/32)][G]   packed along O
 *                        .weight_shape       I64 [2]
 *   int-quantized        .weight I8 [O][I], .weight_scale [O][1], .weight_zero_point I8 [O][1]
 *   float-quantized      .weight F8_E4M3 [O][I], .weight_scale [O][1] or [ceil(O/128)][ceil(I/128)]
 *   mxfp4-pack-quantized .weight_packed U8 [O][I/2], even columns in low nibbles, .weight_scale U8 [O][I/32]: E8M0
 *   nvfp4-pack-quantized .weight_packed as above, .weight_scale F8_E4M3 [O][I/16], .weight_global_scale F32 [1], which divides
 *   gptq, gptq_v2        .qweight I32 [I*b/32][O] along I, .qzeros I32 [G][O*b/32] along O (gptq: zero - 1), .scales F16 [G][O],
 *                        .g_idx I32 [I]
 *   awq                  .qweight I32 [I][O/8], nibble n of a word is output channel 8c + {0,2,4,6,1,3,5,7}[n], .qzeros I32 [G][O/8]
 *                        in that order, .scales F16 [G][O]
 *   block                .weight F8_E4M3 or I8 [O][I], .weight_scale_inv [ceil(O/128)][ceil(I/128)], which multiplies: as DeepSeek
 *                        releases FP8, and SGLang's blockwise_int8
 *   w4afp8               .weight I8 [O][I/2], q in two's complement, even columns in low nibbles, .weight_scale_inv [O][G], which
 *                        multiplies: the experts of SGLang's W4AFP8, whose other weights are `block`
 *
 *   kt-amx               .weight I8 [O*I*b/8] in the order of AMX tiles, .scale F32 [O] (quant/layouts_amx.c): experts for kt-kernel, under
 *                        names of its own
 *
 * Sources: vllm-project/compressed-tensors compressors/; casper-hansen/AutoAWQ utils/packing_utils.py; AutoGPTQ qlinear/;
 * deepseek-ai/DeepSeek-V3 README_WEIGHTS.md; sgl-project/sglang blockwise_int8.py, w4afp8.py.
 * Nothing is allocated; thread-safe. */
#ifndef PARE_QUANT_LAYOUTS_H
#define PARE_QUANT_LAYOUTS_H

#include <stddef.h>
#include <stdint.h>

#include "quant/tiled.h"
#include "quant/types.h"

/* Rows of this multiple can be put on their own where a layout is not whole: tiles of 128 rows, words of zeros. */
enum { PART_ROWS = 128 };

enum layout_part { PART_CODES, PART_SCALES, PART_ZEROS, PART_GLOBAL, PART_SHAPE, PART_INDEX, PART_COUNT };

/* A part of one matrix. */
struct part_shape {
    const char *suffix;            /* ".weight_packed" */
    const char *dtype;             /* storage name, as it is written */
    uint32_t n_dims;
    uint64_t dims[2];
    uint64_t bytes;                /* of the whole part, in dtype */
};

/* Rows of a matrix and where its parts are. Of layouts that are `whole`, part[] are whole parts; of others, the ranges that
 * layout_range gives for these rows. Parts that a layout has not are NULL. */
struct part_rows {
    const struct quant_type *type;
    uint64_t rows, cols;           /* of the whole matrix */
    uint64_t row0, n;              /* to put: row0 a multiple of the tile's rows, and of 8 in layouts that pack along O. To get: any */
    const struct quant_type *scales; /* in reading: the float type that PART_SCALES has; NULL: as it is written */
    void *part[PART_COUNT];
};

struct layout {
    const char *name;
    int whole;         /* parts run across rows: a range of rows is no range of bytes */
    const char *suffix[PART_COUNT]; /* NULL: never has this part */
    /* shape of a part of [rows][cols] of this type; 0 when the type has no such part here; -1 when the layout cannot store the type
     * at all, or not in this size (rows or cols that do not divide) */
    int (*shape)(const struct layout *l, const struct quant_type *t, enum layout_part p, uint64_t rows, uint64_t cols,
                 struct part_shape *out);
    /* blocks of n whole rows into parts, or from them. Tiled types take a struct tiled in place of blocks, whose codes may be the part
     * itself where those are bytes. What does not depend on weights (PART_SHAPE, PART_INDEX) is put with the row 0; PART_GLOBAL is
     * the caller's. gptq has no form for a zero of 0: readers take it for 2^b */
    void (*put)(const struct layout *l, const struct part_rows *r, const void *blocks);
    /* 0, or -1 when the bytes are none that the layout allows (NaN scales pass: values are the caller's to check) */
    int (*get)(const struct layout *l, const struct part_rows *r, void *blocks);
};
extern const struct layout layouts[]; /* ends with a row whose name is NULL */

const struct layout *layout_find(const char *name);

/* Whether a layout stores a type, in any size. */
int layout_takes(const struct layout *l, const struct quant_type *t);

/* Bytes [at, at + n) of a part that rows row0 .. row0 + n_rows need or make, from the tile and the word on that row0 lies in; the
 * whole part where the layout is whole, and of PART_SHAPE, PART_GLOBAL, PART_INDEX: those belong to row 0 and are empty (n 0) for
 * ranges that begin later.
 * `dtype_bytes`: of an element of PART_SCALES when it is not stored as it is written, or 0. */
void layout_range(const struct layout *l, const struct quant_type *t, enum layout_part p, uint64_t rows, uint64_t cols, uint64_t row0,
                  uint64_t n_rows, uint32_t dtype_bytes, uint64_t *at, uint64_t *n);

#endif
