/* SPDX-License-Identifier: MIT
 * The keys of a GGUF file: general, architecture, tokenizer; in the order of llama.cpp's converter. A GGUF source's own
 * general and tokenizer keys are carried over byte for byte. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "convert/target_gguf.h"
#include "formats/pack.h"
#include "model/vocab.h"

enum { MAX_SIDE = 16 << 20, QUANTIZATION_VERSION = 2 };

static void add_text(struct gguf_meta *m, const char *key, const char *s)
{
    gguf_add_string(m, key, s, strlen(s));
}

/* Sampling defaults of generation_config.json under the names that llama.cpp reads. */
static int add_sampling(struct plan *p, struct gguf_meta *m, struct error *e)
{
    static const struct {
        const char *json, *key;
        int whole;
    } rows[] = {
        {"top_k", "top_k", 1}, {"top_p", "top_p", 0}, {"min_p", "min_p", 0},
        {"xtc_probability", "xtc_probability", 0}, {"xtc_threshold", "xtc_threshold", 0}, {"temperature", "temp", 0},
        {"penalty_last_n", "penalty_last_n", 1}, {"penalty_repeat", "penalty_repeat", 0}, {"mirostat", "mirostat", 1},
        {"mirostat_tau", "mirostat_tau", 0}, {"mirostat_eta", "mirostat_eta", 0},
    };
    char *text;
    size_t n;
    int rc = source_side_file(p->model->source, "generation_config.json", MAX_SIDE, &text, &n, e);
    if (rc <= 0)
        return rc;
    struct json *root = json_parse(text, n, e);
    free(text);
    if (!root)
        return error_at_file(e, "generation_config.json");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char key[64];
        double d;
        snprintf(key, sizeof key, "general.sampling.%s", rows[i].key);
        if (json_f64(json_get(root, rows[i].json), &d))
            continue;
        if (rows[i].whole && fabs(d) < 1e9)
            gguf_add_i32(m, key, (int32_t)d);
        else if (!rows[i].whole)
            gguf_add_f32(m, key, (float)d);
    }
    json_free(root);
    return 0;
}

