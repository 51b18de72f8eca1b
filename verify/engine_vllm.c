/* SPDX-License-Identifier: MIT
 * vLLM: its modules, the methods that it knows, and what it cannot run.
 * Sources: vllm-project/vllm models/deepseek_v2.py, deepseek_mtp.py; layers/quantization/compressed_tensors/, auto_gptq.py, auto_awq.py, fp8.py,
 * utils/quant_utils.py, utils/gptq_utils.py. */
#include <string.h>

#include "verify/engine.h"

#define NONE ROLE_COUNT
#define PLAIN(name, role) {name, NULL, {role}, 1, 0, NONE}

static const struct engine_module modules[] = {
    PLAIN("model.embed_tokens", ROLE_TOKEN_EMBD),
    PLAIN("lm_head", ROLE_OUTPUT),
    {"self_attn.q_proj", "ColumnParallelLinear", {ROLE_ATTN_Q}, 1, 0, NONE},
    {"self_attn.fused_qkv_a_proj", "DeepSeekV2FusedQkvAProjLinear", {ROLE_ATTN_Q_A, ROLE_ATTN_KV_A_MQA}, 2, SPLIT_EXACT | SPLIT_PART, NONE},
    {"self_attn.kv_a_proj_with_mqa", "ReplicatedLinear", {ROLE_ATTN_KV_A_MQA}, 1, 0, ROLE_ATTN_Q_A},
    {"self_attn.q_b_proj", "ColumnParallelLinear", {ROLE_ATTN_Q_B}, 1, 0, NONE},
    {"self_attn.kv_b_proj", "ColumnParallelLinear", {ROLE_ATTN_KV_B}, 1, 0, NONE},
    {"self_attn.o_proj", "RowParallelLinear", {ROLE_ATTN_OUTPUT}, 1, 0, NONE},
    {"self_attn.indexer.wq_b", "ReplicatedLinear", {ROLE_INDEXER_Q_B}, 1, 0, NONE},
    {"self_attn.indexer.wk", "", {ROLE_INDEXER_K}, 1, 0, NONE},
    PLAIN("self_attn.indexer.weights_proj", ROLE_INDEXER_PROJ),
    {"mlp.gate_up_proj", "MergedColumnParallelLinear", {ROLE_FFN_GATE, ROLE_FFN_UP}, 2, SPLIT_EXACT | SPLIT_PART, NONE},
    {"mlp.down_proj", "RowParallelLinear", {ROLE_FFN_DOWN}, 1, 0, NONE},
    PLAIN("mlp.gate", ROLE_FFN_GATE_INP),
    /* a target "Linear" is taken for experts too */
    {"mlp.experts", "Linear", {ROLE_FFN_GATE_EXPS, ROLE_FFN_UP_EXPS, ROLE_FFN_DOWN_EXPS}, 3, 0, NONE},
    {"mlp.shared_experts.gate_up_proj", "MergedColumnParallelLinear", {ROLE_FFN_GATE_SHEXP, ROLE_FFN_UP_SHEXP}, 2, SPLIT_EXACT | SPLIT_PART, NONE},
    {"mlp.shared_experts.down_proj", "RowParallelLinear", {ROLE_FFN_DOWN_SHEXP}, 1, 0, NONE},
    PLAIN("eh_proj", ROLE_NEXTN_EH_PROJ),
    PLAIN("embed_tokens", ROLE_NEXTN_EMBED_TOKENS),
    PLAIN("shared_head.head", ROLE_NEXTN_SHARED_HEAD_HEAD),
    {0},
};

/* Whether a linear module is quantized it sees by the tensors; experts, and exceptions, by `dynamic`. */
static int judge_gptq(struct engine_run *r, const struct engine_module *m, int layer, struct verdict *v)
{
    const struct stored *s = model_stored(r->model, m->part[0], layer, 0);
    if (judge_by_dynamic(r, m, layer, v))
        return -1;
    if (!(roles[m->part[0]].flags & ROLE_EXPERT))
        v->quantized &= s->layout != NULL;
    return 0;
}

/* Without a list it takes what is stored as plain numbers for left out. */
static int judge_awq(struct engine_run *r, const struct engine_module *m, int layer, struct verdict *v)
{
    if (json_count(json_get(r->quant, "modules_to_not_convert")))
        return judge_by_list(r, m, layer, v);
    v->quantized = model_stored(r->model, m->part[0], layer, 0)->layout != NULL;
    return 0;
}

static const struct engine_method methods[] = {
    {"fp8", {"activation_scheme"}, {"ignored_layers", "modules_to_not_convert"}, MATCH_EXACT, judge_by_list},
    {"compressed-tensors", {"config_groups"}, {"ignore"}, MATCH_EXACT, judge_by_targets},
    {"gptq", {"bits", "group_size", "desc_act", "sym"}, {"dynamic"}, MATCH_EXACT, judge_gptq},
    {"awq", {"bits", "group_size", "zero_point"}, {"modules_to_not_convert"}, MATCH_PART, judge_awq},
    {0},
};

static const char *limit(const struct engine_run *r, const struct engine_module *m, const struct stored *s)
{
    (void)r;
    if (!s->layout)
        return NULL;
    if (m->part[0] == ROLE_INDEXER_K && !(s->type->tiling && s->type->tiling->is_float && s->type->tiling->cols))
        return "vLLM joins the indexer's wk with weights_proj as BF16 and can read it as plain numbers or FP8 in blocks only";
    if ((has_layout(s, "gptq") || has_layout(s, "gptq_v2")) && is_asymmetric(s))
        return "vLLM runs GPTQ weights only when they are symmetric";
    if (has_layout(s, "block") && !s->type->tiling->is_float)
        return "vLLM has no INT8 in blocks";
    if (has_layout(s, "int-quantized") && is_asymmetric(s))
        return "vLLM runs INT8 weights with INT8 inputs only when the weights are symmetric";
    return NULL;
}

static const char *const architectures[] = {"DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", "DeepseekV32ForCausalLM", NULL};

const struct engine engine_vllm = {.name = "vllm", .title = "vLLM", .architectures = architectures, .modules = modules, .methods = methods,
                                   .parallel = 1, .limit = limit};
