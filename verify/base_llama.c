/* SPDX-License-Identifier: MIT
 * llama-perplexity's base file (--kl-divergence-base):
 *
 *   "_logits_" | i32 n_ctx, n_vocab, n_chunk | i32 tokens[n_chunk][n_ctx] | of each chunk's second half but its last position: record
 *   record: f32 scale | f32 least ln p | u16 codes[n_vocab], padded to an even number of words;  ln p = scale * code + least
 *
 * Logits more than 16 below the largest are code 0, and what lies 16 or more below 1 is left out of the divergence:
 *   sum over tokens with ln p > -16 of p (ln p - ln q)
 * Tokens are the text's own; the first of each chunk is replaced by BOS when a model runs.
 * Source: llama.cpp tools/perplexity/perplexity.cpp: log_softmax, kl_divergence. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/forward/det_math.h"
#include "model/forward/head.h"
#include "verify/base_file.h"

enum { FIXED = 20 };
static const double least_log_p = -16;

static int bad(const struct base_file *b, uint64_t offset, const char *what, struct error *e)
{
    error_set(e, ERR_FORMAT, offset, "%s", what);
    return error_at_file(e, b->path);
}

uint64_t base_llama_header(const struct base_about *a)
{
    return FIXED + (uint64_t)a->chunks * a->ctx * 4;
}

uint64_t base_llama_record(size_t vocab)
{
    return 2 * (((uint64_t)vocab + 1) / 2 * 2 + 4);
}

static uint32_t le32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

int base_llama_open(struct base_file *b, struct error *e)
{
    struct base_about *a = &b->about;
    uint8_t head[FIXED];
    if (io_open(&b->file, b->path, e) || io_read(&b->file, 0, head, sizeof head, e))
        return -1;
    const uint32_t ctx = le32(head + 8), vocab = le32(head + 12), chunks = le32(head + 16);
    if (ctx < 4 || ctx > 1 << 20 || !vocab || vocab > 1 << 24 || !chunks || chunks > 1 << 24)
        return bad(b, 8, "the sizes in llama-perplexity's file are absurd", e);
    *a = (struct base_about){.form = BASE_LLAMA, .name = b->path, .settings = "scored half", .ctx = ctx, .chunks = chunks, .vocab = vocab,
                             .first_scored = ctx / 2, .scored = ctx - 1 - ctx / 2};
    const uint64_t header = base_llama_header(a), records = (uint64_t)a->chunks * a->scored, record = base_llama_record(vocab); /* whose product may overflow */
    if (b->file.size < header || (b->file.size - header) / record != records || (b->file.size - header) % record)
        return bad(b, ERROR_NO_OFFSET, "llama-perplexity's file is not as long as its sizes say", e);
    if (!(b->tokens = arena_array(&b->arena, (size_t)chunks * ctx, sizeof *b->tokens)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the base file");
    return io_read(&b->file, FIXED, b->tokens, (size_t)chunks * ctx * 4, e);
}

/* The largest and the smallest that counts, as F32, and ln of the sum over e^(logit - largest). */
struct row_range {
    float max, min, log_sum;
};

static struct row_range range_of(const float *row, size_t vocab)
{
    struct row_range r = {row[0], row[0], 0};
    double sum = 0;
    for (size_t i = 1; i < vocab; i++) {
        r.max = row[i] > r.max ? row[i] : r.max;
        r.min = row[i] < r.min ? row[i] : r.min;
    }
    r.min = r.min < r.max - 16 ? r.max - 16 : r.min;
    for (size_t i = 0; i < vocab; i++)
        sum += (double)(float)det_exp((double)(row[i] - r.max));
    r.log_sum = (float)det_log(sum);
    return r;
}

void base_llama_encode(const float *row, size_t vocab, uint16_t *record)
{
    const struct row_range r = range_of(row, vocab);
    const float least = r.min - r.max - r.log_sum, scale = (r.max - r.min) / 65535, inverse = scale > 0 ? 1 / scale : 0;
    memcpy(record, &scale, sizeof scale);
    memcpy(record + 2, &least, sizeof least);
    for (size_t i = 0; i < (vocab + 1) / 2 * 2; i++)
        record[4 + i] = i < vocab && row[i] > r.min && scale > 0 ? (uint16_t)rintf(inverse * (row[i] - r.min)) : 0;
}

/* ln p of each token; -1: some would be above 0. */
static int decode(const uint16_t *record, size_t vocab, float *log_p)
{
    float scale, least;
    memcpy(&scale, record, sizeof scale);
    memcpy(&least, record + 2, sizeof least);
    if (!isfinite(scale) || !isfinite(least) || scale < 0 || least < -1000 || least + scale * 65535 > 0.01F)
        return -1;
    for (size_t i = 0; i < vocab; i++)
        log_p[i] = scale * (float)record[4 + i] + least;
    return 0;
}

/* log_p stands in for the base's logits: their softmax's denominator is 1. */
static void score_one(const float *log_p, const float *row, size_t vocab, struct position *p, double *kld)
{
    struct position b = {.target = p->target};
    head_row(&b, log_p, NULL, vocab);
    p->base = (struct softmax_sum){0, 1};
    p->base_target = b.base_target;
    p->base_top = b.base_top;
    if (!row)
        return;
    const double log_sum = base_candidate(p, row, vocab);
    double sum = 0;
    for (size_t i = 0; i < vocab; i++)
        if ((double)log_p[i] > least_log_p)
            sum += det_exp((double)log_p[i]) * ((double)log_p[i] - (double)row[i] + log_sum);
    *kld = sum;
}

int base_llama_score(struct base_file *b, size_t first, size_t n, const float *rows, int threads, struct position *positions, double *kld,
                     struct error *e)
{
    const size_t vocab = b->about.vocab, record = (size_t)base_llama_record(vocab);
    const uint64_t at = base_llama_header(&b->about) + (uint64_t)first * record;
    uint8_t *records = malloc(n * record + 1);
    int rc = records ? io_read(&b->file, at, records, n * record, e) : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the base file");
    const int unread = rc;
#pragma omp parallel num_threads(threads)
    {
        float *log_p = malloc((vocab + 1) * sizeof *log_p);
#pragma omp for
        for (size_t i = 0; i < n; i++) {
            int failed = unread || !log_p || decode((const uint16_t *)(const void *)(records + i * record), vocab, log_p);
            if (!failed)
                score_one(log_p, rows ? rows + i * vocab : NULL, vocab, &positions[i], kld + i);
            else
#pragma omp critical(base_llama_error)
                if (!rc)
                    rc = !log_p ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the base file")
                                : bad(b, at + i * record, "the scale of a position is impossible", e);
        }
        free(log_p);
    }
    free(records);
    return rc ? -1 : 0;
}

int base_llama_list(struct base_file *b, size_t position, struct base_list *list, struct error *e)
{
    const size_t vocab = b->about.vocab, record = (size_t)base_llama_record(vocab);
    const uint64_t at = base_llama_header(&b->about) + (uint64_t)position * record;
    uint16_t *words = malloc(record + 1);
    float *log_p = malloc((vocab + 1) * sizeof *log_p);
    int rc = words && log_p ? io_read(&b->file, at, words, record, e) : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the base file");
    if (!rc && decode(words, vocab, log_p))
        rc = bad(b, at, "the scale of a position is impossible", e);
    for (size_t i = 0; !rc && i < vocab; i++) {
        list->ids[i] = (int32_t)i;
        list->log_p[i] = (double)log_p[i];
    }
    list->n = vocab;
    free(words);
    free(log_p);
    return rc ? -1 : 0;
}
