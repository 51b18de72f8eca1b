/* SPDX-License-Identifier: MIT
 * The tokens that verify and calibrate run on: options --text, --tokens, --chunks, --align. */
#ifndef PARE_CLI_TOKENS_H
#define PARE_CLI_TOKENS_H

#include "cli/cli.h"

struct tokens {
    int32_t *ids; /* [chunks][ctx], malloc'd */
    size_t chunks;
};

/* Reads the file that the options name and cuts it into chunks of ctx, of which the first token becomes BOS where there is one. */
int read_tokens(const struct options *o, const struct opened *model, size_t ctx, struct tokens *in, struct error *e);

#define OPTION_TOKENS                                                     \
    {0, "text", "FILE", "text (UTF-8)"},                                  \
        {0, "tokens", "FILE", "token ids: 32-bit integers, little-endian"}, \
        {0, "ctx", "N", "tokens per chunk (default 512)"},                \
        {0, "chunks", "N", "the first N chunks (default: all)"},          \
        {0, "align", "llama", "put BOS before the text, as llama-perplexity does"}

#endif
