/* SPDX-License-Identifier: MIT
 * A model: a source whose tensors have been recognised, checked for completeness and shape against the architecture, and
 * can be read as F32 rows by role, whatever their stored form.
 *
 * Both splits of MLA's kv_b are offered whichever the source has: ROLE_ATTN_K_B and ROLE_ATTN_V_B are cut (and K
 * transposed) from a checkpoint's ROLE_ATTN_KV_B:
 *   W = kv_b [heads * (nope + v)][kv_lora]
 *   k_b[h][c][d] = W[h * (nope + v) + d][c]            d < nope
 *   v_b[h][d][c] = W[h * (nope + v) + nope + d][c]     d < v
 * Source: llama.cpp conversion/deepseek.py; DeepSeek-V3 inference/model.py. */
#ifndef PARE_MODEL_MODEL_H
#define PARE_MODEL_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "formats/source.h"
#include "model/arch.h"
#include "model/quantization.h"
#include "model/roles.h"
#include "quant/layouts.h"
#include "quant/types.h"

/* One stored matrix, or a stack of them. Pointers belong to the source. */
struct stored {
    const struct tensor *tensor;   /* the weights, or their codes */
    const struct layout *layout;   /* of a checkpoint's quantized weights; NULL: the tensor is all there is */
    const struct tensor *parts[PART_COUNT]; /* of a layout; parts[PART_CODES] is the tensor */
    const struct tensor *factor;   /* of GGUF, "NAME.scale": an F32 per expert or one, which multiplies; or NULL */
    const struct quant_type *type; /* NULL: a storage type without a codec here */
    /* Of a stack that holds another matrix's rows with ours: rows of a slab and which of them is our first. slab_rows 0: ours alone */
    uint64_t slab_rows, first_row;
};

/* What people call the form of the weights: a tensor's storage type where that is a number format, else the type's name. */
const char *stored_type(const struct stored *s);

struct weight;
/* Changes rows of a weight behind their reading, so that a copy of a model's struct is that model with other weights: [n][cols] floats of
 * one slab. Called by any thread. */
struct weight_filter {
    void *context;
    void (*change)(void *context, const struct weight *w, uint64_t slab, uint64_t row0, uint64_t n, float *rows);
};

struct model {
    const struct source *source; /* borrowed; must outlive the model */
    const struct family *family;
    struct arch_params params;
    struct quantization quantization; /* of a checkpoint */
    const char *notes[8]; /* odd but harmless findings, for the user */
    size_t n_notes;
    unsigned cpu; /* features for the decoders */
    struct arena arena;
    struct stored *slots; /* see model.c */
    const struct weight_filter *filter; /* of weight_read; NULL: weights as they are stored. Borrowed */
};

/* Recognises every tensor of the source. ERR_UNSUPPORTED for another family, ERR_FORMAT for anything missing, unknown,
 * of a wrong shape or dtype, naming the tensor (and how many more there are). Returns NULL on error. */
struct model *model_open(const struct source *s, struct error *e);
void model_close(struct model *m); /* NULL is allowed; the source stays open */

/* The stored tensor behind a role, layer (-1: global) and expert (of expert roles; otherwise 0), or NULL. A stack in one
 * tensor (GGUF) is returned for any expert. Not for K_B/V_B of a source that has kv_b. */
const struct stored *model_stored(const struct model *m, enum tensor_role role, int layer, int expert);

/* Packs may hold some of the experts, or nothing else. 0 when everything is there, else -1 with ERR_UNSUPPORTED and what is missing. */
int model_require_whole(const struct model *m, struct error *e);

/* How the matrices of one role in one layer are read. Plain data; copy freely. */
struct weight {
    enum tensor_role role;
    int layer;
    uint64_t slabs, rows, cols; /* slabs (experts, heads or 1) of [rows][cols] */
    int from_kv_b;              /* cut from kv_b */
};

/* 1 and fills *w when the model has this role in this layer (directly or cut from kv_b; of a pack's experts some), else 0. */
int model_weight(const struct model *m, enum tensor_role role, int layer, struct weight *w);

/* Whether a matrix is there: always, but for experts of packs that hold only some. */
int weight_has(const struct model *m, const struct weight *w, uint64_t slab);
/* The first that is. */
const struct stored *weight_stored(const struct model *m, const struct weight *w);

/* Scratch bytes that weight_read needs for n_rows rows. */
size_t weight_scratch(const struct model *m, const struct weight *w, uint64_t n_rows);

/* Stored bytes behind rows of a weight. */
struct weight_range {
    const struct tensor *tensor;
    uint64_t at, n;    /* bytes within the tensor's data */
    const void *bytes; /* set by weight_read: in its scratch, valid until that is used again */
    int shared;        /* rows of another weight lie between those of this one */
};

enum { WEIGHT_RANGES = PART_COUNT }; /* at most, of one read */

/* Where rows [row0, row0 + n_rows) of one slab are stored: out[0] the weights, then scales of the tiles that they touch and what else
 * their layout has, or GGUF's factor. Returns how many there are, 0 when no decoder exists. Reads nothing. */
int weight_ranges(const struct model *m, const struct weight *w, uint64_t slab, uint64_t row0, uint64_t n_rows,
                  struct weight_range out[WEIGHT_RANGES]);

struct weight_seen { /* what came to light in reading */
    float amax;      /* a bound on the magnitudes: the largest of the stored rows that were read */
    int n;
    struct weight_range ranges[WEIGHT_RANGES];
    const void *blocks; /* of stored block types: the rows' blocks, in scratch; NULL: others, and blocks with a factor */
};

/* Reads rows [row0, row0 + n_rows) of one slab as F32 [n_rows][cols]. `scratch` is the caller's, of weight_scratch bytes,
 * aligned for float. All values are finite: NaN, infinity, FP8 NaN codes, scales that are not finite, FP8 scales or factors that are
 * negative are ERR_FORMAT with tensor, row and column. `seen` may be NULL. Thread-safe. */
int weight_read(const struct model *m, const struct weight *w, uint64_t slab, uint64_t row0, uint64_t n_rows, float *out,
                void *scratch, struct weight_seen *seen, struct error *e);

/* Scales of the FP8 tiles that rows [row0, row0 + n) of a stored matrix of m touch: out [tile rows][tiles across]. ERR_FORMAT for one that
 * is negative or not finite, ERR_MEMORY. */
int weight_scales(const struct model *m, const struct stored *s, uint64_t row0, uint64_t n, float *out, struct error *e);

/* Columns [first, first + n) of a head's K half [rows][cols] become rows: out [n][rows]. */
void weight_turn_k_half(const float *half, uint64_t rows, uint64_t cols, uint64_t first, uint64_t n, float *out);

/* The number format of a tensor of scales; NULL: none. */
const struct quant_type *weight_scale_type(const struct tensor *t);

/* Name of a matrix in the source's own terms, for messages and lists: of a checkpoint tensor per expert, of a GGUF stack
 * the stack's name. */
const char *weight_source_name(const struct model *m, const struct weight *w, uint64_t slab, char out[TENSOR_NAME]);

#endif
