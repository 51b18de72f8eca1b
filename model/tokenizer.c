/* SPDX-License-Identifier: MIT
 * Tokenizer: added tokens, and words remembered while one text is encoded. */
#include "model/tokenizer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/json.h"
#include "model/splitter.h"
#include "model/unicode.h"

enum { PASSES = 2, MAX_CONFIG = 16 << 20, WORDS = 1 << 15, LONGEST_WORD = 64 };

struct added_set { /* added tokens that are looked for at once */
    const struct added_token **list; /* sorted by text */
    size_t n;
    unsigned char starts[256]; /* whether any begins with this byte */
};

struct tokenizer {
    struct vocab *vocab;
    struct bpe *bpe;
    struct splitter *splitter;
    struct added_set added[PASSES]; /* not normalized, then normalized */
};

/* A word that was met before in the same text, and where its ids are in the output. */
struct word {
    const char *text; /* NULL: free */
    uint32_t size, n_ids;
    size_t first;
};

struct encoder {
    const struct tokenizer *t;
    const char *text;   /* valid UTF-8 */
    const char *shadow; /* what patterns see: the same, or `aged` */
    char *aged;         /* a copy by unicode_age, or NULL */
    int parse_special;
    struct bpe_scratch scratch;
    struct word *words; /* by hash; a newer word takes an older one's place */
    struct token_ids *out;
    struct error *e;
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp((*(const struct added_token *const *)a)->text, (*(const struct added_token *const *)b)->text);
}

static int gather_added(struct added_set *set, const struct vocab *v, int normalized, struct error *e)
{
    if (!(set->list = calloc(v->n_added + 1, sizeof *set->list)))
        return no_memory(e);
    for (size_t i = 0; i < v->n_added; i++) {
        const struct added_token *a = &v->added[i];
        if (a->strips)
            return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET,
                             "added token '%.60s' strips blanks or stands for single words only", a->text);
        if (a->normalized != normalized || !a->text[0])
            continue;
        set->list[set->n++] = a;
        set->starts[(unsigned char)a->text[0]] = 1;
    }
    qsort(set->list, set->n, sizeof *set->list, compare_texts);
    for (size_t i = 1; i < set->n; i++)
        if (!strcmp(set->list[i - 1]->text, set->list[i]->text))
            return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "two added tokens have the text '%.60s'",
                             set->list[i]->text);
    return 0;
}

/* vocab_size of config.json, for callers that have not read the whole of it. */
static int read_vocab_size(const struct source *s, uint64_t *size, struct error *e)
{
    char *text;
    size_t n;
    int rc = source_side_file(s, "config.json", MAX_CONFIG, &text, &n, e);
    if (rc < 0)
        return -1;
    struct json *root = rc ? json_parse(text, n, e) : NULL;
    if (rc)
        free(text);
    if (rc && !root)
        return error_at_file(e, "config.json");
    int missing = json_u64(json_get(root, "vocab_size"), size);
    json_free(root);
    return missing ? error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "no config.json with a vocab_size") : 0;
}

static int read_vocab(const struct source *s, const struct arch_params *p, struct vocab **v, struct error *e)
{
    uint64_t size = p ? p->vocab_size : 0;
    int rc = 0;
    if (s->meta)
        rc = vocab_from_gguf(s, v, e);
    else if (s->is_folder || s->pack)
        rc = !p && read_vocab_size(s, &size, e) ? -1 : vocab_load(s, size, v, e);
    if (rc == 0) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "there is no tokenizer");
        return error_at_file(e, s->path);
    }
    if (rc > 0 && p && (*v)->n_tokens > p->vocab_size)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%" PRIu64 " tokens, but vocab_size is %" PRIu64,
                         (*v)->n_tokens, p->vocab_size);
    return rc < 0 ? -1 : 0;
}

struct tokenizer *tokenizer_open(const struct source *s, const struct arch_params *p, struct error *e)
{
    struct tokenizer *t = calloc(1, sizeof *t);
    int rc = t ? read_vocab(s, p, &t->vocab, e) : no_memory(e);
    for (int pass = 0; pass < PASSES && !rc; pass++)
        rc = gather_added(&t->added[pass], t->vocab, pass, e);
    if (!rc && (t->bpe = bpe_new(t->vocab, e)) && (t->splitter = splitter_new(t->vocab->pre, e)))
        return t;
    error_at_file(e, s->path);
    tokenizer_close(t);
    return NULL;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    for (int pass = 0; pass < PASSES; pass++)
        free(t->added[pass].list);
    splitter_free(t->splitter);
    bpe_free(t->bpe);
    vocab_free(t->vocab);
    free(t);
}

const struct vocab *tokenizer_vocab(const struct tokenizer *t)
{
    return t->vocab;
}

