/* SPDX-License-Identifier: MIT
 * mkcheckpoint: writes a Hugging Face folder of a DeepSeek-family checkpoint with random weights.
 *
 * A second opinion: it shares no code with pare, so names, shapes, dtypes and file layout are
 * stated here once more.  Weights are noise, sized so that a forward pass neither explodes nor
 * vanishes; they know no language, so perplexity on them says little.  A value depends on --seed,
 * its tensor's name and its place alone: not on shards and, before rounding, not on --dtype.
 * Sources: DeepSeek-V3 README_WEIGHTS.md and inference/model.py; DeepSeek-V3.2-Exp
 * inference/model.py; transformers models/deepseek_v2; the released config.json files. */
#define _POSIX_C_SOURCE 200809L
#include "mkcheckpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { NOPE = 128, ROPE = 64, VALUE = 128, INDEX_DIM = 128 };   /* widths of a head */

static const struct params v3_small = {
    .layers = 3, .dense = 1, .experts = 8, .groups = 2, .topk_group = 1, .used = 2, .hidden = 256,
    .inter = 512, .moe_inter = 256, .heads = 2, .q_lora = 256, .kv_lora = 256, .vocab = 2048,
    .mtp = 1, .index_heads = 4, .index_topk = 2048, .shards = 3, .seed = 1,
};
static const struct params v3_real = {
    .layers = 61, .dense = 3, .experts = 256, .groups = 8, .topk_group = 4, .used = 8,
    .hidden = 7168, .inter = 18432, .moe_inter = 2048, .heads = 128, .q_lora = 1536,
    .kv_lora = 512, .vocab = 129280, .mtp = 1, .index_heads = 64, .index_topk = 2048,
    .shards = 163, .seed = 1,
};
static const struct params v2_small = {     /* used > topk_group, or the groups would not matter */
    .layers = 3, .dense = 1, .experts = 16, .groups = 8, .topk_group = 3, .used = 4, .hidden = 256,
    .inter = 512, .moe_inter = 256, .heads = 2, .q_lora = 256, .kv_lora = 256, .vocab = 2048,
    .shards = 3, .seed = 1,
};
static const struct params v2_real = {
    .layers = 60, .dense = 1, .experts = 160, .groups = 8, .topk_group = 3, .used = 6,
    .hidden = 5120, .inter = 12288, .moe_inter = 1536, .heads = 128, .q_lora = 1536,
    .kv_lora = 512, .vocab = 102400, .shards = 55, .seed = 1,
};
static const struct params lite_small = {   /* by its 27 layers llama.cpp knows a V2-Lite */
    .layers = 27, .dense = 1, .experts = 6, .groups = 1, .topk_group = 1, .used = 3, .hidden = 256,
    .inter = 352, .moe_inter = 96, .heads = 2, .kv_lora = 256, .vocab = 2048, .shards = 3,
    .seed = 1,
};
static const struct params lite_real = {
    .layers = 27, .dense = 1, .experts = 64, .groups = 1, .topk_group = 1, .used = 6,
    .hidden = 2048, .inter = 10944, .moe_inter = 1408, .heads = 16, .kv_lora = 512,
    .vocab = 102400, .shards = 4, .seed = 1,
};

static const struct params kimi_small = {
    .layers = 3, .dense = 1, .experts = 12, .groups = 1, .topk_group = 1, .used = 3, .hidden = 256,
    .inter = 512, .moe_inter = 256, .heads = 2, .q_lora = 256, .kv_lora = 256, .vocab = 2048,
    .shards = 3, .seed = 1,
};
static const struct params kimi_real = {
    .layers = 61, .dense = 1, .experts = 384, .groups = 1, .topk_group = 1, .used = 8,
    .hidden = 7168, .inter = 18432, .moe_inter = 2048, .heads = 64, .q_lora = 1536,
    .kv_lora = 512, .vocab = 163840, .shards = 62, .seed = 1,
};

