/* SPDX-License-Identifier: MIT
 * Calibration folders: layout and reading. */
#include "convert/calibration.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/calibration_record.h"
#include "formats/safetensors.h"
#include "quant/scan.h"
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
            add(l, input, "cross", "F32", slabs, square_floats((size_t)n));
    }
    return safetensors_header(l->tensors, l->n, NULL, &l->header, &l->bytes, e);
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

const struct source *calibration_file(const struct calibration *c, int layer, enum half half)
{
    return *file_of(c, layer, half);
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

int calibration_load_all(struct calibration *c, struct error *e)
{
    for (int i = 0; i < (int)c->n_layers; i++)
        if (calibration_load(c, i, HALF_ATTENTION, e) || calibration_load(c, i, HALF_MLP, e))
            return -1;
    return calibration_load(c, -1, HALF_ATTENTION, e);
}

struct calibration *calibration_open(const char *folder, const struct model *m, struct error *e)
{
    struct calibration_record r;
    char hash[HASH_TEXT];
    struct calibration *c = NULL;
    int rc = record_read(folder, &r, hash, e);
    if (!rc && r.parts > 1) {
        rc = error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "this is part %" PRIu64 " of %" PRIu64 " of a calibration ('pare merge' adds them up)",
                       r.part, r.parts);
        error_at_file(e, folder);
    }
    if (!rc && (c = calibration_new(folder, m, r.chunks, r.ctx, 0, e))) {
        memcpy(c->hash, hash, sizeof hash);
        rc = calibration_load_all(c, e);
    }
    record_clear(&r);
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

/* What a tensor of a layer's file says cannot be: at byte `at` of its data. */
static int bad_value(const struct source *file, const struct tensor *t, uint64_t at, const char *what, struct error *e)
{
    error_set(e, ERR_FORMAT, t->offset + at, "the calibration is damaged: %s", what);
    error_at_file(e, file->files[t->file].path);
    return error_at_tensor(e, t->name);
}

int calibration_floats(const struct source *file, const struct tensor *t, uint64_t at, float *out, size_t n, struct error *e)
{
    float amax;
    if (source_read(file, t, at, out, n * sizeof *out, e))
        return -1;
    size_t bad = scan_finite(out, n, &amax);
    return bad == n ? 0 : bad_value(file, t, at + bad * sizeof *out, "a number is NaN or infinite", e);
}

int calibration_moment(const struct calibration *c, enum input input, int layer, uint64_t slab, struct square *s, struct error *e)
{
    const struct source *file = calibration_file(c, layer, input_half(input));
    const struct tensor *t = find(file, input, "moment");
    uint64_t at = slab * square_lower_floats(s->n) * sizeof(float);
    float *part = malloc(square_lower_part(s->n, 0) * sizeof *part);
    int rc = part ? 0 : no_memory(e);
    for (size_t p = 0; !rc && p < square_panels(s->n); p++) {
        size_t n = square_lower_part(s->n, p);
        rc = calibration_floats(file, t, at, part, n, e);
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
    const struct source *file = calibration_file(c, layer, input_half(input));
    size_t floats = square_floats(s->n);
    return calibration_floats(file, find(file, input, "cross"), slab * floats * sizeof *s->data, s->data, floats, e);
}

int calibration_routing(const struct calibration *c, int layer, uint64_t first, size_t n, int16_t *chosen, float *gates, struct error *e)
{
    const struct source *file = calibration_file(c, layer, HALF_MLP);
    const struct tensor *t = find(file, INPUT_EXPERT, "chosen"), *g = find(file, INPUT_EXPERT, "gates");
    const size_t used = (size_t)c->model->params.num_experts_per_tok, values = n * used;
    const int experts = (int)c->model->params.n_routed_experts;
    if (source_read(file, t, first * used * sizeof *chosen, chosen, values * sizeof *chosen, e) ||
        calibration_floats(file, g, first * used * sizeof *gates, gates, values, e))
        return -1;
    for (size_t i = 0; i < values; i++)
        if (chosen[i] < 0 || chosen[i] >= experts)
            return bad_value(file, t, (first * used + i) * sizeof *chosen, "a token was sent to an expert that there is not", e);
    return 0;
}

enum { TOKENS_AT_ONCE = 4096 };

int calibration_routed(const struct calibration *c, int layer, int expert, uint32_t **token, float **gate, size_t *n, struct error *e)
{
    const size_t used = (size_t)c->model->params.num_experts_per_tok;
    int16_t *chosen = malloc(TOKENS_AT_ONCE * used * sizeof *chosen);
    float *gates = malloc(TOKENS_AT_ONCE * used * sizeof *gates);
    *n = 0;
    *token = malloc(c->tokens * sizeof **token);
    *gate = malloc(c->tokens * sizeof **gate);
    int rc = chosen && gates && *token && *gate ? 0 : no_memory(e);
    for (uint64_t first = 0, some; !rc && first < c->tokens; first += some) {
        some = c->tokens - first < TOKENS_AT_ONCE ? c->tokens - first : TOKENS_AT_ONCE;
        rc = calibration_routing(c, layer, first, (size_t)some, chosen, gates, e);
        for (size_t i = 0; !rc && i < some * used; i++)
            if (chosen[i] == expert && (!*n || (*token)[*n - 1] != first + i / used)) {
                (*token)[*n] = (uint32_t)(first + i / used);
                (*gate)[(*n)++] = gates[i];
            }
    }
    free(chosen);
    free(gates);
    return rc ? -1 : 0;
}

static int read_tokens(const struct calibration *c, int layer, const char *kind, const uint32_t *token, size_t n, struct panels *x,
                       struct error *e)
{
    const struct source *file = calibration_file(c, layer, HALF_MLP);
    const struct tensor *t = find(file, INPUT_FFN, kind);
    const size_t D = x->rows;
    const struct quant_kernels bf16 = quant_kernels_for(quant_type_find("BF16"), c->model->cpu);
    uint16_t *codes = malloc(D * sizeof *codes);
    float *row = malloc(D * sizeof *row);
    int rc = codes && row ? 0 : no_memory(e);
    for (size_t i = 0; !rc && i < n; i++) {
        if ((rc = source_read(file, t, token[i] * D * sizeof *codes, codes, D * sizeof *codes, e)))
            break;
        bf16.decode(codes, row, D);
        float amax;
        size_t bad = scan_finite(row, D, &amax);
        if (bad < D) {
            rc = bad_value(file, t, (token[i] * D + bad) * sizeof *codes, "a number is NaN or infinite", e);
            break;
        }
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

/* ---- tokens */

static const char tokens_name[] = "tokens.safetensors";

int calibration_write_tokens(const char *folder, const int32_t *ids, uint64_t chunks, uint64_t ctx, struct error *e)
{
    struct tensor t = {.name = "tokens", .type = safetensors_dtype("I32"), .n_dims = 2, .dims = {chunks, ctx}};
    struct buffer header = {0};
    struct io_out out = {.fd = -1};
    uint64_t bytes;
    char *path = io_join(folder, tokens_name);
    int rc = !path ? no_memory(e)
                   : safetensors_header(&t, 1, NULL, &header, &bytes, e) || io_out_create(&out, path, bytes, e) ||
                         io_out_write(&out, 0, header.data, header.size, e) || io_out_write(&out, t.offset, ids, (size_t)t.bytes, e) ||
                         io_out_finish(&out, e);
    if (rc)
        io_out_abandon(&out);
    buffer_clear(&header);
    free(path);
    return rc ? -1 : 0;
}

static int check_ids(const struct source *s, const struct tensor *t, const int32_t *ids, uint64_t first, uint64_t n, uint64_t vocab, struct error *e)
{
    for (uint64_t i = 0; i < n; i++)
        if (ids[i] < 0 || (uint64_t)ids[i] >= vocab)
            return bad_value(s, t, (first + i) * sizeof *ids, "a token that the vocabulary does not have", e);
    return 0;
}

int32_t *calibration_read_tokens(const char *folder, uint64_t chunks, uint64_t ctx, uint64_t first, uint64_t n, uint64_t vocab, struct error *e)
{
    char *path = io_join(folder, tokens_name);
    struct source *s = path && io_kind(path) ? source_open(path, e) : NULL;
    const struct tensor *t = s ? source_find(s, "tokens") : NULL;
    int32_t *ids = malloc((size_t)(n * ctx + 1) * sizeof *ids);
    int rc = !path || !ids ? no_memory(e) : s || !io_kind(path) ? 0 : -1;
    if (!rc && (!t || strcmp(t->type->name, "I32") || t->n_dims != 2 || t->dims[0] != chunks || t->dims[1] != ctx)) {
        rc = error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the calibration's tokens are missing (an earlier version kept none) or not as many as it says");
        error_at_file(e, path);
    }
    rc = rc || source_read(s, t, first * ctx * sizeof *ids, ids, (size_t)(n * ctx) * sizeof *ids, e) ||
         check_ids(s, t, ids, first * ctx, n * ctx, vocab, e);
    source_close(s);
    free(path);
    if (!rc)
        return ids;
    free(ids);
    return NULL;
}
