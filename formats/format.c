/* SPDX-License-Identifier: MIT
 * The list of readable containers: a row here is all that makes a reader known. */
#include <stddef.h>

#include "formats/source.h"

extern const struct format format_checkpoint;  /* checkpoint_read.c */
extern const struct format format_safetensors; /* safetensors_read.c */
extern const struct format format_gguf;        /* gguf_read.c */
extern const struct format format_pack;        /* pack_read.c */

const struct format *const formats[] = {&format_checkpoint, &format_safetensors, &format_gguf, &format_pack, NULL};
