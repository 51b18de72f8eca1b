/* SPDX-License-Identifier: MIT
 * Base files, read: what they say of themselves is held against their tensors' shapes, and every chunk against its hash. */
#include "verify/base_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/forward/head.h"

const char *const base_form_names[BASE_FORMS] = {"exact", "sampled", "llama"};
const char *const base_part_names[BASE_PARTS] = {"logits",     "ids",        "codes",   "log_sums", "target_logits",
                                                   "top_logits", "thresholds", "routing"};
enum { EXTRA = 4, ABOUT_MAX = 1 << 16, COPY = 1 << 20 };

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the base file");
}

static int bad(const struct base_file *b, const char *what, struct error *e)
{
    error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%s", what);
    return error_at_file(e, b->path);
}

void base_hash_bytes(struct hash *h, uint8_t out[BASE_HASH])
{
    uint64_t high = 0, low = 0;
    if (h)
        hash_finish_128(h, &high, &low);
    for (int i = 0; i < 8; i++) {
        out[i] = (uint8_t)(high >> (56 - 8 * i));
        out[8 + i] = (uint8_t)(low >> (56 - 8 * i));
    }
}

static const char llama_magic[8] = {'_', 'l', 'o', 'g', 'i', 't', 's', '_'};

/* 1 ours, 2 llama's, 0 neither. */
static int kind_of(const char *path)
{
    struct io_file f = {NULL};
    struct error ignored;
    char head[8];
    int kind = 0;
    if (io_kind(path) != 1 || io_open(&f, path, &ignored))
        return 0;
    int readable = f.size >= sizeof head && !io_read(&f, 0, head, sizeof head, &ignored);
    io_close(&f);
    if (readable && !memcmp(head, llama_magic, sizeof head))
        return 2;
    struct source *s = readable ? source_open(path, &ignored) : NULL;
    kind = s && s->n_files == 1 && !strcmp(s->format->name, "safetensors") && source_find(s, "about") && source_find(s, "log_sums");
    source_close(s);
    return kind;
}

int base_probe(const char *path)
{
    return kind_of(path) != 0;
}

/* ---- opening ours */

static int count(const struct json *o, const char *key, uint64_t most, size_t *out)
{
    uint64_t v;
    if (json_u64(json_get(o, key), &v) || v > most)
        return -1;
    *out = (size_t)v;
    return 0;
}

static const char *text_of(struct base_file *b, const struct json *o, const char *key)
{
    const char *s = json_string(json_get(o, key));
    return s ? arena_copy(&b->arena, s, strlen(s)) : NULL;
}

static int copy_hash(const struct json *o, const char *key, char out[HASH_TEXT])
{
    const char *s = json_string(json_get(o, key));
    if (!s || strlen(s) != HASH_TEXT - 1)
        return -1;
    memcpy(out, s, HASH_TEXT);
    return 0;
}

static int read_form(struct base_file *b, const struct json *o)
{
    struct base_about *a = &b->about;
    const char *format = json_string(json_get(o, "format")), *form = json_string(json_get(o, "form"));
    size_t version;
    if (!format || strcmp(format, "pare base") || count(o, "version", 1, &version) || version != 1 || !form)
        return -1;
    a->form = !strcmp(form, base_form_names[BASE_EXACT]) ? BASE_EXACT : BASE_SAMPLED;
    if (strcmp(form, base_form_names[a->form]))
        return -1;
    return a->form == BASE_SAMPLED && (count(o, "best", BASE_SAMPLE_MOST, &a->best) || count(o, "drawn", BASE_SAMPLE_MOST - a->best, &a->drawn) ||
                                         a->best < TOP);
}

