/* SPDX-License-Identifier: MIT
 * Reading quantization configurations. Their writers add keys freely: those that do not change what is stored are passed over. */
#include "model/quantization.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <ctype.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

enum { MAX_SCHEMES = 4096, MAX_TILE = 1 << 24, MATCH_LIMIT = 100000 };

/* What the weights of one scheme are, in any method's words. */
struct args {
    uint64_t bits, group;    /* group 0: a scale per row */
    uint64_t tile[2];        /* 0: not by tiles */
    int is_float, symmetric;
    const char *format;      /* a layout's name */
};

static int refuse(struct error *e, enum error_code code, const char *what, const char *value)
{
    return error_set(e, code, ERROR_NO_OFFSET, "%s '%s'", what, value ? value : "(none named)");
}

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

static int is_absent(const struct json *v)
{
    return !v || json_type(v) == JSON_NULL;
}

/* Values that may be absent; -1 and an error for those of another kind. */
static int take_flag(const struct json *o, const char *key, int *value, struct error *e)
{
    const struct json *v = json_get(o, key);
    return is_absent(v) || !json_bool(v, value) ? 0 : refuse(e, ERR_FORMAT, "no true or false in the configuration's", key);
}

static int take_number(const struct json *o, const char *key, uint64_t *value, struct error *e)
{
    const struct json *v = json_get(o, key);
    return is_absent(v) || !json_u64(v, value) ? 0 : refuse(e, ERR_FORMAT, "no whole number in the configuration's", key);
}

/* A group size; -1 is a whole row. */
static int take_group(const struct json *o, const char *key, uint64_t *group, struct error *e)
{
    double d;
    if (!json_f64(json_get(o, key), &d) && d == -1) {
        *group = 0;
        return 0;
    }
    return take_number(o, key, group, e);
}

/* [rows, cols] */
static int take_tile(const struct json *o, const char *key, uint64_t tile[2], struct error *e)
{
    const struct json *block = json_get(o, key), *rows = json_child(block);
    if (json_count(block) != 2 || json_u64(rows, &tile[0]) || json_u64(json_next(rows), &tile[1]) || !tile[0] || !tile[1] ||
        tile[0] > MAX_TILE || tile[1] > MAX_TILE)
        return refuse(e, ERR_FORMAT, "no two sizes in", key);
    return 0;
}

/* The table's type of tiles, or one like it whose tiles are of the size asked for. */
static const struct quant_type *tile_type(struct scheme *s, const struct args *a)
{
    const struct quant_type *t = quant_type_find(a->is_float ? "FP8-BLOCK" : "INT8-BLOCK");
    if (!t || (t->tiling->rows == a->tile[0] && t->tiling->cols == a->tile[1]))
        return t;
    s->tiling = *t->tiling;
    s->tiling.rows = (uint32_t)a->tile[0];
    s->tiling.cols = (uint32_t)a->tile[1];
    s->own = *t;
    s->own.tiling = &s->tiling;
    return &s->own;
}

static const struct quant_type *type_of(struct scheme *s, const struct args *a, const char *scales)
{
    char name[64], group[32] = "C";
    if (a->tile[0])
        return a->bits == 8 && a->symmetric ? tile_type(s, a) : NULL;
    if (a->is_float && a->bits == 8)
        return a->group ? NULL : quant_type_find("FP8-C");
    if (a->is_float)
        return quant_type_find(a->group == 32 ? "MXFP4-CT" : a->group == 16 ? "NVFP4-CT" : "");
    if (a->group)
        snprintf(group, sizeof group, "G%llu", (unsigned long long)a->group);
    snprintf(name, sizeof name, "INT%llu-%s%s%s", (unsigned long long)a->bits, group, a->symmetric ? "" : "-ASYM", scales);
    return quant_type_find(name);
}

/* Fills a scheme's layout and type. */
static int settle(struct scheme *s, const struct args *a, struct error *e)
{
    const struct layout *l = layout_find(a->format);
    if (!l)
        return refuse(e, ERR_UNSUPPORTED, "the weights are stored in a format that is not read:", a->format);
    int turned = l->whole;
    const struct quant_type *t = type_of(s, a, turned ? "-F16" : "");
    if (!t || !layout_takes(l, t))
        return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "%s weights of %llu bits, %s, %s %llu, are not read in format '%s'",
                         a->is_float ? "float" : "whole", (unsigned long long)a->bits, a->symmetric ? "symmetric" : "asymmetric",
                         a->tile[0] ? "in tiles, rows" : "in groups of", (unsigned long long)(a->tile[0] ? a->tile[0] : a->group),
                         a->format);
    s->layout = l;
    s->type = t;
    return 0;
}

