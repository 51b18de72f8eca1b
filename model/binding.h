/* SPDX-License-Identifier: MIT
 * Checks of a bound model: nothing missing, every shape and dtype as the architecture says. */
#ifndef PARE_MODEL_BINDING_H
#define PARE_MODEL_BINDING_H

#include "model/model.h"

/* Tensors that belong to a weight. */
enum companion {
    COMPANION_NONE,        /* a weight itself */
    COMPANION_TILE_SCALES, /* a checkpoint's NAME_scale_inv */
    COMPANION_FACTOR,      /* a GGUF's NAME.scale of NAME.weight, such as the second scale of NVFP4 files */
    COMPANION_INPUT_SCALE, /* a GGUF's NAME.input_scale */
};
/* What a tensor is by its name, and the name of its weight. */
enum companion binding_companion(const char *name, int gguf, char weight[TENSOR_NAME]);

/* 0, or -1 with ERR_FORMAT (ERR_UNSUPPORTED for dtypes) naming the first offender and the number of others. */
int binding_check(const struct model *m, struct error *e);

#endif
