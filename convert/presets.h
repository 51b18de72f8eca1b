/* SPDX-License-Identifier: MIT
 * Presets: the named mixtures of llama-quantize, as data: which type each tensor gets.
 * Source: ggml-org/llama.cpp src/llama-quant.cpp; include/llama.h enum llama_ftype. */
#ifndef PARE_CONVERT_PRESETS_H
#define PARE_CONVERT_PRESETS_H

#include "model/roles.h"
#include "quant/types.h"

/* When a preset lifts ffn_down at all. */
enum lift_when { LIFT_ALWAYS, LIFT_WITH_IMATRIX, LIFT_WITHOUT_IMATRIX };

/* The layers of a model whose ffn_down a preset lifts above its base type. */
enum layer_rule {
    LAYERS_ALL,
    LAYERS_FIRST_EIGHTH,
    LAYERS_FIRST_SIXTEENTH,
    LAYERS_SPREAD, /* the first and last eighth and every third between */
};

struct preset {
    const char *name;
    uint32_t file_type; /* general.file_type of GGUF */
    const char *base;
    const char *output;      /* NULL here and below: base */
    const char *ffn_down;    /* of the layers in `lifted`; dense, routed and shared experts */
    const char *ffn_down_rest;
    enum layer_rule lifted;
    enum lift_when lift_when;
    const char *attn_output;
    const char *attn_output_of_8; /* of models with exactly 8 experts, which llama-quantize takes for another family */
    const char *stacked;     /* of tensors with three dimensions */
    int needs_imatrix;       /* without an importance the base type is of no use */
};
extern const struct preset presets[]; /* ends with a row whose name is NULL */

/* By name or llama-quantize's alias, in any case of letters, or NULL. */
const struct preset *preset_find(const char *name);

/* What the preset gives to a tensor. `layer` -1: a global one. */
const struct quant_type *preset_type(const struct preset *p, enum tensor_role role, int layer, int layers, int experts,
                                    int has_imatrix);

/* The type that stands in for t where a row is no multiple of its block, or NULL: then F16 does. */
const struct quant_type *type_fallback(const struct quant_type *t);

#endif
