/* SPDX-License-Identifier: MIT
 * FP8 weights with one scale per tile, as DeepSeek-V3 checkpoints store them. */
#ifndef PARE_QUANT_FP8_TILES_H
#define PARE_QUANT_FP8_TILES_H

#include <stddef.h>
#include <stdint.h>

/* A range of rows of an FP8 matrix.
 *   codes      [rows][cols] e4m3, row-major
 *   scale_inv  [ceil((first_row % tile_rows + rows) / tile_rows)][ceil(cols / tile_cols)] f32, beginning with the tile row
 *              that holds the first row; despite its name it multiplies. Tiles at the edges may be short.
 *   y          [rows][cols] f32
 * first_row    of the range in the whole matrix: says where in its tile it begins. */
struct fp8_rows {
    const uint8_t *codes;
    const float *scale_inv;
    size_t first_row, rows, cols, tile_rows, tile_cols;
};

/* Decodes: y = f32(code) * scale_inv, one F32 rounding. Returns rows * cols, or the index of the first NaN code (0x7f or
 * 0xff), in which case y is incomplete. `cpu` are features of base/cpu.h; the bits do not depend on them. Allocates
 * nothing; thread-safe.
 * Source: DeepSeek-V3, README_WEIGHTS.md "Dequantization Method"; inference/kernel.py weight_dequant. */
size_t fp8_decode_rows(const struct fp8_rows *r, float *y, unsigned cpu);

/* One run of codes under one scale; the kernels behind fp8_decode_rows. Returns n or the index of the first NaN code. */
typedef size_t fp8_run_fn(const uint8_t *codes, float scale, size_t n, float *y);
fp8_run_fn fp8_run_scalar;
fp8_run_fn *fp8_run_for(unsigned cpu);

#endif