/* "8x3.6M": experts x (shared + one expert's share of every stack), two digits at least. */
static void size_label(const struct plan *p, char *out, size_t size)
{
    static const struct {
        double limit;
        const char *suffix;
    } units[] = {{1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {0, "K"}};
    uint64_t shared = 0, expert = 0;
    for (size_t i = 0; i < p->n_tensors; i++) {
        const struct weight *w = &p->tensors[i].weight;
        uint64_t one = w->rows * w->cols;
        if (roles[w->role].flags & ROLE_EXPERT)
            expert += one;
        else
            shared += one * w->slabs;
    }
    double v = (double)(shared + expert);
    int u = 0;
    while (v <= units[u].limit)
        u++;
    v /= u < 3 ? units[u].limit : 1e3;
    double whole = rint(v);
    int digits = whole < 1 ? 0 : whole < 10 ? 1 : 2;
    snprintf(out, size, "%" PRIu64 "x%.*f%s", p->model->params.n_routed_experts, 2 - digits, v, units[u].suffix);
}

/* "license: mit" in the front matter of the model card, the one entry of it that concerns everybody. */
static int add_license(struct plan *p, struct gguf_meta *m, struct error *e)
{
    char *text, *save;
    size_t n;
    int rc = source_side_file(p->model->source, "README.md", MAX_SIDE, &text, &n, e), fences = 0;
    if (rc <= 0)
        return rc;
    for (char *line = strtok_r(text, "\r\n", &save); line && fences < 2; line = strtok_r(NULL, "\r\n", &save)) {
        static const char *const keys[] = {"license", "license_name", "license_link"};
        static const char *const gguf_names[] = {"general.license", "general.license.name", "general.license.link"};
        if (!strcmp(line, "---")) {
            fences++;
            continue;
        }
        if (!fences)
            break; /* no front matter */
        for (int i = 0; i < 3; i++) {
            size_t k = strlen(keys[i]);
            if (!strncmp(line, keys[i], k) && !strncmp(line + k, ": ", 2) && line[k + 2])
                add_text(m, gguf_names[i], line + k + 2);
        }
    }
    free(text);
    return 0;
}

static int add_general(struct plan *p, struct gguf_meta *m, struct error *e)
{
    char base[NAME_PART], label[64];
    struct name_parts parts;
    source_base_name(p->model->source, base);
    model_name_split(base, &parts);
    add_text(m, "general.type", "model");
    if (add_sampling(p, m, e))
        return -1;
    add_text(m, "general.name", p->options.model_name ? p->options.model_name : parts.title);
    if (parts.version[0])
        add_text(m, "general.version", parts.version);
    if (parts.finetune[0])
        add_text(m, "general.finetune", parts.finetune);
    if (parts.basename[0])
        add_text(m, "general.basename", parts.basename);
    size_label(p, label, sizeof label);
    add_text(m, "general.size_label", label);
    return add_license(p, m, e);
}

struct arch_writer { /* keys below the architecture's name */
    struct gguf_meta *m;
    const char *arch;
};

static const char *arch_key(const struct arch_writer *w, const char *key, char out[128])
{
    snprintf(out, 128, "%s.%s", w->arch, key);
    return out;
}

static void put_u32(const struct arch_writer *w, const char *key, uint64_t v)
{
    char full[128];
    gguf_add_u32(w->m, arch_key(w, key, full), (uint32_t)v);
}

static void put_f32(const struct arch_writer *w, const char *key, double v)
{
    char full[128];
    gguf_add_f32(w->m, arch_key(w, key, full), (float)v);
}

static void put_rope(const struct arch_writer *w, const struct arch_params *a)
{
    char full[128];
    if (a->rope.factor > 0) {
        add_text(w->m, arch_key(w, "rope.scaling.type", full), "yarn");
        put_f32(w, "rope.scaling.factor", a->rope.factor);
        put_u32(w, "rope.scaling.original_context_length", a->rope.original_max_position_embeddings);
        if (a->rope.has_beta_fast)
            put_f32(w, "rope.scaling.yarn_beta_fast", a->rope.beta_fast);
        if (a->rope.has_beta_slow)
            put_f32(w, "rope.scaling.yarn_beta_slow", a->rope.beta_slow);
    }
    put_f32(w, "rope.freq_base", a->rope_theta);
}

static void put_sizes(const struct arch_writer *w, const struct arch_params *a, const struct gguf_choices *c)
{
    put_u32(w, "block_count", c->with_mtp ? arch_all_layers(a) : a->num_hidden_layers);
    put_u32(w, "context_length", a->max_position_embeddings);
    put_u32(w, "embedding_length", a->hidden_size);
    put_u32(w, "feed_forward_length", a->intermediate_size);
    put_u32(w, "attention.head_count", a->num_attention_heads);
    put_u32(w, "attention.head_count_kv", 1); /* MLA as multi-query attention over the compressed cache */
    put_rope(w, a);
    put_f32(w, "attention.layer_norm_rms_epsilon", a->rms_norm_eps);
    put_u32(w, "expert_count", a->n_routed_experts);
    put_u32(w, "expert_used_count", a->num_experts_per_tok);
    if (a->has_n_group)
        put_u32(w, "expert_group_count", a->n_group);
    if (a->has_topk_group)
        put_u32(w, "expert_group_used_count", a->topk_group);
    put_u32(w, "expert_gating_func", a->scoring_func);
    put_u32(w, "attention.key_length", a->kv_lora_rank + a->qk_rope_head_dim);
    put_u32(w, "attention.value_length", a->kv_lora_rank);
}

static void put_mla_and_moe(const struct arch_writer *w, const struct arch_params *a)
{
    char full[128];
    put_u32(w, "leading_dense_block_count", a->first_k_dense_replace);
    put_u32(w, "vocab_size", a->vocab_size);
    if (a->q_lora_rank)
        put_u32(w, "attention.q_lora_rank", a->q_lora_rank);
    put_u32(w, "attention.kv_lora_rank", a->kv_lora_rank);
    put_u32(w, "attention.key_length_mla", a->qk_nope_head_dim + a->qk_rope_head_dim);
    put_u32(w, "attention.value_length_mla", a->v_head_dim);
    put_u32(w, "expert_feed_forward_length", a->moe_intermediate_size);
    put_u32(w, "expert_shared_count", a->n_shared_experts);
    put_f32(w, "expert_weights_scale", a->routed_scaling_factor);
    if (a->norm_topk_prob)
        gguf_add_bool(w->m, arch_key(w, "expert_weights_norm", full), 1);
    put_u32(w, "rope.dimension_count", a->qk_rope_head_dim);
    if (a->rope.factor > 0 && a->rope.has_mscale_all_dim) /* readers divide by 0.1 again */
        put_f32(w, "rope.scaling.yarn_log_multiplier", 0.1 * a->rope.mscale_all_dim);
}

static void add_architecture(const struct plan *p, const struct gguf_choices *c, struct gguf_meta *m)
{
    const struct arch_params *a = &p->model->params;
    struct arch_writer w = {m, c->arch};
    put_sizes(&w, a, c);
    gguf_add_u32(m, "general.file_type", p->options.recipe.file_type);
    put_mla_and_moe(&w, a);
    if (c->with_mtp)
        put_u32(&w, "nextn_predict_layers", a->num_nextn_predict_layers);
    if (c->with_indexer) {
        put_u32(&w, "attention.indexer.head_count", a->index_n_heads);
        put_u32(&w, "attention.indexer.key_length", a->index_head_dim);
        put_u32(&w, "attention.indexer.top_k", a->index_topk);
    }
}

static void add_strings(struct gguf_meta *m, const char *key, const char *const *list, uint64_t n)
{
    struct buffer b = {0};
    for (uint64_t i = 0; i < n; i++) {
        buffer_u64(&b, strlen(list[i]));
        buffer_text(&b, list[i]);
    }
    m->failed |= b.failed;
    gguf_add_array(m, key, GGUF_STRING, n, b.data, b.size);
    buffer_clear(&b);
}

static void add_vocab(const struct vocab *v, int has_indexer, struct gguf_meta *m)
{
    static const char *const keys[SPECIAL_COUNT] = {"bos_token_id", "eos_token_id", "unknown_token_id",
                                                    "seperator_token_id" /* so spelled by the format */,
                                                    "padding_token_id", "cls_token_id", "mask_token_id"};
    add_text(m, "tokenizer.ggml.model", "gpt2");
    add_text(m, "tokenizer.ggml.pre", v->pre->name);
    add_strings(m, "tokenizer.ggml.tokens", v->tokens, v->n_tokens);
    gguf_add_array(m, "tokenizer.ggml.token_type", GGUF_I32, v->n_tokens, v->types, v->n_tokens * sizeof *v->types);
    add_strings(m, "tokenizer.ggml.merges", v->merges, v->n_merges);
    for (int i = 0; i < SPECIAL_COUNT; i++) {
        char key[64];
        snprintf(key, sizeof key, "tokenizer.ggml.%s", keys[i]);
        if (v->special[i] >= 0)
            gguf_add_u32(m, key, (uint32_t)v->special[i]);
    }
    /* the V3.2 release says false, but its prompts begin with BOS; llama.cpp's converter insists on true */
    int add_bos = has_indexer ? 1 : v->add_bos;
    if (add_bos >= 0)
        gguf_add_bool(m, "tokenizer.ggml.add_bos_token", add_bos);
    if (v->add_eos >= 0)
        gguf_add_bool(m, "tokenizer.ggml.add_eos_token", v->add_eos);
    if (v->add_sep >= 0)
        gguf_add_bool(m, "tokenizer.ggml.add_sep_token", v->add_sep);
    if (v->chat_template)
        add_text(m, "tokenizer.chat_template", v->chat_template);
}

static int add_tokenizer(struct plan *p, struct gguf_meta *m, struct error *e)
{
    const struct model *model = p->model;
    struct vocab *v = NULL;
    if (p->options.no_vocab) {
        add_text(m, "tokenizer.ggml.model", "none");
        return 0;
    }
    int rc = vocab_load(model->source, model->params.vocab_size, &v, e);
    if (rc < 0)
        return -1;
    if (rc == 0) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET,
                  "the folder has no tokenizer.json (--no-vocab writes a file without a vocabulary)");
        return error_at_file(e, model->source->path);
    }
    if (model->family->has_indexer && v->add_bos == 0)
        p->notes[p->n_notes++] = "add_bos_token is false in the release; written as true, which its prompts need";
    if (!v->chat_template && !p->options.chat_template)
        p->notes[p->n_notes++] = "the release has no chat template; --chat-template-file adds one";
    add_vocab(v, model->family->has_indexer, m);
    vocab_free(v);
    return 0;
}

