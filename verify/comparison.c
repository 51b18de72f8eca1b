/* SPDX-License-Identifier: MIT
 * Comparison: what a walk found, chunk by chunk, and its sums. Sums run in the order of the chunks. */
#include <math.h>
#include <stdlib.h>

#include "verify/closeups.h"

int comparison_init(struct comparison *c, struct error *e)
{
    c->n_parts = c->n_layers + 2;
    c->alone_chunks = c->by_layer > c->first_chunk ? c->by_layer - c->first_chunk : 0;
    if (c->alone_chunks > c->chunks)
        c->alone_chunks = c->chunks;
    c->alone_sums = calloc(c->alone_chunks * c->n_parts + 1, sizeof *c->alone_sums);
    c->alone = calloc(c->n_parts + 1, sizeof *c->alone);
    c->scores = calloc(c->chunks * c->ctx + 1, sizeof *c->scores);
    c->layer_sums = calloc(c->chunks * c->n_layers + 1, sizeof *c->layer_sums);
    c->expert_sums = calloc(c->chunks * c->n_layers * c->n_experts + 1, sizeof *c->expert_sums);
    c->mtp_sums = calloc(c->chunks + 1, sizeof *c->mtp_sums);
    c->layers = calloc(c->n_layers + 1, sizeof *c->layers);
    c->experts = calloc(c->n_layers * c->n_experts + 1, sizeof *c->experts);
    if (c->alone_sums && c->alone && c->scores && c->layer_sums && c->expert_sums && c->mtp_sums && c->layers && c->experts)
        return 0;
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the comparison");
}

static void finish_layer(struct comparison *c, size_t layer)
{
    struct layer_error *le = &c->layers[layer];
    struct layer_sums s = {0};
    double tokens = (double)(c->chunks * c->ctx);
    for (size_t i = 0; i < c->chunks; i++) {
        const struct layer_sums *add = &c->layer_sums[i * c->n_layers + layer];
        s.accumulated2 += add->accumulated2;
        s.local2 += add->local2;
        s.size2 += add->size2;
        s.same_set += add->same_set;
        s.common += add->common;
    }
    *le = (struct layer_error){.layer = (int)layer, .is_moe = layer >= c->n_dense};
    le->accumulated = s.size2 > 0 ? sqrt(s.accumulated2 / s.size2) : 0;
    le->local = s.size2 > 0 ? sqrt(s.local2 / s.size2) : 0;
    le->same_set = (double)s.same_set / tokens;
    le->overlap = (double)s.common / (tokens * (double)c->experts_used);
}

static void finish_experts(struct comparison *c)
{
    size_t all = c->n_layers * c->n_experts;
    for (size_t x = 0; x < all; x++) {
        struct expert_use *to = &c->experts[x];
        *to = (struct expert_use){0};
        for (size_t i = 0; i < c->chunks; i++) {
            const struct expert_use *add = &c->expert_sums[i * all + x];
            to->tokens_base += add->tokens_base;
            to->tokens_cand += add->tokens_cand;
            to->gate_base += add->gate_base;
            to->gate_cand += add->gate_cand;
            to->error2 += add->error2;
            to->output2 += add->output2;
        }
    }
}

static void finish_mtp(struct comparison *c)
{
    struct mtp_sums s = {0};
    for (size_t i = 0; i < c->chunks; i++) {
        s.loss_base += c->mtp_sums[i].loss_base;
        s.loss_cand += c->mtp_sums[i].loss_cand;
        s.agree_base += c->mtp_sums[i].agree_base;
        s.agree_cand += c->mtp_sums[i].agree_cand;
        s.positions += c->mtp_sums[i].positions;
    }
    double n = s.positions ? (double)s.positions : 1;
    c->mtp = (struct mtp_score){s.loss_base / n, s.loss_cand / n, (double)s.agree_base / n, (double)s.agree_cand / n};
}

static struct alone_score alone_score(const struct alone_sums *s, double n)
{
    const double mean = s->kld / n, variance = s->kld2 / n - mean * mean;
    return (struct alone_score){mean, n > 1 && variance > 0 ? sqrt(variance / (n - 1)) : 0};
}

static void finish_alone(struct comparison *c)
{
    struct alone_sums all = {0};
    size_t n = 0;
    for (; n < c->n_scores && c->scores[n].chunk < c->first_chunk + c->alone_chunks; n++) {
        all.kld += (double)c->scores[n].kld;
        all.kld2 += (double)c->scores[n].kld * (double)c->scores[n].kld;
    }
    c->alone_positions = n;
    for (size_t p = 0; n && p < c->n_parts; p++) {
        struct alone_sums s = {0};
        for (size_t i = 0; i < c->alone_chunks; i++) {
            s.kld += c->alone_sums[i * c->n_parts + p].kld;
            s.kld2 += c->alone_sums[i * c->n_parts + p].kld2;
        }
        c->alone[p] = alone_score(&s, (double)n);
    }
    if (n)
        c->together = alone_score(&all, (double)n);
}

void comparison_finish(struct comparison *c)
{
    for (size_t i = 0; i < c->n_layers; i++)
        finish_layer(c, i);
    finish_experts(c);
    finish_mtp(c);
    finish_alone(c);
}

void comparison_clear(struct comparison *c)
{
    for (size_t i = 0; i < c->n_closeups; i++)
        closeup_clear(&c->closeups[i]);
    free(c->scores);
    free(c->layer_sums);
    free(c->expert_sums);
    free(c->mtp_sums);
    free(c->alone_sums);
    free(c->alone);
    free(c->layers);
    free(c->experts);
    *c = (struct comparison){0};
}