static const struct family families[] = {
    {"v3", "DeepseekV3ForCausalLM", "deepseek_v3", "noaux_tc", "sigmoid", 2.5, 1.0, 1,
     true, false, false, false, F8_E4M3, &v3_small, &v3_real},
    {"v3.1", "DeepseekV3ForCausalLM", "deepseek_v3", "noaux_tc", "sigmoid", 2.5, 1.0, 1,
     true, false, false, true, F8_E4M3, &v3_small, &v3_real},
    {"v3.2", "DeepseekV32ForCausalLM", "deepseek_v32", "noaux_tc", "sigmoid", 2.5, 1.0, 1,
     true, false, true, true, F8_E4M3, &v3_small, &v3_real},
    {"v2", "DeepseekV2ForCausalLM", "deepseek_v2", "group_limited_greedy", "softmax", 16.0, 0.707,
     2, false, false, false, false, BF16, &v2_small, &v2_real},
    {"v2-lite", "DeepseekV2ForCausalLM", "deepseek_v2", "greedy", "softmax", 1.0, 0.707,
     2, false, false, false, false, BF16, &lite_small, &lite_real},
    {"kimi", "DeepseekV3ForCausalLM", "kimi_k2", "noaux_tc", "sigmoid", 2.827, 1.0, 1,
     true, true, false, false, BF16, &kimi_small, &kimi_real},
};

static const struct number {
    const char *option, *key;           /* key: its name in config.json */
    size_t field;
    int64_t min, max;
} numbers[] = {
    {"--layers", "num_hidden_layers", offsetof(struct params, layers), 1, 10000},
    {"--dense", "first_k_dense_replace", offsetof(struct params, dense), 0, 10000},
    {"--experts", "n_routed_experts", offsetof(struct params, experts), 1, 65536},
    {"--groups", "n_group", offsetof(struct params, groups), 1, 65536},
    {"--topk-group", "topk_group", offsetof(struct params, topk_group), 1, 65536},
    {"--used", "num_experts_per_tok", offsetof(struct params, used), 1, 65536},
    {"--hidden", "hidden_size", offsetof(struct params, hidden), 1, 1 << 20},
    {"--inter", "intermediate_size", offsetof(struct params, inter), 1, 1 << 20},
    {"--moe-inter", "moe_intermediate_size", offsetof(struct params, moe_inter), 1, 1 << 20},
    {"--heads", "num_attention_heads", offsetof(struct params, heads), 1, 4096},
    {"--q-lora", "q_lora_rank", offsetof(struct params, q_lora), 0, 1 << 20},
    {"--kv-lora", "kv_lora_rank", offsetof(struct params, kv_lora), 1, 1 << 20},
    {"--vocab", "vocab_size", offsetof(struct params, vocab), 2, 1 << 24},
    {"--mtp", "num_nextn_predict_layers", offsetof(struct params, mtp), 0, 1},
    {"--index-heads", "index_n_heads", offsetof(struct params, index_heads), 1, 4096},
    {"--index-topk", "index_topk", offsetof(struct params, index_topk), 1, 1 << 20},
    {"--shards", NULL, offsetof(struct params, shards), 1, 99999},
    {"--seed", NULL, offsetof(struct params, seed), 0, INT64_MAX},
};
enum { N_NUMBERS = sizeof numbers / sizeof *numbers };

/* ---- the tensors ---- */

__attribute__((format(printf, 5, 0)))
static struct tensor *add(struct checkpoint *c, enum dtype dtype, int64_t rows, int64_t cols,
                          const char *format, va_list args)
{
    char name[160];
    int n = snprintf(name, sizeof name, "%s", c->prefix);
    vsnprintf(name + n, sizeof name - (size_t)n, format, args);
    if (c->n == c->room) {
        c->room = c->room ? 2 * c->room : 256;
        c->t = must(realloc(c->t, c->room * sizeof *c->t));
    }
    struct tensor *t = &c->t[c->n++];
    *t = (struct tensor){.dtype = dtype, .rows = (uint64_t)rows, .cols = (uint64_t)cols};
    t->values = t->name = must(strdup(name));
    return t;
}

__attribute__((format(printf, 6, 7)))
static void vector(struct checkpoint *c, enum dtype dtype, int64_t n, float mean, float std,
                   const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct tensor *t = add(c, dtype, 1, n, format, args);
    va_end(args);
    t->vector = true;
    t->mean = mean;
    t->std = std;
}

