/* SPDX-License-Identifier: MIT
 * Small files for the reader tests, written as text: whole containers in one readable line, valid or hostile. */
#ifndef PARE_TESTS_SAMPLES_H
#define PARE_TESTS_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "formats/source.h"

/* Appends what a recipe says. Words are separated by spaces:
 *   u8=N u16=N u32=N u64=N   little-endian integers
 *   'text'                   these bytes
 *   "text"                   a GGUF string: u64 length and these bytes
 *   x*N                      a GGUF string of N letters x
 *   0*N                      N zero bytes
 *   pad=N                    zeros up to a multiple of N
 * N is 12, 0x1f or 2^62, also 2^64-1 and 2^53+1. In text, %XX is a byte in hexadecimal. */
void assemble(struct buffer *b, const char *recipe);

/* Appends a safetensors file: the header's length, the header, n zero bytes. In the header ' stands for " and %XX for a
 * byte, so that it can be read in a C string. */
void assemble_safetensors(struct buffer *b, const char *header, size_t n);

/* The same to a file of the temporary folder; both return its path. */
const char *write_recipe(const char *name, const char *recipe);
const char *write_safetensors(const char *name, const char *header, size_t n);

/* Tests that the file cannot be opened: this code, a message with this text, the file's name in the error. */
#define refuses(path, code, text, title) check_refuses(__FILE__, __LINE__, path, code, text, title)
void check_refuses(const char *file, int line, const char *path, enum error_code code, const char *text,
                   const char *title);

/* Tests that the file opens and holds exactly this list, in order of names: "a F32 [2, 3] 0+24, b U8 [] 24+1" with
 * offsets counted from `base`. */
#define opens(path, base, list, title) check_opens(__FILE__, __LINE__, path, base, list, title)
void check_opens(const char *file, int line, const char *path, uint64_t base, const char *list, const char *title);

/* That list of an open source, appended to b. */
void list_tensors(struct buffer *b, const struct source *s, uint64_t base);

#endif
