/* SPDX-License-Identifier: MIT
 * The quantization_config of each kind of checkpoint: what engines must know before they read a tensor. It says only what the plan has.
 * Sources: vllm-project/compressed-tensors quantization/quant_config.py, quant_args.py; AutoGPTQ quantization/config.py;
 * casper-hansen/AutoAWQ models/_config.py; deepseek-ai/DeepSeek-V3 config.json; sgl-project/sglang blockwise_int8.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/schemes.h"
#include "convert/target_checkpoint.h"
#include "quant/groups.h"

enum { MOST_GROUPS = 64 };

/* Modules that are stored alike. */
struct module_group {
    const struct quant_type *type;
    const struct layout *layout;
    struct module_set set;
    size_t n;
};

struct groups {
    struct module_group list[MOST_GROUPS];
    int n;
    struct module_set all, plain; /* every linear module; those that are not quantized */
};

static void groups_clear(struct groups *g)
{
    for (int i = 0; i < g->n; i++)
        module_set_clear(&g->list[i].set);
    module_set_clear(&g->all);
    module_set_clear(&g->plain);
}

static struct module_group *group_of(struct groups *g, const struct plan *p, const struct plan_tensor *t)
{
    for (int i = 0; i < g->n; i++)
        if (g->list[i].type == t->type && g->list[i].layout == t->layout)
            return &g->list[i];
    if (g->n == MOST_GROUPS || module_set_init(&g->list[g->n].set, p))
        return NULL;
    g->list[g->n].type = t->type;
    g->list[g->n].layout = t->layout;
    return &g->list[g->n++];
}

static int is_linear(const struct plan_tensor *t)
{
    enum tensor_role role = t->weight.role;
    return !(roles[role].flags & ROLE_VECTOR) && role != ROLE_TOKEN_EMBD && role != ROLE_NEXTN_EMBED_TOKENS;
}

static int collect(const struct plan *p, struct groups *g, struct error *e)
{
    if (module_set_init(&g->all, p) || module_set_init(&g->plain, p))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t i = 0; i < p->n_tensors; i++) {
        const struct plan_tensor *t = &p->tensors[i];
        struct module_group *of = NULL;
        if (!is_linear(t) || t->units == UNITS_OF_PREVIOUS)
            continue;
        module_set_add(&g->all, t->weight.role, t->weight.layer);
        if (!t->layout)
            module_set_add(&g->plain, t->weight.role, t->weight.layer);
        else if (!(of = group_of(g, p, t)))
            return g->n < MOST_GROUPS ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory")
                                      : error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "more than %d different types in one checkpoint", MOST_GROUPS);
        else
            module_set_add(&of->set, t->weight.role, t->weight.layer);
        if (of)
            of->n += t->weight.rows * t->weight.cols;
    }
    return 0;
}

/* ---- compressed-tensors */

/* The arguments that all of them have. */
static struct json *add_args(struct json *parent, const char *key, uint64_t bits, int is_float, int symmetric, const char *strategy)
{
    struct json *a = json_add_object(parent, key);
    json_add_u64(a, "num_bits", bits);
    json_add_string(a, "type", is_float ? "float" : "int");
    json_add_bool(a, "symmetric", symmetric);
    json_add_string(a, "strategy", strategy);
    return a;
}

static void add_grouped(struct json *parent, const struct quant_type *t)
{
    const int mx = !strcmp(t->name, "MXFP4-CT");
    struct json *a;
    if (t->group) {
        a = add_args(parent, "weights", (uint64_t)t->group->bits, 0, !t->group->asymmetric, "group");
        json_add_u64(a, "group_size", (uint64_t)t->group->len);
    } else {
        a = add_args(parent, "weights", 4, 1, 1, mx ? "group" : "tensor_group");
        json_add_u64(a, "group_size", t->block_len);
        json_add_string(a, "scale_dtype", mx ? "torch.uint8" : "torch.float8_e4m3fn");
        json_add_string(a, "zp_dtype", mx ? "torch.uint8" : "torch.float8_e4m3fn");
    }
    json_add_bool(a, "dynamic", 0);
}

