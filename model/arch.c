/* SPDX-License-Identifier: MIT
 * Architecture: checks and names that do not depend on where the parameters came from. */
#include "model/arch.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>

#include "model/arch_check.h"

uint64_t arch_all_layers(const struct arch_params *p)
{
    return p->num_hidden_layers + p->num_nextn_predict_layers;
}

const char *arch_release_name(const struct family *f, const struct arch_params *p)
{
    if (p->scale_ue8m0 && !f->has_indexer)
        return "DeepSeek-V3.1 (scale_fmt ue8m0)";
    return f->name;
}

/* Largest believable values: far above any release, small enough that products cannot overflow. */
enum { MAX_WIDTH = 1 << 24, MAX_LAYERS = 512, MAX_EXPERTS = 1024, MAX_HEADS = 1 << 12, MAX_CONTEXT = 1 << 30 };

static int in_range(const char *name, uint64_t v, uint64_t lo, uint64_t hi, struct error *e)
{
    if (v >= lo && v <= hi)
        return 0;
    return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%s %" PRIu64 " is not in %" PRIu64 "..%" PRIu64, name, v, lo, hi);
}

static int check_experts(const struct arch_params *p, struct error *e)
{
    if (in_range("n_routed_experts", p->n_routed_experts, 1, MAX_EXPERTS, e) ||
        in_range("n_shared_experts", p->n_shared_experts, 0, 64, e) ||
        in_range("num_experts_per_tok", p->num_experts_per_tok, 1, p->n_routed_experts, e) ||
        in_range("n_group", p->n_group, 1, p->n_routed_experts, e) ||
        in_range("topk_group", p->topk_group, 1, p->n_group, e))
        return -1;
    if (p->n_routed_experts % p->n_group)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "n_routed_experts %" PRIu64 " is no multiple of n_group %" PRIu64,
                         p->n_routed_experts, p->n_group);
    return 0;
}

int arch_check(const struct family *f, const struct arch_params *p, struct error *e)
{
    if (in_range("vocab_size", p->vocab_size, 1, MAX_WIDTH, e) ||
        in_range("hidden_size", p->hidden_size, 1, MAX_WIDTH, e) ||
        in_range("intermediate_size", p->intermediate_size, 1, MAX_WIDTH, e) ||
        in_range("moe_intermediate_size", p->moe_intermediate_size, 1, MAX_WIDTH, e) ||
        in_range("num_hidden_layers", p->num_hidden_layers, 1, MAX_LAYERS, e) ||
        in_range("num_nextn_predict_layers", p->num_nextn_predict_layers, 0, 16, e) ||
        in_range("first_k_dense_replace", p->first_k_dense_replace, 0, p->num_hidden_layers, e) ||
        in_range("num_attention_heads", p->num_attention_heads, 1, MAX_HEADS, e) ||
        in_range("q_lora_rank", p->q_lora_rank, 0, MAX_WIDTH, e) ||
        in_range("kv_lora_rank", p->kv_lora_rank, 1, MAX_WIDTH, e) ||
        in_range("qk_nope_head_dim", p->qk_nope_head_dim, 1, 1 << 12, e) ||
        in_range("qk_rope_head_dim", p->qk_rope_head_dim, 2, 1 << 12, e) ||
        in_range("v_head_dim", p->v_head_dim, 1, 1 << 12, e) ||
        in_range("max_position_embeddings", p->max_position_embeddings, 1, MAX_CONTEXT, e) || check_experts(p, e))
        return -1;
    if (p->qk_rope_head_dim % 2)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "qk_rope_head_dim %" PRIu64 " is odd", p->qk_rope_head_dim);
    if (f->has_indexer && (in_range("index_n_heads", p->index_n_heads, 1, MAX_HEADS, e) ||
                           in_range("index_head_dim", p->index_head_dim, 1, 1 << 12, e) ||
                           in_range("index_topk", p->index_topk, 1, MAX_CONTEXT, e)))
        return -1;
    if (!isfinite(p->rms_norm_eps) || p->rms_norm_eps <= 0 || !isfinite(p->rope_theta) || p->rope_theta <= 0 ||
        !isfinite(p->routed_scaling_factor) || !isfinite(p->rope.factor) || p->rope.factor < 0)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET,
                         "rms_norm_eps, rope_theta, routed_scaling_factor or rope factor is no sensible number");
    if (!isfinite(p->rope.beta_fast) || !isfinite(p->rope.beta_slow) || !isfinite(p->rope.mscale) ||
        !isfinite(p->rope.mscale_all_dim))
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "a number of the rope scaling is not finite");
    return 0;
}
