/* SPDX-License-Identifier: MIT
 * Servers: a running model judged through the log-probabilities that it gives for a prompt's tokens, against a base file.
 *
 * Kinds, and what they are asked:
 *   llama.cpp  POST /completion for every scored position, the tokens up to it as the prompt, one token to predict, n_probs (its prompt
 *              cache makes each a step of one token); completion_probabilities[0].top_logprobs of {id, logprob}
 *   vllm       POST /v1/completions for a chunk, prompt_logprobs; choices[0].prompt_logprobs[i] of {"ID": {logprob}}, entry i being token i
 *   sglang     POST /generate for a chunk, input_ids, return_logprob, top_logprobs_num; meta_info.input_top_logprobs[i] of [logprob, id, text]
 * Prompts are token ids, so that no server's tokenizer or template takes part.
 *
 * A server tells its `top` most likely tokens (and mostly the one that follows). With L the tokens of which both sides' p and q are known and
 * P, Q what is left of 1 beside them,
 *     KL >= sum over L of p ln(p / q) + P ln(P / Q)
 * (the divergence of what is lumped together is never larger). All divergences of such a comparison are these bounds, c->is_bound says so.
 * Source: llama.cpp tools/server/README.md; vLLM and SGLang, their HTTP interfaces. */
#ifndef PARE_VERIFY_SERVER_H
#define PARE_VERIFY_SERVER_H

#include "verify/compare.h"

struct server_options {
    const char *url;   /* "http://host:port", with or without "/v1" */
    const char *kind;  /* a name above; NULL: found by asking */
    const char *model; /* NULL: the first that the server lists */
    const char *key;   /* NULL: none */
    size_t top;        /* tokens to ask for; 0: what the kind allows by default */
    double timeout;    /* seconds for an answer */
    size_t parallel;   /* requests at a time */
};

/* Judges chunks [0, chunks) of the base file; tokens are its own, BOS in place. A call that fails for a reason that may pass (no answer,
 * status 429 or 5xx) is made again, five times, ever later. ERR_IO: it never answered, or refused (the server's words are cited); ERR_FORMAT:
 * its answer is no JSON, has other tokens than asked, NaN, probabilities that add up to more than 1; chunk and position are named.
 * hooks->stop is asked by several threads. model: malloc'd name of the model, else the address without its password, or NULL. */
int server_compare(struct base_file *b, const int32_t *tokens, size_t chunks, const struct server_options *o, const struct check_hooks *hooks,
                   struct comparison *c, char **model, struct error *e);

#endif