/* A scheme for one target, at the end of the list. */
static struct scheme *add_scheme(struct quantization *q, const char *target, struct error *e)
{
    struct scheme *s = arena_alloc(&q->arena, sizeof *s);
    if (q->n_schemes == MAX_SCHEMES) {
        error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "more than %d targets in the quantization's configuration", MAX_SCHEMES);
        return NULL;
    }
    if (!q->schemes)
        q->schemes = arena_array(&q->arena, MAX_SCHEMES, sizeof *q->schemes);
    if (!s || !q->schemes || (target && !(s->target = arena_copy(&q->arena, target, strlen(target))))) {
        no_memory(e);
        return NULL;
    }
    q->schemes[q->n_schemes++] = s;
    return s;
}

static int compile(struct scheme *s, const char *pattern, struct error *e)
{
    int code;
    PCRE2_SIZE at;
    s->pattern = pcre2_compile((PCRE2_SPTR)pattern, strlen(pattern), PCRE2_ANCHORED | PCRE2_UTF, &code, &at, NULL);
    return s->pattern ? 0 : refuse(e, ERR_UNSUPPORTED, "a target's pattern is not read:", pattern);
}

static int read_tiles(struct quantization *q, const struct json *o, int is_float, struct error *e)
{
    struct args a = {.bits = 8, .is_float = is_float, .symmetric = 1, .format = "block"};
    const char *fmt = json_string(json_get(o, "fmt"));
    if (fmt && strcmp(fmt, "e4m3"))
        return refuse(e, ERR_FORMAT, "FP8 of another format than e4m3:", fmt);
    if (take_tile(o, "weight_block_size", a.tile, e))
        return -1;
    struct scheme *s = add_scheme(q, NULL, e);
    return s ? settle(s, &a, e) : -1;
}

static int read_fp8(struct quantization *q, const struct json *o, struct error *e)
{
    return read_tiles(q, o, 1, e);
}

static int read_int8(struct quantization *q, const struct json *o, struct error *e)
{
    return read_tiles(q, o, 0, e);
}

/* Routed experts are INT4, all else is FP8 in blocks, of 128 x 128 when it is not said. */
static int read_w4afp8(struct quantization *q, const struct json *o, struct error *e)
{
    struct args experts = {.bits = 4, .group = 128, .symmetric = 1, .format = "w4afp8"};
    struct args others = {.bits = 8, .is_float = 1, .symmetric = 1, .tile = {128, 128}, .format = "block"};
    static const char pattern[] = ".*\\.mlp\\.experts\\.";
    if (take_group(o, "group_size", &experts.group, e) ||
        (!is_absent(json_get(o, "weight_block_size")) && take_tile(o, "weight_block_size", others.tile, e)))
        return -1;
    struct scheme *s = add_scheme(q, pattern, e);
    if (!s || compile(s, pattern, e) || settle(s, &experts, e))
        return -1;
    return (s = add_scheme(q, NULL, e)) ? settle(s, &others, e) : -1;
}

/* `weights` of a group: num_bits, type, symmetric, strategy, group_size, block_structure. */
static int read_weights(const struct json *o, struct args *a, struct error *e)
{
    const char *type = json_string(json_get(o, "type")), *strategy = json_string(json_get(o, "strategy"));
    *a = (struct args){.bits = 8, .symmetric = 1};
    if (take_number(o, "num_bits", &a->bits, e) || take_flag(o, "symmetric", &a->symmetric, e) ||
        take_group(o, "group_size", &a->group, e))
        return -1;
    a->is_float = type && !strcmp(type, "float");
    if (type && !a->is_float && strcmp(type, "int"))
        return refuse(e, ERR_UNSUPPORTED, "weights of a type that is not read:", type);
    if (!strategy)
        strategy = a->group ? "group" : json_get(o, "group_size") ? "channel" : "tensor";
    if (!strcmp(strategy, "block"))
        return take_tile(o, "block_structure", a->tile, e);
    int grouped = !strcmp(strategy, "group") || !strcmp(strategy, "tensor_group");
    if (!grouped && strcmp(strategy, "channel"))
        return refuse(e, ERR_UNSUPPORTED, "weights scaled by a strategy that is not read:", strategy);
    if (grouped && !a->group)
        return refuse(e, ERR_FORMAT, "no whole number in the configuration's", "group_size");
    a->group = grouped ? a->group : 0;
    return 0;
}

