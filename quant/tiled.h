/* SPDX-License-Identifier: MIT
 * Tiled types: one code per weight and one scale per tile of a matrix, both in arrays of their own.
 *
 * A tile is `rows` x `cols` weights (cols 0: a whole row), short at the right and lower edge. y = (code - zero) * scale; a symmetric
 * type has no zeros. Whole tile rows are encoded together:
 *
 *   codes [n][cols]                      one byte each: E4M3, or a whole number with its sign, of 4 or 8 bits
 *   scale [tile rows][tiles across] F32  a number of the type `scales`
 *   zero  [tile rows][tiles across] i8   asymmetric types only
 *
 * Rules without search (`--search compat`), computed in F32 and then rounded to `scales`, with which the codes are made:
 *   symmetric    scale = amax / peak: 2^(bits-1) - 0.5 as compressed-tensors has it, 127 in the blocks of SGLang's INT8, 448 for E4M3;
 *                as F8_E8M0 the next power of two that is not smaller. code = clamp(rint(x / scale)), or the nearest E4M3
 *   asymmetric   range with 0 in it, scale = (max - min) / (2 * peak), zero = clamp(rint(low - min / scale)), code = clamp(rint(x / scale
 *                + zero))
 * A scale of 0 becomes 2^-23. Of a matrix that was E4M3 with such tiles, whose numbers are BF16 now, the codes come back wherever a
 * tile's largest is 448, with power-of-two scales every number does.
 * best: E4M3 tries the eight mantissas that the largest weight may have had, so that other tiles come back too.
 * Sources: vllm-project/compressed-tensors quantization/utils/helpers.py; deepseek-ai/DeepSeek-V3 inference/kernel.py;
 * sgl-project/sglang int8_kernel.py.
 * Nothing is allocated but where said; deterministic on every instruction set; thread-safe. */
#ifndef PARE_QUANT_TILED_H
#define PARE_QUANT_TILED_H

#include <stddef.h>
#include <stdint.h>

#include "quant/types.h"

struct tiling {
    uint32_t rows, cols; /* of a tile; cols 0: the whole row */
    int bits;            /* of a code: 4 or 8 */
    float peak;          /* what the largest weight is divided by, half of the range's divisor */
    const char *scales;  /* type that the scales are rounded to: F32, BF16, F16, F8_E8M0 */
    int is_float;        /* E4M3 */
    int asymmetric;
};

/* One range of whole tile rows; the matrix's last may be short. To be decoded a range may begin within a tile. */
struct tiled {
    const struct quant_type *type; /* with a tiling */
    size_t rows, cols;
    uint8_t *codes;
    float *scale;
    int8_t *zero;                  /* NULL without */
    size_t first_row;              /* where the range begins in its matrix; to encode, a multiple of the tile's rows */
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
