/* SPDX-License-Identifier: MIT
 * Schemes: what presets are for checkpoints of other engines: which type experts, other linear layers and the rest get. Names are those
 * of vllm-project/compressed-tensors quantization/quant_scheme.py where it has them. */
#ifndef PARE_CONVERT_SCHEMES_H
#define PARE_CONVERT_SCHEMES_H

#include "base/error.h"
#include "model/roles.h"
#include "quant/types.h"

struct preset_scheme {
    const char *name;
    const char *experts; /* NULL here and below: as they are, FP8 as BF16 */
    const char *linears; /* attention, dense and shared layers */
    const char *kept;    /* kv_b, which engines take apart when they load it, and the indexer */
    const char *layout;  /* that is preferred where several store a type; NULL: the target's first */
    int fp8_activations; /* engines round the inputs of INT4 layers to FP8 */
};
extern const struct preset_scheme schemes[]; /* ends with a row whose name is NULL */

/* By name, in any case of letters, or NULL. */
const struct preset_scheme *scheme_find(const char *name);

/* Another group size for the types of a scheme: 32, 64, 128, or -1, a scale per row; 0: the scheme's own. NULL with ERR_USAGE. */
const struct quant_type *type_with_group(const struct quant_type *type, long group, struct error *e);

/* What a role gets, *type NULL: as it is. ERR_USAGE for a group size that the type does not have. */
int scheme_type(const struct preset_scheme *s, enum tensor_role role, long group, const struct quant_type **type, struct error *e);

#endif
