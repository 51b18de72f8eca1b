/* SPDX-License-Identifier: MIT
 * The tokens that verify and calibrate run on: options --text, --tokens, --chunks, --align. */
#ifndef PARE_CLI_TOKENS_H
#define PARE_CLI_TOKENS_H

#include "cli/cli.h"

struct tokens {
    int32_t *ids; /* [chunks][ctx], malloc'd */
    size_t chunks;
};

/* Where they come from. */
struct tokens_from {
    const char *text, *raw, *align; /* --text, --tokens, --align; or NULL */
    long most;                      /* --chunks, or 0 */
};

/* What the options say. */
int tokens_from_options(const struct options *o, struct tokens_from *from, struct error *e);

/* Reads the file and cuts it into chunks of ctx, of which the first token becomes BOS where there is one. A text whose name ends in
 * .jsonl holds conversations, which are written by the model's chat template (model/conversation.h). */
int read_tokens(const struct tokens_from *from, const struct opened *model, size_t ctx, struct tokens *in, struct error *e);

/* "2/4": the second of four parts of so many chunks is *count of them, from *first on. ERR_USAGE. */
int tokens_part(const char *text, size_t chunks, size_t *i, size_t *n, size_t *first, size_t *count, struct error *e);

#define OPTION_TOKENS                                                     \
    {0, "text", "FILE", "text (UTF-8); conversations when it ends in .jsonl"},                                  \
        {0, "tokens", "FILE", "token ids: 32-bit integers, little-endian"}, \
        {0, "ctx", "N", "tokens per chunk (default 512)"},                \
        {0, "chunks", "N", "the first N chunks (default: all)"},          \
        {0, "align", "llama", "put BOS before the text, as llama-perplexity does", 1}

#endif