static void norm(struct checkpoint *c, int64_t n, const char *name)
{
    vector(c, c->plain, n, 1, 0.1f, "%s", name);
}

/* A matrix that is never FP8; same names the tensor whose values it repeats, or is NULL. */
__attribute__((format(printf, 6, 7)))
static void plain(struct checkpoint *c, int64_t rows, int64_t cols, float std, const char *same,
                  const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct tensor *t = add(c, c->plain, rows, cols, format, args);
    va_end(args);
    t->std = std;
    if (same)
        t->values = same;
}

/* The last tensor becomes X.weight_packed, eight codes a word, and its companions follow: scales of
 * groups and the shape. */
static void pack(struct checkpoint *c)
{
    struct tensor weight = c->t[c->n - 1];
    char *stem = must(strdup(weight.name + strlen(c->prefix)));
    stem[strlen(stem) - strlen(".weight")] = 0;
    c->n--;
    vector(c, I32, 0, 0, 0, "%s.weight_packed", stem);
    vector(c, BF16, 0, 0, 0, "%s.weight_scale", stem);
    vector(c, I64, 2, 0, 0, "%s.weight_shape", stem);
    struct tensor *t = &c->t[c->n - 3];
    t[2].of[0] = weight.rows;
    t[2].of[1] = weight.cols;
    for (int i = 0; i < 2; i++) {
        t[i].rows = weight.rows;
        t[i].cols = weight.cols / (i ? GROUP : 8);
        t[i].std = weight.std;
        t[i].vector = false;
        t[i].is_step = i;
    }
    free(stem);
    free(weight.name);
}

/* The weight of a linear layer, [out][in], and its tile scales if it is FP8. */
__attribute__((format(printf, 5, 6)))
static void linear(struct checkpoint *c, int64_t rows, int64_t cols, float gain,
                   const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct tensor *t = add(c, c->linear, rows, cols, format, args);
    va_end(args);
    t->std = gain / sqrtf((float)cols);
    t->tiled = true;
    t->odd = c->odd_o_proj && strstr(t->name, ".o_proj.");
    if (c->family->int4 && strstr(t->name, ".experts.")) {
        pack(c);
        return;
    }
    if (t->dtype != F8_E4M3)
        return;
    struct tensor weight = *t;          /* adding the scales may move the plan */
    vector(c, c->scale, 0, 0, 0, "%s_scale_inv", weight.name + strlen(c->prefix));
    struct tensor *scale = &c->t[c->n - 1];
    weight.name = scale->name;
    weight.dtype = c->scale;
    weight.is_scale = true;
    *scale = weight;
}

static void add_indexer(struct checkpoint *c)
{
    const struct params *p = &c->p;
    linear(c, p->index_heads * INDEX_DIM, p->q_lora, 1, "self_attn.indexer.wq_b.weight");
    linear(c, INDEX_DIM, p->hidden, 1, "self_attn.indexer.wk.weight");
    vector(c, F32, INDEX_DIM, 1, 0.1f, "self_attn.indexer.k_norm.weight");
    vector(c, F32, INDEX_DIM, 0, 0.1f, "self_attn.indexer.k_norm.bias");
    plain(c, p->index_heads, p->hidden, 1 / sqrtf((float)p->hidden), NULL,
          "self_attn.indexer.weights_proj.weight");
}

static void add_attention(struct checkpoint *c)
{
    const struct params *p = &c->p;
    int64_t q_rows = p->heads * (NOPE + ROPE);
    if (p->q_lora) {
        linear(c, p->q_lora, p->hidden, 1, "self_attn.q_a_proj.weight");
        norm(c, p->q_lora, "self_attn.q_a_layernorm.weight");
        linear(c, q_rows, p->q_lora, 1, "self_attn.q_b_proj.weight");
    } else {
        linear(c, q_rows, p->hidden, 1, "self_attn.q_proj.weight");
    }
    linear(c, p->kv_lora + ROPE, p->hidden, 1, "self_attn.kv_a_proj_with_mqa.weight");
    norm(c, p->kv_lora, "self_attn.kv_a_layernorm.weight");
    linear(c, p->heads * (NOPE + VALUE), p->kv_lora, 1, "self_attn.kv_b_proj.weight");
    linear(c, p->hidden, p->heads * VALUE, 1, "self_attn.o_proj.weight");
    if (c->family->indexer)
        add_indexer(c);
}

