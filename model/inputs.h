/* SPDX-License-Identifier: MIT
 * Inputs: what the weights of a layer are multiplied with. Several weights read the same input (q_a and kv_a the normed
 * hidden state), so statistics of inputs are kept per input, not per weight. Data, no I/O.
 * Source: DeepSeek-V3 inference/model.py; llama.cpp src/models/deepseek2.cpp (MLA with k_b and v_b apart). */
#ifndef PARE_MODEL_INPUTS_H
#define PARE_MODEL_INPUTS_H

#include "model/roles.h"

enum input {
    INPUT_NONE,         /* nothing is multiplied: embeddings, norms */
    INPUT_ATTN,         /* the normed hidden state before attention */
    INPUT_Q_LATENT,     /* the normed q_a */
    INPUT_KV_LATENT,    /* the normed part of kv_a */
    INPUT_Q_NOPE,       /* per head: its query without the rotated part, what k_b turns into the latent space */
    INPUT_MIXED_LATENT, /* per head: latents as attention mixes them, what v_b reads */
    INPUT_HEADS,        /* outputs of all heads */
    INPUT_FFN,          /* the normed hidden state before the MLP or the experts */
    INPUT_FFN_INNER,    /* silu(gate) * up of a dense MLP */
    INPUT_SHEXP_INNER,  /* the same of the shared experts */
    INPUT_EXPERT,       /* INPUT_FFN of the tokens that were sent to an expert */
    INPUT_EXPERT_INNER, /* silu(gate) * up of a routed expert */
    INPUT_OUTPUT,       /* the final norm's output */
    INPUT_COUNT
};

/* A layer's halves, one after the other. The output is of the first, of layer -1. */
enum half { HALF_ATTENTION, HALF_MLP, HALVES };
enum half input_half(enum input input);
/* Of a role that belongs to a layer. */
enum half role_half(enum tensor_role role);

/* "attn", "ffn_inner": in files and messages. INPUT_NONE has none. */
extern const char *const input_names[INPUT_COUNT];

/* What a weight of this role is multiplied with. */
enum input input_of(enum tensor_role role);

/* Its size: `n` features of each of `slabs` heads or experts (else 1), in this layer (INPUT_OUTPUT: -1). 0 when the layer has no such input. */
int input_shape(enum input input, const struct arch_params *p, int layer, uint64_t *slabs, uint64_t *n);

#endif
