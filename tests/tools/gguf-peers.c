/* SPDX-License-Identifier: MIT
 * usage: gguf-peers IN.gguf OUT.gguf FORM...
 * Writes an F32 GGUF file of ours in the forms of others:
 *   kv_b       attn_kv_b in place of attn_k_b and attn_v_b, with the keys of files from before MLA in llama.cpp
 *   ik         attn_kv_b beside both halves as matrices, as ik_llama.cpp's converter has it, and its keys
 *   gate_up    experts' gates and ups in one tensor, as llama.cpp's converter fuses them
 *   ungrouped  without the keys of expert groups
 *   defaults   without keys of rotation whose values are the defaults
 *   no_origin  without the length that YaRN extends, for which engines take the whole context
 * All values of weights stay what they are. */
#include "model/model.h"
#include "tests/tools/gguf_copy.h"

static int wanted(int argc, char **argv, const char *form)
{
    for (int i = 3; i < argc; i++)
        if (!strcmp(argv[i], form))
            return 1;
    return 0;
}

static void drop_key(struct gguf_meta *m, const char *key)
{
    for (size_t i = 0; i < m->n; i++)
        if (!strcmp(m->kvs[i].key, key)) {
            memmove(&m->kvs[i], &m->kvs[i + 1], (m->n - i - 1) * sizeof *m->kvs);
            m->n--;
            return;
        }
}

static void old_attention_keys(struct gguf_meta *m, const struct arch_params *p)
{
    gguf_add_u32(m, "deepseek2.attention.head_count_kv", (uint32_t)p->num_attention_heads);
    gguf_add_u32(m, "deepseek2.attention.key_length", (uint32_t)(p->qk_nope_head_dim + p->qk_rope_head_dim));
    gguf_add_u32(m, "deepseek2.attention.value_length", (uint32_t)p->v_head_dim);
    drop_key(m, "deepseek2.attention.key_length_mla");
    drop_key(m, "deepseek2.attention.value_length_mla");
}

/* kv_b of a layer: rows of heads, in each the K half turned back and the V half. */
static float *undivided(const struct model *m, int layer, uint64_t *bytes)
{
    const struct arch_params *p = &m->params;
    size_t dn = (size_t)p->qk_nope_head_dim, dv = (size_t)p->v_head_dim, rank = (size_t)p->kv_lora_rank;
    struct weight k, v;
    struct error e = {0};
    float *out, *half = malloc(rank * dn * sizeof *half), *scratch = malloc(rank * (dn + dv) * sizeof *scratch + 64);
    *bytes = p->num_attention_heads * (dn + dv) * rank * sizeof *out;
    if (!(out = malloc((size_t)*bytes)) || !half || !scratch || !model_weight(m, ROLE_ATTN_K_B, layer, &k) ||
        !model_weight(m, ROLE_ATTN_V_B, layer, &v))
        copy_fail("kv_b", "no halves");
    for (uint64_t h = 0; h < p->num_attention_heads; h++) {
        float *to = out + h * (dn + dv) * rank;
        if (weight_read(m, &k, h, 0, rank, half, scratch, NULL, &e) || weight_read(m, &v, h, 0, dv, to + dn * rank, scratch, NULL, &e))
            copy_fail("kv_b", e.text);
        weight_turn_k_half(half, rank, dn, 0, dn, to);
    }
    free(half);
    free(scratch);
    return out;
}

/* The gates and ups of each expert, one matrix after the other. */
static uint8_t *fused(const struct source *s, const struct tensor *gate, const struct tensor *up)
{
    struct error e = {0};
    size_t each = (size_t)(gate->bytes / gate->dims[0]);
    uint8_t *out = malloc(2 * (size_t)gate->bytes);
    for (uint64_t x = 0; out && x < gate->dims[0]; x++)
        if (source_read(s, gate, x * each, out + 2 * x * each, each, &e) || source_read(s, up, x * each, out + (2 * x + 1) * each, each, &e))
            copy_fail(gate->name, e.text);
    return out;
}

