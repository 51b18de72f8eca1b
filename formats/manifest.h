/* SPDX-License-Identifier: MIT
 * Manifest: the hashes of a model's files, as JSON beside them (OUT.manifest.json; schemas/manifest.json), and of a conversion
 * also of what it was made from.
 *
 * Every byte of a file is covered: its header (everything before the tensor data; of a side file the whole file) by one
 * hash, each tensor by one, and padding between tensors is zeros. The manifest's last line is the hash of its own bytes before
 * it. Hashes are XXH3-128: they find accidents, they do not stop attackers. File names are plain names in the manifest's folder, never paths. */
#ifndef PARE_FORMATS_MANIFEST_H
#define PARE_FORMATS_MANIFEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/hash.h"
#include "formats/source.h"

struct manifest_file {
    const char *name;
    uint64_t bytes, header_bytes;
    char header_hash[HASH_TEXT];
};

struct manifest_tensor {
    const char *name, *type;
    uint64_t file; /* index into files */
    uint64_t offset, bytes;
    uint64_t stored; /* bytes in the file of an entropy coded tensor, whose `bytes` are those that it stands for; 0: of others */
    uint32_t n_dims;
    uint64_t dims[TENSOR_MAX_DIMS];
    char hash[HASH_TEXT];
};

struct manifest {
    struct arena arena;
    const char *tool;   /* "pare 0.1.0" */
    /* of a conversion; NULL or 0 for a manifest of something that was not converted here */
    const char *recipe, *target;
    const char *imatrix; /* what weighed columns: name, size, hash, what was without data; NULL: none */
    const char *calibration; /* what error feedback rounded by: hash, size, options; NULL: none */
    double predicted_kl; /* what the planner that chose the types expects (convert/planner.h); 0: none did */
    const char *fold;    /* exact symmetries that were used, as --fold takes them; NULL: none */
    const char *source, *output;               /* names without their paths */
    const char *source_folder, *output_folder; /* NULL unless asked for */
    char plan_hash[HASH_TEXT];                 /* of the whole conversion's layout: headers, places, units */
    uint64_t part, parts, all_files;           /* 1 of 1: the whole; files of all parts */
    struct manifest_file *source_files;
    size_t n_source_files;
    struct manifest_tensor *source_tensors; /* those that were read */
    size_t n_source_tensors;

    struct manifest_file *files;
    size_t n_files;
    struct manifest_tensor *tensors;
    size_t n_tensors;
};

/* An empty manifest with room for so many entries (arrays in its arena, n_* still 0), or NULL. */
struct manifest *manifest_new(size_t files, size_t tensors);
/* Room for so many source entries. 0, or -1 when out of memory. */
int manifest_add_source(struct manifest *m, size_t files, size_t tensors);
void manifest_free(struct manifest *m); /* NULL is allowed */

/* Writes it by a temporary name. */
int manifest_save(const struct manifest *m, const char *path, struct error *e);
/* Reads and validates one. NULL with ERR_FORMAT or ERR_IO. */
struct manifest *manifest_load(const char *path, struct error *e);

/* Whether a file says of itself that it is a manifest; whether it is a good one is manifest_load's business. */
int manifest_probe(const char *path);

/* The last line of a manifest, and of what else tells its own damage (formats/pack.h): appends the hash of all that the text has, and a
 * closing brace. 0, or -1 without memory. */
int manifest_seal(struct buffer *text);
/* 1 when the text ends with the hash of what comes before, 0 when not, -1 with ERR_MEMORY. */
int manifest_is_sealed(const char *text, size_t n, struct error *e);

/* malloc'd path of the manifest of `path`: PATH.manifest.json beside a file, PATH/pare.manifest.json in a folder. */
char *manifest_path(const char *path, int is_folder);
/* Finds an existing manifest of `path`: that of manifest_path, or for "m-00001-of-00003.gguf" that of "m.gguf". *found is malloc'd,
 * or NULL when there is none. 0, or -1 when it cannot be told. */
int manifest_find(const char *path, int is_folder, char **found, struct error *e);

#endif
