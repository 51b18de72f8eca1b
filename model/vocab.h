/* SPDX-License-Identifier: MIT
 * Vocabulary of a checkpoint: tokens, merges, special tokens, chat template; from tokenizer.json, tokenizer_config.json,
 * chat_template.jinja and config.json.
 * Source: huggingface/tokenizers JSON form; llama.cpp conversion/base.py and gguf-py/gguf/vocab.py for what GGUF wants. */
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

struct vocab {
    struct arena arena;
    uint64_t n_tokens;      /* the configuration's vocab_size; ids without a token are "[PADn]", TOKEN_UNUSED */
    const char **tokens;    /* [n_tokens] in the byte-level alphabet */
    int32_t *types;         /* [n_tokens] enum token_type */
    uint64_t n_merges;
    const char **merges;    /* [n_merges] "left right"; by rank */
    const struct pretokenizer *pre;
    int64_t special[SPECIAL_COUNT]; /* ids, -1: none */
    int add_bos, add_eos, add_sep;  /* 0, 1, or -1: not said */
    char *chat_template;    /* NULL: none; bytes as released */
};

/* 1 and a new vocabulary in *v (the caller frees it), 0 when the folder has no tokenizer.json, -1 with ERR_FORMAT or
 * ERR_UNSUPPORTED (a tokenizer that is not byte-level BPE with a known pre-tokenizer; a normalizer). */
int vocab_load(const struct source *s, uint64_t vocab_size, struct vocab **v, struct error *e);
void vocab_free(struct vocab *v); /* NULL is allowed */

#endif