struct writing {
    const struct source *s;
    const struct model *m;
    int ik, whole, gate_up;
    struct copied *list;
    size_t n;
};

static struct copied *append(struct writing *w, const struct tensor *t, const char *form, int layer)
{
    struct copied *c = &w->list[w->n++];
    *c = (struct copied){.t = *t, .from = t};
    if (form) { /* named anew, with bytes of its own */
        char *name = calloc(1, TENSOR_NAME);
        if (name)
            snprintf(name, TENSOR_NAME, "blk.%d.%s.weight", layer, form);
        c->t.name = name;
        c->from = NULL;
    }
    return c;
}

static void add_half(struct writing *w, const struct tensor *t, int layer, int is_k)
{
    const struct arch_params *p = &w->m->params;
    if (is_k) {
        struct copied *c = append(w, t, "attn_kv_b", layer);
        c->t.n_dims = 2;
        c->t.dims[0] *= p->qk_nope_head_dim + p->v_head_dim;
        c->t.dims[1] = p->kv_lora_rank;
        c->bytes = undivided(w->m, layer, &c->t.bytes);
    }
    if (w->ik) {
        struct copied *c = append(w, t, NULL, layer);
        c->t.n_dims = 2;
        c->t.dims[0] *= t->dims[1];
        c->t.dims[1] = t->dims[2];
    }
}

static void add_gate_up(struct writing *w, const struct tensor *gate, int layer)
{
    char up[TENSOR_NAME];
    struct copied *c = append(w, gate, "ffn_gate_up_exps", layer);
    c->bytes = fused(w->s, gate, source_find(w->s, role_gguf_name(ROLE_FFN_UP_EXPS, layer, up)));
    c->t.dims[1] *= 2;
    c->t.bytes *= 2;
}

static void add(struct writing *w, const struct tensor *t)
{
    struct place at;
    role_parse_gguf(t->name, &at);
    int is_k = at.role == ROLE_ATTN_K_B;
    if ((is_k || at.role == ROLE_ATTN_V_B) && (w->whole || w->ik))
        add_half(w, t, at.layer, is_k);
    else if (at.role == ROLE_FFN_GATE_EXPS && w->gate_up)
        add_gate_up(w, t, at.layer);
    else if (at.role != ROLE_FFN_UP_EXPS || !w->gate_up)
        append(w, t, NULL, 0);
}

static const struct {
    const char *form, *key;
} dropped[] = {
    {"ungrouped", "deepseek2.expert_group_count"},      {"ungrouped", "deepseek2.expert_group_used_count"},
    {"defaults", "deepseek2.rope.freq_base"},           {"defaults", "deepseek2.rope.scaling.yarn_beta_fast"},
    {"defaults", "deepseek2.rope.scaling.yarn_beta_slow"}, {"no_origin", "deepseek2.rope.scaling.original_context_length"},
};

int main(int argc, char **argv)
{
    struct error e = {0};
    struct source *s = argc > 3 ? source_open(argv[1], &e) : NULL;
    struct model *m = s && s->meta ? model_open(s, &e) : NULL;
    if (!m)
        copy_fail("gguf-peers", argc > 3 ? e.text : "usage: gguf-peers IN OUT FORM ...");
    struct writing w = {s, m, wanted(argc, argv, "ik"), wanted(argc, argv, "kv_b"), wanted(argc, argv, "gate_up"),
                        calloc(2 * s->n_tensors, sizeof *w.list), 0};
    for (size_t i = 0; w.list && i < s->n_tensors; i++)
        add(&w, &s->tensors[i]);
    if (w.whole || w.ik)
        old_attention_keys(s->meta, &m->params);
    for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++)
        if (wanted(argc, argv, dropped[i].form))
            drop_key(s->meta, dropped[i].key);
    copy_write(argv[2], s, w.list, w.n);
    for (size_t i = 0; i < w.n; i++)
        if (!w.list[i].from)
            free((void *)w.list[i].t.name);
    free(w.list);
    model_close(m);
    source_close(s);
    return 0;
}
