/* SPDX-License-Identifier: MIT
 * Rotary positions with YaRN. Angles are products of F32 frequencies and positions, rounded to F32, as the reference
 * implementations compute them; sine and cosine of that angle are then exact to F32.
 * Source: huggingface/transformers modeling_rope_utils.py _compute_yarn_parameters; DeepSeek-V3 inference/model.py. */
#include <math.h>
#include <stdlib.h>

#include "model/forward/det_math.h"
#include "model/forward/parts.h"

/* The (fractional) pair index whose wavelength makes `rotations` turns over the original context. */
static double correction(const struct arch_params *p, double rotations)
{
    const double two_pi = 6.283185307179586;
    double dim = (double)p->qk_rope_head_dim;
    double turns = (double)p->rope.original_max_position_embeddings / (rotations * two_pi);
    return dim * det_log(turns) / (2 * det_log(p->rope_theta));
}

static double frequency(const struct arch_params *p, size_t j)
{
    double dim = (double)p->qk_rope_head_dim, f = det_exp(-2.0 * (double)j / dim * det_log(p->rope_theta));
    if (p->rope.factor <= 0)
        return f;
    double low = floor(correction(p, p->rope.beta_fast)), high = ceil(correction(p, p->rope.beta_slow));
    low = low < 0 ? 0 : low;
    high = high > dim - 1 ? dim - 1 : high;
    double ramp = ((double)j - low) / (high > low ? high - low : 0.001);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    return f * (1 - ramp) + f / p->rope.factor * ramp;
}

static double mscale(double factor, double m)
{
    return factor > 1 ? 0.1 * m * det_log(factor) + 1 : 1;
}

int rope_init(struct forward *f, struct error *e)
{
    const struct arch_params *p = &f->model->params;
    size_t pairs = (size_t)p->qk_rope_head_dim / 2, positions = f->tiles_per_chunk * LANES;
    double amplitude = 1, m = 1;
    if (p->rope.factor > 0) {
        amplitude = mscale(p->rope.factor, p->rope.mscale) / mscale(p->rope.factor, p->rope.mscale_all_dim);
        m = mscale(p->rope.factor, p->rope.mscale_all_dim);
    }
    f->softmax_scale = m * m / sqrt((double)(p->qk_nope_head_dim + p->qk_rope_head_dim));
    f->rope_cos = malloc(pairs * positions * sizeof *f->rope_cos);
    f->rope_sin = malloc(pairs * positions * sizeof *f->rope_sin);
    if (!f->rope_cos || !f->rope_sin)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t j = 0; j < pairs; j++) {
        float freq = (float)frequency(p, j);
        for (size_t i = 0; i < positions; i++) {
            double s, c;
            float angle = (float)i * freq;
            det_sincos((double)angle, &s, &c);
            f->rope_cos[j * positions + i] = (float)(c * amplitude);
            f->rope_sin[j * positions + i] = (float)(s * amplitude);
        }
    }
    return 0;
}

void rope_rotate(const struct forward *f, float *rows, size_t position)
{
    size_t pairs = (size_t)f->model->params.qk_rope_head_dim / 2, positions = f->tiles_per_chunk * LANES;
    for (size_t j = 0; j < pairs; j++) {
        const float *c = f->rope_cos + j * positions + position, *s = f->rope_sin + j * positions + position;
        float *x0 = rows + 2 * j * LANES, *x1 = x0 + LANES;
        for (size_t l = 0; l < LANES; l++) {
            float a = x0[l], b = x1[l];
            x0[l] = a * c[l] - b * s[l];
            x1[l] = a * s[l] + b * c[l];
        }
    }
}