/* First in [lo, hi) of a sorted list whose byte k is at least c; all of them have one at k or end there. */
static size_t lower_bound(const struct added_set *set, size_t lo, size_t hi, size_t k, unsigned c)
{
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if ((unsigned char)set->list[mid]->text[k] < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The longest added token that n bytes of text begin with, or NULL; its length in *size. */
static const struct added_token *longest_added(const struct added_set *set, const char *text, size_t n, size_t *size)
{
    const struct added_token *best = NULL;
    size_t lo = 0, hi = set->n;
    for (size_t k = 0; lo < hi; k++) { /* list[lo..hi) are those that begin with text[0..k) */
        if (!set->list[lo]->text[k]) {
            best = set->list[lo++];
            *size = k;
        }
        unsigned c = k < n ? (unsigned char)text[k] : 0;
        if (!c)
            break;
        lo = lower_bound(set, lo, hi, k, c);
        hi = lower_bound(set, lo, hi, k, c + 1);
    }
    return best;
}

/* One word: its ids are copied when the text had it before. */
static int encode_word(void *user, size_t at, size_t n)
{
    struct encoder *c = user;
    const char *text = c->text + at;
    struct word *w = n <= LONGEST_WORD ? &c->words[XXH3_64bits(text, n) % WORDS] : NULL;
    size_t first = c->out->n;
    if (w && w->text && w->size == n && !memcmp(w->text, text, n)) {
        if (token_ids_reserve(c->out, w->n_ids, c->e))
            return -1;
        for (uint32_t i = 0; i < w->n_ids; i++)
            c->out->ids[c->out->n++] = c->out->ids[w->first + i];
        return 0;
    }
    if (bpe_encode(c->t->bpe, &c->scratch, text, n, c->out, c->e))
        return -1;
    if (w)
        *w = (struct word){text, (uint32_t)n, (uint32_t)(c->out->n - first), first};
    return 0;
}

static int append_id(struct encoder *c, int32_t id)
{
    if (token_ids_reserve(c->out, 1, c->e))
        return -1;
    c->out->ids[c->out->n++] = id;
    return 0;
}

/* Cuts a stretch at the added tokens of a pass, what is between them at those of the next, the rest into words. */
static int encode_stretch(struct encoder *c, int pass, size_t at, size_t end)
{
    if (at == end)
        return 0;
    if (pass == PASSES)
        return splitter_run(c->t->splitter, c->shadow, at, end - at, encode_word, c, c->e);
    const struct added_set *set = &c->t->added[pass];
    size_t size = 0;
    for (size_t i = at; i < end; i += size) {
        const struct added_token *a = NULL;
        size = 1;
        if (set->starts[(unsigned char)c->text[i]])
            a = longest_added(set, c->text + i, end - i, &size);
        if (!a || (!c->parse_special && c->t->vocab->types[a->id] != TOKEN_USER_DEFINED))
            continue;
        if (encode_stretch(c, pass + 1, at, i) || append_id(c, a->id))
            return -1;
        at = i + size;
    }
    return encode_stretch(c, pass + 1, at, end);
}

/* Room for words, and a copy of the text for the patterns where a character may be too new for PCRE2. */
static int prepare(struct encoder *c, size_t n)
{
    c->shadow = c->text;
    if (!(c->words = calloc(WORDS, sizeof *c->words)))
        return no_memory(c->e);
    if (!unicode_is_newer(c->text, n))
        return 0;
    if (!(c->aged = malloc(n)))
        return no_memory(c->e);
    memcpy(c->aged, c->text, n);
    unicode_age(c->aged, n);
    c->shadow = c->aged;
    return 0;
}

static int encode_valid(struct encoder *c, size_t n)
{
    int rc = prepare(c, n) ? -1 : encode_stretch(c, 0, 0, n);
    bpe_scratch_clear(&c->scratch);
    free(c->words);
    free(c->aged);
    return rc;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, int parse_special, struct token_ids *out,
                     struct error *e)
{
    struct encoder c = {.t = t, .text = text, .parse_special = parse_special, .out = out, .e = e};
    if (utf8_is_valid(text, n))
        return encode_valid(&c, n);
    char *repaired = n <= SIZE_MAX / 3 ? malloc(3 * n) : NULL;
    if (!repaired)
        return no_memory(e);
    c.text = repaired;
    int rc = encode_valid(&c, utf8_repair(text, n, repaired));
    free(repaired);
    return rc;
}

void tokenizer_piece(const struct tokenizer *t, int32_t id, struct buffer *out)
{
    const char *token = t->vocab->tokens[id];
    size_t n = strlen(token);
    char *bytes = t->vocab->types[id] == TOKEN_NORMAL ? malloc(n + 1) : NULL;
    if (bytes)
        buffer_add(out, bytes, bpe_decode(token, n, bytes));
    else if (t->vocab->types[id] == TOKEN_NORMAL)
        out->failed = 1;
    else
        buffer_add(out, token, n);
    free(bytes);
}
