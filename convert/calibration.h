/* SPDX-License-Identifier: MIT
 * A calibration: what the weights of a model were multiplied with on some text, as `pare calibrate` leaves it in a folder.
 *
 *   calibration.json          model, tokens, use of experts, hashes (convert/calibration_record.h); written last: a folder without it
 *                             is unfinished
 *   layer-003-attention.safetensors, layer-003-mlp.safetensors of each layer; output.safetensors of the final norm's output:
 *     INPUT.moment   F32  [slabs][..]        sum over tokens of x x', lower panels (convert/feedback/square.h), of every input but
 *                                            the experts' (model/inputs.h)
 *     ffn.inputs     BF16 [tokens][hidden]   of layers with experts: the experts' inputs, from which the second moments of each are
 *                                            made when they are wanted (256 of them would take 50 GB per layer)
 *     expert.chosen  I16  [tokens][used]     where each token was sent,
 *     expert.gates   F32  [tokens][used]     and how much its output counts
 *     INPUT.sums2    F32  [experts][n]       sums of squares over an expert's tokens, of expert and expert_inner
 *     expert.counts  F32  [experts]          its tokens
 *   tokens.safetensors        I32 [chunks][ctx] "tokens", for who wants to walk some of them again (convert/gains.h)
 *   imatrix.gguf              the diagonals, as llama-imatrix writes them
 *   sensitivity.json          what 'pare plan' measured with all this (convert/measured.h); not part of what is hashed
 *
 * Tokens are numbered by chunk and position. At V3's size and 128k tokens a layer takes 2.6 GB, all of them 160 GB.
 *
 * A conversion that quantizes as it goes (convert/sequential.h) has such files for a moment each. Their inputs x are those behind the
 * layers that are quantized already, and beside them lies how far the original model's are from them:
 *     INPUT.cross    F32  [slabs][..]        sum of x (original - x)', whole panels
 *     ffn.changes    BF16 [tokens][hidden]   original - x */
#ifndef PARE_CONVERT_CALIBRATION_H
#define PARE_CONVERT_CALIBRATION_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "convert/feedback/square.h"
#include "formats/source.h"
#include "model/inputs.h"
#include "model/model.h"

/* What a layer file holds. */
enum { CALIBRATION_MAX_TENSORS = 24 };
struct calibration_layout {
    struct tensor tensors[CALIBRATION_MAX_TENSORS]; /* places are set */
    char names[CALIBRATION_MAX_TENSORS][32];
    size_t n;
    struct buffer header;
    uint64_t bytes; /* of the file */
};
/* layer -1: output. The caller clears header. */
int calibration_layout(const struct arch_params *p, int layer, enum half half, uint64_t tokens, int following,
                       struct calibration_layout *l, struct error *e);
/* "moment", "inputs": the tensor "INPUT.kind", or NULL. */
const struct tensor *calibration_tensor(const struct calibration_layout *l, enum input input, const char *kind);

/* malloc'd "DIR/layer-003-mlp.safetensors" or "DIR/output.safetensors", or NULL. */
char *calibration_path(const char *folder, int layer, enum half half);

struct calibration {
    char *folder;
    const struct model *model; /* borrowed */
    uint64_t tokens, chunks, ctx;
    int following;             /* there are cross and changes */
    char hash[HASH_TEXT];      /* of calibration.json, which has the hashes of the others; when following, of the run */
    struct source **files;     /* [num_hidden_layers][HALVES], then output's; NULL: not open */
    size_t n_layers;
};

/* Opens a finished folder for this model. ERR_FORMAT names the file that is missing or does not fit the model. NULL on error. Reading
 * is thread-safe afterwards. */
struct calibration *calibration_open(const char *folder, const struct model *m, struct error *e);
/* One whose files are yet to come: none is open. */
struct calibration *calibration_new(const char *folder, const struct model *m, uint64_t chunks, uint64_t ctx, int following, struct error *e);
/* Opens, or closes, a file. */
int calibration_load(struct calibration *c, int layer, enum half half, struct error *e);
int calibration_load_all(struct calibration *c, struct error *e);
void calibration_unload(struct calibration *c, int layer, enum half half);
/* An open one. layer -1: output's. */
const struct source *calibration_file(const struct calibration *c, int layer, enum half half);
void calibration_close(struct calibration *c); /* NULL is allowed */

/* n floats at byte `at` of a tensor of an open layer file. ERR_FORMAT with file, tensor and offset for one that is NaN or infinite. */
int calibration_floats(const struct source *file, const struct tensor *t, uint64_t at, float *out, size_t n, struct error *e);

/* The second moments of an input: adds `slab`'s sums to the lower half of s, which has the right size. Not of the experts'. */
int calibration_moment(const struct calibration *c, enum input input, int layer, uint64_t slab, struct square *s, struct error *e);

/* When following: puts `slab`'s cross moments into s. */
int calibration_cross(const struct calibration *c, enum input input, int layer, uint64_t slab, struct square *s, struct error *e);

/* Where n tokens from `first` on were sent, and their gates: [n][num_experts_per_tok] both. ERR_FORMAT for an expert that there is not
 * and for gates that are not finite. */
int calibration_routing(const struct calibration *c, int layer, uint64_t first, size_t n, int16_t *chosen, float *gates, struct error *e);

/* Tokens of an expert, ascending, with their gates. Both malloc'd; *n may be 0. */
int calibration_routed(const struct calibration *c, int layer, int expert, uint32_t **token, float **gate, size_t *n, struct error *e);

/* Writes tokens.safetensors: ids of `chunks` chunks. */
int calibration_write_tokens(const char *folder, const int32_t *ids, uint64_t chunks, uint64_t ctx, struct error *e);
/* Reads it: malloc'd ids of chunks first .. first + n of a folder's `chunks`. NULL with ERR_FORMAT naming the file when it is missing, of
 * another size, or holds an id that is not below `vocab`. */
int32_t *calibration_read_tokens(const char *folder, uint64_t chunks, uint64_t ctx, uint64_t first, uint64_t n, uint64_t vocab, struct error *e);

/* n of the layer's MLP inputs as panels [ceil(n / LANES)][hidden]: those with these numbers; lanes behind the last are 0. */
int calibration_inputs(const struct calibration *c, int layer, const uint32_t *token, size_t n, struct panels *x, struct error *e);
/* When following: how far the original's are from them. */
int calibration_changes(const struct calibration *c, int layer, const uint32_t *token, size_t n, struct panels *x, struct error *e);

#endif
