/* SPDX-License-Identifier: MIT
 * Base files, written: chunk by chunk behind the walk. What is small of a chunk is collected until its last row has come. */
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"
#include "model/forward/head.h"
#include "verify/base_file.h"

enum { EXTRA = 4 }; /* about, tokens, hashes, seal */

struct base_writer {
    struct base_about about;
    const int32_t *tokens;
    struct io_out out;
    struct tensor list[BASE_PARTS + EXTRA];
    size_t n_list;
    char *about_text;
    uint8_t *routing;              /* whole, as it will lie in the file */
    uint8_t *hashes;
    /* of the chunk that is being written: */
    double *log_sums;
    float *targets, *tops, *thresholds;
    int32_t *ids;
    uint16_t *codes;
    struct hash *hash;
    size_t next;                   /* position, over all chunks, that must come next */
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the base file");
}

static size_t expert_bytes(const struct base_about *a)
{
    return a->n_experts > 256 ? 2 : 1;
}

static size_t chunk_routing(const struct base_about *a)
{
    return (a->n_layers - a->n_dense) * a->ctx * a->experts_used * expert_bytes(a);
}

/* Two fifths of the room for the best: what lies behind them is drawn from, and the more of it the smaller the error. */
void base_share(struct base_about *a)
{
    const size_t fixed = sizeof(double) + 3 * sizeof(float), moe = a->n_layers - a->n_dense;
    const size_t chunk = moe * a->ctx * a->experts_used * expert_bytes(a) + a->ctx * sizeof(int32_t) + BASE_HASH;
    const size_t taken = fixed + (chunk + a->scored - 1) / a->scored, least = 64;
    size_t n = taken < BASE_POSITION_BYTES ? (BASE_POSITION_BYTES - taken) / (sizeof(int32_t) + sizeof(uint16_t)) : 0;
    n = n < least ? least : n > BASE_SAMPLE_MOST ? BASE_SAMPLE_MOST : n;
    a->best = n * 2 / 5;
    a->drawn = n - a->best;
}

size_t base_tensors(const struct base_about *a, size_t about_bytes, struct tensor *list)
{
    const uint64_t c = a->chunks, s = a->scored, moe = a->n_layers - a->n_dense;
    const struct { const char *name, *type; uint32_t n; uint64_t dims[4]; int wanted; } rows[] = {
        {"log_sums", "F64", 2, {c, s}, 1},
        {"logits", "F32", 3, {c, s, a->vocab}, a->form == BASE_EXACT},
        {"ids", "I32", 3, {c, s, a->best + a->drawn}, a->form == BASE_SAMPLED},
        {"target_logits", "F32", 2, {c, s}, 1},
        {"top_logits", "F32", 2, {c, s}, a->form == BASE_SAMPLED},
        {"thresholds", "F32", 2, {c, s}, a->form == BASE_SAMPLED},
        {"tokens", "I32", 2, {c, a->ctx}, 1},
        {"routing", expert_bytes(a) == 1 ? "U8" : "I16", 4, {c, moe, a->ctx, a->experts_used}, a->n_experts && moe},
        {"codes", "U16", 3, {c, s, a->best + a->drawn}, a->form == BASE_SAMPLED},
        {"hashes", "U8", 2, {c, BASE_HASH}, 1},
        {"seal", "U8", 1, {BASE_HASH}, 1},
        {"about", "U8", 1, {about_bytes}, 1},
    };
    size_t n = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].wanted) {
            list[n] = (struct tensor){.name = rows[i].name, .type = safetensors_dtype(rows[i].type), .n_dims = rows[i].n};
            memcpy(list[n++].dims, rows[i].dims, sizeof rows[i].dims);
        }
    return n;
}

static char *about_text(const struct base_about *a)
{
    struct json *o = json_new_object();
    json_add_string(o, "format", "pare base");
    json_add_u64(o, "version", 1);
    json_add_string(o, "form", base_form_names[a->form]);
    json_add_string(o, "name", a->name);
    json_add_string(o, "settings", a->settings);
    json_add_string(o, "tokens_xxh3_128", a->tokens_hash);
    json_add_string(o, "models_xxh3_128", a->models_hash);
    json_add_u64(o, "bytes", a->bytes);
    json_add_u64(o, "chunks", a->chunks);
    json_add_u64(o, "ctx", a->ctx);
    json_add_u64(o, "first_scored", a->first_scored);
    json_add_u64(o, "scored", a->scored);
    json_add_u64(o, "vocab_size", a->vocab);
    json_add_u64(o, "layers", a->n_layers);
    json_add_u64(o, "dense_layers", a->n_dense);
    json_add_u64(o, "experts", a->n_experts);
    json_add_u64(o, "experts_used", a->experts_used);
    if (a->form == BASE_SAMPLED) {
        json_add_u64(o, "best", a->best);
        json_add_u64(o, "drawn", a->drawn);
    }
    char *text = json_print_line(o);
    json_free(o);
    return text;
}