/* One of config_groups: a scheme per target. */
static int read_group(struct quantization *q, const struct json *o, const char *format, struct error *e)
{
    struct args a = {.bits = 0};
    const struct json *weights = json_get(o, "weights"), *targets = json_get(o, "targets");
    const char *own = json_string(json_get(o, "format"));
    int dense = is_absent(weights);
    if (json_type(o) != JSON_OBJECT || is_absent(targets) || json_type(targets) != JSON_ARRAY)
        return refuse(e, ERR_FORMAT, "a group of the configuration has no", "targets");
    if (!dense && read_weights(weights, &a, e))
        return -1;
    a.format = own ? own : format ? format : "(none named)";
    if (!strcmp(a.format, "naive-quantized"))
        a.format = a.is_float ? "float-quantized" : "int-quantized";
    for (const struct json *t = json_child(targets); t; t = json_next(t)) {
        const char *target = json_string(t);
        int is_pattern = target && !strncmp(target, "re:", 3);
        int is_name = target && !isupper((unsigned char)target[0]); /* classes: "Linear" */
        struct scheme *s = target ? add_scheme(q, is_pattern || is_name ? target : NULL, e) : NULL;
        if (!target)
            return refuse(e, ERR_FORMAT, "no text among the configuration's", "targets");
        if (!s || (is_pattern && compile(s, target + 3, e)) || (!dense && settle(s, &a, e)))
            return -1;
    }
    return 0;
}

/* Names before patterns before classes, each by name: the package's order. */
static int kind(const struct scheme *s)
{
    return !s->target ? 2 : s->pattern ? 1 : 0;
}

static int by_kind(const void *a, const void *b)
{
    const struct scheme *x = *(struct scheme *const *)a, *y = *(struct scheme *const *)b;
    if (kind(x) != kind(y))
        return kind(x) - kind(y);
    return x->target ? strcmp(x->target, y->target) : 0;
}

static int read_compressed(struct quantization *q, const struct json *o, struct error *e)
{
    const struct json *groups = json_get(o, "config_groups");
    const char *format = json_string(json_get(o, "format"));
    if (is_absent(groups) || json_type(groups) != JSON_OBJECT || !json_count(groups))
        return refuse(e, ERR_FORMAT, "the configuration lacks", "config_groups");
    for (const struct json *g = json_child(groups); g; g = json_next(g))
        if (read_group(q, g, format, e))
            return -1;
    if (q->n_schemes)
        qsort(q->schemes, q->n_schemes, sizeof *q->schemes, by_kind);
    return 0;
}

/* {"-:pattern": {}, "+:pattern": {"bits": 8}, "pattern": {"group_size": 32}} */
static int read_dynamic(struct quantization *q, const struct json *dynamic, const struct args *base, struct error *e)
{
    for (const struct json *v = json_child(dynamic); v; v = json_next(v)) {
        const char *key = json_key(v), *pattern = key && (!strncmp(key, "-:", 2) || !strncmp(key, "+:", 2)) ? key + 2 : key;
        struct args a = *base;
        struct scheme *s = pattern ? add_scheme(q, pattern, e) : NULL;
        if (!s || compile(s, pattern, e))
            return -1;
        if (key[0] == '-' && key[1] == ':')
            continue;
        if (take_number(v, "bits", &a.bits, e) || take_group(v, "group_size", &a.group, e) || take_flag(v, "sym", &a.symmetric, e) ||
            settle(s, &a, e))
            return -1;
    }
    return 0;
}

static int read_gptq(struct quantization *q, const struct json *o, struct error *e)
{
    const char *format = json_string(json_get(o, "checkpoint_format"));
    const struct json *dynamic = json_get(o, "dynamic");
    struct args a = {.bits = 4, .group = 128, .symmetric = 1, .format = format ? format : "gptq"};
    if (strcmp(a.format, "gptq") && strcmp(a.format, "gptq_v2"))
        return refuse(e, ERR_UNSUPPORTED, "the weights are stored in a format that is not read:", a.format);
    if (take_number(o, "bits", &a.bits, e) || take_group(o, "group_size", &a.group, e) || take_flag(o, "sym", &a.symmetric, e))
        return -1;
    if (!is_absent(dynamic) && json_type(dynamic) == JSON_OBJECT && read_dynamic(q, dynamic, &a, e))
        return -1;
    struct scheme *s = add_scheme(q, NULL, e);
    return s ? settle(s, &a, e) : -1;
}

