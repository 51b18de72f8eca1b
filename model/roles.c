/* SPDX-License-Identifier: MIT
 * Tensor roles: the table, and the names and shapes that follow from it. */
#include "model/roles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define V (ROLE_VECTOR | ROLE_ALWAYS_F32)

const struct role roles[ROLE_COUNT] = {
    [ROLE_TOKEN_EMBD] = {"token_embd", "token_embd.weight", "model.embed_tokens.weight", CLASS_EMBEDDING, ROLE_GLOBAL},
    [ROLE_OUTPUT_NORM] = {"output_norm", "output_norm.weight", "model.norm.weight", CLASS_NORM, ROLE_GLOBAL | V},
    [ROLE_OUTPUT] = {"output", "output.weight", "lm_head.weight", CLASS_EMBEDDING, ROLE_GLOBAL},

    [ROLE_ATTN_NORM] = {"attn_norm", "attn_norm.weight", "input_layernorm.weight", CLASS_NORM, V},
    [ROLE_ATTN_Q] = {"attn_q", "attn_q.weight", "self_attn.q_proj.weight", CLASS_ATTENTION, 0},
    [ROLE_ATTN_Q_A] = {"attn_q_a", "attn_q_a.weight", "self_attn.q_a_proj.weight", CLASS_ATTENTION, 0},
    [ROLE_ATTN_Q_A_NORM] = {"attn_q_a_norm", "attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight", CLASS_NORM, V},
    [ROLE_ATTN_Q_B] = {"attn_q_b", "attn_q_b.weight", "self_attn.q_b_proj.weight", CLASS_ATTENTION, 0},
    [ROLE_ATTN_KV_A_MQA] = {"attn_kv_a_mqa", "attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight",
                            CLASS_ATTENTION, 0},
    [ROLE_ATTN_KV_A_NORM] = {"attn_kv_a_norm", "attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight", CLASS_NORM,
                             V},
    [ROLE_ATTN_KV_B] = {"attn_kv_b", "attn_kv_b.weight", "self_attn.kv_b_proj.weight", CLASS_ATTENTION, ROLE_HF_FUSED},
    [ROLE_ATTN_K_B] = {"attn_k_b", "attn_k_b.weight", NULL, CLASS_ATTENTION, ROLE_PER_HEAD | ROLE_GGUF_SPLIT},
    [ROLE_ATTN_V_B] = {"attn_v_b", "attn_v_b.weight", NULL, CLASS_ATTENTION, ROLE_PER_HEAD | ROLE_GGUF_SPLIT},
    [ROLE_ATTN_OUTPUT] = {"attn_output", "attn_output.weight", "self_attn.o_proj.weight", CLASS_ATTENTION, 0},

    [ROLE_INDEXER_Q_B] = {"indexer.attn_q_b", "indexer.attn_q_b.weight", "self_attn.indexer.wq_b.weight", CLASS_INDEXER,
                          0},
    [ROLE_INDEXER_K] = {"indexer.attn_k", "indexer.attn_k.weight", "self_attn.indexer.wk.weight", CLASS_INDEXER, 0},
    [ROLE_INDEXER_K_NORM] = {"indexer.k_norm", "indexer.k_norm.weight", "self_attn.indexer.k_norm.weight", CLASS_INDEXER,
                             V},
    [ROLE_INDEXER_K_NORM_BIAS] = {"indexer.k_norm.bias", "indexer.k_norm.bias", "self_attn.indexer.k_norm.bias",
                                  CLASS_INDEXER, V},
    [ROLE_INDEXER_PROJ] = {"indexer.proj", "indexer.proj.weight", "self_attn.indexer.weights_proj.weight", CLASS_INDEXER,
                           ROLE_ALWAYS_F32},

    [ROLE_FFN_NORM] = {"ffn_norm", "ffn_norm.weight", "post_attention_layernorm.weight", CLASS_NORM, V},
    [ROLE_FFN_GATE] = {"ffn_gate", "ffn_gate.weight", "mlp.gate_proj.weight", CLASS_DENSE, 0},
    [ROLE_FFN_UP] = {"ffn_up", "ffn_up.weight", "mlp.up_proj.weight", CLASS_DENSE, 0},
    [ROLE_FFN_DOWN] = {"ffn_down", "ffn_down.weight", "mlp.down_proj.weight", CLASS_DENSE, 0},
    [ROLE_FFN_GATE_INP] = {"ffn_gate_inp", "ffn_gate_inp.weight", "mlp.gate.weight", CLASS_ROUTER, ROLE_ALWAYS_F32},
    [ROLE_EXP_PROBS_B] = {"exp_probs_b", "exp_probs_b.bias", "mlp.gate.e_score_correction_bias", CLASS_ROUTER, V},
    [ROLE_FFN_GATE_EXPS] = {"ffn_gate_exps", "ffn_gate_exps.weight", "gate_proj.weight", CLASS_EXPERTS, ROLE_EXPERT},
    [ROLE_FFN_UP_EXPS] = {"ffn_up_exps", "ffn_up_exps.weight", "up_proj.weight", CLASS_EXPERTS, ROLE_EXPERT},
    [ROLE_FFN_DOWN_EXPS] = {"ffn_down_exps", "ffn_down_exps.weight", "down_proj.weight", CLASS_EXPERTS, ROLE_EXPERT},
    [ROLE_FFN_GATE_SHEXP] = {"ffn_gate_shexp", "ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj.weight",
                             CLASS_SHARED, 0},
    [ROLE_FFN_UP_SHEXP] = {"ffn_up_shexp", "ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight", CLASS_SHARED, 0},
    [ROLE_FFN_DOWN_SHEXP] = {"ffn_down_shexp", "ffn_down_shexp.weight", "mlp.shared_experts.down_proj.weight",
                             CLASS_SHARED, 0},

    [ROLE_NEXTN_EH_PROJ] = {"nextn.eh_proj", "nextn.eh_proj.weight", "eh_proj.weight", CLASS_MTP, 0},
    [ROLE_NEXTN_EMBED_TOKENS] = {"nextn.embed_tokens", "nextn.embed_tokens.weight", "embed_tokens.weight", CLASS_MTP,
                                 ROLE_OPTIONAL},
    [ROLE_NEXTN_ENORM] = {"nextn.enorm", "nextn.enorm.weight", "enorm.weight", CLASS_MTP, V},
    [ROLE_NEXTN_HNORM] = {"nextn.hnorm", "nextn.hnorm.weight", "hnorm.weight", CLASS_MTP, V},
    [ROLE_NEXTN_SHARED_HEAD_HEAD] = {"nextn.shared_head_head", "nextn.shared_head_head.weight",
                                     "shared_head.head.weight", CLASS_MTP, ROLE_OPTIONAL},
    [ROLE_NEXTN_SHARED_HEAD_NORM] = {"nextn.shared_head_norm", "nextn.shared_head_norm.weight",
                                     "shared_head.norm.weight", CLASS_MTP, V},
};

