/* SPDX-License-Identifier: MIT
 * Hyper-parameters from the keys of a GGUF, in llama.cpp's and in ik_llama.cpp's dialect.
 * Source: llama.cpp conversion/deepseek.py, src/models/deepseek2.cpp; ik_llama.cpp convert_hf_to_gguf.py. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/gguf_meta.h"
#include "model/arch.h"
#include "model/arch_check.h"

struct reader { /* the keys being read; the first error sticks */
    const struct gguf_meta *m;
    const char *arch;
    struct error *e;
    int failed;
};

static const struct gguf_kv *find(const struct reader *r, const char *key)
{
    char full[128];
    snprintf(full, sizeof full, "%s.%s", r->arch, key);
    return gguf_find(r->m, full);
}

static void fail(struct reader *r, const char *what, const char *key)
{
    if (!r->failed)
        error_set(r->e, ERR_FORMAT, ERROR_NO_OFFSET, "%s '%s.%s'", what, r->arch, key);
    r->failed = 1;
}

static uint64_t whole(struct reader *r, const char *key, int required, uint64_t otherwise)
{
    const struct gguf_kv *kv = find(r, key);
    uint64_t v = otherwise;
    if (!kv && required)
        fail(r, "missing key", key);
    else if (kv && gguf_get_u64(kv, &v))
        fail(r, "no whole number in key", key);
    return v;
}

static double number(struct reader *r, const char *key, int required, double otherwise)
{
    const struct gguf_kv *kv = find(r, key);
    double v = otherwise;
    if (!kv && required)
        fail(r, "missing key", key);
    else if (kv && gguf_get_f64(kv, &v))
        fail(r, "no number in key", key);
    return v;
}

/* llama.cpp: key_length is that of the compressed cache and *_mla are the heads'; ik: key_length is the heads'. */
static void read_heads(struct reader *r, struct arch_params *p)
{
    uint64_t key = whole(r, "attention.key_length_mla", 0, 0), value = whole(r, "attention.value_length_mla", 0, 0);
    p->num_attention_heads = whole(r, "attention.head_count", 1, 0);
    p->q_lora_rank = whole(r, "attention.q_lora_rank", 0, 0);
    p->kv_lora_rank = whole(r, "attention.kv_lora_rank", 1, 0);
    p->qk_rope_head_dim = whole(r, "rope.dimension_count", 1, 0);
    if (!key)
        key = whole(r, "attention.key_length", 1, 0);
    if (!value)
        value = whole(r, "attention.value_length", 1, 0);
    if (key <= p->qk_rope_head_dim)
        fail(r, "no room for the rope dimensions in", "attention.key_length");
    else
        p->qk_nope_head_dim = key - p->qk_rope_head_dim;
    p->v_head_dim = value;
}

static void read_experts(struct reader *r, struct arch_params *p)
{
    p->n_routed_experts = whole(r, "expert_count", 1, 0);
    p->num_experts_per_tok = whole(r, "expert_used_count", 1, 0);
    p->n_shared_experts = whole(r, "expert_shared_count", 0, 0);
    p->moe_intermediate_size = whole(r, "expert_feed_forward_length", 1, 0);
    p->has_n_group = find(r, "expert_group_count") != NULL;
    p->has_topk_group = find(r, "expert_group_used_count") != NULL;
    p->n_group = whole(r, "expert_group_count", 0, 1);
    p->topk_group = whole(r, "expert_group_used_count", 0, 1);
    p->routed_scaling_factor = number(r, "expert_weights_scale", 0, 1);
    if (find(r, "expert_weights_norm") && gguf_get_bool(find(r, "expert_weights_norm"), &p->norm_topk_prob))
        fail(r, "no truth value in key", "expert_weights_norm");
    uint64_t scoring = whole(r, "expert_gating_func", 0, 0); /* 0: not said */
    if (scoring > SCORING_SIGMOID)
        fail(r, "unknown value of", "expert_gating_func");
    p->scoring_func = scoring == SCORING_SIGMOID ? SCORING_SIGMOID : SCORING_SOFTMAX;
    p->topk_method = p->scoring_func == SCORING_SIGMOID ? TOPK_NOAUX_TC
                     : p->n_group > 1                   ? TOPK_GROUP_LIMITED_GREEDY
                                                        : TOPK_GREEDY;
}

