/* SPDX-License-Identifier: MIT
 * Byte-pair encoding with a heap of possible merges over a linked list of symbols. */
#include "model/bpe.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/buffer.h"
#include "model/unicode.h"

#define NONE UINT32_MAX

struct pair { /* an entry of the table of merges */
    uint32_t left, right;  /* token ids */
    uint32_t rank, merged; /* rank NONE: a free entry */
};

struct bpe {
    uint32_t bytes[256]; /* token of each byte; NONE for those that UTF-8 does not have and the vocabulary neither */
    struct pair *pairs;  /* open addressing */
    size_t n_slots;      /* a power of two, at least twice the merges */
};

struct text_index { /* token ids by text; only while the merges are read */
    const struct vocab *v;
    uint32_t *slots;
    size_t n_slots;
};

struct bpe_symbol {
    uint32_t id, prev, next;
    uint32_t rank, merged; /* of the merge with `next`; rank NONE: none */
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

int token_ids_reserve(struct token_ids *l, size_t n, struct error *e)
{
    if (n <= l->room - l->n)
        return 0;
    size_t room = l->room + l->room / 2 + n + 64;
    int32_t *ids = room <= SIZE_MAX / sizeof *ids ? realloc(l->ids, room * sizeof *ids) : NULL;
    if (!ids)
        return no_memory(e);
    l->ids = ids;
    l->room = room;
    return 0;
}

void token_ids_clear(struct token_ids *l)
{
    free(l->ids);
    *l = (struct token_ids){0};
}

/* The byte-level alphabet: a byte's character is itself where that is a visible one of Latin-1; the others, which these
 * ranges are, are counted on from U+0100. */
static const uint32_t hidden[][2] = {{0, 0x20}, {0x7f, 0xa0}, {0xad, 0xad}};
enum { N_HIDDEN = sizeof hidden / sizeof *hidden };

static uint32_t character_of(uint32_t byte)
{
    uint32_t before = 0;
    for (int i = 0; i < N_HIDDEN; i++) {
        if (byte >= hidden[i][0] && byte <= hidden[i][1])
            return 0x100 + before + byte - hidden[i][0];
        before += hidden[i][1] - hidden[i][0] + 1;
    }
    return byte;
}

/* The byte of a character, or -1. */
static int byte_of(uint32_t cp)
{
    if (cp < 0x100)
        return character_of(cp) == cp ? (int)cp : -1;
    cp -= 0x100;
    for (int i = 0; i < N_HIDDEN; i++) {
        if (cp <= hidden[i][1] - hidden[i][0])
            return (int)(hidden[i][0] + cp);
        cp -= hidden[i][1] - hidden[i][0] + 1;
    }
    return -1;
}

size_t bpe_decode(const char *token, size_t n, char *out)
{
    size_t to = 0;
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        len = utf8_read(token + i, n - i, &cp);
        int byte = byte_of(cp);
        if (byte < 0) {
            memcpy(out, token, n);
            return n;
        }
        out[to++] = (char)byte;
    }
    return to;
}

/* A power of two of slots for n entries; 0 when that overflows. */
static size_t slots_for(uint64_t n)
{
    size_t slots = 64;
    while (slots / 2 < n && slots <= SIZE_MAX / 2)
        slots *= 2;
    return slots / 2 < n ? 0 : slots;
}

/* The slot of a text: its token's, or a free one. */
static uint32_t *find_text(const struct text_index *x, const char *text, size_t n)
{
    for (size_t i = XXH3_64bits(text, n);; i++) {
        uint32_t *slot = &x->slots[i & (x->n_slots - 1)];
        if (*slot == NONE || (!strncmp(x->v->tokens[*slot], text, n) && !x->v->tokens[*slot][n]))
            return slot;
    }
}

