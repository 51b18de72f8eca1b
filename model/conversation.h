/* SPDX-License-Identifier: MIT
 * Conversations: JSON lines written as a model's chat template writes them, and their token ids.
 *
 * A line is one conversation, in one of two forms; blank lines are skipped, members not named here are ignored:
 *     {"messages": [{"role": "system" | "user" | "assistant" | "tool", "content": TEXT}, ...]}
 *     {"conversations": [{"from": "system" | "human" | "gpt", "value": TEXT}, ...]}       as ShareGPT writes them
 * TEXT is a string, or a list of {"type": "text", "text": string}, which are joined by line feeds. Calls of tools
 * ("tool_calls") are not written: a line that has them is refused.
 *
 * Ids are those of transformers' apply_chat_template(messages, tokenize=True): no prompt for an answer is added, and the
 * texts of special tokens are the tokens, inside a message as well. */
#ifndef PARE_MODEL_CONVERSATION_H
#define PARE_MODEL_CONVERSATION_H

#include <stddef.h>

#include "base/error.h"
#include "model/tokenizer.h"

/* Whether n bytes look like conversations and not like prose: the first line that is not blank is a JSON object with one of
 * the two lists. Says nothing of the other lines. */
int conversations_probe(const char *text, size_t n);

/* Appends the ids of the conversations in n bytes of JSON lines to *out, one conversation after another, each with BOS first.
 * `name` is what errors call the text. Returns 0, or -1 with ERR_FORMAT (a line that is no conversation; none at all; the
 * tokenizer has no BOS, or no EOS where the template ends with it) or ERR_UNSUPPORTED (chat_dialect_find; a role that the
 * template does not write; tool_calls), which name the line, or ERR_MEMORY; then *out holds what had been found. Memory
 * beside *out: some 20 times the longest line. Thread-safe. */
int conversations_encode(const struct tokenizer *t, const char *name, const char *text, size_t n, struct token_ids *out,
                         struct error *e);

#endif
