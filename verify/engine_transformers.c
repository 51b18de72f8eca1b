/* SPDX-License-Identifier: MIT
 * transformers: its modules are the checkpoint's; the packages that it calls upon decide what is quantized. MTP layers it passes over.
 * Sources: huggingface/transformers models/deepseek_v3/, quantizers/, quantizers/quantizers_utils.py; vllm-project/compressed-tensors
 * utils/match.py. */
#include "verify/engine.h"

#define NONE ROLE_COUNT
#define LINEAR(name, role) {name, "Linear", {role}, 1, 0, NONE}
#define PLAIN(name, role) {name, NULL, {role}, 1, 0, NONE}

static const struct engine_module modules[] = {
    PLAIN("model.embed_tokens", ROLE_TOKEN_EMBD),
    LINEAR("lm_head", ROLE_OUTPUT),
    LINEAR("self_attn.q_proj", ROLE_ATTN_Q),
    LINEAR("self_attn.q_a_proj", ROLE_ATTN_Q_A),
    LINEAR("self_attn.q_b_proj", ROLE_ATTN_Q_B),
    LINEAR("self_attn.kv_a_proj_with_mqa", ROLE_ATTN_KV_A_MQA),
    LINEAR("self_attn.kv_b_proj", ROLE_ATTN_KV_B),
    LINEAR("self_attn.o_proj", ROLE_ATTN_OUTPUT),
    LINEAR("self_attn.indexer.wq_b", ROLE_INDEXER_Q_B),
    LINEAR("self_attn.indexer.wk", ROLE_INDEXER_K),
    PLAIN("self_attn.indexer.weights_proj", ROLE_INDEXER_PROJ),
    LINEAR("mlp.gate_proj", ROLE_FFN_GATE),
    LINEAR("mlp.up_proj", ROLE_FFN_UP),
    LINEAR("mlp.down_proj", ROLE_FFN_DOWN),
    PLAIN("mlp.gate", ROLE_FFN_GATE_INP),
    {"mlp.experts", "Linear", {ROLE_FFN_GATE_EXPS, ROLE_FFN_UP_EXPS, ROLE_FFN_DOWN_EXPS}, 3, 0, NONE},
    LINEAR("mlp.shared_experts.gate_proj", ROLE_FFN_GATE_SHEXP),
    LINEAR("mlp.shared_experts.up_proj", ROLE_FFN_UP_SHEXP),
    LINEAR("mlp.shared_experts.down_proj", ROLE_FFN_DOWN_SHEXP),
    {0},
};

/* The output layer is left out beside what the list says. */
static int judge_list(struct engine_run *r, const struct engine_module *m, int layer, struct verdict *v)
{
    if (judge_by_list(r, m, layer, v))
        return -1;
    v->quantized &= m->part[0] != ROLE_OUTPUT;
    return 0;
}

/* GPTQ of its package: linear layers within the blocks, but what `dynamic` says. */
static int judge_gptq(struct engine_run *r, const struct engine_module *m, int layer, struct verdict *v)
{
    if (judge_by_dynamic(r, m, layer, v))
        return -1;
    v->quantized &= layer >= 0;
    return 0;
}

static const struct engine_method methods[] = {
    {"fp8", {"activation_scheme"}, {"modules_to_not_convert"}, MATCH_BOUNDARY, judge_list},
    {"compressed-tensors", {"config_groups"}, {"ignore"}, MATCH_EXACT, judge_by_package},
    {"gptq", {"bits"}, {"dynamic"}, MATCH_EXACT, judge_gptq},
    {"awq", {"bits"}, {"modules_to_not_convert"}, MATCH_BOUNDARY, judge_list},
    {0},
};

/* From version 5 on all experts are one module, and neither GPTQ nor AWQ make anything of it. */
static const char *limit(const struct engine_run *r, const struct engine_module *m, const struct stored *s)
{
    (void)r;
    return roles[m->part[0]].flags & ROLE_EXPERT && (has_layout(s, "awq") || has_layout(s, "gptq") || has_layout(s, "gptq_v2"))
               ? "transformers has all experts in one module, which its GPTQ and AWQ do not convert"
               : NULL;
}

static const char *const model_types[] = {"deepseek_v2", "deepseek_v3", "deepseek_v32", NULL};

const struct engine engine_transformers = {.name = "transformers", .title = "transformers", .modules = modules,
                                           .methods = methods, .model_types = model_types, .passes_mtp = 1, .limit = limit};
