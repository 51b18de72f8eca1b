/* SPDX-License-Identifier: MIT
 * Importance: from an imatrix to the weights of columns that an encoder gets, tensor by tensor of a plan.
 *
 * A tensor takes the entry of its own GGUF name, whose sums must be [slabs][cols], whatever the number of counts: an expert's
 * columns weigh by that expert's tokens, a head's of attn_k_b and attn_v_b by that head's. A file that was made with a kv_b that is
 * not split (older llama.cpp, ik_llama.cpp) has blk.N.attn_kv_b.weight instead: squares of the normed latent, which is what each head's V
 * half is multiplied with. attn_v_b then takes those, the same for all heads: exact. attn_k_b is stored transposed and is multiplied
 * with a head's query, which such a run did not look at: it has no data. (The other way, kv_b from attn_v_b, does not exist
 * either: there the input is a mixture of latents by attention.)
 *
 * Without data: a tensor that has no entry is encoded as without an imatrix. Matrices of an entry that have no data (an expert that
 * no token was sent to; formats/imatrix.h has the rule) get
 *   uniform  1 for every column: what llama-quantize does
 *   layer    the mean of the tensor's other matrices, each with the weight of its count; when none has data, 1
 *   fail     an error, and so is a tensor without an entry, but for token_embd and output, of which llama-imatrix has none
 * Source: ggml-org/llama.cpp src/llama-quant.cpp, tools/quantize/quantize.cpp. */
#ifndef PARE_CONVERT_IMPORTANCE_H
#define PARE_CONVERT_IMPORTANCE_H

#include "convert/plan.h"

extern const char *const imatrix_missing_names[IMATRIX_MISSING_COUNT];

/* Of one output tensor. Plain data in the plan's arena. */
struct importance {
    const struct imatrix_entry *entry;
    int one_for_all;         /* one row of columns serves every slab */
    unsigned char *has_data; /* [slabs] */
    float *instead;          /* [cols] for slabs without data; NULL: 1 */
};

/* Finds every tensor's importance (plan_tensor.importance) and fills p->weighed. Nothing happens without p->options.imatrix, but
 * that a preset which needs one is refused. ERR_FORMAT names the entry that does not fit its tensor. */
int importance_plan(struct plan *p, struct error *e);

/* Weights of the columns of one slab of a tensor that has an importance: out [cols]. Thread-safe. */
int importance_read(const struct plan *p, const struct plan_tensor *t, uint64_t slab, float *out, struct error *e);

/* "m.gguf, XXH3-128 0123.., without data: uniform": for identity and manifest. */
enum { IMPORTANCE_TEXT = 512 };
const char *importance_text(const struct plan *p, char out[IMPORTANCE_TEXT]);

#endif
