/* SPDX-License-Identifier: MIT
 * Fuzz target: config.json to struct arch_params (model/arch.h), with V3.2's second file behind a NUL where the input has
 * one, and its quantization (model/quantization.h), for which that second text is quantize_config.json. No weights are needed. */
#include <math.h>
#include <string.h>

#include "model/arch.h"
#include "model/quantization.h"
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

/* Schemes have a layout that takes their type, or are none; every module has one of them or none. */
static void quantization_must_hold(const struct quantization *q)
{
    static const char *const modules[] = {"lm_head", "model.layers.3.mlp.experts.17.down_proj", "model.layers.1.mlp.down_proj"};
    must(q->row_step && q->row_step <= 1 << 24 && !q->method == !q->n_schemes);
    for (size_t i = 0; i < q->n_schemes; i++)
        must(!q->schemes[i]->layout || layout_takes(q->schemes[i]->layout, q->schemes[i]->type));
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        const struct scheme *s = quantization_scheme(q, modules[i]);
        struct part_shape shape;
        for (int p = 0; s && s->layout && p < PART_COUNT; p++)
            if (s->layout->shape(s->layout, s->type, (enum layout_part)p, 512, 384, &shape) > 0)
                must(shape.suffix && shape.dtype && shape.n_dims && shape.bytes);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = {0};
    struct arch_params p;
    const char *text = (const char *)data, *end = size ? memchr(text, 0, size) : NULL;
    size_t first = end ? (size_t)(end - text) : size;
    const struct family *f =
        arch_from_config(text, first, end ? end + 1 : NULL, end ? size - first - 1 : 0, &p, &e);
    struct quantization q = {.method = NULL};
    if (f)
        params_must_hold(f, &p);
    else
        fuzz_must_say(&e);
    e = (struct error){0};
    if (!quantization_read(&q, text, first, end ? end + 1 : NULL, end ? size - first - 1 : 0, &e))
        quantization_must_hold(&q);
    else
        fuzz_must_say(&e);
    quantization_clear(&q);
    return 0;
}
