/* SPDX-License-Identifier: MIT
 * Calibration folders: layout and reading. */
#include "convert/calibration.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "formats/safetensors.h"
#include "quant/types.h"

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the calibration");
}

/* ---- layout */

static void add(struct calibration_layout *l, enum input input, const char *kind, const char *dtype, uint64_t rows, uint64_t cols)
{
    struct tensor *t = &l->tensors[l->n];
    snprintf(l->names[l->n], sizeof l->names[l->n], "%s.%s", input_names[input], kind);
    *t = (struct tensor){.name = l->names[l->n], .type = safetensors_dtype(dtype), .n_dims = cols ? 2 : 1, .dims = {rows, cols}};
    l->n++;
}

static void add_experts(struct calibration_layout *l, const struct arch_params *p, uint64_t tokens, int following)
{
    add(l, INPUT_FFN, "inputs", "BF16", tokens, p->hidden_size);
    add(l, INPUT_EXPERT, "chosen", "I16", tokens, p->num_experts_per_tok);
    add(l, INPUT_EXPERT, "gates", "F32", tokens, p->num_experts_per_tok);
    add(l, INPUT_EXPERT, "counts", "F32", p->n_routed_experts, 0);
    if (following)
        add(l, INPUT_FFN, "changes", "BF16", tokens, p->hidden_size);
}

int calibration_layout(const struct arch_params *p, int layer, enum half half, uint64_t tokens, int following,
                       struct calibration_layout *l, struct error *e)
{
    uint64_t slabs, n;
    *l = (struct calibration_layout){.n = 0};
    for (int i = INPUT_NONE + 1; i < INPUT_COUNT; i++) {
        enum input input = (enum input)i;
        if (input_half(input) != half || !input_shape(input, p, layer, &slabs, &n))
            continue;
        if (input == INPUT_EXPERT)
            add_experts(l, p, tokens, following);
        if (input == INPUT_EXPERT || input == INPUT_EXPERT_INNER) {
            add(l, input, "sums2", "F32", slabs, n);
            continue;
        }
        add(l, input, "moment", "F32", slabs, square_lower_floats((size_t)n));
        if (following)
            add(l, input, "cross", "F32", slabs, square_panels((size_t)n) * n * LANES);
    }
    return safetensors_header(l->tensors, l->n, &l->header, &l->bytes, e);
}

const struct tensor *calibration_tensor(const struct calibration_layout *l, enum input input, const char *kind)
{
    char name[32];
    snprintf(name, sizeof name, "%s.%s", input_names[input], kind);
    for (size_t i = 0; i < l->n; i++)
        if (!strcmp(l->names[i], name))
            return &l->tensors[i];
    return NULL;
}

char *calibration_path(const char *folder, int layer, enum half half)
{
    char name[64];
    snprintf(name, sizeof name, layer < 0 ? "output.safetensors" : "layer-%03d-%s.safetensors", layer,
             half == HALF_MLP ? "mlp" : "attention");
    return io_join(folder, name);
}

/* ---- reading */

static struct source *open_file(const struct calibration *c, int layer, enum half half, struct error *e)
{
    struct calibration_layout l;
    char *path = calibration_path(c->folder, layer, half);
    struct source *s = path ? source_open(path, e) : NULL;
    if (!path)
        no_memory(e);
    int rc = !s || calibration_layout(&c->model->params, layer, half, c->tokens, c->following, &l, e) ? -1 : 0;
    for (size_t i = 0; !rc && i < l.n; i++) {
        const struct tensor *t = source_find(s, l.names[i]);
        if (t && t->type == l.tensors[i].type && t->bytes == l.tensors[i].bytes)
            continue;
        rc = error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the calibration lacks this, or has another size of it than the model asks for");
        error_at_file(e, path);
        error_at_tensor(e, l.names[i]);
    }
    if (s)
        buffer_clear(&l.header);
    free(path);
    if (!rc)
        return s;
    source_close(s);
    return NULL;
}

static int read_json(const char *folder, uint64_t *chunks, uint64_t *ctx, char hash[HASH_TEXT], struct error *e)
{
    char *path = io_join(folder, "calibration.json");
    struct json *j = NULL;
    struct io_file f = {0};
    int rc = path ? io_open(&f, path, e) || hash_range(&f, 0, f.size, hash, e) || !(j = json_parse_file(path, 1 << 24, e))
                  : no_memory(e);
    if (!rc && (json_u64(json_get(j, "chunks"), chunks) || json_u64(json_get(j, "ctx"), ctx) || !*chunks || !*ctx ||
                *chunks > UINT32_MAX / *ctx)) {
        rc = error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "no numbers of chunks and ctx that could be");
        error_at_file(e, path);
    }
    io_close(&f);
    json_free(j);
    free(path);
    return rc ? -1 : 0;
}

struct calibration *calibration_new(const char *folder, const struct model *m, uint64_t chunks, uint64_t ctx, int following, struct error *e)
{
    struct calibration *c = calloc(1, sizeof *c);
    size_t n = (size_t)m->params.num_hidden_layers;
    if (!c || !(c->folder = strdup(folder)) || !(c->files = calloc(n * HALVES + 1, sizeof *c->files))) {
        calibration_close(c);
        no_memory(e);
        return NULL;
    }
    c->model = m;
    c->n_layers = n;
    c->chunks = chunks;
    c->ctx = ctx;
    c->tokens = chunks * ctx;
    c->following = following;
    return c;
}

static struct source **file_of(const struct calibration *c, int layer, enum half half)
{
    return &c->files[layer < 0 ? c->n_layers * HALVES : (size_t)layer * HALVES + half];
}

