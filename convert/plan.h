/* SPDX-License-Identifier: MIT
 * Plan: every tensor of the output with its source, type, size and place in the file, the header's bytes, memory and disk
 * needed; made before a weight is read. */
#ifndef PARE_CONVERT_PLAN_H
#define PARE_CONVERT_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "convert/recipe.h"
#include "formats/source.h"
#include "model/model.h"

enum mtp_choice { MTP_AS_TARGET, MTP_DROP, MTP_KEEP };
enum dialect { DIALECT_LLAMA_CPP, DIALECT_IK };

struct plan_options {
    struct recipe recipe;
    enum mtp_choice mtp;
    enum dialect dialect;
    int no_vocab;           /* write a file without a vocabulary */
    const char *model_name; /* general.name; NULL: from the source */
    const char *chat_template; /* replaces the source's; NULL: keep */
    int threads;
    uint64_t memory;        /* bound on the whole process, bytes */
};

struct plan_tensor {
    struct weight weight;          /* what is read */
    const struct quant_type *type; /* what is written */
    struct tensor out;             /* name, storage, dims, offset and bytes in the output */
    const char *note;              /* why the type is not the recipe's, or NULL */
    uint64_t unit_rows;            /* rows of a slab that one unit takes; the last of a slab may be shorter */
};

struct plan {
    const struct model *model; /* borrowed */
    struct plan_options options;
    struct arena arena;
    struct plan_tensor *tensors; /* in file order */
    size_t n_tensors;
    struct buffer header;   /* bytes before the tensor data */
    uint64_t total;         /* size of the output file */
    uint64_t worker_bytes;  /* buffers of one worker */
    int threads;            /* as many as the memory allows, at most options.threads */
    uint64_t peak_memory;   /* predicted for the whole process */
    const char *notes[8];
    size_t n_notes;
};

/* A target layout: one const row in targets.c. */
struct target {
    const char *name, *suffix, *summary, *default_recipe;
    /* fills tensors (weight, type, out but for the offset, note), header, total and offsets */
    int (*build)(struct plan *p, struct error *e);
};
extern const struct target targets[]; /* ends with a row whose name is NULL */
const struct target *target_find(const char *name);

/* Makes the plan; NULL with ERR_UNSUPPORTED, ERR_FORMAT, ERR_USAGE or ERR_MEMORY. The model must outlive it. */
struct plan *plan_new(const struct model *m, const struct target *t, const struct plan_options *o, struct error *e);
void plan_free(struct plan *p); /* NULL is allowed */

/* For targets: appends a tensor for this role and layer with this type and output name; shape as GGUF and checkpoints
 * have it ([slabs][rows][cols], [rows][cols] or [cols]). Returns it for further changes, or NULL. */
struct plan_tensor *plan_add(struct plan *p, const struct weight *w, const struct quant_type *type, const char *name,
                             struct error *e);

#endif