static int read_about(struct base_file *b, const struct json *o)
{
    struct base_about *a = &b->about;
    return read_form(b, o) || count(o, "chunks", 1 << 24, &a->chunks) || count(o, "ctx", 1 << 20, &a->ctx) ||
           count(o, "first_scored", 1 << 20, &a->first_scored) || count(o, "scored", 1 << 20, &a->scored) ||
           count(o, "vocab_size", 1 << 24, &a->vocab) || count(o, "layers", 1024, &a->n_layers) ||
           count(o, "dense_layers", a->n_layers, &a->n_dense) || count(o, "experts", 4096, &a->n_experts) ||
           count(o, "experts_used", 64, &a->experts_used) || copy_hash(o, "tokens_xxh3_128", a->tokens_hash) ||
           copy_hash(o, "models_xxh3_128", a->models_hash) || json_u64(json_get(o, "bytes"), &a->bytes) || !(a->name = text_of(b, o, "name")) ||
           !(a->settings = text_of(b, o, "settings")) || !a->chunks || a->ctx < 4 || !a->scored || a->scored > a->ctx - 1 ||
           a->first_scored > a->ctx - 1 - a->scored || !a->vocab || a->experts_used > a->n_experts;
}

static int same_shape(const struct tensor *a, const struct tensor *b)
{
    return a && !strcmp(a->type->name, b->type->name) && a->n_dims == b->n_dims && !memcmp(a->dims, b->dims, a->n_dims * sizeof *a->dims);
}

static int match_tensors(struct base_file *b, size_t about_bytes, struct error *e)
{
    struct tensor want[BASE_PARTS + EXTRA];
    const size_t n = base_tensors(&b->about, about_bytes, want);
    for (size_t i = 0; i < n; i++)
        if (!same_shape(source_find(b->source, want[i].name), &want[i])) {
            bad(b, "the base file lacks this tensor, or it has another shape than the file says", e);
            return error_at_tensor(e, want[i].name);
        }
    if (b->source->n_tensors != n)
        return bad(b, "the base file has tensors that do not belong there", e);
    for (int p = 0; p < BASE_PARTS; p++)
        b->parts[p] = source_find(b->source, base_part_names[p]);
    return 0;
}

static int check_tokens(const struct base_file *b, struct error *e)
{
    for (size_t i = 0; i < b->about.chunks * b->about.ctx; i++)
        if (b->tokens[i] < 0 || (size_t)b->tokens[i] >= b->about.vocab)
            return bad(b, "a token that the vocabulary does not have", e);
    return 0;
}

/* tokens and hashes; seal. */
static int read_rest(struct base_file *b, const char *about, size_t about_bytes, struct error *e)
{
    const size_t ids = b->about.chunks * b->about.ctx;
    const struct tensor *tokens = source_find(b->source, "tokens"), *hashes = source_find(b->source, "hashes");
    uint8_t want[BASE_HASH], have[BASE_HASH];
    if (!(b->tokens = arena_array(&b->arena, ids, sizeof *b->tokens)) || !(b->hashes = arena_array(&b->arena, b->about.chunks, BASE_HASH)))
        return no_memory(e);
    if (source_read(b->source, tokens, 0, b->tokens, (size_t)tokens->bytes, e) ||
        source_read(b->source, hashes, 0, b->hashes, (size_t)hashes->bytes, e) ||
        source_read(b->source, source_find(b->source, "seal"), 0, want, sizeof want, e))
        return -1;
    struct hash *h = hash_new();
    if (!h)
        return no_memory(e);
    hash_add(h, about, about_bytes);
    hash_add(h, b->tokens, (size_t)tokens->bytes);
    hash_add(h, b->hashes, (size_t)hashes->bytes);
    base_hash_bytes(h, have);
    if (memcmp(have, want, sizeof have))
        return bad(b, "the base file is damaged: its seal does not fit what it says of itself", e);
    return check_tokens(b, e);
}

