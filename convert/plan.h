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
#include "convert/feedback/feedback.h"
#include "convert/recipe.h"
#include "formats/imatrix.h"
#include "formats/pack.h"
#include "formats/source.h"
#include "model/forward/forward.h"
#include "model/model.h"
#include "quant/layouts.h"

enum mtp_choice { MTP_AS_TARGET, MTP_DROP, MTP_KEEP };
/* Sequential conversion (convert/sequential.h): the tokens to walk. chunks 0: not wanted. */
struct sequential_options {
    struct forward_tokens tokens; /* borrowed, as all here */
    const char *text;             /* their file, for people */
    const char *folder;           /* OUT.calib, where the run keeps what it needs */
};

/* What matrices without data in an imatrix get (convert/importance.h). */
enum imatrix_missing { IMATRIX_MISSING_UNIFORM, IMATRIX_MISSING_LAYER, IMATRIX_MISSING_FAIL, IMATRIX_MISSING_COUNT };
enum dialect { DIALECT_LLAMA_CPP, DIALECT_IK };

/* Of packs (convert/target_pack.h). */
struct pack_options {
    const struct calibration *profile; /* borrowed; of hot and cold experts, or NULL */
    uint64_t align;      /* of members; 0: PACK_ALIGN */
    int plain;           /* no bundles */
    const char *experts; /* which: "3-5:0-15,17;7" or "@FILE"; NULL: all */
    int experts_only;    /* nothing else of the model */
};

struct plan_options {
    struct recipe recipe;   /* borrowed */
    enum mtp_choice mtp;
    enum dialect dialect;
    int no_vocab;           /* write a file without a vocabulary */
    const char *model_name; /* general.name; NULL: from the source */
    const char *chat_template; /* replaces the source's; NULL: keep */
    const struct imatrix *imatrix; /* borrowed; NULL: none */
    enum imatrix_missing imatrix_missing;
    struct calibration *calib; /* borrowed; NULL: none. With one, error feedback where it applies (convert/feedback/) */
    struct feedback_options feedback;
    struct sequential_options sequential;
    const struct model *scales_from; /* borrowed; FP8 scales are its, not computed; NULL: computed */
    unsigned fold;          /* exact symmetries that are used (convert/fold.h: enum fold_flags); 0: none */
    int threads;
    uint64_t memory;        /* bound on the whole process, bytes */
    uint64_t split_max;     /* bytes that an output file may have, if one tensor does not exceed them; 0: one file */
    int part, parts;        /* which part of the output files this run writes, 1 .. parts; 1 of 1: all */
    uint64_t sync_every;    /* bytes of output that are made durable together */
    int sizes_only;         /* what a plan would be, not one to carry out: without the small files of folders */
    int consume;            /* source shards are removed as they are used up */
    int compress;           /* tensors are entropy coded: their places are known when they are written (convert/places.h), until then out.offset
                               is 0 and sizes of files are the most that they can be */
    int requantize;         /* experts of one stack may come from several types */
    struct pack_options pack;
};

/* What makes the units of a tensor. The halves of kv_b are cut from the same source rows, which are read once; the parts of a matrix
 * (quant/layouts.h) come from the same blocks. */
enum unit_maker {
    UNITS_OWN,         /* its own */
    UNITS_WITH_NEXT,   /* its own, which make the next tensor too: a head's K half and V half */
    UNITS_WITH_PARTS,  /* its own, which make the n_parts - 1 tensors behind it too */
    UNITS_OF_PREVIOUS  /* those of the last tensor that has its own */
};

struct plan_tensor {
    struct weight weight;          /* what is read */
    const struct quant_type *type; /* what is written */
    struct tensor out;             /* name, storage, dims, offset and bytes in the output */
    const struct layout *layout;   /* how the blocks become parts; NULL: they are written as they are */
    enum layout_part part;                /* with a layout: which part this tensor is */
    int n_parts;                   /* of UNITS_WITH_PARTS: with this one */
    int coded;                     /* its units are entropy coded, each by itself (formats/coded.h); out.bytes is what they stand for */
    int copied;                    /* codes and scales are the source's own */
    const struct tensor *verbatim; /* a tensor of the source whose bytes are copied, whatever they are: the weight has a row per byte; NULL */
    const struct stored *scales_from; /* a matrix whose scales are taken; NULL: own ones */
    int bundled;                   /* of packs: in one member with the others of its expert */
    uint64_t slab0;                /* first slab of the source: weight.slabs may be fewer than the role has */
    const struct importance *importance; /* weights of columns, or NULL: encoded without */
    const char *note;              /* why the type is not the recipe's, or NULL */
    size_t rule;                   /* of the recipe, that gave the type; n_rules: none did */
    enum unit_maker units;
    uint64_t unit_rows;            /* rows of a slab that one unit takes; the last of a slab may be shorter */
    uint64_t slice_rows;           /* of a unit that are decoded and encoded together; unit_rows, or fewer with a layout */
    uint64_t first_unit;           /* number of its first unit; units are counted over the whole plan */
};

struct plan_file { /* one file of the output */
    size_t first, n;      /* its tensors */
    const char *name;     /* plain, of targets that are folders; NULL: the target's file_name makes one */
    struct buffer header; /* bytes before the tensor data */
    uint64_t bytes;       /* all of them */
    uint64_t reserved;    /* of packs: for the manifest within */
};

/* A small file that belongs to the output's folder: complete in memory when the plan is made, written last. */
struct side_file {
    const char *name; /* plain */
    struct buffer text;
};

