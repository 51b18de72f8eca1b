/* SPDX-License-Identifier: MIT
 * Part: JSON of a comparison. Numbers are printed so that they read back as the same doubles. */
#include "verify/part.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "verify/closeups.h"

static const char format_name[] = "pare verification part";
static const uint64_t version = 3, max_file = (uint64_t)1 << 31;
enum { LAYER_NUMBERS = 5, EXPERT_NUMBERS = 6, MTP_NUMBERS = 5, ALONE_NUMBERS = 2, SCORE_NUMBERS = 11 };

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

static int bad(struct error *e, const char *what)
{
    return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%s", what);
}

int part_hash_tokens(const int32_t *ids, size_t n, char out[HASH_TEXT], struct error *e)
{
    struct hash *h = hash_new();
    if (!h)
        return no_memory(e);
    hash_add(h, ids, n * sizeof *ids);
    hash_finish(h, out);
    return 0;
}

static void hash_model(struct hash *h, const struct model *m)
{
    for (size_t i = 0; m && i < m->source->n_tensors; i++) {
        const struct tensor *t = &m->source->tensors[i];
        hash_add(h, t->name, strlen(t->name) + 1);
        hash_add(h, t->type->name, strlen(t->type->name) + 1);
        hash_add(h, t->dims, t->n_dims * sizeof *t->dims);
    }
}

int part_hash_models(const struct model *base, const struct model *cand, char out[HASH_TEXT], struct error *e)
{
    struct hash *h = hash_new();
    if (!h)
        return no_memory(e);
    hash_model(h, base);
    hash_add(h, "|", 1);
    hash_model(h, cand);
    hash_finish(h, out);
    return 0;
}

static void add_numbers(struct json *list, const double *v, size_t n)
{
    struct json *row = json_add_array(list, NULL);
    for (size_t i = 0; i < n; i++)
        json_add_f64(row, NULL, v[i]);
}

static void save_chunk(struct json *list, const struct comparison *c, size_t chunk, size_t *score)
{
    struct json *o = json_add_object(list, NULL), *rows = json_add_array(o, "layers");
    const struct mtp_sums *m = &c->mtp_sums[chunk];
    for (size_t i = 0; i < c->n_layers; i++) {
        const struct layer_sums *s = &c->layer_sums[chunk * c->n_layers + i];
        add_numbers(rows, (double[]){s->accumulated2, s->local2, s->size2, (double)s->same_set, (double)s->common},
                    LAYER_NUMBERS);
    }
    rows = json_add_array(o, "experts");
    for (size_t i = 0; i < c->n_layers * c->n_experts; i++) {
        const struct expert_use *u = &c->expert_sums[chunk * c->n_layers * c->n_experts + i];
        add_numbers(rows, (double[]){(double)u->tokens_base, (double)u->tokens_cand, u->gate_base, u->gate_cand, u->error2,
                                     u->output2},
                    EXPERT_NUMBERS);
    }
    rows = json_add_array(o, "mtp");
    add_numbers(rows,
                (double[]){m->loss_base, m->loss_cand, (double)m->agree_base, (double)m->agree_cand, (double)m->positions},
                MTP_NUMBERS);
    rows = json_add_array(o, "alone");
    for (size_t i = 0; chunk < c->alone_chunks && i < c->n_parts; i++) {
        const struct alone_sums *s = &c->alone_sums[chunk * c->n_parts + i];
        add_numbers(rows, (double[]){s->kld, s->kld2}, ALONE_NUMBERS);
    }
    rows = json_add_array(o, "scores");
    for (; *score < c->n_scores && c->scores[*score].chunk == c->first_chunk + chunk; ++*score) {
        const struct score *s = &c->scores[*score];
        add_numbers(rows, (double[]){s->position, (double)s->nll_base, (double)s->nll_cand, (double)s->kld,
                                     (double)s->p_base, (double)s->p_cand, (double)s->confidence, s->target, s->top_base,
                                     s->top_cand, s->same_top5 * 2 + s->routing_changed},
                    SCORE_NUMBERS);
    }
}

static void save_choice(struct json *list, const struct choice *x)
{
    struct json *o = json_add_object(list, NULL);
    json_add_f64(o, "id", x->id);
    json_add_f64(o, "p", (double)x->p);
    if (x->text)
        json_add_string(o, "text", x->text);
}