static int open_ours(struct base_file *b, struct error *e)
{
    char *text = NULL;
    struct json *o = NULL;
    int rc = -1;
    if (!(b->source = source_open(b->path, e)))
        return -1;
    const struct tensor *about = source_find(b->source, "about");
    if (!about || strcmp(about->type->name, "U8") || !about->bytes || about->bytes > ABOUT_MAX)
        return bad(b, "this is no base file", e);
    const size_t n = (size_t)about->bytes;
    if (!(text = malloc(n + 1)))
        return no_memory(e);
    if (!source_read(b->source, about, 0, text, n, e) && (o = json_parse(text, n, e)))
        rc = read_about(b, o) ? bad(b, "what the base file says of itself is missing or absurd", e)
                              : match_tensors(b, n, e) || read_rest(b, text, n, e);
    error_at_file(e, b->path);
    json_free(o);
    free(text);
    return rc ? -1 : 0;
}

struct base_file *base_open(const char *path, struct error *e)
{
    struct base_file *b = calloc(1, sizeof *b);
    int kind = kind_of(path), rc = -1;
    if (!b) {
        no_memory(e);
        return NULL;
    }
    b->checked = SIZE_MAX;
    if (!(b->path = arena_copy(&b->arena, path, strlen(path))))
        no_memory(e);
    else
        rc = kind == 2 ? base_llama_open(b, e) || check_tokens(b, e) : open_ours(b, e);
    if (rc) {
        base_close(b);
        return NULL;
    }
    return b;
}

void base_close(struct base_file *b)
{
    if (!b)
        return;
    source_close(b->source);
    io_close(&b->file);
    arena_clear(&b->arena);
    free(b);
}

const struct base_about *base_about(const struct base_file *b)
{
    return &b->about;
}

const int32_t *base_tokens(const struct base_file *b)
{
    return b->tokens;
}

int base_fits(const struct base_file *b, const struct arch_params *p, struct error *e)
{
    const struct base_about *a = &b->about;
    if (p->vocab_size == a->vocab && (!a->n_experts || (p->num_hidden_layers == a->n_layers && p->n_routed_experts == a->n_experts &&
                                                         p->num_experts_per_tok == a->experts_used && p->first_k_dense_replace == a->n_dense)))
        return 0;
    error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "the base was a model of another shape");
    return error_at_file(e, b->path);
}

/* ---- chunks of ours */

/* Compares a chunk's hash, once in a row. */
static int check_chunk(struct base_file *b, size_t chunk, struct error *e)
{
    uint8_t have[BASE_HASH];
    char *copy;
    if (b->checked == chunk)
        return 0;
    struct hash *h = hash_new();
    if (!(copy = malloc(COPY)) || !h) {
        free(copy);
        hash_free(h);
        return no_memory(e);
    }
    int rc = 0;
    for (int p = 0; !rc && p < BASE_PARTS; p++) {
        const uint64_t size = b->parts[p] ? b->parts[p]->bytes / b->about.chunks : 0;
        for (uint64_t at = 0; !rc && at < size; at += COPY) {
            const size_t n = size - at < COPY ? (size_t)(size - at) : COPY;
            rc = source_read(b->source, b->parts[p], (uint64_t)chunk * size + at, copy, n, e);
            hash_add(h, copy, n);
        }
    }
    free(copy);
    base_hash_bytes(h, have);
    if (!rc && memcmp(have, b->hashes + chunk * BASE_HASH, BASE_HASH)) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "chunk %zu of the base file is damaged: its hash differs", chunk);
        return error_at_file(e, b->path);
    }
    b->checked = rc ? SIZE_MAX : chunk;
    return rc ? -1 : 0;
}

int base_routing(struct base_file *b, size_t chunk, int16_t **routing, struct error *e)
{
    const struct tensor *t = b->parts[BASE_ROUTING];
    *routing = NULL;
    if (!t)
        return 0;
    const size_t bytes = (size_t)(t->bytes / b->about.chunks), wide = t->type->block_bytes, n = bytes / wide;
    if (check_chunk(b, chunk, e))
        return -1;
    uint8_t *raw = malloc(bytes + 1);
    int16_t *out = malloc((n + 1) * sizeof *out);
    int rc = raw && out ? source_read(b->source, t, (uint64_t)chunk * bytes, raw, bytes, e) : no_memory(e);
    for (size_t i = 0; !rc && i < n; i++) {
        out[i] = (int16_t)(wide == 2 ? raw[2 * i] | raw[2 * i + 1] << 8 : raw[i]);
        if (out[i] < 0 || (size_t)out[i] >= b->about.n_experts)
            rc = bad(b, "an expert that the model does not have", e);
    }
    free(raw);
    if (rc)
        free(out);
    else
        *routing = out;
    return rc ? -1 : 0;
}

