/* SPDX-License-Identifier: MIT
 * Inputs: the tables. */
#include "model/inputs.h"

const char *const input_names[INPUT_COUNT] = {
    [INPUT_ATTN] = "attn",           [INPUT_Q_LATENT] = "q_latent",
    [INPUT_KV_LATENT] = "kv_latent", [INPUT_Q_NOPE] = "q_nope",
    [INPUT_MIXED_LATENT] = "mixed_latent", [INPUT_HEADS] = "heads",
    [INPUT_FFN] = "ffn",             [INPUT_FFN_INNER] = "ffn_inner",
    [INPUT_SHEXP_INNER] = "shexp_inner", [INPUT_EXPERT] = "expert",
    [INPUT_EXPERT_INNER] = "expert_inner", [INPUT_OUTPUT] = "output",
};

static const unsigned char inputs[ROLE_COUNT] = {
    [ROLE_OUTPUT] = INPUT_OUTPUT,
    [ROLE_ATTN_Q] = INPUT_ATTN,
    [ROLE_ATTN_Q_A] = INPUT_ATTN,
    [ROLE_ATTN_KV_A_MQA] = INPUT_ATTN,
    [ROLE_INDEXER_K] = INPUT_ATTN,
    [ROLE_INDEXER_PROJ] = INPUT_ATTN,
    [ROLE_ATTN_Q_B] = INPUT_Q_LATENT,
    [ROLE_INDEXER_Q_B] = INPUT_Q_LATENT,
    [ROLE_ATTN_KV_B] = INPUT_KV_LATENT,
    [ROLE_ATTN_K_B] = INPUT_Q_NOPE,
    [ROLE_ATTN_V_B] = INPUT_MIXED_LATENT,
    [ROLE_ATTN_OUTPUT] = INPUT_HEADS,
    [ROLE_FFN_GATE] = INPUT_FFN,
    [ROLE_FFN_UP] = INPUT_FFN,
    [ROLE_FFN_DOWN] = INPUT_FFN_INNER,
    [ROLE_FFN_GATE_INP] = INPUT_FFN,
    [ROLE_FFN_GATE_EXPS] = INPUT_EXPERT,
    [ROLE_FFN_UP_EXPS] = INPUT_EXPERT,
    [ROLE_FFN_DOWN_EXPS] = INPUT_EXPERT_INNER,
    [ROLE_FFN_GATE_SHEXP] = INPUT_FFN,
    [ROLE_FFN_UP_SHEXP] = INPUT_FFN,
    [ROLE_FFN_DOWN_SHEXP] = INPUT_SHEXP_INNER,
};

enum input input_of(enum tensor_role role)
{
    return (enum input)inputs[role];
}

enum half input_half(enum input input)
{
    return input < INPUT_FFN || input == INPUT_OUTPUT ? HALF_ATTENTION : HALF_MLP;
}

enum half role_half(enum tensor_role role)
{
    return role < ROLE_FFN_NORM ? HALF_ATTENTION : HALF_MLP; /* the table of roles has them in this order */
}

int input_shape(enum input input, const struct arch_params *p, int layer, uint64_t *slabs, uint64_t *n)
{
    const int moe = (uint64_t)layer >= p->first_k_dense_replace;
    const struct {
        uint64_t slabs, n;
        int there;
    } shapes[INPUT_COUNT] = {
        [INPUT_ATTN] = {1, p->hidden_size, 1},
        [INPUT_Q_LATENT] = {1, p->q_lora_rank, p->q_lora_rank != 0},
        [INPUT_KV_LATENT] = {1, p->kv_lora_rank, 1},
        [INPUT_Q_NOPE] = {p->num_attention_heads, p->qk_nope_head_dim, 1},
        [INPUT_MIXED_LATENT] = {p->num_attention_heads, p->kv_lora_rank, 1},
        [INPUT_HEADS] = {1, p->num_attention_heads * p->v_head_dim, 1},
        [INPUT_FFN] = {1, p->hidden_size, 1},
        [INPUT_FFN_INNER] = {1, p->intermediate_size, !moe},
        [INPUT_SHEXP_INNER] = {1, p->n_shared_experts * p->moe_intermediate_size, moe && p->n_shared_experts},
        [INPUT_EXPERT] = {p->n_routed_experts, p->hidden_size, moe},
        [INPUT_EXPERT_INNER] = {p->n_routed_experts, p->moe_intermediate_size, moe},
        [INPUT_OUTPUT] = {1, p->hidden_size, 0},
    };
    *slabs = shapes[input].slabs;
    *n = shapes[input].n;
    return layer < 0 ? input == INPUT_OUTPUT : shapes[input].there;
}