static int read_awq(struct quantization *q, const struct json *o, struct error *e)
{
    const char *version = json_string(json_get(o, "version"));
    struct args a = {.bits = 4, .group = 128, .format = "awq"};
    int zeros = 1;
    if (version && strcmp(version, "gemm") && strcmp(version, "GEMM"))
        return refuse(e, ERR_UNSUPPORTED, "AWQ of a version that is not read:", version);
    if (take_number(o, "bits", &a.bits, e) || take_group(o, "group_size", &a.group, e) || take_flag(o, "zero_point", &zeros, e))
        return -1;
    if (!zeros)
        return refuse(e, ERR_UNSUPPORTED, "AWQ is not read without", "zero_point");
    struct scheme *s = add_scheme(q, NULL, e);
    return s ? settle(s, &a, e) : -1;
}

static const struct {
    const char *method;
    int (*read)(struct quantization *q, const struct json *o, struct error *e);
} methods[] = {
    {"fp8", read_fp8}, {"blockwise_int8", read_int8}, {"w4afp8", read_w4afp8}, {"compressed-tensors", read_compressed},
    {"gptq", read_gptq}, {"awq", read_awq},
};

static int read_method(struct quantization *q, const struct json *o, const char *otherwise, struct error *e)
{
    const char *method = json_string(json_get(o, "quant_method"));
    method = method ? method : otherwise;
    for (size_t i = 0; method && i < sizeof methods / sizeof *methods; i++)
        if (!strcmp(methods[i].method, method)) {
            q->method = methods[i].method;
            return methods[i].read(q, o, e);
        }
    return refuse(e, ERR_FORMAT, "the weights are quantized by a method that is not read:", method);
}

int quantization_read(struct quantization *q, const char *config, size_t n, const char *gptq, size_t n_gptq, struct error *e)
{
    struct json *root = json_parse(config, n, e), *other = NULL;
    const struct json *o = json_get(root, "quantization_config");
    const char *otherwise = NULL;
    int rc = root ? 0 : -1;
    *q = (struct quantization){.row_step = 1};
    if (is_absent(o) && !is_absent(json_get(root, "compression_config"))) {
        o = json_get(root, "compression_config");
        otherwise = "compressed-tensors";
    }
    if (!rc && is_absent(o) && gptq) {
        o = other = json_parse(gptq, n_gptq, e);
        otherwise = "gptq";
        rc = other ? 0 : -1;
    }
    if (!rc && !is_absent(o))
        rc = read_method(q, o, otherwise, e);
    for (size_t i = 0; i < q->n_schemes; i++) {
        const struct quant_type *t = q->schemes[i]->type;
        uint64_t step = t && t->tiling && t->tiling->rows > 1 ? t->tiling->rows : 8;
        q->row_step = q->row_step < step ? step : q->row_step;
    }
    json_free(root);
    json_free(other);
    return rc;
}

void quantization_clear(struct quantization *q)
{
    for (size_t i = 0; i < q->n_schemes; i++)
        pcre2_code_free(q->schemes[i]->pattern);
    arena_clear(&q->arena);
    *q = (struct quantization){.method = NULL};
}

/* A pattern that needs more steps than the limit matches nothing. */
static int matches(const struct scheme *s, const char *module, pcre2_match_data *match, pcre2_match_context *limit)
{
    if (!s->target)
        return 1;
    if (!s->pattern)
        return !strcmp(s->target, module);
    return pcre2_match(s->pattern, (PCRE2_SPTR)module, strlen(module), 0, 0, match, limit) >= 0;
}

const struct scheme *quantization_scheme(const struct quantization *q, const char *module)
{
    if (q->n_schemes && !q->schemes[0]->target)
        return q->schemes[0];
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    pcre2_match_context *limit = pcre2_match_context_create(NULL);
    const struct scheme *found = NULL;
    if (match && limit && !pcre2_set_match_limit(limit, MATCH_LIMIT))
        for (size_t i = 0; i < q->n_schemes && !found; i++)
            if (matches(q->schemes[i], module, match, limit))
                found = q->schemes[i];
    pcre2_match_context_free(limit);
    pcre2_match_data_free(match);
    return found;
}