const char *const role_class_names[CLASS_COUNT] = {
    [CLASS_EMBEDDING] = "embeddings", [CLASS_ATTENTION] = "attention", [CLASS_INDEXER] = "indexer",
    [CLASS_DENSE] = "dense MLP",      [CLASS_SHARED] = "shared experts", [CLASS_EXPERTS] = "routed experts",
    [CLASS_ROUTER] = "router",        [CLASS_NORM] = "norms",          [CLASS_MTP] = "MTP head",
};

void role_shape(enum tensor_role role, const struct arch_params *p, uint64_t *rows, uint64_t *cols)
{
    const uint64_t D = p->hidden_size, F = p->intermediate_size, Fm = p->moe_intermediate_size;
    const uint64_t H = p->num_attention_heads, Rq = p->q_lora_rank, Rkv = p->kv_lora_rank;
    const uint64_t dn = p->qk_nope_head_dim, dr = p->qk_rope_head_dim, dv = p->v_head_dim;
    const uint64_t shared = p->n_shared_experts * Fm;
    const uint64_t shape[ROLE_COUNT][2] = {
        [ROLE_TOKEN_EMBD] = {p->vocab_size, D},
        [ROLE_OUTPUT_NORM] = {1, D},
        [ROLE_OUTPUT] = {p->vocab_size, D},
        [ROLE_ATTN_NORM] = {1, D},
        [ROLE_ATTN_Q] = {H * (dn + dr), D},
        [ROLE_ATTN_Q_A] = {Rq, D},
        [ROLE_ATTN_Q_A_NORM] = {1, Rq},
        [ROLE_ATTN_Q_B] = {H * (dn + dr), Rq},
        [ROLE_ATTN_KV_A_MQA] = {Rkv + dr, D},
        [ROLE_ATTN_KV_A_NORM] = {1, Rkv},
        [ROLE_ATTN_KV_B] = {H * (dn + dv), Rkv},
        [ROLE_ATTN_K_B] = {Rkv, dn}, /* transposed */
        [ROLE_ATTN_V_B] = {dv, Rkv},
        [ROLE_ATTN_OUTPUT] = {D, H * dv},
        [ROLE_INDEXER_Q_B] = {p->index_n_heads * p->index_head_dim, Rq},
        [ROLE_INDEXER_K] = {p->index_head_dim, D},
        [ROLE_INDEXER_K_NORM] = {1, p->index_head_dim},
        [ROLE_INDEXER_K_NORM_BIAS] = {1, p->index_head_dim},
        [ROLE_INDEXER_PROJ] = {p->index_n_heads, D},
        [ROLE_FFN_NORM] = {1, D},
        [ROLE_FFN_GATE] = {F, D},
        [ROLE_FFN_UP] = {F, D},
        [ROLE_FFN_DOWN] = {D, F},
        [ROLE_FFN_GATE_INP] = {p->n_routed_experts, D},
        [ROLE_EXP_PROBS_B] = {1, p->n_routed_experts},
        [ROLE_FFN_GATE_EXPS] = {Fm, D},
        [ROLE_FFN_UP_EXPS] = {Fm, D},
        [ROLE_FFN_DOWN_EXPS] = {D, Fm},
        [ROLE_FFN_GATE_SHEXP] = {shared, D},
        [ROLE_FFN_UP_SHEXP] = {shared, D},
        [ROLE_FFN_DOWN_SHEXP] = {D, shared},
        [ROLE_NEXTN_EH_PROJ] = {D, 2 * D},
        [ROLE_NEXTN_EMBED_TOKENS] = {p->vocab_size, D},
        [ROLE_NEXTN_ENORM] = {1, D},
        [ROLE_NEXTN_HNORM] = {1, D},
        [ROLE_NEXTN_SHARED_HEAD_HEAD] = {p->vocab_size, D},
        [ROLE_NEXTN_SHARED_HEAD_NORM] = {1, D},
    };
    *rows = shape[role][0];
    *cols = shape[role][1];
}

