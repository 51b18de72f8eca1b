/* SPDX-License-Identifier: MIT
 * The table of target layouts. */
#include <stddef.h>

#include "convert/target_checkpoint.h"
#include "convert/target_gguf.h"
#include "convert/pack_layout.h"
#include "convert/target_pack.h"
#include "convert/target_source.h"

const struct target targets[] = {
    {"gguf", "GGUF for llama.cpp and its relatives", "Q8_0", RECIPE_GGUF, NULL, target_gguf_build, target_gguf_file_name},
    {"compressed-tensors", "INT4, INT8, FP8, FP4 checkpoints for vLLM, SGLang, Transformers", "W4A16", RECIPE_CHECKPOINT, &form_compressed_tensors, target_checkpoint_build,
     target_checkpoint_file_name},
    {"gptq", "GPTQ checkpoints, version 1", "W4A16", RECIPE_CHECKPOINT, &form_gptq, target_checkpoint_build, target_checkpoint_file_name},
    {"gptq_v2", "GPTQ checkpoints, version 2", "W4A16", RECIPE_CHECKPOINT, &form_gptq_v2, target_checkpoint_build, target_checkpoint_file_name},
    {"awq", "AWQ checkpoints in GEMM order", "W4A16_ASYM", RECIPE_CHECKPOINT, &form_awq, target_checkpoint_build, target_checkpoint_file_name},
    {"fp8", "FP8 with scales of 128 x 128 tiles, as released", "FP8", RECIPE_CHECKPOINT, &form_fp8, target_checkpoint_build, target_checkpoint_file_name},
    {"int8-block", "INT8 with scales of 128 x 128 tiles, for SGLang", "INT8_BLOCK", RECIPE_CHECKPOINT, &form_int8_block, target_checkpoint_build, target_checkpoint_file_name},
    {"bf16", "BF16 checkpoints", "BF16", RECIPE_CHECKPOINT, &form_bf16, target_checkpoint_build, target_checkpoint_file_name},
    {"pack", "expert packs: a tar with each expert at a place of its own", "Q4_K_EXPERTS", RECIPE_PACK, NULL, target_pack_build, target_pack_file_name,
     .place = pack_place_of_tensor, .finish = target_pack_finish, .with_crc = 1},
    {"ktransformers", "INT8 or INT4 experts for kt-kernel's AMX backends", "AMXINT8", RECIPE_CHECKPOINT, &form_ktransformers, target_checkpoint_build,
     target_checkpoint_file_name},
    {"source", "the checkpoint that a pack was made of with -r source", RECIPE_SOURCE, RECIPE_PACK, &form_source, target_source_build,
     target_checkpoint_file_name},
    {0},
};
