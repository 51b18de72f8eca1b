/* SPDX-License-Identifier: MIT
 * What a checkpoint's configuration says of its quantized weights: quantization_config or compression_config of config.json, or GPTQ's
 * quantize_config.json. It supplies what names and shapes do not tell: layout, bits, groups, symmetry, tiles. Which weights are
 * quantized the tensors themselves tell (model/binding.h); lists of those that are not ("ignore") are not needed for reading.
 *
 *   quant_method         read as
 *   fp8                  layout block, weight_block_size
 *   blockwise_int8       layout block, weight_block_size
 *   w4afp8               routed experts layout w4afp8, group_size; the others block
 *   compressed-tensors   each of config_groups by its format, for modules that its targets name: exact names first, then "re:"
 *                        patterns, then classes, which match all; each kind in the order of names
 *   gptq                 checkpoint_format gptq or gptq_v2; `dynamic` patterns first, in their order
 *   awq                  version gemm, with zero points
 * Sources: vllm-project/compressed-tensors quant_args.py, quant_config.py, utils/match.py; ModelCloud/GPTQModel quantization/config.py;
 * casper-hansen/AutoAWQ models/_config.py; sgl-project/sglang blockwise_int8.py, w4afp8.py. */
#ifndef PARE_MODEL_QUANTIZATION_H
#define PARE_MODEL_QUANTIZATION_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "quant/layouts.h"

/* How the modules of one target are stored. */
struct scheme {
    const char *target;           /* NULL: every module */
    void *pattern;                /* compiled, of a target that is a pattern; NULL: others */
    const struct layout *layout;  /* NULL: these modules are not quantized */
    const struct quant_type *type;
    struct quant_type own;        /* what type points to where tiles are of a size that no type of the table has */
    struct tiling tiling;
};

struct quantization {
    const char *method;      /* NULL: the configuration has none */
    struct scheme **schemes; /* the first that matches counts */
    size_t n_schemes;
    uint64_t row_step;       /* ranges of rows that begin at multiples of it have their scales and zeros for themselves */
    struct arena arena;
};

/* From the text of config.json and, where that has no quantization, of quantize_config.json (NULL: there is none). 0, or -1 with
 * ERR_FORMAT or ERR_UNSUPPORTED: a method, format or size that is not read. The caller clears q in any case. */
int quantization_read(struct quantization *q, const char *config, size_t n, const char *gptq, size_t n_gptq, struct error *e);
void quantization_clear(struct quantization *q);

/* The scheme of a module ("model.layers.3.mlp.down_proj"), or NULL. Thread-safe. */
const struct scheme *quantization_scheme(const struct quantization *q, const char *module);

#endif
