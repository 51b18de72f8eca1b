/* SPDX-License-Identifier: MIT
 * Scoring: logits behind the last layer, of a pair side by side, or of one model against what a base file keeps. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/forward/det_math.h"
#include "verify/closeups.h"
#include "verify/walk.h"

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the scores");
}

/* Logits are needed at the scored positions; for the MTP layer and for saving, at all. */
int walk_positions(struct walk *w, struct error *e)
{
    int wide = w->o->mtp || w->o->save_logits;
    size_t from = wide ? 0 : walk_first_scored(w), to = wide ? w->c->ctx : w->c->ctx - 1;
    w->places = malloc((w->c->chunks * w->c->ctx + 1) * sizeof *w->places);
    w->positions = calloc(w->c->chunks * w->c->ctx + 1, sizeof *w->positions);
    w->kld = calloc(w->c->chunks * w->c->ctx + 1, sizeof *w->kld);
    if (!w->places || !w->positions || !w->kld)
        return no_memory(e);
    for (size_t c = 0; c < w->c->chunks; c++)
        for (size_t i = from; i < to; i++) {
            w->positions[w->list.n].target = i + 1 < w->c->ctx ? w->tokens[c * w->c->ctx + i + 1] : -1;
            w->places[w->list.n++] = walk_place(w, c, i);
        }
    w->list.token = w->places;
    return 0;
}

/* ---- --save-logits */

struct logits_file {
    int fd;
    size_t vocab;
};

static int write_rows(void *context, size_t first, size_t n, const float *rows, struct error *e)
{
    const struct logits_file *f = context;
    const char *bytes = (const char *)rows;
    size_t each = f->vocab * sizeof *rows, done = 0, all = n * each;
    while (done < all) {
        ssize_t k = pwrite(f->fd, bytes + done, all - done, (off_t)(first * each + done));
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return error_set(e, ERR_IO, ERROR_NO_OFFSET, "cannot write the logits: %s", k ? strerror(errno) : "no space");
        done += (size_t)k;
    }
    return 0;
}

static int save_logits(struct walk *w, struct error *e)
{
    const char *path = w->o->save_logits;
    struct logits_file f = {open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666), (size_t)w->any->model->params.vocab_size};
    if (f.fd < 0) {
        error_set(e, ERR_IO, ERROR_NO_OFFSET, "cannot create: %s", strerror(errno));
        return error_at_file(e, path);
    }
    int rc = head_rows(&(struct head_side){w->any, 0}, ROLE_OUTPUT_NORM, -1, &w->list, &(struct head_reader){&f, write_rows}, e);
    if (close(f.fd) && !rc)
        rc = error_set(e, ERR_IO, ERROR_NO_OFFSET, "cannot write the logits: %s", strerror(errno));
    return rc ? error_at_file(e, path) : 0;
}

/* ---- base files */

/* The positions that are scored: all of the list, unless --mtp or --save-logits widened it. */
static int scored_list(const struct walk *w, struct head_list *to, struct error *e)
{
    uint32_t *places = malloc((w->c->chunks * w->c->ctx + 1) * sizeof *places);
    if (!places)
        return no_memory(e);
    *to = (struct head_list){places, 0};
    for (size_t c = 0; c < w->c->chunks; c++)
        for (size_t i = walk_first_scored(w); i + 1 < w->c->ctx; i++)
            places[to->n++] = walk_place(w, c, i);
    return 0;
}

static int put_rows(void *context, size_t first, size_t n, const float *rows, struct error *e)
{
    const struct walk *w = context;
    return base_put_rows(w->o->save_base, first, n, rows, w->o->threads, e);
}

static int save_base(struct walk *w, struct error *e)
{
    struct head_list list;
    if (scored_list(w, &list, e))
        return -1;
    int rc = head_rows(&(struct head_side){w->base, 0}, ROLE_OUTPUT_NORM, -1, &list, &(struct head_reader){w, put_rows}, e);
    free((void *)list.token);
    return rc;
}

static int score_rows(void *context, size_t first, size_t n, const float *rows, struct error *e)
{
    struct walk *w = context;
    const size_t before = w->o->first_chunk * base_about(w->o->base_file)->scored;
    return base_score(w->o->base_file, before + first, n, rows, w->o->threads, w->positions + first, w->kld + first, e);
}

static int run_pair(struct walk *w, struct error *e)
{
    if (head_run(&(struct head_side){w->base, 0}, &(struct head_side){w->cand, 0}, w->cand != NULL, ROLE_OUTPUT_NORM, -1, &w->list,
                 w->positions, e))
        return -1;
    for (size_t i = 0; w->cand && i < w->list.n; i++)
        w->kld[i] = position_kld(&w->positions[i]);
    return 0;
}

