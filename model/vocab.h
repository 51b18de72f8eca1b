/* SPDX-License-Identifier: MIT
 * Vocabulary of a checkpoint: tokens, merges, special tokens, chat template; from tokenizer.json,
 * tokenizer_config.json, chat_template.jinja and config.json, or from a GGUF's keys.
 * Source: huggingface/tokenizers JSON form; llama.cpp conversion/base.py and gguf-py/gguf/vocab.py for what GGUF
 * wants. */
#ifndef PARE_MODEL_VOCAB_H
#define PARE_MODEL_VOCAB_H

#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "formats/source.h"
#include "model/pretokenizer.h"

enum token_type { /* values of GGUF's tokenizer.ggml.token_type */
    TOKEN_NORMAL = 1, TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_USER_DEFINED, TOKEN_UNUSED, TOKEN_BYTE,
};

enum special_token { SPECIAL_BOS, SPECIAL_EOS, SPECIAL_UNK, SPECIAL_SEP, SPECIAL_PAD, SPECIAL_CLS, SPECIAL_MASK,
                     SPECIAL_COUNT };

/* A token that is looked for in text before the text is cut into words. */
struct added_token {
    const char *text; /* as it stands in text */
    int32_t id;
    int normalized;   /* looked for after those that are not */
    int strips;       /* lstrip, rstrip or single_word: it takes blanks along, or wants word borders */
};

struct vocab {
    struct arena arena;
    uint64_t n_tokens;      /* the configuration's vocab_size; ids without a token are "[PADn]", TOKEN_UNUSED */
    const char **tokens;    /* [n_tokens] in the byte-level alphabet */
    int32_t *types;         /* [n_tokens] enum token_type */
    uint64_t n_merges;
    const char **merges;    /* [n_merges] "left right"; by rank */
    size_t n_added;
    struct added_token *added; /* types[id] is TOKEN_CONTROL or TOKEN_USER_DEFINED */
    const struct pretokenizer *pre;
    int64_t special[SPECIAL_COUNT]; /* ids, -1: none */
    int add_bos, add_eos, add_sep;  /* 0, 1, or -1: not said */
    char *chat_template;    /* NULL: none; bytes as released */
};

/* 1 and a new vocabulary in *v (the caller frees it), 0 when the folder has no tokenizer.json, -1 with ERR_FORMAT or
 * ERR_UNSUPPORTED (a tokenizer that is not byte-level BPE with a known pre-tokenizer; a normalizer). */
int vocab_load(const struct source *s, uint64_t vocab_size, struct vocab **v, struct error *e);

/* The same from a GGUF's tokenizer keys, strictly: 1, 0 when it has none (or the model "none"), -1 with ERR_FORMAT
 * (keys of another type, lists of different lengths, texts that are empty, no UTF-8 or hold a NUL, ids out of range)
 * or ERR_UNSUPPORTED (no byte-level BPE with a known pre-tokenizer). GGUF does not tell tokenizer.json's flags: all
 * added tokens are not normalized. n_tokens is the length of the list. Nothing of the source is kept. */
int vocab_from_gguf(const struct source *s, struct vocab **v, struct error *e);

void vocab_free(struct vocab *v); /* NULL is allowed */

#endif
