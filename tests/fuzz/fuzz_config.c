/* SPDX-License-Identifier: MIT
 * Fuzz target: config.json to struct arch_params (model/arch.h), with V3.2's second file behind a NUL where the input has
 * one. No weights are needed. */
#include <math.h>
#include <string.h>

#include "model/arch.h"
#include "model/roles.h"
#include "tests/fuzz/fuzz.h"

/* What model/arch_check.h promises to those who allocate and multiply by these numbers. */
static void params_must_hold(const struct family *f, const struct arch_params *p)
{
    must(p->num_hidden_layers && arch_all_layers(p) <= 1024 && p->first_k_dense_replace <= p->num_hidden_layers);
    must(p->n_routed_experts && p->n_routed_experts <= 1024 && p->num_experts_per_tok <= p->n_routed_experts);
    must(p->n_group && p->topk_group && p->topk_group <= p->n_group && p->n_routed_experts % p->n_group == 0);
    must(isfinite(p->rms_norm_eps) && isfinite(p->rope_theta) && isfinite(p->rope.factor));
    must(isfinite(p->rope.beta_fast) && isfinite(p->rope.beta_slow) && isfinite(p->rope.mscale) &&
         isfinite(p->rope.mscale_all_dim) && isfinite(p->routed_scaling_factor));
    must(!f->has_indexer || (p->index_n_heads && p->index_head_dim && p->index_topk));
    for (int r = 0; r < ROLE_COUNT; r++) {
        uint64_t rows, cols, n;
        role_shape((enum tensor_role)r, p, &rows, &cols);
        must(!__builtin_mul_overflow(rows, cols, &n) && !__builtin_mul_overflow(n, role_slabs((enum tensor_role)r, p), &n));
    }
    must(arch_release_name(f, p)[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = {0};
    struct arch_params p;
    const char *text = (const char *)data, *end = size ? memchr(text, 0, size) : NULL;
    size_t first = end ? (size_t)(end - text) : size;
    const struct family *f =
        arch_from_config(text, first, end ? end + 1 : NULL, end ? size - first - 1 : 0, &p, &e);
    if (f)
        params_must_hold(f, &p);
    else
        fuzz_must_say(&e);
    return 0;
}
