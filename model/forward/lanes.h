/* SPDX-License-Identifier: MIT
 * Elementwise functions over runs of floats, vectorized by the compiler for each instruction set from one source
 * (lanes_body.h). Every element is computed by the same operations as det_math.h has, so all variants give the same bits. */
#ifndef PARE_MODEL_FORWARD_LANES_H
#define PARE_MODEL_FORWARD_LANES_H

#include <stddef.h>

struct lanes {
    /* x[i] = e^x[i] rounded once to F32; for x <= 0, -infinity gives 0 */
    void (*exp)(float *x, size_t n);
    /* g[i] = silu(g[i]) * u[i] */
    void (*silu_mul)(float *g, const float *u, size_t n);
};

/* The best variant for these CPU features (base/cpu.h). */
const struct lanes *lanes_for(unsigned cpu);

extern const struct lanes lanes_scalar, lanes_avx2, lanes_avx512;

#endif
