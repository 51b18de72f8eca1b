/* SPDX-License-Identifier: MIT
 * Tensor roles: what each weight of a DeepSeek model is for, its names in both worlds and its shape. Data, no I/O.
 * Source: DeepSeek-V3 README_WEIGHTS.md, inference/convert.py; llama.cpp gguf-py/gguf/constants.py. */
#ifndef PARE_MODEL_ROLES_H
#define PARE_MODEL_ROLES_H

#include <stddef.h>
#include <stdint.h>

#include "model/arch.h"

enum tensor_role {
    ROLE_TOKEN_EMBD, ROLE_OUTPUT_NORM, ROLE_OUTPUT,
    ROLE_ATTN_NORM, ROLE_ATTN_Q, ROLE_ATTN_Q_A, ROLE_ATTN_Q_A_NORM, ROLE_ATTN_Q_B, ROLE_ATTN_KV_A_MQA,
    ROLE_ATTN_KV_A_NORM, ROLE_ATTN_KV_B, ROLE_ATTN_K_B, ROLE_ATTN_V_B, ROLE_ATTN_OUTPUT,
    ROLE_INDEXER_Q_B, ROLE_INDEXER_K, ROLE_INDEXER_K_NORM, ROLE_INDEXER_K_NORM_BIAS, ROLE_INDEXER_PROJ,
    ROLE_FFN_NORM, ROLE_FFN_GATE, ROLE_FFN_UP, ROLE_FFN_DOWN,
    ROLE_FFN_GATE_INP /* router */, ROLE_EXP_PROBS_B /* e_score_correction_bias */,
    ROLE_FFN_GATE_EXPS, ROLE_FFN_UP_EXPS, ROLE_FFN_DOWN_EXPS,
    ROLE_FFN_GATE_SHEXP, ROLE_FFN_UP_SHEXP, ROLE_FFN_DOWN_SHEXP,
    ROLE_NEXTN_EH_PROJ, ROLE_NEXTN_EMBED_TOKENS, ROLE_NEXTN_ENORM, ROLE_NEXTN_HNORM,
    ROLE_NEXTN_SHARED_HEAD_HEAD, ROLE_NEXTN_SHARED_HEAD_NORM,
    ROLE_COUNT,
};

enum role_flags {
    ROLE_GLOBAL = 1 << 0,   /* one in the model; all others are per layer */
    ROLE_EXPERT = 1 << 1,   /* one per routed expert; GGUF stacks them */
    ROLE_PER_HEAD = 1 << 2, /* one slab per attention head: [heads][rows][cols] */
    ROLE_VECTOR = 1 << 3,   /* one dimension, `cols` long */
    ROLE_ALWAYS_F32 = 1 << 4, /* GGUF keeps it in F32: vectors, router, indexer.proj */
    ROLE_OPTIONAL = 1 << 5, /* an MTP layer may lack it (it repeats a global tensor) */
    ROLE_GGUF_SPLIT = 1 << 6, /* GGUF's half of kv_b; a checkpoint has ROLE_ATTN_KV_B instead */
    ROLE_HF_FUSED = 1 << 7, /* a checkpoint's (and old GGUFs') kv_b */
};

enum role_class { CLASS_EMBEDDING, CLASS_ATTENTION, CLASS_INDEXER, CLASS_DENSE, CLASS_SHARED, CLASS_EXPERTS, CLASS_ROUTER,
                  CLASS_NORM, CLASS_MTP, CLASS_COUNT };

struct role {
    const char *name;  /* the GGUF name without "blk.N." and suffix: what --type takes */
    const char *gguf;  /* GGUF name behind "blk.N.", or whole for a global */
    const char *hf;    /* checkpoint name behind "model.layers.N.", or whole; of an expert behind "mlp.experts.E." */
    enum role_class class;
    unsigned flags;
};
extern const struct role roles[ROLE_COUNT];
extern const char *const role_class_names[CLASS_COUNT];

/* Rows and columns of one matrix of this role (of one expert, of one head); rows is 1 for a vector. */
void role_shape(enum tensor_role role, const struct arch_params *p, uint64_t *rows, uint64_t *cols);
/* Matrices behind one another in one tensor of GGUF: experts, heads, or 1. */
uint64_t role_slabs(enum tensor_role role, const struct arch_params *p);
/* Whether layer `layer` (a global: -1) of this architecture has this role in a checkpoint (gguf 0) or GGUF (gguf 1). */
int role_in_layer(enum tensor_role role, const struct family *f, const struct arch_params *p, int layer, int gguf);
/* The matrix with the same inputs that engines join with this one into one product, or ROLE_COUNT. */
enum tensor_role role_partner(enum tensor_role role);
/* By its name (what --type takes), or ROLE_COUNT. */
enum tensor_role role_find(const char *name);

enum { TENSOR_NAME = 128 };
/* Names. Checkpoint names of expert roles need an expert number, others ignore it. They return out. */
const char *role_hf_name(enum tensor_role role, int layer, int expert, char out[TENSOR_NAME]);
const char *role_gguf_name(enum tensor_role role, int layer, char out[TENSOR_NAME]);

struct place { /* where a name points */
    enum tensor_role role;
    int layer, expert; /* -1: global; no expert */
    int fused;         /* the rows of ROLE_FFN_UP_EXPS lie behind those of this role, ROLE_FFN_GATE_EXPS, of each expert */
};
/* Parse a name. 0, or -1 when it is none that this table knows. Layer and expert are not checked against a model. */
int role_parse_hf(const char *name, struct place *place);
int role_parse_gguf(const char *name, struct place *place);

#endif