static void add_tiled(struct json *parent, const struct tiling *t)
{
    struct json *a = add_args(parent, "weights", (uint64_t)t->bits, t->is_float, !t->asymmetric, t->cols ? "block" : "channel"), *block;
    if (t->cols) {
        block = json_add_array(a, "block_structure");
        json_add_u64(block, NULL, t->rows);
        json_add_u64(block, NULL, t->cols);
    }
    json_add_bool(a, "dynamic", 0);
}

/* How engines round the inputs while they run. */
static void add_activations(struct json *parent, const struct plan *p, const struct module_group *g)
{
    const struct tiling *t = g->type->tiling;
    const struct preset_scheme *s = p->options.recipe.scheme;
    const int int4 = g->type->group && g->type->group->bits == 4;
    struct json *a = NULL;
    if (t && t->is_float && t->cols) {
        a = add_args(parent, "input_activations", 8, 1, 1, "group");
        json_add_u64(a, "group_size", t->cols);
    } else if (t && t->is_float) {
        a = add_args(parent, "input_activations", 8, 1, 1, "token");
    } else if (!strcmp(g->layout->name, "int-quantized")) {
        a = add_args(parent, "input_activations", 8, 0, 1, "token");
    } else if (s && s->fp8_activations && int4) {
        a = add_args(parent, "input_activations", 8, 1, 1, "token");
    }
    if (a)
        json_add_bool(a, "dynamic", 1);
    else
        json_add_null(parent, "input_activations");
    json_add_null(parent, "output_activations");
}

/* The group that holds most experts, or else most weights, is the one for whatever no other names: some engines ask for the class of
 * the module that holds all experts. */
static int main_group(const struct groups *g)
{
    int best = 0;
    for (int i = 0; i < g->n; i++)
        best = g->list[i].n > g->list[best].n ? i : best;
    return best;
}

static int describe_compressed(const struct plan *p, const struct groups *g, struct json *c)
{
    const int most = main_group(g);
    int mixed = 0;
    for (int i = 0; i < g->n; i++)
        mixed |= g->list[i].layout != g->list[most].layout;
    json_add_string(c, "quant_method", "compressed-tensors");
    json_add_string(c, "format", mixed ? "mixed-precision" : g->list[most].layout->name);
    json_add_string(c, "quantization_status", "compressed");
    json_add_null(c, "kv_cache_scheme");
    json_add_null(c, "global_compression_ratio");
    int rc = module_set_rules(&g->plain, &g->all, json_add_array(c, "ignore"));
    struct json *groups = json_add_object(c, "config_groups");
    for (int i = 0; i < g->n; i++) {
        char key[32];
        snprintf(key, sizeof key, "group_%d", i);
        struct json *j = json_add_object(groups, key), *names = json_add_array(j, "targets");
        if (i == most)
            json_add_string(names, NULL, "Linear");
        else
            rc |= module_set_rules(&g->list[i].set, &g->all, names);
        if (g->list[i].type->tiling)
            add_tiled(j, g->list[i].type->tiling);
        else
            add_grouped(j, g->list[i].type);
        add_activations(j, p, &g->list[i]);
        if (mixed)
            json_add_string(j, "format", g->list[i].layout->name);
    }
    return rc;
}

/* ---- GPTQ, AWQ */

struct shape { /* of the one type that these have */
    uint64_t bits;
    int64_t group; /* -1: a whole row */
    int asymmetric;
};

static struct shape shape_of(const struct quant_type *t)
{
    if (t->tiling)
        return (struct shape){(uint64_t)t->tiling->bits, -1, t->tiling->asymmetric};
    return (struct shape){(uint64_t)t->group->bits, t->group->len, t->group->asymmetric};
}

/* GPTQModel's and vLLM's form of rules: a key for each module that is left out. */
static int add_left_out(const struct groups *g, struct json *c)
{
    struct json *rules = json_new_object(), *list = json_add_array(rules, "r"), *dynamic = json_add_object(c, "dynamic");
    char key[512];
    int rc = module_set_rules(&g->plain, &g->all, list);
    for (const struct json *v = json_child(list); v; v = json_next(v)) {
        const char *rule = json_string(v);
        snprintf(key, sizeof key, "-:%s", strncmp(rule, "re:", 3) ? rule : rule + 3);
        json_add_object(dynamic, key);
    }
    json_free(rules);
    return dynamic ? rc : -1;
}