static const struct tensor *tensor_of(const struct base_writer *w, const char *name)
{
    for (size_t i = 0; i < w->n_list; i++)
        if (!strcmp(w->list[i].name, name))
            return &w->list[i];
    return NULL;
}

static int allocate(struct base_writer *w, struct error *e)
{
    const struct base_about *a = &w->about;
    const size_t kept = a->scored * (a->best + a->drawn);
    w->routing = calloc(a->chunks * chunk_routing(a) + 1, 1);
    w->hashes = calloc(a->chunks, BASE_HASH);
    w->log_sums = calloc(a->scored, sizeof *w->log_sums);
    w->targets = calloc(a->scored, sizeof *w->targets);
    w->thresholds = calloc(a->scored, sizeof *w->thresholds);
    w->tops = calloc(a->scored, sizeof *w->tops);
    w->ids = calloc(kept + 1, sizeof *w->ids);
    w->codes = calloc(kept + 1, sizeof *w->codes);
    return w->routing && w->hashes && w->log_sums && w->targets && w->thresholds && w->tops && w->ids && w->codes ? 0 : no_memory(e);
}

static int create_ours(struct base_writer *w, const char *path, struct error *e)
{
    struct buffer header = {0};
    uint64_t bytes;
    if (!(w->about_text = about_text(&w->about)))
        return no_memory(e);
    w->n_list = base_tensors(&w->about, strlen(w->about_text), w->list);
    int rc = safetensors_header(w->list, w->n_list, NULL, &header, &bytes, e) || io_out_create(&w->out, path, bytes, e) ||
             io_out_write(&w->out, 0, header.data, header.size, e);
    buffer_clear(&header);
    return rc ? -1 : 0;
}

/* magic, three counts, tokens. */
static int create_llama(struct base_writer *w, const char *path, struct error *e)
{
    const struct base_about *a = &w->about;
    struct buffer b = {0};
    const uint64_t bytes = base_llama_header(a) + (uint64_t)a->chunks * a->scored * base_llama_record(a->vocab);
    buffer_text(&b, "_logits_");
    buffer_u32(&b, (uint32_t)a->ctx);
    buffer_u32(&b, (uint32_t)a->vocab);
    buffer_u32(&b, (uint32_t)a->chunks);
    buffer_add(&b, w->tokens, a->chunks * a->ctx * sizeof *w->tokens);
    int rc = b.failed ? no_memory(e) : io_out_create(&w->out, path, bytes, e) || io_out_write(&w->out, 0, b.data, b.size, e);
    buffer_clear(&b);
    return rc ? -1 : 0;
}

struct base_writer *base_create(const char *path, const struct base_about *about, const int32_t *tokens, struct error *e)
{
    struct base_writer *w = calloc(1, sizeof *w);
    if (!w) {
        no_memory(e);
        return NULL;
    }
    w->about = *about;
    w->tokens = tokens;
    w->out.fd = -1;
    if (allocate(w, e) || (about->form == BASE_LLAMA ? create_llama(w, path, e) : create_ours(w, path, e))) {
        base_writer_free(w);
        return NULL;
    }
    return w;
}

void base_put_routing(struct base_writer *w, size_t chunk, size_t layer, const int16_t *chosen)
{
    const struct base_about *a = &w->about;
    const size_t n = a->ctx * a->experts_used;
    uint8_t *to = w->routing + chunk * chunk_routing(a) + (layer - a->n_dense) * n * expert_bytes(a);
    for (size_t i = 0; i < n; i++) {
        to[i * expert_bytes(a)] = (uint8_t)chosen[i];
        if (expert_bytes(a) == 2)
            to[i * 2 + 1] = (uint8_t)((unsigned)chosen[i] >> 8);
    }
}

/* One position: what is kept of its row. */
static void keep(struct base_writer *w, size_t position, const float *row)
{
    const struct base_about *a = &w->about;
    const size_t i = position % a->scored, chunk = position / a->scored;
    struct position p = {.target = w->tokens[chunk * a->ctx + a->first_scored + i + 1]};
    head_row(&p, row, NULL, a->vocab);
    w->log_sums[i] = softmax_log(&p.base);
    w->targets[i] = p.base_target;
    w->tops[i] = p.base_top.logit[0];
    const size_t at = i * (a->best + a->drawn);
    if (a->form == BASE_SAMPLED)
        base_sample_draw(row, a->vocab, w->log_sums[i], a->best, a->drawn, (uint64_t)position,
                         &(struct base_sample){w->ids + at, w->codes + at, &w->thresholds[i]});
}

static int put(struct base_writer *w, const char *name, size_t chunk, const void *bytes, size_t n, struct error *e)
{
    const struct tensor *t = tensor_of(w, name);
    if (!t)
        return 0;
    hash_add(w->hash, bytes, n);
    return io_out_write(&w->out, t->offset + (uint64_t)chunk * n, bytes, n, e);
}

