/* SPDX-License-Identifier: MIT
 * Stream: units over threads. */
#include "convert/stream.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/thread.h"
#include "convert/fold.h"
#include "convert/importance.h"
#include "convert/order.h"
#include "convert/unit.h"
#include "convert/via.h"

/* Source bytes that are asked of the disk ahead of the workers. */
enum { READ_AHEAD = 32 << 20 };

struct stream {
    const struct plan *plan;
    struct outputs *out;
    struct keeper *keeper;
    struct stream_state *state;
    const struct stream_hooks *hooks;
    struct unit_room room;
    struct fold *fold; /* or NULL */
    uint32_t *order;   /* of units; NULL: by number */
    unsigned cpu;
    struct feedback feedback; /* when the plan has a calibration */

    pthread_mutex_t lock; /* guards all below */
    uint64_t from, next, to; /* places in the order of units: first, next, the end */
    uint64_t ahead;       /* place up to which the disk has been told */
    uint64_t ahead_bytes; /* of the units next .. ahead */
    uint64_t done;        /* output bytes */
    int failed;
    struct error error;
};

struct worker { /* one thread and its buffers */
    struct stream *stream;
    pthread_t thread;
    float *floats, *turned, *folded, *importance;
    uint8_t *encoded;
    void *scratch;
    struct sweeper *sweeper; /* of the last type and row length under error feedback */
    const struct quant_type *swept;
    uint64_t swept_cols;
};

static uint64_t source_bytes(const struct weight_range *r, int n)
{
    uint64_t bytes = 0;
    for (int i = 0; i < n; i++)
        bytes += r[i].n;
    return bytes;
}

static int ranges_of(const struct stream *s, const struct unit *u, struct weight_range r[WEIGHT_RANGES])
{
    return weight_ranges(s->plan->model, &u->source, u->source_slab, u->source_row0, u->source_rows, r);
}

/* Places in the order of units, to excluded. */
struct span {
    uint64_t from, to;
};

static struct unit unit_in_order(const struct stream *s, uint64_t place)
{
    return unit_at(s->plan, s->order ? s->order[place - s->from] : place);
}

/* 1 and a unit, or 0 when none is left or the run failed. *ahead are units whose source should be fetched now: few at a time, so
 * that a worker soon gets to its own. */
static int take_unit(struct stream *s, struct unit *u, struct span *ahead)
{
    struct weight_range r[WEIGHT_RANGES];
    *ahead = (struct span){0, 0};
    pthread_mutex_lock(&s->lock);
    int more = !s->failed && s->next < s->to;
    if (more) {
        *u = unit_in_order(s, s->next++);
        uint64_t bytes = source_bytes(r, ranges_of(s, u, r));
        s->ahead_bytes -= s->ahead_bytes < bytes ? s->ahead_bytes : bytes;
        s->ahead = s->ahead < s->next ? s->next : s->ahead;
        ahead->from = s->ahead;
        while (s->ahead < s->to && s->ahead_bytes < READ_AHEAD && s->ahead - ahead->from < 4) {
            struct unit v = unit_in_order(s, s->ahead++);
            s->ahead_bytes += source_bytes(r, ranges_of(s, &v, r));
        }
        ahead->to = s->ahead;
    }
    pthread_mutex_unlock(&s->lock);
    return more;
}

static void read_ahead(const struct stream *s, const struct span *span)
{
    struct weight_range r[WEIGHT_RANGES];
    for (uint64_t place = span->from; place < span->to; place++) {
        struct unit u = unit_in_order(s, place);
        for (int i = 0, n = ranges_of(s, &u, r); i < n && !s->state->done[u.number]; i++)
            io_will_need(&s->plan->model->source->files[r[i].tensor->file], r[i].tensor->offset + r[i].at, r[i].n);
    }
}

static int read_source(const struct stream *s, const struct worker *w, const struct unit *u, struct weight_seen *seen,
                       struct error *e)
{
    return weight_read(s->plan->model, &u->source, u->source_slab, u->source_row0, u->source_rows, w->floats, w->scratch,
                       seen, e);
}

static void encode_blocks(const struct stream *s, const struct plan_tensor *t, const float *x, const float *importance,
                          uint8_t *to, size_t n)
{
    const struct quant_kernels k = quant_kernels_for(t->type, s->cpu);
    k.encode(x, importance, to, n);
    if (k.improve && !s->plan->options.recipe.compat)
        k.improve(x, importance, to, n);
}

