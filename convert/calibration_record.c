/* SPDX-License-Identifier: MIT
 * calibration.json: reading and building. */
#include "convert/calibration_record.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

static const char format_name[] = "pare calibration 1";
static const uint64_t max_file = (uint64_t)1 << 26;

/* Sizes that are kept, with what can be believed: products of any four of them, and their squares, fit in 64 bits. */
enum { WIDTH = 1 << 20, HEAD = 1 << 16, LAYERS = 512 };
static const struct size_row {
    const char *name;
    size_t at;
    uint64_t least, most;
} sizes[] = {
    {"hidden_size", offsetof(struct arch_params, hidden_size), 1, WIDTH},
    {"intermediate_size", offsetof(struct arch_params, intermediate_size), 1, WIDTH},
    {"moe_intermediate_size", offsetof(struct arch_params, moe_intermediate_size), 1, WIDTH},
    {"num_hidden_layers", offsetof(struct arch_params, num_hidden_layers), 1, LAYERS},
    {"first_k_dense_replace", offsetof(struct arch_params, first_k_dense_replace), 0, LAYERS},
    {"num_attention_heads", offsetof(struct arch_params, num_attention_heads), 1, 4096},
    {"q_lora_rank", offsetof(struct arch_params, q_lora_rank), 0, WIDTH},
    {"kv_lora_rank", offsetof(struct arch_params, kv_lora_rank), 1, HEAD},
    {"qk_nope_head_dim", offsetof(struct arch_params, qk_nope_head_dim), 1, HEAD},
    {"v_head_dim", offsetof(struct arch_params, v_head_dim), 1, HEAD},
    {"n_routed_experts", offsetof(struct arch_params, n_routed_experts), 1, 1024},
    {"n_shared_experts", offsetof(struct arch_params, n_shared_experts), 0, 64},
    {"num_experts_per_tok", offsetof(struct arch_params, num_experts_per_tok), 1, 1024},
};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static uint64_t *size_of(struct arch_params *p, const struct size_row *row)
{
    return (uint64_t *)(void *)((char *)p + row->at);
}

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the calibration");
}

static int bad(struct error *e, const char *what)
{
    return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "this is no calibration that can be: %s", what);
}

size_t record_moe_layers(const struct calibration_record *r)
{
    uint64_t n = r->params.num_hidden_layers, dense = r->params.first_k_dense_replace;
    return dense < n ? (size_t)(n - dense) : 0;
}

uint64_t record_few_tokens(const struct calibration_record *r)
{
    return (r->params.hidden_size + 31) / 32;
}

int record_make_use(struct calibration_record *r, struct error *e)
{
    size_t n = record_moe_layers(r) * (size_t)r->params.n_routed_experts;
    r->use = arena_array(&r->arena, n + 1, sizeof *r->use);
    return r->use ? 0 : no_memory(e);
}

void record_clear(struct calibration_record *r)
{
    arena_clear(&r->arena);
    *r = (struct calibration_record){0};
}

/* ---- reading */

static int read_text(struct calibration_record *r, const struct json *j, const char *key, const char **out, struct error *e)
{
    const char *text = json_string(json_get(j, key));
    if (!text)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "this is no calibration that can be: no text '%s'", key);
    *out = arena_copy(&r->arena, text, strlen(text));
    return *out ? 0 : no_memory(e);
}

static int read_hash(const struct json *j, const char *key, char out[HASH_TEXT], struct error *e)
{
    const char *text = json_string(json_get(j, key));
    if (!text || strlen(text) != HASH_TEXT - 1 || strspn(text, "0123456789abcdef") != HASH_TEXT - 1)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "this is no calibration that can be: no hash '%s'", key);
    memcpy(out, text, HASH_TEXT);
    return 0;
}

