/* SPDX-License-Identifier: MIT
 * FP8 weights with tile scales: a row is a sequence of runs, each under one scale. */
#include "quant/fp8_tiles.h"

#include "base/cpu.h"
#include "quant/floats.h"
#include "quant/x86/fp8_x86.h"

size_t fp8_run_scalar(const uint8_t *codes, float scale, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t mag = codes[i] & 0x7f;
        if (mag == 0x7f)
            return i;
        /* the code's exponent and mantissa at their place in an F32, 120 too small in the exponent; the product with
         * 2^120 is exact and makes subnormal codes right too */
        float v = bits_f32(mag << 20) * 0x1p120f;
        v = bits_f32(f32_bits(v) | (uint32_t)(codes[i] & 0x80) << 24);
        y[i] = v * scale;
    }
    return n;
}

fp8_run_fn *fp8_run_for(unsigned cpu)
{
#if defined(__x86_64__)
    if (cpu & CPU_AVX512)
        return fp8_run_avx512;
    if (cpu & CPU_AVX2)
        return fp8_run_avx2;
#endif
    (void)cpu;
    return fp8_run_scalar;
}

size_t fp8_decode_rows(const struct fp8_rows *r, float *y, unsigned cpu)
{
    fp8_run_fn *run = fp8_run_for(cpu);
    size_t tiles = (r->cols + r->tile_cols - 1) / r->tile_cols, phase = r->first_row % r->tile_rows;
    for (size_t row = 0; row < r->rows; row++) {
        const float *scale = r->scale_inv + (phase + row) / r->tile_rows * tiles;
        for (size_t at = 0, t = 0; at < r->cols; at += r->tile_cols, t++) {
            size_t n = r->cols - at < r->tile_cols ? r->cols - at : r->tile_cols, i = row * r->cols + at;
            size_t done = run(r->codes + i, scale[t], n, y + i);
            if (done < n)
                return i + done;
        }
    }
    return r->rows * r->cols;
}
