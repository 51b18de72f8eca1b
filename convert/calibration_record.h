/* SPDX-License-Identifier: MIT
 * calibration.json (schemas/calibration.json): what a finished calibration folder is of, how its experts were used, and the hashes
 * of its files. It says the sizes of the model too, so that parts can be added up where the model is not. */
#ifndef PARE_CONVERT_CALIBRATION_RECORD_H
#define PARE_CONVERT_CALIBRATION_RECORD_H

#include <stdint.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/json.h"
#include "model/arch.h"

struct expert_record {
    uint64_t tokens;
    double gates, gates2; /* sums over its tokens of the gate, and of its square */
};

struct calibration_record {
    const struct family *family;
    struct arch_params params;        /* those that inputs and roles depend on; the rest is 0 */
    const char *tool, *model, *text;  /* borrowed, or the arena's */
    char run[HASH_TEXT];              /* of source, tokens and program */
    char source[HASH_TEXT];           /* of the source's names and shapes, and of its norms: alike wherever its files lie */
    char tokens[HASH_TEXT];           /* of the whole's ids */
    uint64_t chunks, ctx;             /* of this folder */
    uint64_t part, parts;             /* this is the part-th of parts, from 1; of a whole 1 and 1 */
    uint64_t first_chunk, all_chunks; /* which of the whole's chunks it has */
    int group_routing;
    struct expert_record *use;           /* [layers with experts][n_routed_experts], the arena's */
    struct arena arena;
};

/* Layers with experts come last; the first is params.first_k_dense_replace. */
size_t record_moe_layers(const struct calibration_record *r);
/* Zeroes r->use. ERR_MEMORY. */
int record_make_use(struct calibration_record *r, struct error *e);

/* An expert with fewer tokens than this says little about pairs of its columns: a 32nd of them. */
uint64_t record_few_tokens(const struct calibration_record *r);

/* Whether a folder holds a finished calibration, or a part of one. */
int record_probe(const char *folder);
/* Reads FOLDER/calibration.json. ERR_FORMAT when it is none or says what cannot be. Clear in either case. `hash`: of the file, or
 * NULL. */
int record_read(const char *folder, struct calibration_record *r, char *hash, struct error *e);
void record_clear(struct calibration_record *r); /* safe on a zeroed one */

/* The document, with an empty list "files" last, which is *files; NULL when out of memory. The caller frees it. */
struct json *record_json(const struct calibration_record *r, struct json **files);

#endif