/* What is read of n positions. */
struct span {
    size_t n;
    double *log_sums;
    float *targets, *logits, *tops, *thresholds;
    int32_t *ids;
    uint16_t *codes;
};

static void span_clear(struct span *s)
{
    free(s->log_sums);
    free(s->targets);
    free(s->logits);
    free(s->thresholds);
    free(s->ids);
    free(s->codes);
    free(s->tops);
}

/* malloc'd bytes of n positions from `first` on. */
static void *read_part(const struct base_file *b, enum base_part part, size_t first, size_t n, int *rc, struct error *e)
{
    const struct tensor *t = b->parts[part];
    if (*rc || !t)
        return NULL;
    const uint64_t each = t->bytes / (b->about.chunks * b->about.scored);
    void *bytes = malloc((size_t)(n * each) + 1);
    *rc = bytes ? source_read(b->source, t, first * each, bytes, (size_t)(n * each), e) : no_memory(e);
    return bytes;
}

static int all_finite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return 0;
    return 1;
}

static int check_span(const struct base_file *b, const struct span *s, struct error *e)
{
    const struct base_about *a = &b->about;
    const size_t each = s->ids ? a->best + a->drawn : a->vocab;
    int good = (!s->logits || all_finite(s->logits, s->n * each)) && all_finite(s->targets, s->n) && (!s->tops || all_finite(s->tops, s->n));
    for (size_t i = 0; good && i < s->n; i++)
        good = isfinite(s->log_sums[i]) && (!s->thresholds || isfinite(s->thresholds[i]) || s->thresholds[i] < 0);
    for (size_t i = 0; good && s->ids && i < s->n * each; i++)
        good = s->ids[i] >= (i % each < TOP && i % each < a->vocab ? 0 : -1) && (s->ids[i] < 0 || (size_t)s->ids[i] < a->vocab);
    return good ? 0 : bad(b, "a number in the base file is impossible", e);
}

static int read_span(struct base_file *b, size_t first, size_t n, struct span *s, struct error *e)
{
    int rc = 0;
    *s = (struct span){.n = n};
    for (size_t chunk = first / b->about.scored; n && chunk <= (first + n - 1) / b->about.scored; chunk++)
        if (check_chunk(b, chunk, e))
            return -1;
    s->log_sums = read_part(b, BASE_LOG_SUMS, first, n, &rc, e);
    s->targets = read_part(b, BASE_TARGETS, first, n, &rc, e);
    s->logits = read_part(b, BASE_LOGITS, first, n, &rc, e);
    s->thresholds = read_part(b, BASE_THRESHOLDS, first, n, &rc, e);
    s->ids = read_part(b, BASE_IDS, first, n, &rc, e);
    s->codes = read_part(b, BASE_CODES, first, n, &rc, e);
    s->tops = read_part(b, BASE_TOPS, first, n, &rc, e);
    if (!rc)
        rc = check_span(b, s, e);
    if (rc)
        span_clear(s);
    return rc ? -1 : 0;
}

static int32_t target_of(const struct base_about *a, const int32_t *tokens, size_t position)
{
    return tokens[position / a->scored * a->ctx + a->first_scored + position % a->scored + 1];
}

static double log_p_of(const struct span *s, size_t at)
{
    return -(double)s->codes[at] / BASE_CODE_STEPS;
}