/* Its choices: target, the base's, the candidate's. */
static void save_closeup(struct json *list, const struct closeup *x)
{
    struct json *o = json_add_object(list, NULL), *choices;
    json_add_u64(o, "chunk", x->chunk);
    json_add_u64(o, "position", x->position);
    json_add_f64(o, "kld", (double)x->kld);
    json_add_f64(o, "p_candidate", (double)x->p_cand);
    if (x->before)
        json_add_string(o, "before", x->before);
    if (x->after)
        json_add_string(o, "after", x->after);
    choices = json_add_array(o, "choices");
    save_choice(choices, &x->target);
    for (int i = 0; i < TOP; i++)
        save_choice(choices, &x->base[i]);
    for (int i = 0; i < TOP; i++)
        save_choice(choices, &x->cand[i]);
}

/* Members with the words for how each model's activations were rounded. */
static const char *const roundings_of[2][2] = {{"base_act", "base_kv"}, {"act", "kv"}};

static void save_rounding(struct json *root, const char *const names[2], const struct pass_rounding *r)
{
    if (r->act)
        json_add_string(root, names[0], r->act->name);
    if (r->cache)
        json_add_string(root, names[1], r->cache->name);
}

int part_save(const struct comparison *c, const struct part_info *info, const char *path, struct error *e)
{
    struct json *root = json_new_object(), *list;
    size_t score = 0;
    int rc = -1;
    json_add_string(root, "format", format_name);
    json_add_u64(root, "version", version);
    json_add_string(root, "base", info->base_name);
    if (info->cand_name)
        json_add_string(root, "candidate", info->cand_name);
    json_add_string(root, "settings", info->settings);
    save_rounding(root, roundings_of[0], &c->base);
    save_rounding(root, roundings_of[1], &c->cand);
    json_add_u64(root, "base_bytes", info->base_bytes);
    json_add_u64(root, "candidate_bytes", info->cand_bytes);
    json_add_string(root, "tokens_xxh3_128", info->tokens_hash);
    json_add_string(root, "models_xxh3_128", info->models_hash);
    json_add_u64(root, "ctx", c->ctx);
    json_add_u64(root, "first_chunk", c->first_chunk);
    json_add_u64(root, "total_chunks", c->total_chunks);
    json_add_u64(root, "layers", c->n_layers);
    json_add_u64(root, "dense_layers", c->n_dense);
    json_add_u64(root, "experts", c->n_experts);
    json_add_u64(root, "experts_used", c->experts_used);
    json_add_u64(root, "by_layer", c->by_layer);
    json_add_bool(root, "mtp", c->has_mtp);
    json_add_bool(root, "hidden", c->has_hidden);
    json_add_bool(root, "routing", c->has_routing);
    list = json_add_array(root, "closeups");
    for (size_t i = 0; i < c->n_closeups; i++)
        save_closeup(list, &c->closeups[i]);
    list = json_add_array(root, "chunks");
    for (size_t i = 0; i < c->chunks; i++)
        save_chunk(list, c, i, &score);
    char *text = json_print(root);
    if (text)
        rc = io_write_all(path, text, strlen(text), e);
    else
        no_memory(e);
    free(text);
    json_free(root);
    return rc;
}

/* A row of exactly n numbers; NULL is none. */
static int read_numbers(const struct json *row, double *v, size_t n)
{
    const struct json *x = json_child(row);
    size_t i = 0;
    for (; x && i < n; x = json_next(x), i++)
        if (json_f64(x, &v[i]))
            return -1;
    return x || i < n ? -1 : 0;
}

/* n whole numbers of 0 to max. */
static int are_counts(const double *v, size_t n, double max)
{
    for (size_t i = 0; i < n; i++)
        if (!(v[i] >= 0) || v[i] > max || v[i] != floor(v[i]))
            return 0;
    return 1;
}

static int are_floats(const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fabs(v[i]) > (double)FLT_MAX)
            return 0;
    return 1;
}

