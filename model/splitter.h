/* SPDX-License-Identifier: MIT
 * Splitter: cuts text into the words that byte-level BPE works on, by the steps of a pre-tokenizer. PCRE2 matches,
 * just in time compiled where the platform allows it.
 *
 * Where the tokenizers package's regular expressions (Oniguruma, Unicode 16.0) mean something else than PCRE2's, the
 * former count:
 *   \s          White_Space; PCRE2's has U+180E too
 *   $           before every line feed and at the end
 *   \p{..}      Unicode 16.0 whatever PCRE2's tables are, from 14.0 on: see model/unicode.h, which the caller applies
 * Digits are \p{N}. (Rust's is_numeric is of Unicode 17.0: 13 numbers more, in scripts that came with it.)
 * Source: huggingface/tokenizers, pre_tokenizers Split (Isolated) and Digits; Oniguruma doc/RE. */
#ifndef PARE_MODEL_SPLITTER_H
#define PARE_MODEL_SPLITTER_H

#include <stddef.h>

#include "base/error.h"
#include "model/pretokenizer.h"

struct splitter;

/* Compiles the steps. NULL with ERR_UNSUPPORTED (PCRE2 is too old or lacks Unicode) or ERR_MEMORY. */
struct splitter *splitter_new(const struct pretokenizer *p, struct error *e);
void splitter_free(struct splitter *s); /* NULL is allowed */

/* Takes the words in order, by offset and length (never 0); anything but 0 ends the run. */
typedef int splitter_word_fn(void *user, size_t at, size_t n);

/* Cuts the n bytes at `at` of the text, which must be valid UTF-8, as if they were alone. Returns 0, -1 with
 * ERR_MEMORY or ERR_UNSUPPORTED, or what the function returned. Time is linear in n. One splitter may be used by
 * several threads. */
int splitter_run(const struct splitter *s, const char *text, size_t at, size_t n, splitter_word_fn *word, void *user,
                 struct error *e);

#endif
