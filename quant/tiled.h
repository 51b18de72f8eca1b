/* SPDX-License-Identifier: MIT
 * Tiled types: one code per weight and one scale per tile of a matrix, both in arrays of their own.
 *
 * A tile is `rows` x `cols` weights (cols 0: a whole row), short at the right and lower edge. y = (code - zero) * scale; a symmetric
 * type has no zeros. Whole tile rows are encoded together:
 *
 *   codes [n][cols]                      one byte each: E4M3, or two's complement of `bits` bits
 *   scale [tile rows][tiles across] F32  a number of the type `scales`
 *   zero  [tile rows][tiles across] i8   asymmetric types only
 *
 * Rules without search (`--search compat`), computed in F32 and then rounded to `scales`, with which the codes are made:
 *   whole numbers, symmetric   scale = amax / (2^(bits-1) - 0.5), code = clamp(rint(x / scale))
 *   asymmetric                 range with 0 in it, scale = (max - min) / (2^bits - 1), zero = clamp(rint(low - min / scale))
 *   E4M3                       scale = amax / 448; as F8_E8M0 the next power of two that is not smaller
 * Sources: vllm-project/compressed-tensors quantization/utils/helpers.py; deepseek-ai/DeepSeek-V3 inference/kernel.py.
 * Nothing is allocated but where said; deterministic on every instruction set; thread-safe. */
#ifndef PARE_QUANT_TILED_H
#define PARE_QUANT_TILED_H

#include <stddef.h>
#include <stdint.h>

#include "quant/types.h"

struct tiling {
    uint32_t rows, cols; /* of a tile; cols 0: the whole row */
    int bits;            /* of a code: 4 or 8 */
    int is_float;        /* E4M3 */
    int asymmetric;
    const char *scales;  /* type that the scales are rounded to: F32, BF16, F16, F8_E8M0 */
};

/* One range of whole tile rows; the matrix's last may be short. */
struct tiled {
    const struct quant_type *type; /* with a tiling */
    size_t rows, cols;
    uint8_t *codes;
    float *scale;
    int8_t *zero;                  /* NULL without */
};

/* Tiles of n rows from a tile's first on, and across cols columns. */
size_t tiled_down(const struct tiling *t, size_t n);
size_t tiled_across(const struct tiling *t, size_t cols);

/* Encodes x [rows][cols], finite and within max_abs. compat: as above; else scales (and zeros) with the smallest error that a bounded
 * search finds, weighed by importance [cols] where it is not NULL, never worse than compat's.
 * With `given` scales [tile rows][across] those are taken as they are: codes follow, nothing is searched. */
void tiled_encode(const struct tiled *out, const float *x, const float *importance, const float *given, int compat, unsigned cpu);

/* Into x [n][cols], rows row0 .. row0 + n of the range. */
void tiled_decode(const struct tiled *in, size_t row0, size_t n, float *x, unsigned cpu);

#endif