static int index_texts(struct text_index *x, const struct vocab *v, struct error *e)
{
    x->v = v;
    x->n_slots = slots_for(v->n_tokens);
    if (v->n_tokens > INT32_MAX || v->n_merges > INT32_MAX)
        return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "more than 2^31 tokens or merges");
    if (!x->n_slots || !(x->slots = malloc(x->n_slots * sizeof *x->slots)))
        return no_memory(e);
    memset(x->slots, 0xff, x->n_slots * sizeof *x->slots);
    for (uint32_t id = 0; id < v->n_tokens; id++) {
        uint32_t *slot = find_text(x, v->tokens[id], strlen(v->tokens[id]));
        if (v->types[id] == TOKEN_UNUSED)
            continue;
        if (*slot != NONE)
            return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET,
                             "tokens %" PRIu32 " and %" PRIu32 " have the same text '%.60s'", *slot, id, v->tokens[id]);
        *slot = id;
    }
    return 0;
}

static int set_bytes(struct bpe *b, const struct text_index *x, struct error *e)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[4];
        b->bytes[byte] = *find_text(x, text, utf8_write(character_of(byte), text));
        int in_utf8 = byte < 0xc0 || (byte > 0xc1 && byte < 0xf5);
        if (b->bytes[byte] == NONE && in_utf8)
            return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "no token stands for byte 0x%02x", byte);
    }
    return 0;
}

/* The entry of a pair, or a free one. */
static struct pair *find_pair(const struct bpe *b, uint32_t left, uint32_t right)
{
    uint64_t key = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    for (size_t i = (size_t)(key >> 32);; i++) {
        struct pair *p = &b->pairs[i & (b->n_slots - 1)];
        if (p->rank == NONE || (p->left == left && p->right == right))
            return p;
    }
}

static int bad_merge(struct error *e, uint64_t rank, const char *text, const char *what)
{
    return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "merge %" PRIu64 " '%.60s' %s", rank, text, what);
}

/* "left right": both and their join are tokens. */
static int add_merge(struct bpe *b, const struct text_index *x, uint64_t rank, struct buffer *join, struct error *e)
{
    const char *text = x->v->merges[rank], *space = strchr(text, ' ');
    if (!space || space == text || !space[1] || strchr(space + 1, ' '))
        return bad_merge(e, rank, text, "is no pair");
    size_t n_left = (size_t)(space - text), n_right = strlen(space + 1);
    join->size = 0;
    buffer_add(join, text, n_left);
    buffer_add(join, space + 1, n_right);
    if (join->failed)
        return no_memory(e);
    uint32_t left = *find_text(x, text, n_left), right = *find_text(x, space + 1, n_right);
    uint32_t merged = *find_text(x, join->data, join->size);
    if (left == NONE || right == NONE || merged == NONE)
        return bad_merge(e, rank, text, "names an unknown token");
    struct pair *p = find_pair(b, left, right);
    if (p->rank != NONE)
        return bad_merge(e, rank, text, "stands twice");
    *p = (struct pair){left, right, (uint32_t)rank, merged};
    return 0;
}

static int add_merges(struct bpe *b, const struct text_index *x, struct error *e)
{
    const struct vocab *v = x->v;
    struct buffer join = {0};
    int rc = 0;
    b->n_slots = slots_for(v->n_merges);
    if (!b->n_slots || !(b->pairs = calloc(b->n_slots, sizeof *b->pairs)))
        return no_memory(e);
    for (size_t i = 0; i < b->n_slots; i++)
        b->pairs[i].rank = NONE;
    for (uint64_t rank = 0; rank < v->n_merges && !rc; rank++)
        rc = add_merge(b, x, rank, &join, e);
    buffer_clear(&join);
    return rc;
}

struct bpe *bpe_new(const struct vocab *v, struct error *e)
{
    struct text_index x = {0};
    struct bpe *b = calloc(1, sizeof *b);
    int rc = b ? index_texts(&x, v, e) || set_bytes(b, &x, e) || add_merges(b, &x, e) : no_memory(e);
    free(x.slots);
    if (!rc)
        return b;
    bpe_free(b);
    return NULL;
}

