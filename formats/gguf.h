/* SPDX-License-Identifier: MIT
 * The GGUF container, version 3, little-endian.
 *
 *   | "GGUF" | u32 version | i64 n_tensors | i64 n_kv |
 *   | key string, i32 type, value | ...                                        key-value pairs
 *   | name string, u32 n_dims, i64 ne[n_dims], i32 type, u64 offset | ...      tensor infos
 *   | zeros up to general.alignment |
 *   | tensor data, each padded with zeros to the alignment, in the order of the infos |
 *
 * A string is a u64 length and bytes. ne[0] is the fastest dimension.
 * Source: ggml-org/ggml, docs/gguf.md; ggml/src/gguf.cpp; llama.cpp tools/gguf-split. */
#ifndef PARE_FORMATS_GGUF_H
#define PARE_FORMATS_GGUF_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "formats/gguf_meta.h"
#include "formats/source.h"

enum { GGUF_ALIGNMENT = 32, GGUF_MAX_NAME = 63, GGUF_MAX_DIMS = 4 };

/* Geometry of a GGUF tensor type: every id of the specification, and ik_llama.cpp's own. NULL for an unknown id. */
const struct storage *gguf_storage(uint32_t id);
/* By name, or NULL. */
const struct storage *gguf_storage_by_name(const char *name);

/* Writes the header (everything before the tensor data) into `out` and sets each tensor's offset in the file, in list
 * order: the container allows no other order. The alignment is general.alignment of `meta`, or GGUF_ALIGNMENT. name, type
 * (with a gguf_id), dims and bytes must be set. Returns the file's size through *size. ERR_UNSUPPORTED when a name or a
 * shape does not fit the format, ERR_MEMORY. */
int gguf_layout(const struct gguf_meta *meta, struct tensor *tensors, size_t n, struct buffer *out, uint64_t *size,
                struct error *e);

#endif
