/* SPDX-License-Identifier: MIT
 * Memory that llama.cpp takes for a model besides its weights.
 *
 *   KV cache   layers * ctx * (kv_lora_rank + qk_rope_head_dim) numbers of F16: with k_b and v_b apart attention runs in the latent space,
 *              and its values are the first kv_lora_rank of the keys (PR 19067; older versions keep them again). V3.2's indexer keeps index_head_dim more
 *   buffers    of a batch of 512 tokens, F32: logits, four times the hidden state, inputs of the experts used, and scores of all
 *              heads over the context where attention is not fused
 * Source: ggml-org/llama.cpp src/models/deepseek2.cpp, src/llama-kv-cache.cpp; n_ubatch of common/common.h. */
#ifndef PARE_CONVERT_ENGINE_MEMORY_H
#define PARE_CONVERT_ENGINE_MEMORY_H

#include <stdint.h>

#include "model/arch.h"

struct engine_memory {
    uint64_t kv_cache, buffers; /* bytes */
};
struct engine_memory engine_memory(const struct arch_params *p, uint64_t ctx);

#endif