static int read_params(struct calibration_record *r, const struct json *j, struct error *e)
{
    const char *name = json_string(json_get(j, "family"));
    for (r->family = families; r->family->name && (!name || strcmp(name, r->family->name)); r->family++)
        ;
    if (!r->family->name)
        return bad(e, "no family that is known");
    for (int i = 0; i < N_SIZES; i++) {
        uint64_t *v = size_of(&r->params, &sizes[i]);
        if (json_u64(json_get(json_get(j, "params"), sizes[i].name), v) || *v < sizes[i].least || *v > sizes[i].most)
            return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "this is no calibration that can be: no %s in %" PRIu64 "..%" PRIu64,
                             sizes[i].name, sizes[i].least, sizes[i].most);
    }
    return r->params.num_experts_per_tok <= r->params.n_routed_experts ? 0 : bad(e, "more experts are used than there are");
}

static int read_chunks(struct calibration_record *r, const struct json *j, struct error *e)
{
    const struct json *p = json_get(j, "part");
    r->part = r->parts = 1;
    if (json_u64(json_get(j, "chunks"), &r->chunks) || json_u64(json_get(j, "ctx"), &r->ctx) || !r->chunks || !r->ctx)
        return bad(e, "no chunks or no ctx");
    r->all_chunks = r->chunks;
    if (p && (json_u64(json_get(p, "i"), &r->part) || json_u64(json_get(p, "n"), &r->parts) ||
              json_u64(json_get(p, "first_chunk"), &r->first_chunk) || json_u64(json_get(p, "all_chunks"), &r->all_chunks)))
        return bad(e, "a part without its numbers");
    if (r->all_chunks > UINT32_MAX / r->ctx || r->part < 1 || r->part > r->parts || r->parts > r->all_chunks ||
        r->first_chunk > r->all_chunks || r->chunks > r->all_chunks - r->first_chunk)
        return bad(e, "chunks that do not fit together");
    return 0;
}

/* One list of a layer: numbers of all experts. */
static int read_numbers(const struct json *list, size_t n, double *out, struct error *e)
{
    const struct json *v = json_type(list) == JSON_ARRAY ? json_child(list) : NULL;
    for (size_t i = 0; i < n; i++, v = json_next(v))
        if (!v || json_f64(v, &out[i]) || !isfinite(out[i]))
            return bad(e, "a layer without the numbers of all its experts");
    return v ? bad(e, "a layer with numbers of too many experts") : 0;
}

static int read_layer(struct calibration_record *r, const struct json *j, size_t i, double *room, struct error *e)
{
    static const char *const lists[] = {"tokens", "gate_mass", "gate_mass2"};
    const size_t n = (size_t)r->params.n_routed_experts;
    struct expert_record *use = r->use + i * n;
    uint64_t layer;
    if (json_u64(json_get(j, "layer"), &layer) || layer != r->params.first_k_dense_replace + i)
        return bad(e, "layers out of order");
    for (int k = 0; k < 3; k++)
        if (read_numbers(json_get(j, lists[k]), n, room + (size_t)k * n, e))
            return -1;
    for (size_t x = 0; x < n; x++) {
        if (room[x] < 0 || room[x] > (double)(r->chunks * r->ctx) || room[x] != floor(room[x]))
            return bad(e, "an expert with a number of tokens that cannot be");
        use[x] = (struct expert_record){(uint64_t)room[x], room[n + x], room[2 * n + x]};
    }
    return 0;
}

static int read_use(struct calibration_record *r, const struct json *j, struct error *e)
{
    const struct json *list = json_get(j, "layers"), *row = list && json_type(list) == JSON_ARRAY ? json_child(list) : NULL;
    double *room = malloc(3 * (size_t)r->params.n_routed_experts * sizeof *room);
    int rc = room ? record_make_use(r, e) : no_memory(e);
    size_t n = record_moe_layers(r);
    for (size_t i = 0; !rc && i < n; i++, row = json_next(row))
        rc = row ? read_layer(r, row, i, room, e) : bad(e, "layers are missing");
    if (!rc && row)
        rc = bad(e, "too many layers");
    free(room);
    return rc;
}

