/* SPDX-License-Identifier: MIT
 * Hyper-parameters from config.json, both spellings of the rope settings. Values are checked against each other, because a
 * lie here costs a night later. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "model/arch.h"
#include "model/arch_check.h"

struct reader { /* the configuration being read; the first error sticks */
    const struct json *root;
    struct error *e;
    int failed;
};

static void fail(struct reader *r, const char *what, const char *key)
{
    if (!r->failed)
        error_set(r->e, ERR_FORMAT, ERROR_NO_OFFSET, "%s '%s'", what, key);
    r->failed = 1;
}

static uint64_t whole(struct reader *r, const struct json *o, const char *key, int required, uint64_t otherwise)
{
    const struct json *v = json_get(o, key);
    uint64_t n = otherwise;
    if (!v || json_type(v) == JSON_NULL) {
        if (required)
            fail(r, "the configuration lacks", key);
    } else if (json_u64(v, &n)) {
        fail(r, "no whole number in the configuration's", key);
    }
    return n;
}

static double number(struct reader *r, const struct json *o, const char *key, int required, double otherwise)
{
    const struct json *v = json_get(o, key);
    double d = otherwise;
    if (!v || json_type(v) == JSON_NULL) {
        if (required)
            fail(r, "the configuration lacks", key);
    } else if (json_f64(v, &d)) {
        fail(r, "no number in the configuration's", key);
    }
    return d;
}

static int flag(struct reader *r, const char *key, int otherwise)
{
    const struct json *v = json_get(r->root, key);
    int b = otherwise;
    if (v && json_type(v) != JSON_NULL && json_bool(v, &b))
        fail(r, "no true or false in the configuration's", key);
    return b;
}

static const struct family *find_family(const struct json *root, struct error *e)
{
    const char *name = json_string(json_child(json_get(root, "architectures")));
    const char *type = json_string(json_get(root, "model_type"));
    for (const struct family *f = families; f->name && name && type; f++)
        if (!strcmp(f->architecture, name) && !strcmp(f->model_type, type))
            return f;
    for (const struct family *f = families; f->name; f++)
        if (name ? !strcmp(f->architecture, name) : type && !strcmp(f->model_type, type))
            return f;
    error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "the model is of another family: %s",
              name ? name : type ? type : "no architectures in the configuration");
    return NULL;
}

static void read_sizes(struct reader *r, struct arch_params *p)
{
    const struct json *o = r->root;
    p->vocab_size = whole(r, o, "vocab_size", 1, 0);
    p->hidden_size = whole(r, o, "hidden_size", 1, 0);
    p->intermediate_size = whole(r, o, "intermediate_size", 1, 0);
    p->moe_intermediate_size = whole(r, o, "moe_intermediate_size", 1, 0);
    p->num_hidden_layers = whole(r, o, "num_hidden_layers", 1, 0);
    p->num_nextn_predict_layers = whole(r, o, "num_nextn_predict_layers", 0, 0);
    p->first_k_dense_replace = whole(r, o, "first_k_dense_replace", 0, 0);
    p->num_attention_heads = whole(r, o, "num_attention_heads", 1, 0);
    p->q_lora_rank = whole(r, o, "q_lora_rank", 0, 0);
    p->kv_lora_rank = whole(r, o, "kv_lora_rank", 1, 0);
    p->qk_nope_head_dim = whole(r, o, "qk_nope_head_dim", 1, 0);
    p->qk_rope_head_dim = whole(r, o, "qk_rope_head_dim", 1, 0);
    p->v_head_dim = whole(r, o, "v_head_dim", 1, 0);
    p->max_position_embeddings = whole(r, o, "max_position_embeddings", 1, 0);
    p->rms_norm_eps = number(r, o, "rms_norm_eps", 0, 1e-6);
    p->tie_word_embeddings = flag(r, "tie_word_embeddings", 0);
    if (whole(r, o, "num_key_value_heads", 0, p->num_attention_heads) != p->num_attention_heads)
        fail(r, "MLA needs as many heads in", "num_key_value_heads");
    if (flag(r, "attention_bias", 0))
        fail(r, "no released model sets", "attention_bias");
}

