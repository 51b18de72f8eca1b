/* SPDX-License-Identifier: MIT
 * Reference forward pass of a DeepSeek model, streamed: all tokens pass layer i before layer i+1 is touched, each weight
 * is read and decoded once per run. Activations, sums and softmax in F32; the order of every sum is fixed (gemm.h), so
 * the numbers do not depend on threads, instruction set or run.
 *
 * Tokens come in chunks of `ctx`, each evaluated by itself from position 0. In panels a chunk takes
 * ceil(ctx / LANES) tiles; lanes behind the end of a chunk hold zeros and are never looked at.
 *
 * One pass can carry several streams: copies of the same tokens whose hidden states differ (a candidate model fed with its
 * own and with the base model's states). A stream's tiles follow those of the stream before it.
 *
 * Source of the mathematics: DeepSeek-V3 inference/model.py; huggingface/transformers modeling_deepseek_v2/_v3/_v32.py. */
#ifndef PARE_MODEL_FORWARD_FORWARD_H
#define PARE_MODEL_FORWARD_FORWARD_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "model/forward/panels.h"
#include "model/forward/rounding.h"
#include "model/inputs.h"
#include "model/model.h"

struct forward;

struct forward_tokens {
    const int32_t *ids; /* [chunks][ctx], checked to be below vocab_size by forward_new; borrowed */
    size_t chunks, ctx;
};

/* An input, just before or behind the products with the weights that read it. */
struct input_seen {
    enum input input;
    int layer;
    const struct panels *x; /* tokens as lanes; of INPUT_EXPERT and INPUT_EXPERT_INNER those of one expert, packed */
    uint64_t expert;        /* of those two: its number, */
    size_t n;               /* its tokens, */
    const uint32_t *token;  /* [n] which they are: tile * LANES + lane, ascending */
    const float *gate;      /* [n] and their gates */
};

/* Who watches a pass (convert/calibrate.c). Both functions return 0, or -1 with *e set, which ends the pass. */
struct forward_observer {
    void *context;
    /* From the thread that called forward_layer: threads may be used. Each input of a layer comes once; an expert without tokens
     * does not come. */
    int (*seen)(void *context, const struct forward *f, const struct input_seen *what, struct error *e);
    /* INPUT_Q_NOPE and INPUT_MIXED_LATENT: one tile of one head, x [rows][LANES]. From several threads at once, heads in any
     * order, the tiles of a head in theirs. */
    int (*head)(void *context, const struct forward *f, enum input input, int layer, size_t head, size_t tile, const float *x,
                struct error *e);
};

struct forward_options {
    int threads;
    size_t streams;             /* 1 or more */
    int group_routing;          /* 0: ignore expert groups, as some clients do */
    struct panel_store *store;  /* shared by the passes of a run; borrowed */
    const struct forward_observer *observer; /* NULL: none */
    struct pass_rounding rounding; /* of activations, as an engine does it */
    /* Asked before every few rows of a weight and every head's chunk, from several threads at once: not 0 ends the pass with ERR_INTERRUPTED.
     * NULL: never. */
    int (*stop)(void *context);
    void *stop_context;
};

struct forward {
    const struct model *model; /* borrowed */
    struct forward_tokens tokens;
    struct forward_options options;
    size_t tiles_per_chunk, tiles; /* tiles: of all streams that take part */
    size_t most_tiles;             /* of those it was made for */
    struct panels hidden;          /* [tiles][hidden_size]: the residual stream */
    float *rope_cos, *rope_sin;    /* [rope pairs][positions, padded to tiles] */
    double softmax_scale;
    /* routing of the last MoE layer: [tokens of all streams in panel order][num_experts_per_tok] */
    int16_t *chosen;
    float *gates; /* weights of the chosen, after normalisation and scaling */
};

/* ERR_FORMAT for a token id outside the vocabulary, ERR_UNSUPPORTED for weights without a decoder, ERR_MEMORY. */
struct forward *forward_new(const struct model *m, const struct forward_tokens *t, const struct forward_options *o,
                            struct error *e);
void forward_free(struct forward *f); /* NULL is allowed */

/* From now on the first n streams take part, at most those it was made for. The hidden states of the others stay as they are. */
void forward_set_streams(struct forward *f, size_t n);

/* Fills the hidden states of every stream with the token embeddings. */
int forward_embed(struct forward *f, struct error *e);

/* One layer: hidden += attention, hidden += MLP or experts. Layer numbers as in the checkpoint. Errors name the tensor;
 * a hidden state that is NaN or infinite is ERR_FORMAT with the part of the layer, chunk and token. */
int forward_layer(struct forward *f, int layer, struct error *e);

/* Its halves: hidden += attention; hidden += MLP or experts. */
int forward_attention(struct forward *f, int layer, struct error *e);
int forward_mlp(struct forward *f, int layer, struct error *e);

/* The same in steps, so that two models can take turns and their experts' outputs be compared: attention and routing; then
 * every expert in the order of their numbers (of a dense layer: none); then the rest. begin returns NULL on error; end frees
 * in either case, abandon frees after an error in between (NULL is allowed). */
struct layer_run;
struct expert_output {      /* of the expert just run; valid until the next step */
    size_t n;               /* its tokens, of all streams */
    const uint32_t *token;  /* [n] tile * LANES + lane, ascending */
    const size_t *place;    /* [n] its features are y->data[place[i] + row * LANES] */
    const struct panels *y; /* outputs before the gate */
};
struct layer_run *forward_layer_begin(struct forward *f, int layer, struct error *e);
int forward_layer_expert(struct forward *f, struct layer_run *r, int expert, struct expert_output *out, struct error *e);
int forward_layer_end(struct forward *f, struct layer_run *r, struct error *e);
void forward_layer_abandon(struct forward *f, struct layer_run *r);

/* Turns the hidden states into the input of the MTP layer `layer`: eh_proj * [enorm(embedding of the next token),
 * hnorm(norm(hidden))], where norm is the model's final norm. Position ctx-1 has no next token and gets zeros. */
int forward_mtp_input(struct forward *f, int layer, struct error *e);

/* y = RMSNorm(hidden) with the weights of `role` and layer; y like hidden. */
int forward_norm(const struct forward *f, enum tensor_role role, int layer, const struct panels *x, struct panels *y,
                 struct error *e);

/* What a thread of it holds at most: decoded rows and what they are decoded from. For plans. */
enum { FORWARD_PRODUCT_BYTES = 8 << 20 };
/* Rows [row0, row0 + n) of a weight times x, rounded as the pass does, into rows y_row0.. of y, over the threads. */
int forward_product(const struct forward *f, const struct weight *w, uint64_t slab, uint64_t row0, uint64_t n,
                    const struct panels *x, struct panels *y, size_t y_row0, struct error *e);

/* Whether a lane of a tile is a token, not behind the end of its chunk. */
int forward_is_token(const struct forward *f, size_t tile, size_t lane);

/* The inside of an MLP: y = silu(gate x) * (up x), for the matrices of one slab; y [gate's rows]. Of f only model and options
 * count. */
int forward_mlp_inner(const struct forward *f, const struct weight w[2], uint64_t slab, const struct panels *x,
                      struct panels *y, struct error *e);

/* The weight with the vocabulary's rows: output, or token_embd when tied; of an MTP layer its own head if it has one. */
int forward_head(const struct forward *f, int mtp_layer, struct weight *w);

#endif
