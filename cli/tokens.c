/* SPDX-License-Identifier: MIT
 * Tokens from --text or --tokens. */
#include "cli/tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "model/conversation.h"
#include "model/tokenizer.h"

static int read_raw(const char *path, struct token_ids *ids, struct error *e)
{
    char *bytes;
    size_t n;
    if (io_read_all(path, (uint64_t)1 << 33, &bytes, &n, e))
        return -1;
    if (n % 4) {
        free(bytes);
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the file's size is no multiple of 4");
        return error_at_file(e, path);
    }
    ids->ids = (int32_t *)(void *)bytes;
    ids->n = n / 4;
    return 0;
}

static int is_conversations(const char *path)
{
    size_t n = strlen(path);
    return n >= 6 && !strcmp(path + n - 6, ".jsonl");
}

static int read_text(const char *path, const struct tokenizer *t, int with_bos, struct token_ids *ids, struct error *e)
{
    char *text;
    size_t n;
    if (io_read_all(path, (uint64_t)1 << 32, &text, &n, e))
        return -1;
    if (with_bos && n && text[n - 1] == '\n') /* as llama-perplexity reads its file */
        n--;
    int rc = is_conversations(path) ? conversations_encode(t, path, text, n, ids, e) : tokenizer_encode(t, text, n, 0, ids, e);
    free(text);
    return rc;
}

/* Cuts into chunks; the first token of each becomes BOS. */
static int cut(const struct tokens_from *from, struct token_ids *ids, int64_t bos, int shift, size_t ctx, struct tokens *in,
               struct error *e)
{
    size_t total = ids->n + (size_t)shift;
    in->chunks = total / ctx;
    if (from->most && in->chunks > (size_t)from->most)
        in->chunks = (size_t)from->most;
    if (!in->chunks)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "%zu tokens are less than one chunk of %zu", total, ctx);
    if (!(in->ids = malloc(in->chunks * ctx * sizeof *in->ids)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t i = 0; i < in->chunks * ctx; i++)
        in->ids[i] = i % ctx == 0 && bos >= 0 ? (int32_t)bos : ids->ids[i - (size_t)shift];
    return 0;
}

int tokens_from_options(const struct options *o, struct tokens_from *from, struct error *e)
{
    *from = (struct tokens_from){options_get(o, "text"), options_get(o, "tokens"), options_get(o, "align"), 0};
    if (!from->text == !from->raw)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "either --text or --tokens is needed");
    if (from->align && strcmp(from->align, "llama"))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--align: '%s' is not llama", from->align);
    return options_int(o, "chunks", 1, 1L << 40, &from->most, e);
}

int read_tokens(const struct tokens_from *from, const struct opened *model, size_t ctx, struct tokens *in, struct error *e)
{
    struct token_ids ids = {0};
    struct error none;
    /* ids that came as such need a tokenizer for the id of BOS only */
    struct tokenizer *t = tokenizer_open(model->source, &model->model->params, from->text ? e : &none);
    int64_t bos = t ? tokenizer_vocab(t)->special[SPECIAL_BOS] : -1;
    int rc = from->text && !t ? -1 : from->raw ? read_raw(from->raw, &ids, e) : read_text(from->text, t, from->align != NULL, &ids, e);
    if (!rc)
        rc = cut(from, &ids, bos, from->align && bos >= 0, ctx, in, e);
    free(ids.ids);
    tokenizer_close(t);
    return rc;
}

int tokens_part(const char *text, size_t chunks, size_t *i, size_t *n, size_t *first, size_t *count, struct error *e)
{
    int used = 0;
    if (sscanf(text, "%zu/%zu%n", i, n, &used) != 2 || text[used] || *i < 1 || *i > *n || *n > chunks)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--part: '%s' is no I/N with I up to N up to %zu chunks", text, chunks);
    *first = chunks * (*i - 1) / *n;
    *count = chunks * *i / *n - *first;
    return 0;
}