static void add_mlp(struct checkpoint *c, const char *where, int64_t width, float down_gain)
{
    linear(c, width, c->p.hidden, 1, "%s.gate_proj.weight", where);
    linear(c, width, c->p.hidden, 1, "%s.up_proj.weight", where);
    linear(c, c->p.hidden, width, down_gain, "%s.down_proj.weight", where);
}

/* Router logits have deviation 2, their sigmoids about 0.3, as the bias: both choose experts. */
static void add_moe(struct checkpoint *c)
{
    const struct params *p = &c->p;
    char where[48];
    plain(c, p->experts, p->hidden, 2 / sqrtf((float)p->hidden), NULL, "mlp.gate.weight");
    if (c->family->v3)
        vector(c, F32, p->experts, 0, 0.3f, "mlp.gate.e_score_correction_bias");
    for (int64_t e = 0; e < p->experts; e++) {
        snprintf(where, sizeof where, "mlp.experts.%" PRId64, e);
        add_mlp(c, where, p->moe_inter, (float)(2.5 / c->family->routed_scaling_factor));
    }
    add_mlp(c, "mlp.shared_experts", c->family->shared * p->moe_inter, 1);
}

static void add_layer(struct checkpoint *c, int64_t i)
{
    add_attention(c);
    if (i < c->p.dense)
        add_mlp(c, "mlp", c->p.inter, 1);
    else
        add_moe(c);
    norm(c, c->p.hidden, "input_layernorm.weight");
    norm(c, c->p.hidden, "post_attention_layernorm.weight");
}

static void enter_layer(struct checkpoint *c, int64_t i)
{
    snprintf(c->prefix, sizeof c->prefix, "model.layers.%" PRId64 ".", i);
}

static void add_model(struct checkpoint *c)
{
    const struct params *p = &c->p;
    const char *embed = "model.embed_tokens.weight", *head = "lm_head.weight";
    float head_std = 3 / sqrtf((float)p->hidden);   /* logits of deviation 3 */
    plain(c, p->vocab, p->hidden, 1, NULL, "%s", embed);
    for (int64_t i = 0; i < p->layers; i++) {
        enter_layer(c, i);
        add_layer(c, i);
    }
    c->prefix[0] = 0;
    norm(c, p->hidden, "model.norm.weight");
    plain(c, p->vocab, p->hidden, head_std, NULL, "%s", head);
    if (!p->mtp)
        return;
    enter_layer(c, p->layers);
    plain(c, p->vocab, p->hidden, 1, embed, "embed_tokens.weight");
    norm(c, p->hidden, "enorm.weight");
    norm(c, p->hidden, "hnorm.weight");
    plain(c, p->hidden, 2 * p->hidden, 1 / sqrtf(2 * (float)p->hidden), NULL, "eh_proj.weight");
    add_layer(c, p->layers);
    norm(c, p->hidden, "shared_head.norm.weight");
    plain(c, p->vocab, p->hidden, head_std, head, "shared_head.head.weight");
}

/* ---- the other files ---- */

static void config_sizes(FILE *f, const struct checkpoint *c)
{
    for (const struct number *o = numbers; o < numbers + N_NUMBERS; o++) {
        int64_t value = *(const int64_t *)((const char *)&c->p + o->field);
        bool v32 = o->key && !strncmp(o->key, "index_", 6);
        bool v3 = o->field == offsetof(struct params, mtp);
        if (!o->key || (v32 && !c->family->indexer) || (v3 && !c->family->v3))
            continue;
        if (!value && o->field == offsetof(struct params, q_lora))
            fprintf(f, "  \"%s\": null,\n", o->key);
        else
            fprintf(f, "  \"%s\": %" PRId64 ",\n", o->key, value);
    }
    fprintf(f, "  \"num_key_value_heads\": %" PRId64 ",\n  \"n_shared_experts\": %d,\n",
            c->p.heads, c->family->shared);
    fprintf(f, "  \"qk_nope_head_dim\": %d,\n  \"qk_rope_head_dim\": %d,\n  \"v_head_dim\": %d,\n",
            NOPE, ROPE, VALUE);
    if (c->family->indexer)
        fprintf(f, "  \"index_head_dim\": %d,\n", INDEX_DIM);
}