static int load_sums(const struct json *o, struct comparison *c, size_t chunk)
{
    static const double max = 9e15; /* whole numbers above are no longer exact */
    const struct json *row = json_child(json_get(o, "layers"));
    double v[SCORE_NUMBERS];
    for (size_t i = 0; i < c->n_layers; i++, row = json_next(row)) {
        if (read_numbers(row, v, LAYER_NUMBERS) || !are_counts(v + 3, 2, max))
            return -1;
        c->layer_sums[chunk * c->n_layers + i] = (struct layer_sums){v[0], v[1], v[2], (uint64_t)v[3], (uint64_t)v[4]};
    }
    row = json_child(json_get(o, "experts"));
    for (size_t i = 0; i < c->n_layers * c->n_experts; i++, row = json_next(row)) {
        if (read_numbers(row, v, EXPERT_NUMBERS) || !are_counts(v, 2, max))
            return -1;
        c->expert_sums[chunk * c->n_layers * c->n_experts + i] =
            (struct expert_use){(uint64_t)v[0], (uint64_t)v[1], v[2], v[3], v[4], v[5]};
    }
    row = json_child(json_get(o, "mtp"));
    if (read_numbers(row, v, MTP_NUMBERS) || !are_counts(v + 2, 3, max))
        return -1;
    c->mtp_sums[chunk] = (struct mtp_sums){v[0], v[1], (uint64_t)v[2], (uint64_t)v[3], (uint64_t)v[4]};
    row = json_child(json_get(o, "alone"));
    for (size_t i = 0; chunk < c->alone_chunks && i < c->n_parts; i++, row = json_next(row)) {
        if (read_numbers(row, v, ALONE_NUMBERS))
            return -1;
        c->alone_sums[chunk * c->n_parts + i] = (struct alone_sums){v[0], v[1]};
    }
    return 0;
}

static int load_scores(const struct json *o, struct comparison *c, size_t chunk)
{
    static const double max_bits = 5 * 2 + 1; /* same_top5 and routing_changed */
    for (const struct json *row = json_child(json_get(o, "scores")); row; row = json_next(row)) {
        double v[SCORE_NUMBERS];
        if (read_numbers(row, v, SCORE_NUMBERS) || !are_counts(v, 1, (double)c->ctx - 2) || !are_floats(v + 1, 6) ||
            !are_counts(v + 7, 3, INT32_MAX) || !are_counts(v + 10, 1, max_bits))
            return -1;
        unsigned bits = (unsigned)v[10];
        c->scores[c->n_scores++] = (struct score){
            .chunk = (uint32_t)chunk, .position = (uint32_t)v[0], .nll_base = (float)v[1], .nll_cand = (float)v[2],
            .kld = (float)v[3], .p_base = (float)v[4], .p_cand = (float)v[5], .confidence = (float)v[6],
            .target = (int32_t)v[7], .top_base = (int32_t)v[8], .top_cand = (int32_t)v[9],
            .same_top5 = (uint8_t)(bits / 2), .routing_changed = bits & 1};
    }
    return 0;
}

/* malloc'd copy of a text that may be missing: -1 when out of memory. */
static int copy_text(const struct json *o, const char *key, char **out)
{
    const char *s = json_string(json_get(o, key));
    *out = s ? strdup(s) : NULL;
    return s && !*out ? -1 : 0;
}

/* 0, -1 malformed, -2 out of memory. */
static int load_choice(const struct json *o, struct choice *x)
{
    double id, p;
    if (json_f64(json_get(o, "id"), &id) || json_f64(json_get(o, "p"), &p) || !(id >= -1 && id <= INT32_MAX) || id != floor(id) || !(p >= 0 && p <= 2))
        return -1;
    x->id = (int32_t)id;
    x->p = (float)p;
    return copy_text(o, "text", &x->text) ? -2 : 0;
}

static int load_closeup(const struct json *o, const struct comparison *c, struct closeup *x)
{
    uint64_t chunk, position;
    double kld, p;
    const struct json *list = json_get(o, "choices"), *v = json_child(list);
    *x = (struct closeup){0};
    if (json_u64(json_get(o, "chunk"), &chunk) || json_u64(json_get(o, "position"), &position) || json_f64(json_get(o, "kld"), &kld) ||
        json_f64(json_get(o, "p_candidate"), &p) || chunk >= c->chunks || position + 2 > c->ctx || !are_floats(&kld, 1) || !(p >= 0 && p <= 2) ||
        json_count(list) != 1 + 2 * TOP)
        return -1;
    x->chunk = (uint32_t)chunk;
    x->position = (uint32_t)position;
    x->kld = (float)kld;
    x->p_cand = (float)p;
    int rc = load_choice(v, &x->target);
    for (int i = 0; !rc && i < 2 * TOP; i++)
        rc = load_choice(v = json_next(v), i < TOP ? &x->base[i] : &x->cand[i - TOP]);
    return rc ? rc : copy_text(o, "before", &x->before) || copy_text(o, "after", &x->after) ? -2 : 0;
}

