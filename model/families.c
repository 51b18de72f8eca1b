/* SPDX-License-Identifier: MIT
 * The table of model families. All of them share roles.c; a family with tensors of its own extends the roles. */
#include <stddef.h>

#include "model/arch.h"

const struct family families[] = {
    {"DeepSeek-V3", "DeepseekV3ForCausalLM", "deepseek_v3", "deepseek2", 0, 0},
    {"DeepSeek-V3.2", "DeepseekV32ForCausalLM", "deepseek_v32", "deepseek32", 1, 1},
    {"Kimi-K2", "DeepseekV3ForCausalLM", "kimi_k2", "deepseek2", 0, 0},
    {"DeepSeek-V2", "DeepseekV2ForCausalLM", "deepseek_v2", "deepseek2", 0, 0},
    {0},
};