static int describe_gptq(const struct plan *p, const struct groups *g, struct json *c)
{
    const struct shape s = shape_of(g->list[0].type);
    json_add_string(c, "quant_method", "gptq");
    json_add_string(c, "checkpoint_format", p->target->name);
    json_add_u64(c, "bits", s.bits);
    json_add_f64(c, "group_size", (double)s.group);
    json_add_bool(c, "sym", !s.asymmetric);
    json_add_bool(c, "desc_act", 0);
    json_add_bool(c, "static_groups", 0);
    json_add_bool(c, "true_sequential", 1);
    json_add_bool(c, "lm_head", 0);
    json_add_f64(c, "damp_percent", 0.01);
    return add_left_out(g, c);
}

/* "mlp.gate_proj", or of a role that engines join with another, joined: "mlp.gate_up_proj". */
static void role_module(enum tensor_role role, const char *joined, char out[TENSOR_NAME])
{
    const char *end = strstr(roles[role].hf, ".weight"), *last = end;
    while (joined && last > roles[role].hf && last[-1] != '.')
        last--;
    snprintf(out, TENSOR_NAME, "%.*s%s", (int)(last - roles[role].hf), roles[role].hf, joined ? joined : "");
}

/* The names of a role that is plain: `part` of them for all layers, `whole` ones for each. */
static void add_plain_names(const struct groups *g, struct json *list, enum tensor_role role, const char *module, int part, int whole)
{
    char name[2 * TENSOR_NAME];
    if (part || roles[role].flags & ROLE_GLOBAL)
        json_add_string(list, NULL, module);
    for (int layer = 0; whole && layer < g->all.layers; layer++) {
        snprintf(name, sizeof name, "model.layers.%d.%s", layer, module);
        if (module_set_has(&g->plain, role, layer))
            json_add_string(list, NULL, name);
    }
}

/* What is not quantized. `parts`: all readers look for parts of names, so that one entry stands for all layers of a role, by each name that a
 * reader has for it; else some ask for whole names, and others call the MTP layer by a name of its own. The router is never converted by any reader, and "mlp.gate" is in "mlp.gate_proj". */
static void add_not_converted(const struct groups *g, struct json *c, const char *key, int parts)
{
    struct json *list = json_add_array(c, key);
    for (int role = 0; role < ROLE_COUNT; role++) {
        int plain = 0, other = 0, expert = (roles[role].flags & ROLE_EXPERT) != 0;
        for (int layer = -1; layer < g->all.layers; layer++) {
            plain |= module_set_has(&g->plain, (enum tensor_role)role, layer);
            other |= module_set_has(&g->all, (enum tensor_role)role, layer) && !module_set_has(&g->plain, (enum tensor_role)role, layer);
        }
        if (!plain || role == ROLE_FFN_GATE_INP || (expert && role != ROLE_FFN_GATE_EXPS)) /* experts are one module */
            continue;
        char module[TENSOR_NAME];
        const char *joined = parts ? module_joined_name((enum tensor_role)role) : NULL;
        role_module((enum tensor_role)role, NULL, module);
        add_plain_names(g, list, (enum tensor_role)role, expert ? "mlp.experts" : module, !other, !parts || other);
        if (joined) {
            role_module((enum tensor_role)role, joined, module);
            add_plain_names(g, list, (enum tensor_role)role, module, !other, other);
        }
    }
}

static int describe_awq(const struct plan *p, const struct groups *g, struct json *c)
{
    const struct shape s = shape_of(g->list[0].type);
    (void)p;
    json_add_string(c, "quant_method", "awq");
    json_add_u64(c, "bits", s.bits);
    json_add_f64(c, "group_size", (double)s.group);
    json_add_bool(c, "zero_point", 1);
    json_add_string(c, "version", "gemm");
    add_not_converted(g, c, "modules_to_not_convert", 1);
    return 0;
}

/* ---- blocks of 128 x 128 */

