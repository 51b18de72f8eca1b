/* SPDX-License-Identifier: MIT
 * SGLang: its modules, the methods that it knows, and what it cannot run.
 * Sources: sgl-project/sglang models/deepseek_v2.py, deepseek_nextn.py, deepseek_common/deepseek_weight_loader.py; layers/quantization/
 * compressed_tensors/, gptq.py, awq.py, fp8.py, blockwise_int8.py, w4afp8.py, utils.py; its pull requests 19106, 23467. */
#include <string.h>

#include "verify/engine.h"

#define NONE ROLE_COUNT
#define PLAIN(name, role) {name, NULL, {role}, 1, 0, NONE}

static const struct engine_module modules[] = {
    PLAIN("model.embed_tokens", ROLE_TOKEN_EMBD),
    PLAIN("lm_head", ROLE_OUTPUT),
    {"self_attn.q_proj", "ColumnParallelLinear", {ROLE_ATTN_Q}, 1, 0, NONE},
    {"self_attn.fused_qkv_a_proj_with_mqa", "ReplicatedLinear", {ROLE_ATTN_Q_A, ROLE_ATTN_KV_A_MQA}, 2, SPLIT_EXACT | SPLIT_PATH, NONE},
    {"self_attn.kv_a_proj_with_mqa", "ReplicatedLinear", {ROLE_ATTN_KV_A_MQA}, 1, 0, ROLE_ATTN_Q_A},
    {"self_attn.q_b_proj", "ColumnParallelLinear", {ROLE_ATTN_Q_B}, 1, 0, NONE},
    {"self_attn.kv_b_proj", "ColumnParallelLinear", {ROLE_ATTN_KV_B}, 1, 0, NONE},
    {"self_attn.o_proj", "RowParallelLinear", {ROLE_ATTN_OUTPUT}, 1, 0, NONE},
    {"self_attn.indexer.wq_b", "ReplicatedLinear", {ROLE_INDEXER_Q_B}, 1, 0, NONE},
    {"self_attn.indexer.wk", "ReplicatedLinear", {ROLE_INDEXER_K}, 1, 0, NONE},
    PLAIN("self_attn.indexer.weights_proj", ROLE_INDEXER_PROJ),
    {"mlp.gate_up_proj", "MergedColumnParallelLinear", {ROLE_FFN_GATE, ROLE_FFN_UP}, 2, SPLIT_PATH, NONE},
    {"mlp.down_proj", "RowParallelLinear", {ROLE_FFN_DOWN}, 1, 0, NONE},
    PLAIN("mlp.gate", ROLE_FFN_GATE_INP),
    /* a target "Linear" is taken for experts too */
    {"mlp.experts", "Linear", {ROLE_FFN_GATE_EXPS, ROLE_FFN_UP_EXPS, ROLE_FFN_DOWN_EXPS}, 3, 0, NONE},
    {"mlp.shared_experts.gate_up_proj", "MergedColumnParallelLinear", {ROLE_FFN_GATE_SHEXP, ROLE_FFN_UP_SHEXP}, 2, SPLIT_PATH, NONE},
    {"mlp.shared_experts.down_proj", "RowParallelLinear", {ROLE_FFN_DOWN_SHEXP}, 1, 0, NONE},
    PLAIN("eh_proj", ROLE_NEXTN_EH_PROJ),
    PLAIN("embed_tokens", ROLE_NEXTN_EMBED_TOKENS),
    PLAIN("shared_head.head", ROLE_NEXTN_SHARED_HEAD_HEAD),
    {0},
};

/* INT8 in blocks, and INT4 experts beside FP8: experts are always quantized. */
static int judge_experts_always(struct engine_run *r, const struct engine_module *m, int layer, struct verdict *v)
{
    if (!(roles[m->part[0]].flags & ROLE_EXPERT))
        return judge_by_list(r, m, layer, v);
    v->quantized = 1;
    return 0;
}

static const struct engine_method methods[] = {
    {"fp8", {"activation_scheme"}, {"ignored_layers", "modules_to_not_convert"}, MATCH_PATH, judge_by_list},
    {"blockwise_int8", {"activation_scheme", "weight_block_size"}, {"ignored_layers"}, MATCH_PATH, judge_experts_always},
    {"w4afp8", {NULL}, {"ignored_layers"}, MATCH_PATH, judge_experts_always},
    {"compressed-tensors", {"config_groups"}, {"ignore"}, MATCH_EXACT, judge_by_targets},
    {"gptq", {"bits", "group_size", "desc_act", "sym"}, {"dynamic"}, MATCH_EXACT, judge_by_dynamic},
    {"awq", {"bits", "group_size", "zero_point"}, {"modules_to_not_convert"}, MATCH_PART, judge_by_list},
    {0},
};

/* Layouts that keep a tensor named ".weight". */
static int has_weight(const struct stored *s)
{
    return !strcmp(s->layout->suffix[PART_CODES], ".weight");
}

static const char *limit(const struct engine_run *r, const struct engine_module *m, const struct stored *s)
{
    (void)r;
    if (!s->layout)
        return NULL;
    if (m->part[0] == ROLE_ATTN_KV_B && !has_weight(s) && !has_layout(s, "awq"))
        return "SGLang takes kv_b_proj apart when it loads it: plain numbers, FP8, INT8 or AWQ, no other packing";
    if (m->n_parts == 2 && m->part[0] == ROLE_ATTN_Q_A && !has_weight(s) && !has_layout(s, "awq"))
        return "SGLang joins q_a_proj and kv_a_proj_with_mqa by rows and looks at their '.weight': plain numbers, FP8, INT8 or AWQ, no other packing";
    if (has_layout(s, "pack-quantized") && is_asymmetric(s))
        return "SGLang runs packed weights of compressed-tensors only when they are symmetric";
    if (has_layout(s, "int-quantized") && is_asymmetric(s))
        return "SGLang runs INT8 weights with INT8 inputs only when the weights are symmetric";
    if ((has_layout(s, "gptq") || has_layout(s, "gptq_v2")) && roles[m->part[0]].flags & ROLE_EXPERT && is_asymmetric(s))
        return "SGLang runs GPTQ experts only when they are symmetric";
    return NULL;
}

static const char *const architectures[] = {"DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", "DeepseekV32ForCausalLM", NULL};

const struct engine engine_sglang = {.name = "sglang", .title = "SGLang", .architectures = architectures, .modules = modules, .methods = methods,
                                     .mtp = "model.decoder.", .ignores_parts = 1, .needs_target = 1, .parallel = 1, .limit = limit};
