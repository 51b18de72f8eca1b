/* SPDX-License-Identifier: MIT
 * llama-quantize's --tensor-type and --tensor-type-file as rules of a recipe: PATTERN=TYPE, the pattern in lower case somewhere in
 * the tensor's name, the first that matches wins. A pattern that matches nothing is allowed, as it is there: such
 * files are made for several models.
 * llama-quantize ignores them where the preset is F32, F16 or BF16; here they count.
 * Source: ggml-org/llama.cpp tools/quantize/quantize.cpp parse_tensor_type; src/llama-quant.cpp llama_tensor_get_type. */
#ifndef PARE_CONVERT_TENSOR_TYPES_H
#define PARE_CONVERT_TENSOR_TYPES_H

#include "convert/recipe.h"

/* Adds a rule behind those given before it. ERR_USAGE. */
int tensor_type_add(struct recipe *r, const char *text, struct error *e);
/* Adds those of a file, separated by white space. ERR_FORMAT with file and entry. */
int tensor_type_file_add(struct recipe *r, const char *path, struct error *e);

#endif
