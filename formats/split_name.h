/* SPDX-License-Identifier: MIT
 * Names of a split GGUF or pack: the whole is called "m.gguf", its parts "m-00001-of-00003.gguf" and so on; of packs with ".tar".
 * Source: ggml-org/llama.cpp, tools/gguf-split; src/llama.cpp llama_split_path. */
#ifndef PARE_FORMATS_SPLIT_NAME_H
#define PARE_FORMATS_SPLIT_NAME_H

#include <stdint.h>

#include "base/error.h"

/* malloc'd name of the whole, from a part's name; NULL when the name has not that form or memory is out. */
char *split_whole(const char *path);

/* malloc'd name of part `no` (1-based) of `count`, from the whole's name, which may lack its suffix (".gguf", ".tar"). NULL: out of
 * memory. */
char *split_part(const char *whole, uint64_t no, uint64_t count, const char *suffix);

/* Looks in the folder of `whole`, which does not exist itself, for its first part. *part is malloc'd, or NULL when there is none.
 * 0, or -1 with ERR_FORMAT when there are first parts of several lengths, ERR_IO, ERR_MEMORY. */
int split_find(const char *whole, char **part, struct error *e);

#endif