/* Rows of a matrix whose inputs are known. 1 when there is nothing to be had from them. */
static int encode_with_feedback(struct stream *s, struct worker *w, const struct plan_tensor *t, uint64_t slab, const float *x,
                                uint8_t *to, uint64_t bytes, struct error *e)
{
    const struct curvature *c;
    const uint64_t row_bytes = t->weight.cols / t->type->block_len * t->type->block_bytes;
    if (!w->sweeper || w->swept != t->type || w->swept_cols != t->weight.cols) {
        sweep_free(w->sweeper);
        if (!(w->sweeper = sweep_new(t->type, (size_t)t->weight.cols, s->cpu, &s->feedback.o.sweep, e)))
            return -1;
        w->swept = t->type;
        w->swept_cols = t->weight.cols;
    }
    struct fold_slab folded = {.cols = NULL};
    if (s->fold && fold_get(s->fold, t, slab, &folded, e))
        return -1;
    int rc = feedback_get(&s->feedback, &t->weight, slab, &(struct column_change){folded.cols, folded.col_from}, &c, e);
    if (s->fold)
        fold_put(s->fold, &folded);
    if (rc)
        return rc;
    sweep_rows(w->sweeper, c, x, (size_t)(bytes / row_bytes), to, NULL);
    feedback_put(&s->feedback);
    return 0;
}

/* Encodes rows of one slab; with an importance row by row, as codecs want it. */
static int encode_rows(struct stream *s, struct worker *w, const struct plan_tensor *t, uint64_t slab, const float *x,
                       uint8_t *to, uint64_t bytes, struct error *e)
{
    if (feedback_applies(s->plan->options.calib, &t->weight, t->type)) {
        int rc = encode_with_feedback(s, w, t, slab, x, to, bytes, e);
        if (rc <= 0)
            return rc;
    }
    if (!t->importance) {
        encode_blocks(s, t, x, NULL, to, (size_t)(bytes / t->type->block_bytes));
        return 0;
    }
    size_t blocks = (size_t)(t->weight.cols / t->type->block_len), row = blocks * t->type->block_bytes;
    if (importance_read(s->plan, t, slab, w->importance, e) ||
        (s->fold && fold_importance(s->fold, t, slab, w->importance, e)))
        return -1;
    for (uint64_t at = 0; at < bytes; at += row, x += t->weight.cols)
        encode_blocks(s, t, x, w->importance, to + at, blocks);
    return 0;
}

/* With --via bf16: what a BF16 file of the model would hold in place of what was read. Norms and router stay F32 in it. */
static int read_via_bf16(const struct stream *s, const struct worker *w, const struct unit *u, float *amax, struct error *e)
{
    const struct quant_type *bf16 = quant_type_find("BF16");
    if (roles[u->source.role].flags & ROLE_ALWAYS_F32)
        return 0;
    if (*amax > bf16->max_abs) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "a weight of magnitude %g does not fit BF16", (double)*amax);
        return error_at_tensor(e, s->plan->tensors[u->tensor].out.name);
    }
    via_bf16(w->floats, (size_t)(u->source_rows * u->source.cols), s->cpu);
    via_bf16(amax, 1, s->cpu);
    return 0;
}

/* Encodes what was read; the outputs lie behind one another in w->encoded. */
static int encode(struct stream *s, struct worker *w, const struct unit *u, float amax, struct error *e)
{
    struct unit_output out[2];
    const float *x = w->floats;
    uint8_t *to = w->encoded;
    int n = unit_outputs(s->plan, u, out);
    if (s->plan->options.recipe.via_bf16 && read_via_bf16(s, w, u, &amax, e))
        return -1;
    for (int i = 0; i < n; i++) {
        const struct plan_tensor *t = &s->plan->tensors[out[i].tensor];
        if (n == 2 && i == 0) { /* a head of kv_b: the K half, turned, then the V half */
            weight_turn_k_half(w->floats, t->weight.cols, u->source.cols, 0, t->weight.rows, w->turned);
            x = w->turned;
        } else if (n == 2) {
            x = w->floats + s->plan->tensors[out[0].tensor].weight.cols * u->source.cols;
        }
        const float *y = x;
        float most = amax;
        if (s->fold && !(y = fold_rows(s->fold, t, u->slab, u->row0, n == 2 ? t->weight.rows : u->rows, x, w->folded, &most, e)))
            return -1;
        if (most > t->type->max_abs) {
            error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "a weight of magnitude %g does not fit %s", (double)most, t->type->name);
            return error_at_tensor(e, t->out.name);
        }
        if (encode_rows(s, w, t, u->slab, y, to, out[i].bytes, e))
            return -1;
        to += out[i].bytes;
    }
    return 0;
}

/* Moves a unit's encoded bytes to or from the output files. */
static int transfer(const struct stream *s, const struct worker *w, const struct unit *u,
                    int (*move)(struct outputs *, size_t, uint64_t, uint8_t *, size_t, struct error *), struct error *e)
{
    struct unit_output out[2];
    uint8_t *bytes = w->encoded;
    int n = unit_outputs(s->plan, u, out), rc = 0;
    for (int i = 0; !rc && i < n; i++) {
        rc = move(s->out, out[i].tensor, out[i].at, bytes, (size_t)out[i].bytes, e);
        bytes += out[i].bytes;
    }
    return rc;
}

