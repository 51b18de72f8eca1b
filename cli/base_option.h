/* SPDX-License-Identifier: MIT
 * Base files of pare verify: --save-base, and a base file in the base's place. */
#ifndef PARE_CLI_BASE_OPTION_H
#define PARE_CLI_BASE_OPTION_H

#include "cli/tokens.h"
#include "verify/compare.h"

/* Scoring and routing as text, for base files and parts. */
void base_settings(const struct compare_options *co, char *out, size_t size);

/* --save-base: the file that a run of this base is to fill. ERR_USAGE when it is there already and --force was not given, or when it is one of
 * the files that are read. */
int base_start(const struct options *o, const struct opened *base, const struct opened *cand, const struct compare_options *co,
               const struct tokens *in, struct base_writer **writer, struct error *e);

/* Tokens of a text for a base that is a model. */
int text_input(const struct options *o, const struct opened *base, size_t ctx, struct tokens *in, struct error *e);
/* Tokens and scoring of a base file; what else the options say of either must agree with it. The candidate's BOS begins each chunk of
 * llama-perplexity's. */
int base_input(const struct options *o, const struct base_file *b, const struct opened *cand, struct compare_options *co, struct tokens *in,
               struct error *e);
/* Name of the text, for people. */
const char *text_name(const struct options *o, const struct base_file *b);

#endif