static void config_rope(FILE *f, const struct checkpoint *c)
{
    int digits = c->family->v3 ? 1 : 3;
    fprintf(f, "  \"%s\": {\n    \"beta_fast\": 32,\n    \"beta_slow\": 1,\n    \"factor\": 40,\n"
            "    \"mscale\": %.*f,\n    \"mscale_all_dim\": %.*f,\n"
            "    \"original_max_position_embeddings\": 4096,\n",
            c->new_spelling ? "rope_parameters" : "rope_scaling", digits, c->family->mscale,
            digits, c->family->mscale);
    if (c->new_spelling)
        fputs("    \"rope_theta\": 10000.0,\n    \"rope_type\": \"yarn\"\n  },\n", f);
    else
        fputs("    \"type\": \"yarn\"\n  },\n  \"rope_theta\": 10000,\n", f);
}

static void config_quantization(FILE *f, const struct checkpoint *c)
{
    fputs("  \"quantization_config\": {\n    \"activation_scheme\": \"dynamic\",\n"
          "    \"fmt\": \"e4m3\",\n    \"quant_method\": \"fp8\",\n", f);
    if (c->pow2)
        fputs("    \"scale_fmt\": \"ue8m0\",\n", f);
    fprintf(f, "    \"weight_block_size\": [\n      %d,\n      %d\n    ]\n  },\n", TILE, TILE);
}

/* The form of Kimi-K2-Thinking's configuration. */
static void config_int4(FILE *f)
{
    fputs("  \"quantization_config\": {\n    \"config_groups\": {\n      \"group_0\": {\n"
          "        \"input_activations\": null,\n        \"output_activations\": null,\n"
          "        \"targets\": [\n          \"Linear\"\n        ],\n        \"weights\": {\n"
          "          \"actorder\": null,\n          \"block_structure\": null,\n"
          "          \"dynamic\": false,\n", f);
    fprintf(f, "          \"group_size\": %d,\n          \"num_bits\": 4,\n", GROUP);
    fputs("          \"observer\": \"minmax\",\n          \"strategy\": \"group\",\n"
          "          \"symmetric\": true,\n          \"type\": \"int\"\n        }\n      }\n    },\n"
          "    \"format\": \"pack-quantized\",\n    \"ignore\": [\n      \"lm_head\",\n"
          "      \"re:.*self_attn.*\",\n      \"re:.*shared_experts.*\",\n"
          "      \"re:.*mlp\\\\.(gate|up|gate_up|down)_proj.*\"\n    ],\n"
          "    \"quant_method\": \"compressed-tensors\",\n"
          "    \"quantization_status\": \"compressed\"\n  },\n", f);
}

static void special_ids(FILE *f, const struct checkpoint *c)
{
    int bos = !c->family->v3 && c->p.vocab >= 102400 ? 100000 : 0;
    fprintf(f, "  \"bos_token_id\": %d,\n  \"eos_token_id\": %d,\n", bos, bos + 1);
}

static void write_config(const struct checkpoint *c)
{
    static const char *const torch_names[N_DTYPES] = {
        [F16] = "float16", [BF16] = "bfloat16", [F32] = "float32",
    };
    const struct family *m = c->family;
    FILE *f = create_file(c, "config.json");
    fprintf(f, "{\n  \"architectures\": [\n    \"%s\"\n  ],\n  \"model_type\": \"%s\",\n",
            m->architecture, m->model_type);
    fputs("  \"attention_bias\": false,\n  \"attention_dropout\": 0.0,\n"
          "  \"hidden_act\": \"silu\",\n  \"initializer_range\": 0.02,\n"
          "  \"max_position_embeddings\": 163840,\n  \"moe_layer_freq\": 1,\n"
          "  \"rms_norm_eps\": 1e-06,\n", f);
    fprintf(f, "  \"scoring_func\": \"%s\",\n  \"topk_method\": \"%s\",\n", m->scoring,
            m->topk_method);
    fprintf(f, "  \"norm_topk_prob\": %s,\n  \"routed_scaling_factor\": %.1f,\n",
            m->v3 ? "true" : "false", m->routed_scaling_factor);
    fprintf(f, "  \"%s\": \"%s\",\n", c->new_spelling ? "dtype" : "torch_dtype",
            torch_names[c->plain]);
    special_ids(f, c);
    config_sizes(f, c);
    config_rope(f, c);
    if (c->linear == F8_E4M3)
        config_quantization(f, c);
    if (c->family->int4)
        config_int4(f);
    fputs("  \"tie_word_embeddings\": false,\n  \"use_cache\": true\n}\n", f);
    finish_file(c, f, "config.json");
}

