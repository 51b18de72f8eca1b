/* SPDX-License-Identifier: MIT
 * Codes under a scale that is given, by division: how compressed-tensors rounds, which multiplies by no inverse as llama.cpp does
 * (quant/search.h). What group types, tiled types and FP4 checkpoints share.
 *
 * x is finite, scales are finite and not 0. Every element is rounded on its own and extrema have no order, so that variants
 * for wider vectors are the same code, compiled again; only `error` sums, in sixteen lanes that all variants have.
 * Nothing is allocated; thread-safe.
 * Source: vllm-project/compressed-tensors quantization/lifecycle/forward_helpers.py, quantization/quant_args.py. */
#ifndef PARE_QUANT_CODES_H
#define PARE_QUANT_CODES_H

#include <stddef.h>
#include <stdint.h>

/* Whole numbers q = x / scale + zero within low..high, ties to even; stored as q - base. */
struct whole {
    float scale, zero, low, high, base;
};

enum { CODE_LANES = 16 };

struct code_kernels {
    /* Extends low..high, which has 0 in it, to n numbers. */
    void (*range)(const float *x, size_t n, float *low, float *high);
    void (*whole)(const struct whole *w, const float *x, size_t n, uint8_t *codes);
    /* E2M1 and E4M3 numbers nearest to x / scale, ties to even, the largest one beyond it. */
    void (*e2m1)(float scale, const float *x, size_t n, uint8_t *codes);
    void (*e4m3)(float scale, const float *x, size_t n, uint8_t *codes);
    /* x = (code - zero) * scale, codes without a sign or with one */
    void (*unsigned_values)(float scale, float zero, const uint8_t *codes, size_t n, float *x);
    void (*signed_values)(float scale, float zero, const uint8_t *codes, size_t n, float *x);
    /* Adds w * (x - y)^2, element i to lane i % CODE_LANES; w NULL: size + |x|. */
    void (*error)(const float *x, const float *y, const float *w, float size, size_t n, double *lanes);
};

/* The best variant for these CPU features (base/cpu.h). */
const struct code_kernels *code_kernels_for(unsigned cpu);

extern const struct code_kernels codes_scalar;
extern const struct code_kernels codes_avx2, codes_avx512; /* x86-64 */

#endif
