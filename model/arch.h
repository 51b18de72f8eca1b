/* SPDX-License-Identifier: MIT
 * Architecture of a DeepSeek model: its family and hyper-parameters, from config.json or from a GGUF's keys.
 * Field names are those of the DeepSeek configuration.
 * Source: huggingface/transformers configuration_deepseek_v2/_v3.py; deepseek-ai inference/config*.json. */
#ifndef PARE_MODEL_ARCH_H
#define PARE_MODEL_ARCH_H

#include <stdint.h>

#include "base/error.h"
#include "formats/source.h"

/* A model family: one const row in families.c. */
struct family {
    const char *name;         /* "DeepSeek-V3": for people */
    const char *architecture; /* config.json: architectures[0] */
    const char *model_type;   /* config.json: model_type */
    const char *gguf_arch;    /* general.architecture, prefix of its keys */
    int has_indexer;          /* DSA: an indexer per layer */
    int mtp_in_gguf;          /* llama.cpp's converter writes the MTP layer for this family */
};
extern const struct family families[]; /* ends with a row whose name is NULL */

enum scoring_func { SCORING_SOFTMAX = 1, SCORING_SIGMOID = 2 }; /* values as in GGUF's expert_gating_func */
enum topk_method { TOPK_GREEDY, TOPK_GROUP_LIMITED_GREEDY, TOPK_NOAUX_TC };

/* YaRN; factor 0 means: no rope scaling. */
struct rope_scaling {
    double factor, beta_fast, beta_slow, mscale, mscale_all_dim;
    uint64_t original_max_position_embeddings;
    int has_beta_fast, has_beta_slow, has_mscale_all_dim; /* given, not defaults */
};

struct arch_params {
    uint64_t vocab_size, hidden_size, intermediate_size, moe_intermediate_size;
    uint64_t num_hidden_layers, num_nextn_predict_layers, first_k_dense_replace;
    uint64_t num_attention_heads, q_lora_rank /* 0: none, q_proj instead */, kv_lora_rank;
    uint64_t qk_nope_head_dim, qk_rope_head_dim, v_head_dim;
    uint64_t n_routed_experts, n_shared_experts, num_experts_per_tok, n_group, topk_group;
    uint64_t index_n_heads, index_head_dim, index_topk; /* 0 without an indexer */
    uint64_t max_position_embeddings;
    double rms_norm_eps, rope_theta, routed_scaling_factor;
    struct rope_scaling rope;
    enum scoring_func scoring_func;
    enum topk_method topk_method;
    int norm_topk_prob, tie_word_embeddings, scale_ue8m0;
    int has_n_group, has_topk_group; /* written in the configuration */
};

/* The family of a config.json's text or of a GGUF's general.architecture and keys. Fills *p and returns the family, or
 * NULL with ERR_UNSUPPORTED (another family, named) or ERR_FORMAT (missing, contradictory or absurd values).
 * `second` is the text of V3.2's second configuration file (inference/config_671B_v3.2.json), or NULL: it supplies the
 * indexer's sizes where config.json lacks them, and must agree with config.json otherwise. */
const struct family *arch_from_config(const char *text, size_t n, const char *second, size_t n_second,
                                      struct arch_params *p, struct error *e);
const struct family *arch_from_gguf(const struct gguf_meta *m, struct arch_params *p, struct error *e);

/* Layers with tensors: num_hidden_layers plus MTP layers. */
uint64_t arch_all_layers(const struct arch_params *p);

/* "DeepSeek-V3.1 (ue8m0 scales)" or the family's name: what the parameters tell about the release. */
const char *arch_release_name(const struct family *f, const struct arch_params *p);

#endif