/* The rest of a chunk, in the order of base.h. */
static int end_chunk(struct base_writer *w, size_t chunk, struct error *e)
{
    const struct base_about *a = &w->about;
    const size_t n = a->scored, kept = n * (a->best + a->drawn);
    int rc = put(w, "ids", chunk, w->ids, kept * 4, e) || put(w, "codes", chunk, w->codes, kept * 2, e) ||
             put(w, "log_sums", chunk, w->log_sums, n * 8, e) || put(w, "target_logits", chunk, w->targets, n * 4, e) ||
             put(w, "top_logits", chunk, w->tops, n * 4, e) || put(w, "thresholds", chunk, w->thresholds, n * 4, e) ||
             put(w, "routing", chunk, w->routing + chunk * chunk_routing(a), chunk_routing(a), e);
    base_hash_bytes(w->hash, w->hashes + chunk * BASE_HASH);
    w->hash = NULL;
    return rc ? -1 : 0;
}

static int put_ours(struct base_writer *w, size_t n, const float *rows, int threads, struct error *e)
{
    const struct base_about *a = &w->about;
    while (n) {
        const size_t chunk = w->next / a->scored, left = a->scored - w->next % a->scored, take = n < left ? n : left;
        if (!w->hash && !(w->hash = hash_new()))
            return no_memory(e);
#pragma omp parallel for num_threads(threads)
        for (size_t i = 0; i < take; i++)
            keep(w, w->next + i, rows + i * a->vocab);
        if (a->form == BASE_EXACT) {
            hash_add(w->hash, rows, take * a->vocab * 4);
            if (io_out_write(&w->out, tensor_of(w, "logits")->offset + (uint64_t)w->next * a->vocab * 4, rows, take * a->vocab * 4, e))
                return -1;
        }
        rows += take * a->vocab;
        w->next += take;
        n -= take;
        if (take == left && end_chunk(w, chunk, e))
            return -1;
    }
    return 0;
}

static int put_llama(struct base_writer *w, size_t n, const float *rows, int threads, struct error *e)
{
    const size_t record = (size_t)base_llama_record(w->about.vocab);
    uint16_t *bytes = malloc(n * record + 1);
    if (!bytes)
        return no_memory(e);
#pragma omp parallel for num_threads(threads)
    for (size_t i = 0; i < n; i++)
        base_llama_encode(rows + i * w->about.vocab, w->about.vocab, bytes + i * record / 2);
    int rc = io_out_write(&w->out, base_llama_header(&w->about) + (uint64_t)w->next * record, bytes, n * record, e);
    w->next += n;
    free(bytes);
    return rc;
}

int base_put_rows(struct base_writer *w, size_t first, size_t n, const float *rows, int threads, struct error *e)
{
    if (first != w->next || n > w->about.chunks * w->about.scored - first)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "rows of the base come out of order");
    return w->about.form == BASE_LLAMA ? put_llama(w, n, rows, threads, e) : put_ours(w, n, rows, threads, e);
}

static int finish_ours(struct base_writer *w, struct error *e)
{
    const struct base_about *a = &w->about;
    const size_t ids = a->chunks * a->ctx * sizeof *w->tokens, text = strlen(w->about_text);
    uint8_t seal[BASE_HASH];
    struct hash *h = hash_new();
    if (!h)
        return no_memory(e);
    hash_add(h, w->about_text, text);
    hash_add(h, w->tokens, ids);
    hash_add(h, w->hashes, a->chunks * BASE_HASH);
    base_hash_bytes(h, seal);
    return io_out_write(&w->out, tensor_of(w, "about")->offset, w->about_text, text, e) ||
                   io_out_write(&w->out, tensor_of(w, "tokens")->offset, w->tokens, ids, e) ||
                   io_out_write(&w->out, tensor_of(w, "hashes")->offset, w->hashes, a->chunks * BASE_HASH, e) ||
                   io_out_write(&w->out, tensor_of(w, "seal")->offset, seal, sizeof seal, e)
               ? -1
               : 0;
}

int base_finish(struct base_writer *w, struct error *e)
{
    if (w->next != w->about.chunks * w->about.scored)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "rows of the base are missing");
    return (w->about.form != BASE_LLAMA && finish_ours(w, e)) || io_out_finish(&w->out, e) ? -1 : 0;
}

void base_writer_free(struct base_writer *w)
{
    if (!w)
        return;
    io_out_abandon(&w->out);
    hash_free(w->hash);
    free(w->about_text);
    free(w->routing);
    free(w->hashes);
    free(w->log_sums);
    free(w->targets);
    free(w->thresholds);
    free(w->tops);
    free(w->codes);
    free(w->ids);
    free(w);
}