/* The base's fields of a position of the sampled form. */
static void sampled_base(const struct base_about *a, const struct span *s, size_t i, struct position *p)
{
    const size_t each = a->best + a->drawn;
    p->base = (struct softmax_sum){s->log_sums[i], 1};
    p->base_target = s->targets[i];
    p->base_top.n = 0;
    for (int k = 0; k < TOP && s->ids[i * each + (size_t)k] >= 0; k++, p->base_top.n++) {
        p->base_top.id[k] = s->ids[i * each + (size_t)k];
        p->base_top.logit[k] = k ? (float)(s->log_sums[i] + log_p_of(s, i * each + (size_t)k)) : s->tops[i];
    }
}

double base_candidate(struct position *p, const float *row, size_t vocab)
{
    struct position c = {.target = p->target};
    head_row(&c, row, NULL, vocab);
    p->cand = c.base;
    p->cand_target = c.base_target;
    p->cand_top = c.base_top;
    return softmax_log(&p->cand);
}

static void score_one(const struct base_about *a, const struct span *s, size_t i, const float *row, struct position *p, double *kld)
{
    const size_t each = a->best + a->drawn;
    if (a->form == BASE_EXACT) {
        head_row(p, s->logits + i * a->vocab, row, a->vocab);
        *kld = row ? position_kld(p) : 0;
        return;
    }
    if (row)
        *kld = base_sample_kld(&(struct base_sample){s->ids + i * each, s->codes + i * each, &s->thresholds[i]}, a->best, a->drawn, row,
                               base_candidate(p, row, a->vocab));
    sampled_base(a, s, i, p);
}

int base_score(struct base_file *b, size_t first, size_t n, const float *rows, int threads, struct position *positions, double *kld,
               struct error *e)
{
    const struct base_about *a = &b->about;
    struct span s;
    for (size_t i = 0; i < n; i++)
        positions[i] = (struct position){.target = target_of(a, b->tokens, first + i)};
    if (a->form == BASE_LLAMA)
        return base_llama_score(b, first, n, rows, threads, positions, kld, e);
    if (read_span(b, first, n, &s, e))
        return -1;
#pragma omp parallel for num_threads(threads)
    for (size_t i = 0; i < n; i++)
        score_one(a, &s, i, rows ? rows + i * a->vocab : NULL, &positions[i], &kld[i]);
    span_clear(&s);
    return 0;
}

/* ---- lists */

void base_list_clear(struct base_list *list)
{
    free(list->ids);
    free(list->log_p);
    *list = (struct base_list){0};
}

/* Sorted in: there are few. */
static void insert(struct base_list *list, int32_t id, double log_p)
{
    size_t k = list->n++;
    for (; k && list->ids[k - 1] > id; k--) {
        list->ids[k] = list->ids[k - 1];
        list->log_p[k] = list->log_p[k - 1];
    }
    list->ids[k] = id;
    list->log_p[k] = log_p;
}

static int list_ours(struct base_file *b, size_t position, struct base_list *list, struct error *e)
{
    const struct base_about *a = &b->about;
    struct span s;
    if (read_span(b, position, 1, &s, e))
        return -1;
    for (size_t i = 0; i < (s.ids ? a->best + a->drawn : a->vocab); i++)
        if (!s.ids || s.ids[i] >= 0)
            insert(list, s.ids ? s.ids[i] : (int32_t)i, s.ids ? log_p_of(&s, i) : (double)s.logits[i] - s.log_sums[0]);
    span_clear(&s);
    return 0;
}

int base_list(struct base_file *b, size_t position, struct base_list *list, struct error *e)
{
    const size_t room = b->about.vocab + b->about.best + b->about.drawn;
    *list = (struct base_list){0, malloc(room * sizeof *list->ids), malloc(room * sizeof *list->log_p)};
    int rc = !list->ids || !list->log_p ? no_memory(e) : b->about.form == BASE_LLAMA ? base_llama_list(b, position, list, e) : list_ours(b, position, list, e);
    if (rc)
        base_list_clear(list);
    return rc ? -1 : 0;
}