static void write_generation_config(const struct checkpoint *c)
{
    FILE *f = create_file(c, "generation_config.json");
    fputs("{\n  \"_from_model_config\": true,\n", f);
    special_ids(f, c);
    fputs("  \"do_sample\": true,\n  \"temperature\": 0.6,\n  \"top_p\": 0.95\n}\n", f);
    finish_file(c, f, "generation_config.json");
}

/* ---- the command line ---- */

static const char usage[] =
    "Usage: mkcheckpoint --family v3|v3.1|v3.2|v2|v2-lite|kimi --out DIR [options]\n"
    "Writes a DeepSeek-family checkpoint folder with random weights.\n\n"
    "  --real               the released sizes of the family (meant with --sparse)\n"
    "  --sparse             headers only: the data are holes, which read as zeros\n"
    "  --layers N --dense N --hidden N --inter N --vocab N --heads N --mtp 0|1\n"
    "  --q-lora N --kv-lora N               --q-lora 0: null, one q_proj\n"
    "  --experts N --used N --groups N --topk-group N --moe-inter N\n"
    "  --index-heads N --index-topk N       V3.2's indexer\n"
    "  --dtype fp8|bf16|f16|f32             of the weights (default: the family's)\n"
    "  --scale f32|e8m0|u8                  of the FP8 tiles; e8m0, u8: powers of two\n"
    "  --odd-o-proj         o_proj's scales no powers of two, as in released V3.1\n"
    "  --rope-parameters    config.json in the newer spelling\n"
    "  --single             one model.safetensors, no index\n"
    "  --shards N           files (default: 3; with --real the release's number)\n"
    "  --tokenizer DIR      copy its tokenizer files\n"
    "  --seed N             other weights (default: 1)\n\n"
    "Exit: 0 done, 2 usage, 4 I/O or memory.  No file is ever overwritten.\n";

struct arguments {
    const char *family, *dtype, *scale, *number[N_NUMBERS];
    bool real;
};

static bool parse_flag(struct checkpoint *c, struct arguments *a, const char *name)
{
    const struct { const char *name; bool *to; } flags[] = {
        {"--real", &a->real}, {"--sparse", &c->sparse}, {"--single", &c->single},
        {"--odd-o-proj", &c->odd_o_proj}, {"--rope-parameters", &c->new_spelling},
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (!strcmp(name, flags[i].name))
            return *flags[i].to = true;
    return false;
}

static void parse_value(struct checkpoint *c, struct arguments *a, const char *name,
                        const char *value)
{
    const struct { const char *name, **to; } texts[] = {
        {"--family", &a->family}, {"--out", &c->out}, {"--tokenizer", &c->tokenizer},
        {"--dtype", &a->dtype}, {"--scale", &a->scale},
    };
    const char **to = NULL;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!strcmp(name, texts[i].name))
            to = texts[i].to;
    for (size_t i = 0; i < N_NUMBERS; i++)
        if (!strcmp(name, numbers[i].option))
            to = &a->number[i];
    if (!to || !value)
        die(EXIT_USAGE, to ? "%s takes a value (see --help)" : "no option '%s' (see --help)", name);
    *to = value;
}

static const struct family *find_family(const char *name)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (!strcmp(name, families[i].name))
            return &families[i];
    die(EXIT_USAGE, "no family '%s' (see --help)", name);
}

static int64_t parse_number(const struct number *o, const char *value)
{
    char *end;
    errno = 0;
    long long n = strtoll(value, &end, 10);
    if (errno || end == value || *end || n < o->min || n > o->max)
        die(EXIT_USAGE, "%s takes a number from %" PRId64 " to %" PRId64 ", not '%s'", o->option,
            o->min, o->max, value);
    return n;
}