uint64_t role_slabs(enum tensor_role role, const struct arch_params *p)
{
    unsigned flags = roles[role].flags;
    return flags & ROLE_EXPERT ? p->n_routed_experts : flags & ROLE_PER_HEAD ? p->num_attention_heads : 1;
}

int role_in_layer(enum tensor_role role, const struct family *f, const struct arch_params *p, int layer, int gguf)
{
    const struct role *r = &roles[role];
    if (r->flags & ROLE_GLOBAL)
        return layer < 0 && !(role == ROLE_OUTPUT && p->tie_word_embeddings);
    if (layer < 0 || (uint64_t)layer >= arch_all_layers(p))
        return 0;
    int mtp = (uint64_t)layer >= p->num_hidden_layers, moe = (uint64_t)layer >= p->first_k_dense_replace;
    if (gguf ? r->flags & ROLE_HF_FUSED : r->flags & ROLE_GGUF_SPLIT)
        return 0;
    if (role == ROLE_ATTN_Q)
        return p->q_lora_rank == 0;
    if (role == ROLE_ATTN_Q_A || role == ROLE_ATTN_Q_A_NORM || role == ROLE_ATTN_Q_B)
        return p->q_lora_rank != 0;
    if (role == ROLE_EXP_PROBS_B)
        return moe && p->topk_method == TOPK_NOAUX_TC;
    switch (r->class) {
    case CLASS_INDEXER: return f->has_indexer;
    case CLASS_DENSE: return !moe;
    case CLASS_SHARED: return moe && p->n_shared_experts;
    case CLASS_EXPERTS: case CLASS_ROUTER: return moe;
    case CLASS_MTP: return mtp;
    default: return 1;
    }
}

