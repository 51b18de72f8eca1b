/* SPDX-License-Identifier: MIT
 * Compare: one model, or two side by side, walked over the same tokens layer by layer; the error is measured where it
 * enters. Chunks are scored as llama-perplexity does: the first token of each is BOS, the second half is scored. */
#ifndef PARE_VERIFY_COMPARE_H
#define PARE_VERIFY_COMPARE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "model/forward/rounding.h"
#include "model/model.h"
#include "verify/base.h"
#include "verify/check.h"

struct compare_options {
    size_t ctx;
    int all_positions; /* score 0..ctx-2 instead of ctx/2..ctx-2 */
    int group_routing, local, mtp;
    int threads;
    uint64_t memory;
    const char *scratch;
    size_t first_chunk, total_chunks; /* where the given chunks stand in the text */
    struct pass_rounding base, cand; /* how each model's activations are rounded */
    size_t by_layer; /* the first chunks of the text, on which each part of the candidate is judged alone; needs base, candidate, local */
    const char *save_logits; /* base's logits of all positions as F32 [tokens][vocab], or NULL */
    struct base_writer *save_base; /* gets the base's logits and routing of all chunks; NULL: none */
    struct base_file *base_file;   /* stands in for the base: chunks from first_chunk on; ctx and all_positions are its own */
};

/* One scored position, both models. Probabilities are of the token that follows. */
struct score {
    uint32_t chunk, position;
    float nll_base, nll_cand;   /* -ln p */
    float kld;                  /* KL(base || cand) over the whole vocabulary, nats */
    float p_base, p_cand;
    float confidence;           /* the base's largest probability */
    int32_t target, top_base, top_cand;
    uint8_t same_top5;          /* of the base's five best, how many are among the candidate's five best */
    uint8_t routing_changed;    /* some layer chose other experts */
};

/* Sums of one chunk, so that parts of a text can be added up, in the order of the chunks, to exactly the whole's numbers. */
struct layer_sums {
    double accumulated2, local2, size2; /* |hidden_cand - hidden_base|^2 with its own, with the base's input; |hidden_base|^2 */
    uint64_t same_set, common;          /* tokens with the same experts; common experts */
};

/* A position looked at closely: one of the CLOSEUPS with the largest divergence. */
enum { CLOSEUPS = 20 };
struct choice {
    int32_t id;
    float p;
    char *text; /* owned; NULL: no tokenizer */
};
struct closeup {
    uint32_t chunk, position;
    float kld;
    struct choice target; /* p: the base's */
    float p_cand;         /* of the target */
    struct choice base[TOP], cand[TOP]; /* the most likely, best first; id -1: none */
    char *before, *after; /* text around the target, owned; NULL: no tokenizer */
};

/* Of a model of which only one part is the candidate's, the rest the base's: sums over a chunk's scored positions. */
struct alone_sums {
    double kld, kld2;
};

struct mtp_sums {
    double loss_base, loss_cand;
    uint64_t agree_base, agree_cand, positions;
};

struct layer_error {
    int layer;
    double accumulated, local;     /* |hidden_cand - hidden_base| / |hidden_base|: own input; the base's input */
    int is_moe;
    double same_set, overlap;      /* router: share of tokens with the same experts, mean share of common experts */
};

struct expert_use {
    uint64_t tokens_base, tokens_cand;
    double gate_base, gate_cand; /* sums of gates */
    /* over the tokens that both models send to it when both get the base's hidden states: sums of |cand - base|^2 and
     * |base|^2 of its output; 0 without the local pass */
    double error2, output2;
};

struct alone_score {
    double kld, kld_stderr; /* over the chunks that were judged so */
};

struct mtp_score {
    double loss_base, loss_cand;      /* mean -ln p of the token after the next, over all positions */
    double agreement_base, agreement_cand; /* share of best tokens that are the main model's best at the next position */
};

struct comparison {
    int has_candidate, has_mtp;
    int has_hidden;  /* layers have errors: both models walked */
    int has_routing; /* the base's experts are known */
    int is_bound;    /* of a server (server.h): divergences are at least what is said */
    size_t untold_targets;       /* tokens that followed of which the server told nothing: their probability is at most what was taken */
    double tail_base, tail_cand; /* sums over positions of the probability beside what both sides told */
    size_t chunks, ctx;
    size_t first_chunk, total_chunks; /* of the text, when this is a part of it */
    struct pass_rounding base, cand;  /* as the models ran */
    size_t n_dense;                   /* leading dense layers */
    size_t experts_used;              /* per token */
    struct score *scores;
    size_t n_scores;
    struct closeup closeups[CLOSEUPS]; /* worst first */
    size_t n_closeups;
    /* per chunk: */
    struct layer_sums *layer_sums;   /* [chunks][n_layers] */
    struct expert_use *expert_sums;  /* [chunks][n_layers][n_experts] */
    struct mtp_sums *mtp_sums;       /* [chunks] */
    size_t by_layer, alone_chunks;   /* of the text, as asked for and at most all; of these chunks, the first */
    size_t n_parts;                  /* n_layers + 2: embedding, layers, output with its norm */
    struct alone_sums *alone_sums;   /* [alone_chunks][n_parts] */
    /* made of these by comparison_finish: */
    struct layer_error *layers;
    size_t n_layers;
    struct expert_use *experts; /* [n_layers][n_experts] */
    size_t n_experts;
    struct mtp_score mtp;
    struct alone_score *alone;  /* [n_parts]; nothing in it with by_layer 0 */
    struct alone_score together; /* of the whole candidate on the same chunks */
    size_t alone_positions;      /* scored ones of these */
    uint64_t spilled; /* bytes of activations that went to disk at most */
};

/* tokens: [chunks][ctx], the first of each chunk already BOS. cand may be NULL; base is NULL with a base file. ERR_UNSUPPORTED when the models' shapes
 * differ. Clear in either case. */
int compare_run(const struct model *base, const struct model *cand, const int32_t *tokens, size_t chunks,
                const struct compare_options *o, const struct check_hooks *hooks, struct comparison *c, struct error *e);
/* Allocates what the counts (chunks, ctx, n_layers, n_experts, first_chunk, by_layer) ask for. */
int comparison_init(struct comparison *c, struct error *e);
/* Adds the chunks up. */
void comparison_finish(struct comparison *c);
void comparison_clear(struct comparison *c);

#endif
