/* SPDX-License-Identifier: MIT
 * llama.cpp: keys and types that its loaders of deepseek2 and deepseek32 ask for. That every tensor is there in its shape model_open has
 * proved; here is what is llama.cpp's own.
 * Sources: ggml-org/llama.cpp src/llama-model.cpp, src/llama-hparams.cpp, src/llama-vocab.cpp, src/models/deepseek2.cpp. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/gguf.h"
#include "verify/engine.h"

enum { LAST_TYPE = 42, KEY = 128 }; /* types beyond are ik_llama.cpp's */

static const struct gguf_kv *find(const struct engine_run *r, const char *key)
{
    char full[KEY];
    snprintf(full, sizeof full, "%s.%s", r->model->family->gguf_arch, key);
    return gguf_find(r->model->source->meta, full);
}

static uint64_t number(const struct engine_run *r, const char *key)
{
    uint64_t v = 0;
    return gguf_get_u64(find(r, key), &v) ? 0 : v;
}

static const char *file_name(const struct engine_run *r)
{
    return io_base_name(r->model->source->path);
}

static int check_keys(struct engine_run *r)
{
    static const char *const needed[] = {"context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count",
                                         "attention.layer_norm_rms_epsilon", "attention.kv_lora_rank", "leading_dense_block_count",
                                         "expert_feed_forward_length", "expert_shared_count", "rope.dimension_count"};
    static const char *const indexer[] = {"attention.indexer.head_count", "attention.indexer.key_length", "attention.indexer.top_k"};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!find(r, needed[i]) && engine_finding(r, file_name(r), "missing key '%s.%s'", r->model->family->gguf_arch, needed[i]))
            return -1;
    for (size_t i = 0; i < sizeof indexer / sizeof *indexer && r->model->family->has_indexer; i++)
        if (!find(r, indexer[i]) && engine_finding(r, file_name(r), "missing key '%s.%s'", r->model->family->gguf_arch, indexer[i]))
            return -1;
    if (r->model->params.q_lora_rank && !find(r, "attention.q_lora_rank"))
        return engine_finding(r, file_name(r), "missing key '%s.attention.q_lora_rank'", r->model->family->gguf_arch);
    if (!find(r, "expert_gating_func"))
        return engine_note(r, "there is no expert_gating_func: llama.cpp takes softmax");
    return 0;
}

static int check_groups(struct engine_run *r)
{
    const uint64_t groups = number(r, "expert_group_count"), used = number(r, "expert_group_used_count"), experts = r->model->params.n_routed_experts;
    if (groups <= 1 || (used && used < groups && experts % groups == 0))
        return 0;
    return engine_finding(r, file_name(r), "llama.cpp stops at %" PRIu64 " groups of experts of which %" PRIu64 " are used", groups, used);
}

/* Compressed attention (MLA) is chosen by two keys, and asks for the halves of kv_b; without them kv_b is asked for as a whole. */
static int check_attention(struct engine_run *r)
{
    const struct arch_params *p = &r->model->params;
    const uint64_t length = number(r, "attention.key_length"), heads_kv = number(r, "attention.head_count_kv");
    const int mla = number(r, "attention.key_length_mla") && number(r, "attention.value_length_mla");
    for (int layer = 0; layer < (int)p->num_hidden_layers; layer++) {
        const enum tensor_role asked[] = {mla ? ROLE_ATTN_K_B : ROLE_ATTN_KV_B, mla ? ROLE_ATTN_V_B : ROLE_ATTN_KV_B};
        for (size_t i = 0; i < 1 + (size_t)mla; i++) {
            const struct stored *s = model_stored(r->model, asked[i], layer, 0);
            char name[TENSOR_NAME];
            role_gguf_name(asked[i], layer, name);
            if (!s && engine_finding(r, name, "is missing: llama.cpp asks for it, since the keys of MLA lengths are %s", mla ? "there" : "not there"))
                return -1;
            if (s && mla && s->tensor->n_dims != 3 && engine_finding(r, name, "has %u dimensions: llama.cpp asks for one matrix per head in three",
                                                                     (unsigned)s->tensor->n_dims))
                return -1;
        }
    }
    if (mla && length != p->kv_lora_rank + p->qk_rope_head_dim)
        return engine_finding(r, file_name(r), "attention.key_length is %" PRIu64 ": with MLA llama.cpp asks for %" PRIu64, length,
                              p->kv_lora_rank + p->qk_rope_head_dim);
    if (mla && heads_kv != 1)
        return engine_finding(r, file_name(r), "attention.head_count_kv is %" PRIu64 ": with MLA llama.cpp asks for 1", heads_kv);
    return 0;
}

/* Vectors are added and multiplied as F32. */
static int check_types(struct engine_run *r)
{
    const struct source *s = r->model->source;
    for (size_t i = 0; i < s->n_tensors; i++) {
        const struct tensor *t = &s->tensors[i];
        struct place at;
        int is_vector = !role_parse_gguf(t->name, &at) && roles[at.role].flags & ROLE_VECTOR;
        if ((t->type->gguf_id < 0 || t->type->gguf_id > LAST_TYPE) && engine_finding(r, t->name, "llama.cpp has no type %s", t->type->name))
            return -1;
        if (is_vector && strcmp(t->type->name, "F32") && engine_finding(r, t->name, "is %s: llama.cpp asks for F32", t->type->name))
            return -1;
    }
    return 0;
}

static int check_vocabulary(struct engine_run *r)
{
    static const char *const needed[] = {"tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"};
    const struct gguf_meta *m = r->model->source->meta;
    const struct gguf_kv *template = gguf_find(m, "tokenizer.chat_template");
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!gguf_find(m, needed[i]) && engine_finding(r, file_name(r), "missing key '%s'", needed[i]))
            return -1;
    if (!gguf_find(m, "tokenizer.ggml.pre") &&
        engine_finding(r, file_name(r), "missing key 'tokenizer.ggml.pre': llama.cpp would cut text by another model's rules"))
        return -1;
    return template ? 0 : engine_note(r, "there is no chat template: conversations need one of the server's options");
}

/* Its deepseek2 loader passes over MTP layers, and must know how many there are. */
static int check_mtp(struct engine_run *r)
{
    if (!r->model->params.num_nextn_predict_layers || r->model->family->mtp_in_gguf)
        return 0;
    return engine_note(r, "llama.cpp loads MTP layers of this family only when it is asked to");
}

int engine_check_gguf(struct engine_run *r)
{
    return check_keys(r) || check_groups(r) || check_attention(r) || check_types(r) || check_vocabulary(r) || check_mtp(r) ? -1 : 0;
}

const struct engine engine_llama_cpp = {.name = "llama.cpp", .title = "llama.cpp", .gguf = 1};