enum tensor_role role_partner(enum tensor_role role)
{
    static const enum tensor_role pairs[][2] = {
        {ROLE_ATTN_Q_A, ROLE_ATTN_KV_A_MQA}, {ROLE_FFN_GATE, ROLE_FFN_UP}, {ROLE_FFN_GATE_EXPS, ROLE_FFN_UP_EXPS},
        {ROLE_FFN_GATE_SHEXP, ROLE_FFN_UP_SHEXP},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (int k = 0; k < 2; k++)
            if (pairs[i][k] == role)
                return pairs[i][1 - k];
    return ROLE_COUNT;
}

enum tensor_role role_find(const char *name)
{
    int i = 0;
    while (i < ROLE_COUNT && strcmp(roles[i].name, name))
        i++;
    return (enum tensor_role)i;
}

const char *role_hf_name(enum tensor_role role, int layer, int expert, char out[TENSOR_NAME])
{
    const struct role *r = &roles[role];
    if (r->flags & ROLE_GLOBAL)
        snprintf(out, TENSOR_NAME, "%s", r->hf);
    else if (r->flags & ROLE_EXPERT)
        snprintf(out, TENSOR_NAME, "model.layers.%d.mlp.experts.%d.%s", layer, expert, r->hf);
    else
        snprintf(out, TENSOR_NAME, "model.layers.%d.%s", layer, r->hf ? r->hf : r->gguf);
    return out;
}

const char *role_gguf_name(enum tensor_role role, int layer, char out[TENSOR_NAME])
{
    if (roles[role].flags & ROLE_GLOBAL)
        snprintf(out, TENSOR_NAME, "%s", roles[role].gguf);
    else
        snprintf(out, TENSOR_NAME, "blk.%d.%s", layer, roles[role].gguf);
    return out;
}

/* Decimal number followed by '.', without leading zeros, at most 6 digits. Moves *s behind the dot; -1 when none. */
static int take_number(const char **s)
{
    const char *p = *s;
    int n = 0, digits = 0;
    for (; *p >= '0' && *p <= '9' && digits < 6; p++, digits++)
        n = 10 * n + (*p - '0');
    if (!digits || *p != '.' || (digits > 1 && **s == '0'))
        return -1;
    *s = p + 1;
    return n;
}

static int take_prefix(const char **s, const char *prefix)
{
    size_t n = strlen(prefix);
    if (strncmp(*s, prefix, n))
        return 0;
    *s += n;
    return 1;
}

static int find_suffix(const char *suffix, unsigned flags, int gguf, struct place *place)
{
    for (int i = 0; i < ROLE_COUNT; i++) {
        const char *name = gguf ? roles[i].gguf : roles[i].hf;
        unsigned mask = ROLE_GLOBAL | (gguf ? 0 : ROLE_EXPERT);
        if (name && (roles[i].flags & mask) == flags && !strcmp(name, suffix)) {
            place->role = (enum tensor_role)i;
            return 0;
        }
    }
    return -1;
}

int role_parse_hf(const char *name, struct place *place)
{
    *place = (struct place){.layer = -1, .expert = -1};
    if (!take_prefix(&name, "model.layers."))
        return find_suffix(name, ROLE_GLOBAL, 0, place);
    if ((place->layer = take_number(&name)) < 0)
        return -1;
    if (!take_prefix(&name, "mlp.experts."))
        return find_suffix(name, 0, 0, place);
    if ((place->expert = take_number(&name)) < 0)
        return -1;
    return find_suffix(name, ROLE_EXPERT, 0, place);
}

int role_parse_gguf(const char *name, struct place *place)
{
    *place = (struct place){.layer = -1, .expert = -1};
    if (!take_prefix(&name, "blk."))
        return find_suffix(name, ROLE_GLOBAL, 1, place);
    if ((place->layer = take_number(&name)) < 0)
        return -1;
    place->fused = !strcmp(name, "ffn_gate_up_exps.weight"); /* llama.cpp's, when its converter is asked to fuse */
    return find_suffix(place->fused ? roles[ROLE_FFN_GATE_EXPS].gguf : name, 0, 1, place);
}
