/* SPDX-License-Identifier: MIT
 * Byte-level byte-pair encoding: a word's bytes become tokens, and of all neighbours that have a merge the pair of the
 * lowest rank is merged, the leftmost of several, until none is left.
 * Source: Sennrich et al. 2016, arXiv 1508.07909; the byte-level alphabet of openai/gpt-2, src/encoder.py:
 * bytes_to_unicode; ids as huggingface/tokenizers, models/bpe. */
#ifndef PARE_MODEL_BPE_H
#define PARE_MODEL_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "model/vocab.h"

/* A growing list of token ids; zeroed: empty. */
struct token_ids {
    int32_t *ids; /* malloc'd */
    size_t n, room;
};

/* Room for n more; -1 with ERR_MEMORY. Pointers into the list are no longer valid. */
int token_ids_reserve(struct token_ids *l, size_t n, struct error *e);
/* Frees; the list is empty and ready again. */
void token_ids_clear(struct token_ids *l);

struct bpe; /* read only once made: threads may share it */

/* From the vocabulary's tokens and merges, of which nothing is kept. NULL with ERR_FORMAT (a merge that is no pair,
 * stands twice or names an unknown token, a text of two tokens, a byte of UTF-8 without a token) or ERR_MEMORY. */
struct bpe *bpe_new(const struct vocab *v, struct error *e);
void bpe_free(struct bpe *b); /* NULL is allowed */

/* Working memory, up to 40 bytes per byte of the longest word; zeroed: none yet. Of one thread. */
struct bpe_scratch {
    struct bpe_symbol *symbols;
    uint64_t *heap;
    size_t symbol_room, heap_room, heap_n;
};
void bpe_scratch_clear(struct bpe_scratch *s);

/* Appends the tokens of a word of n > 0 bytes of valid UTF-8. Takes O(n log n) time. Returns 0, or -1 with
 * ERR_MEMORY or ERR_UNSUPPORTED (a word of 2 GiB). */
int bpe_encode(const struct bpe *b, struct bpe_scratch *s, const char *word, size_t n, struct token_ids *out,
               struct error *e);

/* Decodes the byte-level alphabet: the bytes of a token of n bytes into `out`, of at least n; returns how many. A
 * text with a character that is not in the alphabet stands for itself. */
size_t bpe_decode(const char *token, size_t n, char *out);

#endif