static int write_bytes(struct outputs *o, size_t tensor, uint64_t at, uint8_t *bytes, size_t n, struct error *e)
{
    return outputs_write(o, tensor, at, bytes, n, e);
}

static int read_bytes(struct outputs *o, size_t tensor, uint64_t at, uint8_t *bytes, size_t n, struct error *e)
{
    return outputs_read(o, tensor, at, bytes, n, e);
}

static size_t source_index(const struct stream *s, const struct tensor *t)
{
    return (size_t)(t - s->plan->model->source->tensors);
}

static int check_expected(const struct stream *s, size_t source, struct error *e)
{
    const struct chain *c = &s->state->source.list[source];
    const struct tensor *t = &s->plan->model->source->tensors[source];
    char is[HASH_TEXT];
    if (!s->state->expected || !s->state->expected[source][0])
        return 0;
    hash_text(c->high, c->low, is);
    if (!strcmp(is, s->state->expected[source]))
        return 0;
    error_set(e, ERR_FORMAT, t->offset, "the tensor's bytes are not those of its hash, which the source's manifest or an earlier run recorded");
    error_at_file(e, s->plan->model->source->files[t->file].path);
    return error_at_tensor(e, t->name);
}

/* Records of hashes that this unit completed, added behind r[n]. Returns the new count, or -1. */
static int feed_hashes(const struct stream *s, const struct worker *w, const struct unit *u, const struct weight_seen *seen,
                       struct journal_record *r, int n, struct error *e)
{
    struct unit_output out[2];
    const uint8_t *bytes = w->encoded;
    int outputs = unit_outputs(s->plan, u, out), rc;
    for (int i = 0; i < outputs; i++) {
        const struct chain *c = &s->state->output.list[out[i].tensor];
        if ((rc = chain_feed(&s->state->output, out[i].tensor, out[i].at, bytes, out[i].bytes, e)) < 0)
            return -1;
        if (rc)
            r[n++] = (struct journal_record){JOURNAL_OUTPUT, out[i].tensor, c->high, c->low, 0};
        bytes += out[i].bytes;
    }
    for (int i = 0; i < seen->n; i++) {
        const struct weight_range *g = &seen->ranges[i];
        size_t source = source_index(s, g->tensor);
        const struct chain *c = &s->state->source.list[source];
        if ((rc = chain_feed(&s->state->source, source, g->at, g->bytes, g->n, e)) < 0 ||
            (rc && check_expected(s, source, e)))
            return -1;
        if (rc)
            r[n++] = (struct journal_record){JOURNAL_SOURCE, source, c->high, c->low, 0};
    }
    return n;
}

/* Whether any hash still lacks this unit's bytes. */
static int hashes_want(const struct stream *s, const struct unit *u, int *want_source)
{
    struct unit_output out[2];
    struct weight_range r[WEIGHT_RANGES];
    int want = 0;
    *want_source = 0;
    for (int i = 0, n = unit_outputs(s->plan, u, out); i < n; i++)
        want |= !s->state->output.list[out[i].tensor].done;
    for (int i = 0, n = ranges_of(s, u, r); i < n; i++)
        *want_source |= !s->state->source.list[source_index(s, r[i].tensor)].done;
    return want | *want_source;
}

/* A unit that is on the disk already: 1 when its bytes are there (now in w->encoded) and 0 when they are not what the
 * journal says. */
static int read_back(const struct stream *s, const struct worker *w, const struct unit *u, uint64_t bytes, struct error *e)
{
    if (transfer(s, w, u, read_bytes, e))
        return -1;
    return hash_64(w->encoded, (size_t)bytes, 0) == s->state->unit_hash[u->number];
}

static uint64_t output_bytes(const struct stream *s, const struct unit *u)
{
    struct unit_output out[2];
    int n = unit_outputs(s->plan, u, out);
    return out[0].bytes + (n == 2 ? out[1].bytes : 0);
}

/* *kept: the unit was on the disk already and is good. */
static int run_unit(struct stream *s, struct worker *w, const struct unit *u, int *kept, struct error *e)
{
    struct journal_record r[3 + WEIGHT_RANGES]; /* the unit, its outputs, what it read */
    struct weight_seen seen = {.n = 0};
    uint64_t bytes = output_bytes(s, u);
    int want_source, n = 0, want = hashes_want(s, u, &want_source);
    *kept = s->state->done[u->number];
    if (*kept && !want)
        return 0;
    if (*kept && (*kept = read_back(s, w, u, bytes, e)) < 0)
        return -1;
    if ((!*kept || want_source) && read_source(s, w, u, &seen, e))
        return -1;
    if (!*kept) {
        if (encode(s, w, u, seen.amax, e) || transfer(s, w, u, write_bytes, e))
            return -1;
        r[n++] = (struct journal_record){JOURNAL_UNIT, u->number, bytes, hash_64(w->encoded, (size_t)bytes, 0), 0};
    }
    if ((n = feed_hashes(s, w, u, &seen, r, n, e)) < 0)
        return -1;
    return n ? keeper_add(s->keeper, r, (size_t)n, e) : 0;
}

