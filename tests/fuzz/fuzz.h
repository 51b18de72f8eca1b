/* SPDX-License-Identifier: MIT
 * What the fuzz targets share. A target is one file fuzz_NAME.c that defines LLVMFuzzerTestOneInput: it hands the input to
 * one parser and aborts when the outcome breaks a rule that the parser's header gives. It runs with libFuzzer (`make fuzz
 * T=NAME`) or, without an engine, over its corpus (replay.c). Docs: docs/fuzzing.md. */
#ifndef PARE_TESTS_FUZZ_H
#define PARE_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "formats/source.h"

/* The entry point of libFuzzer; `data` is not terminated. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Aborts when a rule is broken, which the engine counts as a crash. */
#define must(rule) ((rule) ? (void)0 : fuzz_broken(__FILE__, __LINE__, #rule))
void fuzz_broken(const char *file, int line, const char *rule) __attribute__((noreturn));

/* Readers take paths. The folder of this process, in memory where the system has /dev/shm; removed at exit. */
const char *fuzz_folder(void);
/* "folder/NAME"; valid to the end. NAME may begin with a folder that fuzz_subfolder made. */
const char *fuzz_path(const char *name);
const char *fuzz_subfolder(const char *name);
/* Writes a file there and returns its path. */
const char *fuzz_file(const char *name, const void *bytes, size_t n);

/* A parser that failed said so: a code that bad input may have, and a text; the line for users is one line. */
void fuzz_must_say(const struct error *e);

/* The promises of formats/source.h: names unique and sorted, sizes those of the shapes, every tensor in its file. */
void fuzz_must_hold(const struct source *s);

#endif