void bpe_free(struct bpe *b)
{
    if (!b)
        return;
    free(b->pairs);
    free(b);
}

void bpe_scratch_clear(struct bpe_scratch *s)
{
    free(s->symbols);
    free(s->heap);
    *s = (struct bpe_scratch){0};
}

/* The heap orders possible merges by rank, then by place; what is popped may be out of date. A word of n bytes never
 * has more than 2 n in it: each of at most n merges takes one away and brings two. */
static void push(struct bpe_scratch *s, uint32_t rank, uint32_t at)
{
    uint64_t v = (uint64_t)rank << 32 | at;
    size_t i = s->heap_n++;
    for (; i && s->heap[(i - 1) / 2] > v; i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = v;
}

static uint64_t pop(struct bpe_scratch *s)
{
    uint64_t *heap = s->heap, top = heap[0], v = heap[--s->heap_n];
    size_t n = s->heap_n, i = 0;
    for (size_t k; (k = 2 * i + 1) < n; i = k) {
        k += k + 1 < n && heap[k + 1] < heap[k];
        if (heap[k] >= v)
            break;
        heap[i] = heap[k];
    }
    heap[i] = v;
    return top;
}

/* Looks up the merge of a symbol with the next one. */
static void consider(const struct bpe *b, struct bpe_scratch *s, uint32_t at)
{
    struct bpe_symbol *y = &s->symbols[at];
    y->rank = NONE;
    if (y->next == NONE)
        return;
    const struct pair *p = find_pair(b, y->id, s->symbols[y->next].id);
    if (p->rank == NONE)
        return;
    y->rank = p->rank;
    y->merged = p->merged;
    push(s, y->rank, at);
}

static int make_room(struct bpe_scratch *s, size_t n, struct error *e)
{
    if (n > INT32_MAX)
        return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "a word of %zu bytes is too long", n);
    if (n > s->symbol_room) {
        size_t room = n < 4096 ? 4096 : n + n / 8;
        bpe_scratch_clear(s);
        s->symbols = malloc(room * sizeof *s->symbols);
        s->heap = malloc(2 * room * sizeof *s->heap);
        if (!s->symbols || !s->heap)
            return no_memory(e);
        s->symbol_room = room;
    }
    return 0;
}

static void start_symbols(const struct bpe *b, struct bpe_scratch *s, const char *word, uint32_t n)
{
    s->heap_n = 0;
    for (uint32_t i = 0; i < n; i++)
        s->symbols[i] = (struct bpe_symbol){.id = b->bytes[(unsigned char)word[i]], .prev = i - 1 /* 0: NONE */,
                                            .next = i + 1 < n ? i + 1 : NONE};
    for (uint32_t i = 0; i < n; i++)
        consider(b, s, i);
}

/* Merges a symbol with the next, which is no symbol any more. */
static void merge(const struct bpe *b, struct bpe_scratch *s, uint32_t at)
{
    struct bpe_symbol *y = &s->symbols[at], *gone = &s->symbols[y->next];
    y->id = y->merged;
    y->next = gone->next;
    gone->rank = NONE;
    if (y->next != NONE)
        s->symbols[y->next].prev = at;
    consider(b, s, at);
    if (y->prev != NONE)
        consider(b, s, y->prev);
}

int bpe_encode(const struct bpe *b, struct bpe_scratch *s, const char *word, size_t n, struct token_ids *out,
               struct error *e)
{
    if (make_room(s, n, e) || token_ids_reserve(out, n, e))
        return -1;
    start_symbols(b, s, word, (uint32_t)n);
    while (s->heap_n) {
        uint64_t top = pop(s);
        uint32_t at = (uint32_t)top;
        if (s->symbols[at].rank == top >> 32) /* still so */
            merge(b, s, at);
    }
    for (uint32_t i = 0; i != NONE; i = s->symbols[i].next)
        out->ids[out->n++] = (int32_t)s->symbols[i].id;
    return 0;
}