struct part { /* a file, opened */
    const char *path;
    struct json *root;
    uint64_t first, chunks;
};

static int by_first(const void *a, const void *b)
{
    const struct part *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

static int open_part(struct part *p, struct error *e)
{
    const char *format;
    uint64_t v;
    if (!(p->root = json_parse_file(p->path, max_file, e)))
        return -1;
    format = json_string(json_get(p->root, "format"));
    if (!format || strcmp(format, format_name) || json_u64(json_get(p->root, "version"), &v) || v != version)
        return bad(e, "this is no verification part, or one of another version");
    if (json_u64(json_get(p->root, "first_chunk"), &p->first))
        return bad(e, "the part does not say where it begins");
    p->chunks = json_count(json_get(p->root, "chunks"));
    return 0;
}

/* Two parts of one run say the same of everything but their chunks. */
static int same_run(const struct json *a, const struct json *b)
{
    static const char *const texts[] = {"base", "candidate", "settings", "base_act", "base_kv", "act", "kv", "tokens_xxh3_128", "models_xxh3_128"};
    static const char *const counts[] = {"ctx", "total_chunks", "layers", "dense_layers", "experts", "experts_used", "base_bytes", "candidate_bytes", "by_layer"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *x = json_string(json_get(a, texts[i])), *y = json_string(json_get(b, texts[i]));
        if ((x || y) && (!x || !y || strcmp(x, y)))
            return 0;
    }
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        uint64_t x = 0, y = 1;
        if (json_u64(json_get(a, counts[i]), &x) || json_u64(json_get(b, counts[i]), &y) || x != y)
            return 0;
    }
    static const char *const flags[] = {"mtp", "hidden", "routing"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        int x = 0, y = 1;
        if (json_bool(json_get(a, flags[i]), &x) || json_bool(json_get(b, flags[i]), &y) || x != y)
            return 0;
    }
    return 1;
}

static int check_cover(const struct part *parts, size_t n, uint64_t total, struct error *e)
{
    uint64_t next = 0;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].first != next) {
            error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "chunk %" PRIu64 " is %s", next < parts[i].first ? next : parts[i].first,
                      next < parts[i].first ? "in none of the parts" : "in two parts");
            return error_at_file(e, parts[i].path);
        }
        next += parts[i].chunks;
    }
    if (next == total)
        return 0;
    return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the parts have %" PRIu64 " of %" PRIu64 " chunks", next, total);
}

static int read_rounding(const struct json *root, const char *const names[2], struct pass_rounding *r, struct error *e)
{
    const char *act = json_string(json_get(root, names[0])), *kv = json_string(json_get(root, names[1]));
    if ((act && !(r->act = act_rounding_find(act))) || (kv && !(r->cache = cache_rounding_find(kv))))
        return bad(e, "the part's activations are rounded in a way unknown here");
    return 0;
}

static int read_head(const struct json *root, struct comparison *c, struct part_info *info, struct error *e)
{
    uint64_t ctx, total, layers, dense, experts, used, by_layer;
    int mtp, hidden, routing;
    const char *cand = json_string(json_get(root, "candidate")), *base = json_string(json_get(root, "base"));
    const char *settings = json_string(json_get(root, "settings")), *text = json_string(json_get(root, "tokens_xxh3_128"));
    if (json_u64(json_get(root, "ctx"), &ctx) || json_u64(json_get(root, "total_chunks"), &total) ||
        json_u64(json_get(root, "by_layer"), &by_layer) || json_u64(json_get(root, "layers"), &layers) || json_u64(json_get(root, "dense_layers"), &dense) ||
        json_u64(json_get(root, "experts"), &experts) || json_u64(json_get(root, "experts_used"), &used) || !base ||
        !settings || json_bool(json_get(root, "mtp"), &mtp) || json_bool(json_get(root, "hidden"), &hidden) ||
        json_bool(json_get(root, "routing"), &routing) || ctx < 4 || ctx > 1 << 20 || !total || total > 1 << 24 ||
        by_layer > total || layers > 512 || dense > layers || experts > 1024 || !used || used > experts)
        return bad(e, "the part's counts are missing or absurd");
    *c = (struct comparison){.has_candidate = cand != NULL, .has_mtp = mtp, .has_hidden = hidden, .has_routing = routing, .chunks = (size_t)total, .ctx = (size_t)ctx,
                             .total_chunks = (size_t)total, .n_layers = (size_t)layers, .n_dense = (size_t)dense,
                             .n_experts = (size_t)experts, .experts_used = (size_t)used, .by_layer = (size_t)by_layer};
    if (read_rounding(root, roundings_of[0], &c->base, e) || read_rounding(root, roundings_of[1], &c->cand, e))
        return -1;
    if (!text || strlen(text) != HASH_TEXT - 1 || json_u64(json_get(root, "base_bytes"), &info->base_bytes) ||
        json_u64(json_get(root, "candidate_bytes"), &info->cand_bytes))
        return bad(e, "the part does not tell its text or its models' sizes");
    memcpy(info->tokens_hash, text, HASH_TEXT);
    info->base_name = strdup(base);
    info->cand_name = cand ? strdup(cand) : NULL;
    info->settings = strdup(settings);
    return info->base_name && info->settings && (!cand || info->cand_name) ? 0 : no_memory(e);
}