static int read_document(struct calibration_record *r, const struct json *j, struct error *e)
{
    const char *format = json_string(json_get(j, "format"));
    if (!format || strcmp(format, format_name))
        return bad(e, "its format is another");
    if (json_bool(json_get(j, "group_routing"), &r->group_routing))
        return bad(e, "no group_routing");
    return read_text(r, j, "tool", &r->tool, e) || read_text(r, j, "model", &r->model, e) || read_text(r, j, "text", &r->text, e) ||
                   read_hash(j, "run", r->run, e) || read_hash(j, "source_xxh3_128", r->source, e) ||
                   read_hash(j, "tokens_xxh3_128", r->tokens, e) || read_params(r, j, e) || read_chunks(r, j, e) || read_use(r, j, e)
               ? -1
               : 0;
}

int record_probe(const char *folder)
{
    char *path = io_join(folder, "calibration.json");
    int is = path && io_kind(path) == 1;
    free(path);
    return is;
}

int record_read(const char *folder, struct calibration_record *r, char *hash, struct error *e)
{
    char *path = io_join(folder, "calibration.json"), *text = NULL;
    struct json *j = NULL;
    struct hash *h = hash_new();
    size_t n;
    *r = (struct calibration_record){0};
    *e = (struct error){0};
    int rc = !path || !h ? no_memory(e) : io_read_all(path, max_file, &text, &n, e) || !(j = json_parse(text, n, e)) ? -1 : 0;
    rc = rc || read_document(r, j, e);
    if (!rc && hash) {
        hash_add(h, text, n);
        hash_finish(h, hash);
        h = NULL;
    }
    if (rc)
        error_at_file(e, path);
    hash_free(h);
    json_free(j);
    free(text);
    free(path);
    return rc ? -1 : 0;
}

/* ---- building */

static void add_layer(struct json *list, const struct calibration_record *r, size_t i)
{
    const size_t n = (size_t)r->params.n_routed_experts;
    const struct expert_record *use = r->use + i * n;
    struct json *j = json_add_object(list, NULL), *a;
    json_add_u64(j, "layer", r->params.first_k_dense_replace + i);
    a = json_add_array(j, "tokens");
    for (size_t x = 0; x < n; x++)
        json_add_u64(a, NULL, use[x].tokens);
    a = json_add_array(j, "gate_mass");
    for (size_t x = 0; x < n; x++)
        json_add_f64(a, NULL, use[x].gates);
    a = json_add_array(j, "gate_mass2");
    for (size_t x = 0; x < n; x++)
        json_add_f64(a, NULL, use[x].gates2);
}

static void add_part(struct json *j, const struct calibration_record *r)
{
    struct json *p = json_add_object(j, "part");
    json_add_u64(p, "i", r->part);
    json_add_u64(p, "n", r->parts);
    json_add_u64(p, "first_chunk", r->first_chunk);
    json_add_u64(p, "all_chunks", r->all_chunks);
}

struct json *record_json(const struct calibration_record *r, struct json **files)
{
    struct json *j = json_new_object(), *o;
    struct arch_params params = r->params;
    json_add_string(j, "format", format_name);
    json_add_string(j, "tool", r->tool);
    json_add_string(j, "model", r->model);
    json_add_string(j, "family", r->family->name);
    json_add_string(j, "text", r->text);
    json_add_string(j, "run", r->run);
    json_add_string(j, "source_xxh3_128", r->source);
    json_add_string(j, "tokens_xxh3_128", r->tokens);
    json_add_u64(j, "chunks", r->chunks);
    json_add_u64(j, "ctx", r->ctx);
    json_add_bool(j, "group_routing", r->group_routing);
    if (r->parts > 1)
        add_part(j, r);
    o = json_add_object(j, "params");
    for (int i = 0; i < N_SIZES; i++)
        json_add_u64(o, sizes[i].name, *size_of(&params, &sizes[i]));
    json_add_u64(j, "few_tokens", record_few_tokens(r));
    o = json_add_array(j, "layers");
    for (size_t i = 0; i < record_moe_layers(r); i++)
        add_layer(o, r, i);
    *files = json_add_array(j, "files");
    return j;
}
