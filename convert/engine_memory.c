/* SPDX-License-Identifier: MIT
 * Memory of llama.cpp, by its shapes. */
#include "convert/engine_memory.h"

enum { BATCH = 512 };

struct engine_memory engine_memory(const struct arch_params *p, uint64_t ctx)
{
    const uint64_t latent = p->kv_lora_rank + p->qk_rope_head_dim + p->index_head_dim;
    const uint64_t batch = BATCH < ctx ? BATCH : ctx, experts = p->num_experts_per_tok * (p->moe_intermediate_size + p->hidden_size);
    return (struct engine_memory){
        .kv_cache = p->num_hidden_layers * ctx * latent * 2,
        .buffers = batch * (p->vocab_size + 4 * p->hidden_size + experts + p->num_attention_heads * ctx) * sizeof(float)};
}
