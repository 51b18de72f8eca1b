/* SPDX-License-Identifier: MIT
 * Base files: what a comparison needs of its base, kept, so that many candidates are judged against one run of it.
 *
 * Three forms:
 *   exact    every logit, F32. A candidate's numbers are the bits that a run with the base itself gives.
 *   sampled  of each position the `best` most likely tokens and `drawn` others, drawn by their probability (base_sample.h), from which
 *            the divergence is estimated without bias; everything else is as with the base itself. At most 2 KB per position.
 *   llama    llama-perplexity's --kl-divergence-base file: log-probabilities as 16-bit codes, no routing (base_llama.c).
 *
 * The first two are one safetensors file, so that anything reads them:
 *   about           U8   [n]                        JSON: format, version, form, name, settings, hashes, shapes
 *   tokens          I32  [chunks][ctx]              the first of each chunk is BOS
 *   log_sums        F64  [chunks][scored]           ln of the softmax's denominator
 *   target_logits   F32  [chunks][scored]           of the token that follows
 *   logits          F32  [chunks][scored][vocab]    exact
 *   ids, codes      I32, U16 [chunks][scored][best + drawn]   sampled: the best, most likely first, then the others by id; -1: none;
 *                                                   ln p = -code / 2048
 *   top_logits      F32  [chunks][scored]           sampled: of the most likely
 *   thresholds      F32  [chunks][scored]           sampled: see base_sample.h
 *   routing         U8 or I16 [chunks][MoE layers][ctx][experts per token]
 *   hashes          U8   [chunks][16]               XXH3-128 of a chunk's bytes of: logits, ids, codes, log_sums,
 *                                                   target_logits, top_logits, thresholds, routing
 *   seal            U8   [16]                       XXH3-128 of about, tokens and hashes
 * A chunk is read by itself and checked by its hash. Nothing of a file is used unchecked: every count, id, logit, expert. */
#ifndef PARE_VERIFY_BASE_H
#define PARE_VERIFY_BASE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "model/arch.h"
#include "model/forward/positions.h"

enum base_form { BASE_EXACT, BASE_SAMPLED, BASE_LLAMA, BASE_FORMS };
extern const char *const base_form_names[BASE_FORMS]; /* "exact", "sampled", "llama" */

enum { BASE_POSITION_BYTES = 2048 }; /* of the sampled form, at most, all tensors counted */

struct base_about { /* strings are borrowed when writing, owned by the file when reading */
    enum base_form form;
    const char *name, *settings;      /* of the base; how it was scored */
    char models_hash[HASH_TEXT], tokens_hash[HASH_TEXT]; /* part.h's; "" in llama's form */
    uint64_t bytes;                   /* of the base's tensors; 0: not known */
    size_t ctx, chunks, first_scored, scored; /* positions [first_scored, first_scored + scored) of each chunk have logits */
    size_t vocab;
    size_t n_layers, n_dense, n_experts, experts_used; /* n_experts 0: no routing in it */
    size_t best, drawn;               /* sampled */
};

/* ---- writing */

/* How many tokens the sampled form has room for: sets best and drawn. */
void base_share(struct base_about *about);

struct base_writer;
/* Tokens [chunks][ctx]. The file is there under its name when base_finish has returned 0. NULL on error. */
struct base_writer *base_create(const char *path, const struct base_about *about, const int32_t *tokens, struct error *e);
/* The experts that layer chose: chosen [ctx][experts_used] of a chunk. Chunks in any
 * order, from any thread. */
void base_put_routing(struct base_writer *w, size_t chunk, size_t layer, const int16_t *chosen);
/* Rows of logits [n][vocab] of the scored positions first to first + n - 1, counted over all chunks, in order. */
int base_put_rows(struct base_writer *w, size_t first, size_t n, const float *rows, int threads, struct error *e);
int base_finish(struct base_writer *w, struct error *e);
void base_writer_free(struct base_writer *w); /* removes what was not finished; NULL is allowed */

/* ---- reading */

struct base_file;
/* Whether a path is such a file: 1, 0. */
int base_probe(const char *path);
/* Reads and checks all but the chunks. NULL on error. */
struct base_file *base_open(const char *path, struct error *e);
void base_close(struct base_file *b); /* NULL is allowed */
const struct base_about *base_about(const struct base_file *b);
const int32_t *base_tokens(const struct base_file *b); /* [chunks][ctx]; of llama's form the first of each chunk is whatever the text had there */
/* Whether a candidate of this shape can be held against it; ERR_UNSUPPORTED says why not. */
int base_fits(const struct base_file *b, const struct arch_params *p, struct error *e);

/* Experts of a chunk: [MoE layers][ctx][experts_used], malloc'd; NULL with no error when the file has none. */
int base_routing(struct base_file *b, size_t chunk, int16_t **routing, struct error *e);

/* Scores n positions, counted over all chunks, against rows [n][vocab] of a candidate's logits: fills position[i] as head_run does for a
 * pair, but for cross, and kld[i]. rows NULL: the base's fields only. */
int base_score(struct base_file *b, size_t first, size_t n, const float *rows, int threads, struct position *positions, double *kld,
               struct error *e);

/* What the file knows of ln p at one position: of all tokens, or (sampled) of the best and of those that were drawn. */
struct base_list {
    size_t n;
    int32_t *ids;  /* ascending */
    double *log_p; /* of each */
};
/* malloc'd parts, freed by base_list_clear; zeroed on error. */
int base_list(struct base_file *b, size_t position, struct base_list *list, struct error *e);
void base_list_clear(struct base_list *list);

#endif