static void read_experts(struct reader *r, struct arch_params *p)
{
    const struct json *o = r->root;
    const char *scoring = json_string(json_get(o, "scoring_func"));
    const char *method = json_string(json_get(o, "topk_method"));
    p->n_routed_experts = whole(r, o, "n_routed_experts", 1, 0);
    p->n_shared_experts = whole(r, o, "n_shared_experts", 0, 0);
    p->num_experts_per_tok = whole(r, o, "num_experts_per_tok", 1, 0);
    p->has_n_group = json_get(o, "n_group") && json_type(json_get(o, "n_group")) == JSON_NUMBER;
    p->has_topk_group = json_get(o, "topk_group") && json_type(json_get(o, "topk_group")) == JSON_NUMBER;
    p->n_group = whole(r, o, "n_group", 0, 1);
    p->topk_group = whole(r, o, "topk_group", 0, 1);
    p->norm_topk_prob = flag(r, "norm_topk_prob", 0);
    p->routed_scaling_factor = number(r, o, "routed_scaling_factor", 0, 1);
    if (whole(r, o, "moe_layer_freq", 0, 1) != 1)
        fail(r, "no released model has another value than 1 in", "moe_layer_freq");
    if (!scoring || !strcmp(scoring, "softmax"))
        p->scoring_func = SCORING_SOFTMAX;
    else if (!strcmp(scoring, "sigmoid"))
        p->scoring_func = SCORING_SIGMOID;
    else
        fail(r, "unknown value of", "scoring_func");
    if (!method)
        p->topk_method = p->scoring_func == SCORING_SIGMOID ? TOPK_NOAUX_TC : TOPK_GREEDY;
    else if (!strcmp(method, "greedy"))
        p->topk_method = TOPK_GREEDY;
    else if (!strcmp(method, "group_limited_greedy"))
        p->topk_method = TOPK_GROUP_LIMITED_GREEDY;
    else if (!strcmp(method, "noaux_tc"))
        p->topk_method = TOPK_NOAUX_TC;
    else
        fail(r, "unknown value of", "topk_method");
}

/* Older: rope_theta beside rope_scaling {"type": "yarn", ..}. Newer: rope_parameters {"rope_type", "rope_theta", ..}. */
static void read_rope(struct reader *r, struct arch_params *p)
{
    const struct json *newer = json_get(r->root, "rope_parameters");
    const struct json *o = newer ? newer : json_get(r->root, "rope_scaling");
    const char *type = json_string(json_get(o, "rope_type"));
    struct rope_scaling *s = &p->rope;
    p->rope_theta = number(r, r->root, "rope_theta", 0, 10000);
    if (newer)
        p->rope_theta = number(r, newer, "rope_theta", 0, p->rope_theta);
    if (!type)
        type = json_string(json_get(o, "type"));
    if (!type || !strcmp(type, "default"))
        return;
    if (strcmp(type, "yarn")) {
        fail(r, "unknown rope scaling", type);
        return;
    }
    s->factor = number(r, o, "factor", 1, 0);
    s->has_beta_fast = json_get(o, "beta_fast") != NULL;
    s->has_beta_slow = json_get(o, "beta_slow") != NULL;
    s->has_mscale_all_dim = json_get(o, "mscale_all_dim") != NULL;
    s->beta_fast = number(r, o, "beta_fast", 0, 32);
    s->beta_slow = number(r, o, "beta_slow", 0, 1);
    s->mscale = number(r, o, "mscale", 0, 1);
    s->mscale_all_dim = number(r, o, "mscale_all_dim", 0, 0);
    s->original_max_position_embeddings = whole(r, o, "original_max_position_embeddings", 1, 0);
}

/* How the weights are stored is model/quantization.h's; the form of the scales names a release. */
static void read_scale_format(struct reader *r, struct arch_params *p)
{
    const char *scale = json_string(json_get(json_get(r->root, "quantization_config"), "scale_fmt"));
    p->scale_ue8m0 = scale && !strcmp(scale, "ue8m0");
}

/* An indexer size from config.json, else from the second file; where both have it they agree. */
static uint64_t indexer_size(struct reader *r, const struct json *second, const char *key)
{
    uint64_t other = whole(r, second, key, 0, 0), v = whole(r, r->root, key, !other, other);
    if (other && v != other)
        fail(r, "config.json and the second configuration file disagree on", key);
    return v;
}

static const struct family *read_all(const struct json *root, const struct json *second, struct arch_params *p,
                                     struct error *e)
{
    const struct family *f = find_family(root, e);
    struct reader r = {.root = root, .e = e};
    if (!f)
        return NULL;
    read_sizes(&r, p);
    read_experts(&r, p);
    read_rope(&r, p);
    read_scale_format(&r, p);
    if (f->has_indexer) {
        p->index_n_heads = indexer_size(&r, second, "index_n_heads");
        p->index_head_dim = indexer_size(&r, second, "index_head_dim");
        p->index_topk = indexer_size(&r, second, "index_topk");
    }
    return r.failed || arch_check(f, p, e) ? NULL : f;
}

const struct family *arch_from_config(const char *text, size_t n, const char *second, size_t n_second,
                                      struct arch_params *p, struct error *e)
{
    struct json *root = json_parse(text, n, e), *other = NULL;
    const struct family *f = NULL;
    *p = (struct arch_params){0};
    if (root && (!second || (other = json_parse(second, n_second, e))))
        f = read_all(root, other, p, e);
    json_free(root);
    json_free(other);
    return f;
}