/* What an imatrix came to; all 0 without one. Counted are tensors of types that weigh columns. */
struct weighed {
    size_t tensors, tensors_without; /* without: those that no entry is for */
    size_t exempt;                   /* token_embd and output without an entry, which is as it should be */
    size_t from_kv_b;                /* attn_v_b with the entry of an undivided kv_b */
    uint64_t matrices, matrices_without; /* experts, heads and single matrices of tensors with an entry; without data */
    const char *first_without;       /* tensor, or NULL */
    size_t entries, entries_unused;  /* of the imatrix; those that no tensor of the plan has the name of */
    const char *first_unused;
};

struct plan {
    const struct model *model; /* borrowed */
    struct plan_options options;
    struct arena arena;
    const struct target *target;
    struct plan_tensor *tensors; /* owned, in file order; out.file is an index into files */
    size_t n_tensors, tensor_room;
    struct side_file *sides; /* owned; of outputs that are folders */
    size_t n_sides;
    enum pack_subset pack_subset; /* of packs: what they leave out */
    struct rule_hits *hits;  /* of each rule of the recipe */
    struct plan_file *files; /* owned */
    size_t n_files;
    struct weighed weighed;
    uint64_t total;          /* bytes of all files */
    uint64_t n_units;
    /* what this part writes: files and units from .. to, to excluded, and their bytes */
    size_t file_from, file_to;
    uint64_t unit_from, unit_to, part_bytes;
    uint64_t disk_peak;     /* the most that the run takes from the free disk at any time */
    uint64_t worker_bytes;  /* buffers of one worker */
    int threads;            /* as many as the memory allows, at most options.threads */
    uint64_t peak_memory;   /* predicted for the whole process */
    const char *parallel;   /* over how many devices engines can divide what is quantized ("1, 2, 4"); NULL: not a checkpoint */
    const char *notes[8];
    size_t n_notes;
};

struct checkpoint_form;
struct outputs;      /* convert/outputs.h */
struct stream_state; /* convert/stream.h */

/* A target layout: one const row in targets.c. */
struct target {
    const char *name, *summary, *default_recipe;
    enum recipe_kind recipes;
    const struct checkpoint_form *form; /* of targets that are checkpoint folders (convert/target_checkpoint.h); NULL: the output is a file */
    /* fills tensors (weight, type, out but for file and offset, note, units) and files with headers, and places the tensors */
    int (*build)(struct plan *p, struct error *e);
    /* malloc'd name of file i of n (n > 1) when the output is `path` */
    char *(*file_name)(const char *path, size_t i, size_t n);
    /* of targets that can compress: where the data of a tensor begin when what is before it in the file ends at `end` */
    uint64_t (*place)(const struct plan *p, size_t tensor, uint64_t end);
    /* NULL, or writes what of the files is neither header nor tensor, when all units of this part are durable and before the files get their
     * names; a run that was stopped in it does it again. */
    int (*finish)(const struct plan *p, const char *tool, const struct stream_state *state, struct outputs *o, struct error *e);
    int with_crc; /* CRC-32 of tensors are made as well (convert/chain.h) */
};
extern const struct target targets[]; /* ends with a row whose name is NULL */
const struct target *target_find(const char *name);

/* Makes the plan; NULL with ERR_UNSUPPORTED, ERR_FORMAT, ERR_USAGE or ERR_MEMORY. The model must outlive it. */
struct plan *plan_new(const struct model *m, const struct target *t, const struct plan_options *o, struct error *e);
void plan_free(struct plan *p); /* NULL is allowed */

/* For targets: appends a tensor for this weight with this type; `out` has name (which is copied), storage and dims. Returns it for further
 * changes until the next is added, or NULL. */
struct plan_tensor *plan_add(struct plan *p, const struct weight *w, const struct quant_type *type, const struct tensor *out, struct error *e);
/* For targets: the same for a tensor of the source that is copied byte for byte, as `name`. Of the weight role and layer count, for rules
 * and lists. */
struct plan_tensor *plan_add_verbatim(struct plan *p, const struct tensor *source, const struct weight *w, const char *name, struct error *e);
/* For targets: appends a file that holds tensors [first, first + n), with an empty header. Returns it, or NULL. */
struct plan_file *plan_add_file(struct plan *p, size_t first, size_t n, struct error *e);

/* For targets: `wanted` or, where a row is no multiple of its block, another type, and why in *note. NULL: out of memory, or no other is
 * allowed. */
const struct quant_type *plan_fitting_type(struct plan *p, const struct weight *w, const struct quant_type *wanted, const char **note,
                                           struct error *e);
/* For targets that must know them early: unit_rows and slice_rows of all tensors. */
void plan_size_units(struct plan *p);

/* For targets: cuts the list of tensors into files of at most split_max bytes, the first with `head` bytes before its tensors' infos. What
 * is made together stays together. */
int plan_cut_files(struct plan *p, uint64_t head, struct error *e);

/* Bytes of all tensors, without headers and padding. */
uint64_t plan_tensor_bytes(const struct plan *p);

/* malloc'd name of file i when the output is `path`, or NULL: `path` itself when there is one file and no folder. */
char *plan_file_name(const struct plan *p, const char *path, size_t i);
/* malloc'd `path`, of a part "path.part-2-of-8": what journal and manifest of this run are named after. Those of a folder lie in it:
 * "path/pare", "path/pare.part-2-of-8". */
char *plan_run_name(const struct plan *p, const char *path);

#endif