static enum dtype parse_dtype(const char *value, const char *const names[N_DTYPES])
{
    for (int i = 0; i < N_DTYPES; i++)
        if (names[i] && !strcmp(value, names[i]))
            return (enum dtype)i;
    die(EXIT_USAGE, "no dtype '%s' here (see --help)", value);
}

static void choose_dtypes(struct checkpoint *c, const struct arguments *a)
{
    static const char *const weights[N_DTYPES] = {
        [F8_E4M3] = "fp8", [BF16] = "bf16", [F16] = "f16", [F32] = "f32",
    };
    static const char *const scales[N_DTYPES] = {[F32] = "f32", [F8_E8M0] = "e8m0", [U8] = "u8"};
    c->linear = a->dtype ? parse_dtype(a->dtype, weights) : c->family->dtype;
    c->plain = c->linear == F8_E4M3 ? BF16 : c->linear;
    c->scale = a->scale ? parse_dtype(a->scale, scales) : F32;
    c->pow2 = c->family->pow2 || c->scale != F32;
    if (a->scale && c->linear != F8_E4M3)
        die(EXIT_USAGE, "--scale is for --dtype fp8");
    if (c->odd_o_proj && (c->linear != F8_E4M3 || !c->pow2 || c->scale != F32))
        die(EXIT_USAGE, "--odd-o-proj is for power-of-two scales stored as f32");
}

static void check_params(const struct checkpoint *c)
{
    const struct params *p = &c->p;
    if (p->dense > p->layers)
        die(EXIT_USAGE, "--dense is at most --layers");
    if (p->experts % p->groups || p->topk_group > p->groups)
        die(EXIT_USAGE, "--groups divides --experts and is at least --topk-group");
    if (c->family->v3 && p->experts / p->groups < 2)
        die(EXIT_USAGE, "a group is scored by its two best experts: it needs two");
    if (p->used > p->experts / p->groups * p->topk_group)
        die(EXIT_USAGE, "--used is at most the number of experts in --topk-group groups");
    if (p->mtp && !c->family->v3)
        die(EXIT_USAGE, "V2 has no MTP layer");
    if (c->family->indexer && !p->q_lora)
        die(EXIT_USAGE, "V3.2's indexer needs --q-lora");
    if (c->single && p->shards != 1)
        die(EXIT_USAGE, "--single is one file: no --shards");
}

static void choose_params(struct checkpoint *c, const struct arguments *a)
{
    c->p = a->real ? *c->family->real : *c->family->small;
    if (c->single)
        c->p.shards = 1;
    for (size_t i = 0; i < N_NUMBERS; i++) {
        int64_t *to = (int64_t *)((char *)&c->p + numbers[i].field);
        if (a->number[i])
            *to = parse_number(&numbers[i], a->number[i]);
    }
    check_params(c);
}

static void free_plan(struct checkpoint *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->t[i].name);
    free(c->t);
    free(c->first);
}

int main(int argc, char **argv)
{
    struct checkpoint c = {0};
    struct arguments a = {0};
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help"))
            return fputs(usage, stdout) < 0 || fflush(stdout) ? EXIT_IO : 0;
        if (!parse_flag(&c, &a, argv[i])) {
            parse_value(&c, &a, argv[i], argv[i + 1]);
            i++;
        }
    }
    if (!a.family || !c.out)
        die(EXIT_USAGE, "--family and --out are needed (see --help)");
    c.family = find_family(a.family);
    choose_dtypes(&c, &a);
    choose_params(&c, &a);
    add_model(&c);
    assign_shards(&c);
    if (mkdir(c.out, 0777) && errno != EEXIST)
        die(EXIT_IO, "%s: '%s'", strerror(errno), c.out);
    write_config(&c);
    write_generation_config(&c);
    if (c.tokenizer)
        copy_tokenizer(&c);
    write_tensors(&c);
    printf("%s: %zu tensors, %" PRIu64 " bytes, %" PRId64 " shards\n", c.out, c.n, c.bytes,
           c.p.shards);
    free_plan(&c);
    return fflush(stdout) ? EXIT_IO : 0;
}
