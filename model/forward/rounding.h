/* SPDX-License-Identifier: MIT
 * Rounding of activations as engines do it, so that a pass tells what a model gives as it will run. Two tables: what a product's
 * input is rounded to, by how its weight is stored; and what the cache of latents and rotated keys holds.
 *
 * Rounded values are put back as F32 and multiplied as ever (gemm.h): engines differ from that by the order of their sums alone.
 * The code below is all there is, for every instruction set: loops over lanes, without a library function.
 * Source: llama.cpp ggml/src/ggml-cpu (type_traits_cpu, arch/x86/quants.c, repack.cpp), ggml/src/ggml-quants.c, src/models/deepseek2.cpp;
 * DeepSeek-V3 inference/kernel.py, model.py; compressed-tensors quantization/utils/helpers.py, lifecycle/forward_helpers.py;
 * vLLM's FP8 cache. */
#ifndef PARE_MODEL_FORWARD_ROUNDING_H
#define PARE_MODEL_FORWARD_ROUNDING_H

#include <stddef.h>

#include "model/forward/panels.h"
#include "model/model.h"

/* How numbers of a token are rounded: block after block of its features. */
struct rounding {
    const char *name;
    size_t block; /* features of one block, the last may be shorter; 0: all of them */
    void (*round)(float *x, size_t n); /* a block of every lane, in place: [n][LANES] */
};
extern const struct rounding roundings[]; /* ends with a row whose name is NULL */

/* One tile, in place: [rows][LANES]. */
void rounding_apply(const struct rounding *r, float *x, size_t rows);

/* How an engine rounds what weights are multiplied with. */
struct act_rounding {
    const char *name;
    const char *engine; /* for people */
    /* What a product's input is rounded to, by how its weight is stored; NULL: it stays as it is. */
    const struct rounding *(*of)(const struct model *m, enum tensor_role role, const struct stored *s);
    /* Of ggml: k_b and v_b, where they are stored apart, are multiplied with queries and mixed latents, else with latents; and norms take
     * every step in F32, because quantized embeddings times BF16 weights have many ties, which the last bit decides. */
    int as_ggml;
};
extern const struct act_rounding act_roundings[]; /* ends with a row whose name is NULL */
const struct act_rounding *act_rounding_find(const char *name); /* NULL: none of that name */

/* Of the product with a slab of a weight; act may be NULL. */
const struct rounding *act_rounding_of(const struct act_rounding *act, const struct model *m, const struct weight *w, uint64_t slab);
/* Whether an engine of this kind runs such a model: it has a rule for some weight. */
int act_rounding_fits(const struct act_rounding *act, const struct model *m);

/* What the cache holds of a token: the normed latent, then the rotated key, as one row. */
struct cache_rounding {
    const char *name;
    const struct rounding *stored;
    const struct rounding *query; /* what absorbed queries are rounded to before they meet the cache; NULL: they are not */
};
extern const struct cache_rounding cache_roundings[]; /* ends with a row whose name is NULL */
const struct cache_rounding *cache_rounding_find(const char *name);

/* A pass's; all NULL: nothing is rounded. */
struct pass_rounding {
    const struct act_rounding *act;
    const struct cache_rounding *cache;
};

#endif
