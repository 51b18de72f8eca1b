/* SPDX-License-Identifier: MIT
 * Tensor parallelism: over how many devices engines can divide a checkpoint. What ends a block is cut by its inputs, the rest by its
 * outputs; the projections into the latent spaces and the indexer are whole everywhere. Groups and tiles are never cut.
 * Source: vllm-project/vllm and sgl-project/sglang, models/deepseek_v2.py, layers/linear.py. */
#ifndef PARE_MODEL_PARALLEL_H
#define PARE_MODEL_PARALLEL_H

#include <stddef.h>
#include <stdint.h>

#include "model/roles.h"
#include "quant/types.h"

enum { PARALLEL_MOST = 64, PARALLEL_TEXT = 40 };

/* Whether a quantized matrix of this role and type divides by n. */
int parallel_divides(enum tensor_role role, uint64_t rows, uint64_t cols, const struct quant_type *type, uint64_t n);

/* "1, 2, 4" of the powers of two that `sizes` has as bits: 1 | 2 | 4. Returns out. */
const char *parallel_text(unsigned sizes, char out[PARALLEL_TEXT]);

#endif