static int bad_chunk(const struct part *p, size_t chunk, struct error *e)
{
    error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "chunk %zu of the part is malformed", chunk);
    return error_at_file(e, p->path);
}

/* Every chunk has all its rows: what is allocated next is bounded by what the files hold. At least half of a chunk's
 * positions are scored. */
static int check_rows(const struct part *p, const struct comparison *c, struct error *e)
{
    size_t chunk = (size_t)p->first;
    for (const struct json *o = json_child(json_get(p->root, "chunks")); o; o = json_next(o), chunk++) {
        size_t scores = json_count(json_get(o, "scores"));
        if (json_count(json_get(o, "layers")) != c->n_layers || json_count(json_get(o, "mtp")) != 1 ||
            json_count(json_get(o, "experts")) != c->n_layers * c->n_experts ||
            json_count(json_get(o, "alone")) != (chunk < c->by_layer ? c->n_layers + 2 : 0) || scores > c->ctx - 1 ||
            scores < c->ctx - 1 - c->ctx / 2)
            return bad_chunk(p, chunk, e);
    }
    return 0;
}

static int load_part(const struct part *p, struct comparison *c, struct error *e)
{
    size_t chunk = (size_t)p->first;
    for (const struct json *o = json_child(json_get(p->root, "chunks")); o; o = json_next(o), chunk++)
        if (load_sums(o, c, chunk) || load_scores(o, c, chunk))
            return bad_chunk(p, chunk, e);
    for (const struct json *o = json_child(json_get(p->root, "closeups")); o; o = json_next(o)) {
        struct closeup x;
        int rc = load_closeup(o, c, &x);
        if (rc) {
            closeup_clear(&x);
            rc == -1 ? bad(e, "one of the part's worst positions is malformed") : no_memory(e);
            return error_at_file(e, p->path);
        }
        closeup_insert(c, &x);
    }
    return 0;
}

static int merge(struct part *parts, size_t n, struct comparison *c, struct part_info *info, struct error *e)
{
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        if (open_part(&parts[i], e))
            return error_at_file(e, parts[i].path);
        if (!same_run(parts[0].root, parts[i].root)) {
            bad(e, "the part is of another run than the first (models, text or settings differ)");
            return error_at_file(e, parts[i].path);
        }
    }
    qsort(parts, n, sizeof *parts, by_first);
    json_u64(json_get(parts[0].root, "total_chunks"), &total);
    if (check_cover(parts, n, total, e))
        return -1;
    if (read_head(parts[0].root, c, info, e))
        return error_at_file(e, parts[0].path);
    for (size_t i = 0; i < n; i++)
        if (check_rows(&parts[i], c, e))
            return -1;
    if (comparison_init(c, e))
        return -1;
    for (size_t i = 0; i < n; i++)
        if (load_part(&parts[i], c, e))
            return -1;
    comparison_finish(c);
    return 0;
}

int part_merge(const char *const *paths, size_t n, struct comparison *c, struct part_info *info, struct error *e)
{
    struct part *parts = calloc(n + 1, sizeof *parts);
    *c = (struct comparison){0};
    *info = (struct part_info){0};
    if (!parts)
        return no_memory(e);
    for (size_t i = 0; i < n; i++)
        parts[i].path = paths[i];
    int rc = merge(parts, n, c, info, e);
    for (size_t i = 0; i < n; i++)
        json_free(parts[i].root);
    free(parts);
    return rc;
}

void part_info_clear(struct part_info *info)
{
    free((void *)info->base_name);
    free((void *)info->cand_name);
    free((void *)info->settings);
    *info = (struct part_info){0};
}
