/* SPDX-License-Identifier: MIT
 * Tokenizer: text to token ids, with the vocabulary of a checkpoint folder or of a GGUF. Ids are those that
 * Tokenizer.encode(text, add_special_tokens=False) of huggingface/tokenizers gives: no BOS is added (vocab->special
 * tells it), nothing is normalized.
 *
 * Text is cut at added tokens, each stretch between them into words (model/splitter.h), each word into tokens
 * (model/bpe.h). Of the added tokens' texts the leftmost is taken, of several there the longest; those that
 * tokenizer.json calls "normalized" are looked for only in what the others leave.
 *
 * Which added tokens are recognised in text:
 *   parse_special 1   all
 *   parse_special 0   TOKEN_USER_DEFINED only; for text that is data. A control token ("special" in tokenizer.json, or
 *                     of the form <|x|> or <｜x｜>: see model/vocab.c) is text like any other, as a whole. Ids are those
 *                     of llama.cpp with parse_special false, which llama-perplexity uses, and of tokenizers with
 *                     encode_special_tokens true once every control token is marked special. Of the releases only R1,
 *                     V3.1 and V3.2 have user-defined tokens: <think>, </think>, and V3.2 <dsml: and </dsml:.
 *
 * Text is bytes: NUL is a character, a byte order mark another; invalid UTF-8 is first repaired (utf8_repair). */
#ifndef PARE_MODEL_TOKENIZER_H
#define PARE_MODEL_TOKENIZER_H

#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"
#include "formats/source.h"
#include "model/arch.h"
#include "model/bpe.h"
#include "model/vocab.h"

struct tokenizer; /* read only once open: threads may share it, and it needs the source no more */

/* The tokenizer of a source: tokenizer.json and its companions of a folder, the tokenizer keys of a GGUF. `p` is the
 * source's architecture; with NULL config.json is asked for vocab_size. NULL with ERR_FORMAT (none there, malformed,
 * contradictory, more tokens than vocab_size), ERR_UNSUPPORTED (another kind of tokenizer; added tokens that strip
 * blanks or want word borders), ERR_IO or ERR_MEMORY. */
struct tokenizer *tokenizer_open(const struct source *s, const struct arch_params *p, struct error *e);
void tokenizer_close(struct tokenizer *t); /* NULL is allowed */

/* Its vocabulary: texts, types, special ids. Lives as long as the tokenizer. */
const struct vocab *tokenizer_vocab(const struct tokenizer *t);

/* Appends the ids of n bytes of text to *out. Returns 0, or -1 with ERR_MEMORY or ERR_UNSUPPORTED (a word of 2 GiB);
 * then *out holds what had been found. Memory beside *out: 1 MiB, 40 bytes per byte of the longest word; once more
 * the text when it has characters of Unicode 15 or later, three times when it is no valid UTF-8. Thread-safe. */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, int parse_special, struct token_ids *out,
                     struct error *e);

/* Appends the bytes that an id stands for, which may be a part of a character. An unused id gives its name. The
 * pieces of a text's ids are the (repaired) text. */
void tokenizer_piece(const struct tokenizer *t, int32_t id, struct buffer *out);

#endif
