/* SPDX-License-Identifier: MIT
 * Checks of a bound model: nothing missing, every shape and dtype as the architecture says. */
#ifndef PARE_MODEL_BINDING_H
#define PARE_MODEL_BINDING_H

#include "model/model.h"

/* Tensors that belong to a weight. */
enum companion {
    COMPANION_NONE,   /* a weight itself */
    COMPANION_PART,   /* of a layout: codes, scales, zeros .. under a name of their own */
    COMPANION_FACTOR, /* a GGUF's NAME.scale of NAME.weight, such as the second scale of NVFP4 files */
    COMPANION_INPUT,  /* about activations, for engines that quantize them: no part of the weights */
};
/* What a tensor is by its name, and the name of its weight; *part where it is one. */
enum companion binding_companion(const char *name, int gguf, char weight[TENSOR_NAME], enum layout_part *part);

/* Finds layout and type of what a slot holds. 0, or -1 with ERR_FORMAT or ERR_UNSUPPORTED naming the tensor: the configuration does
 * not explain it, or contradicts it. */
int binding_resolve(const struct model *m, struct stored *s, struct error *e);

/* 0, or -1 with ERR_FORMAT (ERR_UNSUPPORTED for dtypes) naming the first offender and the number of others. */
int binding_check(const struct model *m, struct error *e);

#endif
