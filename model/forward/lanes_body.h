/* SPDX-License-Identifier: MIT
 * Body of model/forward/lanes*.c: included once per instruction set with LANES_VARIANT defined as the name of its table. */
#include "model/forward/det_math.h"
#include "model/forward/lanes.h"

static void run_exp(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        /* below -104 the F32 result is 0 whatever the double is */
        double v = (double)x[i] < -200.0 ? -200.0 : (double)x[i];
        x[i] = (float)det_exp_short(v);
    }
}

static void run_silu_mul(float *g, const float *u, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double v = (double)g[i], c = -v > 700.0 ? 700.0 : -v < -700.0 ? -700.0 : -v;
        g[i] = (float)(v / (1 + det_exp_short(c))) * u[i];
    }
}

const struct lanes LANES_VARIANT = {run_exp, run_silu_mul};