static void add_blocks(const struct groups *g, struct json *c)
{
    struct json *block = json_add_array(c, "weight_block_size");
    json_add_u64(block, NULL, g->list[0].type->tiling->rows);
    json_add_u64(block, NULL, g->list[0].type->tiling->cols);
}

/* What is plain in the release as well is known to all readers: only other exceptions need to be said. */
static void add_exceptions(const struct groups *g, struct json *c, const char *key)
{
    int odd = 0;
    for (int layer = 0; layer < g->all.layers; layer++)
        for (int role = 0; role < ROLE_COUNT; role++)
            odd |= roles[role].class != CLASS_ROUTER && roles[role].class != CLASS_MTP && role != ROLE_INDEXER_PROJ &&
                   module_set_has(&g->plain, (enum tensor_role)role, layer);
    if (odd)
        add_not_converted(g, c, key, 0);
}

static int describe_fp8(const struct plan *p, const struct groups *g, struct json *c)
{
    json_add_string(c, "activation_scheme", "dynamic");
    json_add_string(c, "fmt", "e4m3");
    json_add_string(c, "quant_method", "fp8");
    if (!strcmp(g->list[0].type->tiling->scales, "F8_E8M0") || p->model->params.scale_ue8m0)
        json_add_string(c, "scale_fmt", "ue8m0");
    add_blocks(g, c);
    add_exceptions(g, c, "modules_to_not_convert");
    return 0;
}

static int describe_int8_block(const struct plan *p, const struct groups *g, struct json *c)
{
    (void)p;
    json_add_string(c, "activation_scheme", "dynamic");
    json_add_string(c, "quant_method", "blockwise_int8");
    add_blocks(g, c);
    add_exceptions(g, c, "ignored_layers");
    return 0;
}

/* ---- forms */

static int describe(const struct plan *p, struct json *c, int (*how)(const struct plan *, const struct groups *, struct json *), struct error *e)
{
    struct groups *g = calloc(1, sizeof *g);
    int rc = g ? collect(p, g, e) : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc && !g->n)
        rc = error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--to %s: nothing would be quantized (--to bf16 writes plain numbers)", p->target->name);
    if (!rc && how(p, g, c))
        rc = error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (g)
        groups_clear(g);
    free(g);
    return rc;
}

#define FORM(name) \
    static int name##_config(const struct plan *p, struct json *c, struct error *e) { return describe(p, c, describe_##name, e); }

FORM(compressed)
FORM(gptq)
FORM(awq)
FORM(fp8)
FORM(int8_block)

const struct checkpoint_form form_compressed_tensors = {
    .layouts = {"pack-quantized", "int-quantized", "float-quantized", "mxfp4-pack-quantized", "nvfp4-pack-quantized"},
    .describe = compressed_config};
const struct checkpoint_form form_gptq = {.layouts = {"gptq"}, .f16_scales = 1, .one_type = 1, .extra = "quantize_config.json", .describe = gptq_config};
const struct checkpoint_form form_gptq_v2 = {.layouts = {"gptq_v2"}, .f16_scales = 1, .one_type = 1, .extra = "quantize_config.json", .describe = gptq_config};
const struct checkpoint_form form_awq = {.layouts = {"awq"}, .f16_scales = 1, .one_type = 1, .describe = awq_config};
const struct checkpoint_form form_fp8 = {.layouts = {"block"}, .only = "FP8-", .one_type = 1, .describe = fp8_config};
const struct checkpoint_form form_int8_block = {.layouts = {"block"}, .only = "INT8-", .one_type = 1, .describe = int8_block_config};
/* As kt-kernel asks for them; all weights of a matrix lie with its first (and only) memory node. Source: kt-kernel/python/utils/loader.py. */
static const char *kt_name(enum tensor_role role, int layer, int expert, char out[TENSOR_NAME])
{
    snprintf(out, TENSOR_NAME, "blk.%d.%s.%d.numa.0.weight", layer, roles[role].name, expert);
    return out;
}

const struct checkpoint_form form_ktransformers = {.layouts = {"kt-amx"}, .one_type = 1, .experts_only = 1, .name = kt_name};
const struct checkpoint_form form_source = {.only = ""};
const struct checkpoint_form form_bf16 = {.bf16 = 1};