int calibration_load(struct calibration *c, int layer, enum half half, struct error *e)
{
    struct source **file = file_of(c, layer, half);
    return *file || (*file = open_file(c, layer, half, e)) ? 0 : -1;
}

void calibration_unload(struct calibration *c, int layer, enum half half)
{
    struct source **file = file_of(c, layer, half);
    source_close(*file);
    *file = NULL;
}

struct calibration *calibration_open(const char *folder, const struct model *m, struct error *e)
{
    char hash[HASH_TEXT];
    uint64_t chunks, ctx;
    struct calibration *c = NULL;
    if (read_json(folder, &chunks, &ctx, hash, e) || !(c = calibration_new(folder, m, chunks, ctx, 0, e)))
        return NULL;
    memcpy(c->hash, hash, sizeof hash);
    int rc = calibration_load(c, -1, HALF_ATTENTION, e);
    for (int i = 0; !rc && i < (int)c->n_layers; i++)
        rc = calibration_load(c, i, HALF_ATTENTION, e) || calibration_load(c, i, HALF_MLP, e);
    if (!rc)
        return c;
    calibration_close(c);
    return NULL;
}

void calibration_close(struct calibration *c)
{
    if (!c)
        return;
    for (size_t i = 0; c->files && i <= c->n_layers * HALVES; i++)
        source_close(c->files[i]);
    free(c->files);
    free(c->folder);
    free(c);
}

static const struct tensor *find(const struct source *s, enum input input, const char *kind)
{
    char name[32];
    snprintf(name, sizeof name, "%s.%s", input_names[input], kind);
    return source_find(s, name);
}

int calibration_moment(const struct calibration *c, enum input input, int layer, uint64_t slab, struct square *s, struct error *e)
{
    const struct source *file = *file_of(c, layer, input_half(input));
    const struct tensor *t = find(file, input, "moment");
    uint64_t at = slab * square_lower_floats(s->n) * sizeof(float);
    float *part = malloc(square_lower_part(s->n, 0) * sizeof *part);
    int rc = part ? 0 : no_memory(e);
    for (size_t p = 0; !rc && p < square_panels(s->n); p++) {
        size_t n = square_lower_part(s->n, p);
        rc = source_read(file, t, at, part, n * sizeof *part, e);
        float *to = square_row(s, p, p * LANES);
        for (size_t i = 0; !rc && i < n; i++)
            to[i] += part[i];
        at += n * sizeof *part;
    }
    free(part);
    return rc ? -1 : 0;
}

int calibration_cross(const struct calibration *c, enum input input, int layer, uint64_t slab, struct square *s, struct error *e)
{
    const struct source *file = *file_of(c, layer, input_half(input));
    size_t bytes = square_panels(s->n) * s->n * LANES * sizeof *s->data;
    return source_read(file, find(file, input, "cross"), slab * bytes, s->data, bytes, e);
}

int calibration_routed(const struct calibration *c, int layer, int expert, uint32_t **token, float **gate, size_t *n, struct error *e)
{
    const struct source *file = *file_of(c, layer, HALF_MLP);
    const size_t used = (size_t)c->model->params.num_experts_per_tok, all = (size_t)c->tokens * used;
    int16_t *chosen = malloc(all * sizeof *chosen + 1);
    float *gates = malloc(all * sizeof *gates + 1);
    *n = 0;
    *token = malloc(c->tokens * sizeof **token);
    *gate = malloc(c->tokens * sizeof **gate);
    int rc = !chosen || !gates || !*token || !*gate
                 ? no_memory(e)
                 : source_read(file, find(file, INPUT_EXPERT, "chosen"), 0, chosen, all * sizeof *chosen, e) ||
                       source_read(file, find(file, INPUT_EXPERT, "gates"), 0, gates, all * sizeof *gates, e);
    for (size_t i = 0; !rc && i < all; i++)
        if (chosen[i] == expert && (!*n || (*token)[*n - 1] != i / used)) {
            (*token)[*n] = (uint32_t)(i / used);
            (*gate)[(*n)++] = gates[i];
        }
    free(chosen);
    free(gates);
    return rc ? -1 : 0;
}

static int read_tokens(const struct calibration *c, int layer, const char *kind, const uint32_t *token, size_t n, struct panels *x,
                       struct error *e)
{
    const struct source *file = *file_of(c, layer, HALF_MLP);
    const struct tensor *t = find(file, INPUT_FFN, kind);
    const size_t D = x->rows;
    uint16_t *codes = malloc(D * sizeof *codes);
    float *row = malloc(D * sizeof *row);
    int rc = codes && row ? 0 : no_memory(e);
    for (size_t i = 0; !rc && i < n; i++) {
        if ((rc = source_read(file, t, token[i] * D * sizeof *codes, codes, D * sizeof *codes, e)))
            break;
        quant_type_find("BF16")->ref.decode(codes, row, D);
        for (size_t d = 0; d < D; d++)
            panel_row(x, i / LANES, d)[i % LANES] = row[d];
    }
    free(codes);
    free(row);
    return rc ? -1 : 0;
}

int calibration_inputs(const struct calibration *c, int layer, const uint32_t *token, size_t n, struct panels *x, struct error *e)
{
    return read_tokens(c, layer, "inputs", token, n, x, e);
}

int calibration_changes(const struct calibration *c, int layer, const uint32_t *token, size_t n, struct panels *x, struct error *e)
{
    return read_tokens(c, layer, "changes", token, n, x, e);
}