static void fail(struct stream *s, const struct error *e)
{
    pthread_mutex_lock(&s->lock);
    if (!s->failed) {
        s->failed = 1;
        s->error = *e;
    }
    pthread_mutex_unlock(&s->lock);
    chains_stop(&s->state->output);
    chains_stop(&s->state->source);
}

static int stopped(const struct stream *s, struct error *e)
{
    if (!s->hooks->stop || !s->hooks->stop(s->hooks->context))
        return 0;
    return error_set(e, ERR_INTERRUPTED, ERROR_NO_OFFSET, "interrupted");
}

static void count(struct stream *s, const struct unit *u, int kept)
{
    pthread_mutex_lock(&s->lock);
    s->done += output_bytes(s, u);
    s->state->units_reused += (uint64_t)kept;
    s->state->units_redone += s->state->done[u->number] && !kept;
    if (s->hooks->progress)
        s->hooks->progress(s->hooks->context, s->done, s->plan->part_bytes);
    pthread_mutex_unlock(&s->lock);
}

static void worker_clear(struct worker *w)
{
    free(w->floats);
    free(w->turned);
    free(w->folded);
    free(w->importance);
    free(w->encoded);
    free(w->scratch);
    sweep_free(w->sweeper);
}

static int worker_init(struct worker *w, struct stream *s)
{
    const struct unit_room *room = &s->room;
    *w = (struct worker){.stream = s};
    w->floats = malloc(room->floats * sizeof *w->floats + 64);
    w->turned = malloc(room->turned * sizeof *w->turned + 64);
    w->folded = malloc(room->folded * sizeof *w->folded + 64);
    w->importance = malloc(room->importance * sizeof *w->importance + 64);
    w->encoded = malloc(room->encoded + 64);
    w->scratch = malloc(room->scratch + 64);
    if (w->floats && w->turned && w->folded && w->importance && w->encoded && w->scratch)
        return 0;
    worker_clear(w);
    return -1;
}

static void *work(void *worker)
{
    struct worker *w = worker;
    struct stream *s = w->stream;
    struct error e = {0};
    struct unit u;
    struct span ahead;
    int kept;
    while (take_unit(s, &u, &ahead)) {
        read_ahead(s, &ahead);
        if (stopped(s, &e) || run_unit(s, w, &u, &kept, &e)) {
            fail(s, &e);
            break;
        }
        count(s, &u, kept);
    }
    return NULL;
}

/* This thread is the first worker. When the system gives less than was wished for, those that it gives work. */
static int run_workers(struct stream *s, struct error *e)
{
    struct worker *workers = calloc((size_t)s->plan->threads, sizeof *workers);
    int n = 0;
    while (workers && n < s->plan->threads && !worker_init(&workers[n], s)) {
        if (n && thread_start(&workers[n].thread, work, &workers[n])) {
            worker_clear(&workers[n]);
            break;
        }
        n++;
    }
    if (!n)
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for a worker's buffers");
    else
        work(&workers[0]);
    for (int i = 1; i < n; i++)
        pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < n; i++)
        worker_clear(&workers[i]);
    free(workers);
    return n ? 0 : -1;
}

int stream_run(const struct plan *p, uint64_t from, uint64_t to, struct outputs *out, struct keeper *keeper, struct stream_state *state,
               const struct stream_hooks *hooks, struct error *e)
{
    struct stream s = {.plan = p, .out = out, .keeper = keeper, .state = state, .hooks = hooks, .room = unit_room(p),
                       .cpu = cpu_features(), .from = from, .next = from, .to = to, .ahead = from, .done = state->bytes};
    if (p->options.calib && !(s.order = order_by_expert(p, from, to)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the order of units");
    pthread_mutex_init(&s.lock, NULL);
    if (p->options.calib)
        feedback_init(&s.feedback, p->options.calib, &p->options.feedback, p->threads);
    int rc = p->options.fold && !(s.fold = fold_new(p, e)) ? -1 : run_workers(&s, e);
    fold_free(s.fold);
    free(s.order);
    pthread_mutex_destroy(&s.lock);
    feedback_clear(&s.feedback);
    state->bytes = s.done;
    if (s.failed && e)
        *e = s.error;
    return s.failed ? -1 : rc;
}