/* ---- scores */

static uint8_t common_top5(const struct position *p)
{
    uint8_t n = 0;
    for (int i = 0; i < p->base_top.n; i++)
        for (int j = 0; j < p->cand_top.n; j++)
            n += p->base_top.id[i] == p->cand_top.id[j];
    return n;
}

void score_position(const struct position *p, int pair, double kld, struct score *s)
{
    double log_b = softmax_log(&p->base), log_c;
    s->target = p->target;
    s->nll_base = (float)(log_b - (double)p->base_target);
    s->p_base = (float)det_exp(-(log_b - (double)p->base_target));
    s->confidence = (float)det_exp((double)p->base_top.logit[0] - log_b);
    s->top_base = p->base_top.id[0];
    if (!pair)
        return;
    log_c = softmax_log(&p->cand);
    s->nll_cand = (float)(log_c - (double)p->cand_target);
    s->p_cand = (float)det_exp(-(log_c - (double)p->cand_target));
    s->top_cand = p->cand_top.id[0];
    s->same_top5 = common_top5(p);
    s->kld = (float)kld;
}

/* Worst positions are looked at closer. */
static void fill_scores(struct walk *w)
{
    size_t first = walk_first_scored(w), per_list = w->list.n / w->c->chunks, ctx = w->c->ctx;
    for (size_t i = 0; i < w->list.n; i++) {
        size_t chunk = i / per_list, at = w->places[i] - walk_place(w, chunk, 0);
        if (at < first || at + 2 > ctx)
            continue;
        struct score *s = &w->c->scores[w->c->n_scores++];
        s->chunk = (uint32_t)(w->c->first_chunk + chunk);
        s->position = (uint32_t)at;
        s->routing_changed = w->changed[chunk * ctx + at];
        score_position(&w->positions[i], w->cand != NULL, w->kld[i], s);
        if (w->cand)
            closeup_offer(w->c, s, &w->positions[i]);
    }
}

/* Loss and agreement of one model's MTP layer; the positions of the main head are all there. */
static int run_mtp(struct walk *w, struct forward *f, int is_cand, struct error *e)
{
    int layer = (int)f->model->params.num_hidden_layers;
    size_t ctx = w->c->ctx;
    struct position *p = calloc(w->list.n + 1, sizeof *p);
    if (!p)
        return no_memory(e);
    for (size_t i = 0; i < w->list.n; i++)
        p[i].target = i % ctx + 2 < ctx ? w->tokens[i + 2] : -1;
    int rc = forward_mtp_input(f, layer, e) || forward_layer(f, layer, e) ||
             head_run(&(struct head_side){f, 0}, NULL, 0, ROLE_NEXTN_SHARED_HEAD_NORM, layer, &w->list, p, e);
    for (size_t i = 0; !rc && i < w->list.n; i++) {
        struct mtp_sums *m = &w->c->mtp_sums[i / ctx];
        const struct position *next = &w->positions[i + 1];
        if (p[i].target < 0)
            continue;
        double loss = softmax_log(&p[i].base) - (double)p[i].base_target;
        int agrees = p[i].base_top.id[0] == (is_cand ? next->cand_top.id[0] : next->base_top.id[0]);
        m->positions += !is_cand;
        *(is_cand ? &m->loss_cand : &m->loss_base) += loss;
        *(is_cand ? &m->agree_cand : &m->agree_base) += (uint64_t)agrees;
    }
    free(p);
    return rc ? -1 : 0;
}

static int mtp(struct walk *w, struct error *e)
{
    if (!w->base->model->params.num_nextn_predict_layers)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--mtp, but the model has no MTP layer");
    w->c->has_mtp = 1;
    if (run_mtp(w, w->base, 0, e))
        return -1;
    if (!w->cand || !w->cand->model->params.num_nextn_predict_layers)
        return 0;
    return run_mtp(w, w->cand, 1, e);
}


int walk_scores(struct walk *w, struct error *e)
{
    int rc = w->base ? run_pair(w, e)
                     : head_rows(&(struct head_side){w->cand, 0}, ROLE_OUTPUT_NORM, -1, &w->list, &(struct head_reader){w, score_rows}, e);
    if (rc || (w->o->save_logits && save_logits(w, e)) || (w->o->save_base && save_base(w, e)))
        return -1;
    fill_scores(w);
    if (w->alone && alone_scores(w, e))
        return -1;
    return w->o->mtp ? mtp(w, e) : 0;
}