static void read_rope(struct reader *r, struct arch_params *p)
{
    const char *type;
    size_t n;
    p->rope_theta = number(r, "rope.freq_base", 0, 10000);
    if (!find(r, "rope.scaling.type"))
        return;
    if (gguf_get_string(find(r, "rope.scaling.type"), &type, &n) || n != 4 ||
        (memcmp(type, "yarn", 4) && memcmp(type, "none", 4))) {
        fail(r, "unknown value of", "rope.scaling.type");
        return;
    }
    if (!memcmp(type, "none", 4))
        return;
    p->rope.factor = number(r, "rope.scaling.factor", 1, 0);
    p->rope.original_max_position_embeddings = whole(r, "rope.scaling.original_context_length", 0, p->max_position_embeddings);
    p->rope.has_beta_fast = find(r, "rope.scaling.yarn_beta_fast") != NULL;
    p->rope.has_beta_slow = find(r, "rope.scaling.yarn_beta_slow") != NULL;
    p->rope.beta_fast = number(r, "rope.scaling.yarn_beta_fast", 0, 32);
    p->rope.beta_slow = number(r, "rope.scaling.yarn_beta_slow", 0, 1);
    p->rope.has_mscale_all_dim = find(r, "rope.scaling.yarn_log_multiplier") != NULL;
    /* stored as 0.1 * mscale_all_dim in F32; six digits undo that rounding. mscale is not stored: all releases have it
     * equal to mscale_all_dim */
    double stored = number(r, "rope.scaling.yarn_log_multiplier", 0, 0);
    p->rope.mscale_all_dim = rint(stored * 10 * 1e6) / 1e6;
    p->rope.mscale = p->rope.has_mscale_all_dim ? p->rope.mscale_all_dim : 1;
}

/* Vocabulary size: its own key, else the number of tokens. */
static uint64_t read_vocab_size(struct reader *r)
{
    enum gguf_type element;
    const uint8_t *data;
    uint64_t n = 0;
    gguf_get_array(gguf_find(r->m, "tokenizer.ggml.tokens"), &element, &n, &data);
    return whole(r, "vocab_size", n == 0, n);
}

const struct family *arch_from_gguf(const struct gguf_meta *m, struct arch_params *p, struct error *e)
{
    const struct family *f = families;
    const char *name;
    size_t n;
    int softmax;
    *p = (struct arch_params){0};
    if (gguf_get_string(gguf_find(m, "general.architecture"), &name, &n)) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "missing key 'general.architecture'");
        return NULL;
    }
    while (f->name && (strlen(f->gguf_arch) != n || memcmp(f->gguf_arch, name, n)))
        f++;
    if (!f->name) {
        error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "the model is of another family: %.*s", (int)(n < 64 ? n : 64),
                  name);
        return NULL;
    }
    struct reader r = {.m = m, .arch = f->gguf_arch, .e = e};
    p->num_nextn_predict_layers = whole(&r, "nextn_predict_layers", 0, 0);
    p->num_hidden_layers = whole(&r, "block_count", 1, 0);
    if (p->num_nextn_predict_layers >= p->num_hidden_layers)
        fail(&r, "no layer is left beside those of", "nextn_predict_layers");
    p->num_hidden_layers -= p->num_nextn_predict_layers;
    p->first_k_dense_replace = whole(&r, "leading_dense_block_count", 0, 0);
    p->max_position_embeddings = whole(&r, "context_length", 1, 0);
    p->hidden_size = whole(&r, "embedding_length", 1, 0);
    p->intermediate_size = whole(&r, "feed_forward_length", 1, 0);
    p->rms_norm_eps = number(&r, "attention.layer_norm_rms_epsilon", 1, 0);
    p->vocab_size = read_vocab_size(&r);
    read_heads(&r, p);
    read_experts(&r, p);
    read_rope(&r, p);
    if (f->has_indexer) {
        p->index_n_heads = whole(&r, "attention.indexer.head_count", 1, 0);
        p->index_head_dim = whole(&r, "attention.indexer.key_length", 1, 0);
        p->index_topk = whole(&r, "attention.indexer.top_k", 1, 0);
    }
    softmax = p->scoring_func == SCORING_SOFTMAX;
    for (const struct family *g = families; softmax && g->name; g++)
        if (!strcmp(g->model_type, "deepseek_v2") && !strcmp(g->gguf_arch, f->gguf_arch))
            f = g;
    return r.failed || arch_check(f, p, e) ? NULL : f;
}