static int starts_with(const char *s, const char *prefix)
{
    return !strncmp(s, prefix, strlen(prefix));
}

/* Carries the source GGUF's pairs of one kind over. */
static void copy_pairs(const struct gguf_meta *from, const char *prefix, struct gguf_meta *m)
{
    for (size_t i = 0; i < from->n; i++) {
        const struct gguf_kv *kv = &from->kvs[i];
        if (starts_with(kv->key, prefix) && strcmp(kv->key, "general.architecture") &&
            strcmp(kv->key, "general.alignment") && strcmp(kv->key, "general.file_type") &&
            strcmp(kv->key, "general.quantization_version"))
            gguf_add(m, kv->key, kv->type, kv->value, kv->size);
    }
}

/* At most 127 bytes, like llama-quantize, but of the file the name alone: where it lies is nobody's business. */
static void add_short(struct gguf_meta *m, const char *key, const char *s)
{
    gguf_add_string(m, key, s, strnlen(s, 127));
}

static void add_imatrix(const struct imatrix *x, struct gguf_meta *m)
{
    add_short(m, "quantize.imatrix.file", io_base_name(x->path));
    if (x->n_datasets)
        add_short(m, "quantize.imatrix.dataset", io_base_name(x->datasets[0]));
    gguf_add_u32(m, "quantize.imatrix.entries_count", (uint32_t)x->n_entries);
    if (x->chunk_count)
        gguf_add_u32(m, "quantize.imatrix.chunks_count", x->chunk_count);
}

int gguf_keys_add(struct plan *p, const struct gguf_choices *c, struct gguf_meta *m, struct error *e)
{
    const struct gguf_meta *from = p->model->source->meta;
    add_text(m, "general.architecture", c->arch);
    if (from)
        copy_pairs(from, "general.", m);
    else if (add_general(p, m, e))
        return -1;
    if (p->options.model_name)
        add_text(m, "general.name", p->options.model_name);
    add_architecture(p, c, m);
    gguf_add_u32(m, "general.quantization_version", QUANTIZATION_VERSION);
    if (from && !p->options.no_vocab)
        copy_pairs(from, "tokenizer.", m);
    else if (add_tokenizer(p, m, e))
        return -1;
    if (p->options.chat_template)
        add_text(m, "tokenizer.chat_template", p->options.chat_template);
    if (p->options.imatrix)
        add_imatrix(p->options.imatrix, m);
    return m->failed ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory") : 0;
}
