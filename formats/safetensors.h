/* SPDX-License-Identifier: MIT
 * The safetensors container.
 *
 *   0      8        8+N                           end of file
 *   | N u64 | JSON, N bytes | tensor data, no holes |
 *
 * Source: huggingface/safetensors, README "Format" and safetensors/src/tensor.rs. */
#ifndef PARE_FORMATS_SAFETENSORS_H
#define PARE_FORMATS_SAFETENSORS_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "formats/source.h"

enum { SAFETENSORS_MAX_HEADER = 100000000 }; /* the reference reader's limit */

/* Parses the header of file `file` of s and appends its tensors. Checked: header length, JSON, dtypes, shapes,
 * data_offsets (ordered without hole or overlap, ending at the end of the file). Errors name file and tensor. */
int safetensors_read_header(struct source *s, uint32_t file, struct error *e);

/* The same of a header that is in memory, n bytes from the length on; file is only noted. *file_bytes: how long the file with it is. Errors
 * have no file. */
int safetensors_read_text(struct source *s, uint32_t file, const char *header, size_t n, uint64_t *file_bytes, struct error *e);

/* For writers: appends the header of a file that holds these tensors behind one another; name, type and dims are given, bytes
 * and offset (within the file) are set. `format`: what __metadata__ says of it ("pt", without which some readers refuse a checkpoint), or
 * NULL. */
int safetensors_header(struct tensor *t, size_t n, const char *format, struct buffer *out, uint64_t *file_bytes, struct error *e);

/* Storage of a dtype string ("F8_E4M3"), or NULL. */
const struct storage *safetensors_dtype(const char *name);

#endif
