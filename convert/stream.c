/* SPDX-License-Identifier: MIT
 * Stream: units over threads. */
#include "convert/stream.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "convert/order.h"

/* Source bytes that are asked of the disk ahead of the workers. */
enum { READ_AHEAD = 32 << 20 };

struct stream {
    const struct rung *rungs;
    size_t n_rungs;
    const struct stream_hooks *hooks;
    uint32_t *order;   /* of units; NULL: by number */
    struct encoder encoders[STREAM_RUNGS];
    struct unit_room rooms[STREAM_RUNGS];

    pthread_mutex_t lock; /* guards all below */
    uint64_t from, next, to; /* places in the order of units: first, next, the end */
    uint64_t ahead;       /* place up to which the disk has been told */
    uint64_t ahead_bytes; /* of the units next .. ahead */
    uint64_t done;        /* output bytes, of all rungs */
    uint64_t total;
    int failed;
    struct error error;
};

struct worker { /* one thread and its buffers */
    struct stream *stream;
    pthread_t thread;
    struct rung_buffers b[STREAM_RUNGS]; /* the source is read into the first ones */
};

/* The first rung's: all have the same units of the same source. */
static const struct plan *plan_of(const struct stream *s)
{
    return s->rungs[0].plan;
}

static uint64_t source_bytes(const struct weight_range *r, int n)
{
    uint64_t bytes = 0;
    for (int i = 0; i < n; i++)
        bytes += r[i].n;
    return bytes;
}

/* Places in the order of units, to excluded. */
struct span {
    uint64_t from, to;
};

static struct unit unit_in_order(const struct stream *s, uint64_t place)
{
    return unit_at(plan_of(s), s->order ? s->order[place - s->from] : place);
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
        uint64_t bytes = source_bytes(r, unit_ranges(plan_of(s), u, r));
        s->ahead_bytes -= s->ahead_bytes < bytes ? s->ahead_bytes : bytes;
        s->ahead = s->ahead < s->next ? s->next : s->ahead;
        ahead->from = s->ahead;
        while (s->ahead < s->to && s->ahead_bytes < READ_AHEAD && s->ahead - ahead->from < 4) {
            struct unit v = unit_in_order(s, s->ahead++);
            s->ahead_bytes += source_bytes(r, unit_ranges(plan_of(s), &v, r));
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
        for (int i = 0, n = unit_ranges(plan_of(s), &u, r); i < n && !s->rungs[0].state->done[u.number]; i++)
            source_will_need(plan_of(s)->model->source, r[i].tensor, r[i].at, r[i].n);
    }
}

/* Reads a unit of a tensor that is copied. */
static int copy_unit(struct stream *s, struct worker *w, const struct unit *u, struct passage *passages, struct error *e)
{
    struct weight_seen seen = {.n = unit_ranges(plan_of(s), u, seen.ranges)};
    struct weight_range *g = &seen.ranges[0];
    uint8_t *bytes = w->b[0].b.encoded;
    g->bytes = bytes;
    if (source_read(plan_of(s)->model->source, g->tensor, g->at, bytes, (size_t)g->n, e))
        return -1;
    for (size_t i = 0; i < s->n_rungs; i++) {
        if (i && passages[i].encode)
            memcpy(w->b[i].b.encoded, bytes, (size_t)g->n);
        if (rung_source(&s->rungs[i], &seen, &passages[i], e))
            return -1;
    }
    return 0;
}

/* The rungs whose types want the same curvature of a unit. */
static int encode_together(struct stream *s, struct worker *w, const struct unit *u, const struct unit *slice, const struct weight_seen *seen,
                           const struct passage *passages, int order, struct error *e)
{
    int rc = 0, held = 0;
    for (size_t i = 0; !rc && i < s->n_rungs; i++) {
        if (!passages[i].encode || encode_order(&s->encoders[i], u) != order)
            continue;
        if (order >= 0 && !held && s->n_rungs > 1)
            held = (rc = encode_hold(&s->encoders[i], u, e)) == 0;
        rc = rc < 0 ? -1 : encode_slice(&s->encoders[i], &w->b[i].b, u, slice, seen, e);
    }
    if (held)
        encode_release(&s->encoders[0]);
    return rc;
}

/* Hands a slice that was read into the first rung's buffers to all. */
static int use_slice(struct stream *s, struct worker *w, const struct unit *u, const struct unit *slice, const struct weight_seen *seen,
                     struct passage *passages, struct error *e)
{
    /* encoding may change the weights where they are: all get theirs before the first does it */
    for (size_t i = 1; i < s->n_rungs; i++)
        if (passages[i].encode)
            memcpy(w->b[i].b.floats, w->b[0].b.floats, (size_t)(slice->source_rows * slice->source.cols) * sizeof(float));
    for (int order = -1; order < ORDER_COUNT; order++)
        if (encode_together(s, w, u, slice, seen, passages, order, e))
            return -1;
    for (size_t i = 0; i < s->n_rungs; i++)
        if (rung_source(&s->rungs[i], seen, &passages[i], e))
            return -1;
    return 0;
}

/* Reads a unit slice by slice, for hashes, and into the outputs of the rungs that want it encoded. */
static int run_slices(struct stream *s, struct worker *w, const struct unit *u, struct passage *passages, struct error *e)
{
    const struct plan *p = plan_of(s);
    struct encode_buffers *b = &w->b[0].b;
    if (p->tensors[u->tensor].verbatim)
        return copy_unit(s, w, u, passages, e);
    for (size_t i = 0; i < s->n_rungs; i++)
        if (passages[i].encode && encode_begin(&s->encoders[i], &w->b[i].b, u, e))
            return -1;
    for (uint64_t at = 0; at < u->rows;) {
        const struct unit slice = unit_slice(p, u, at);
        struct weight_seen seen = {.n = 0};
        if (weight_read(p->model, &slice.source, slice.source_slab, slice.source_row0, slice.source_rows, b->floats, b->scratch, &seen, e) ||
            use_slice(s, w, u, &slice, &seen, passages, e))
            return -1;
        at += slice.rows;
    }
    return 0;
}

static int run_unit(struct stream *s, struct worker *w, const struct unit *u, struct passage *passages, struct error *e)
{
    int wanted = 0;
    for (size_t i = 0; i < s->n_rungs; i++) {
        if (rung_begin(&s->rungs[i], &w->b[i], u, &passages[i], e))
            return -1;
        wanted |= passages[i].encode || passages[i].source;
    }
    if (wanted && run_slices(s, w, u, passages, e))
        return -1;
    for (size_t i = 0; i < s->n_rungs; i++)
        if (rung_end(&s->rungs[i], &w->b[i], u, &passages[i], e))
            return -1;
    return 0;
}

static void fail(struct stream *s, const struct error *e)
{
    pthread_mutex_lock(&s->lock);
    if (!s->failed) {
        s->failed = 1;
        s->error = *e;
    }
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < s->n_rungs; i++)
        rung_stop(&s->rungs[i]);
}

static int stopped(const struct stream *s, struct error *e)
{
    if (!s->hooks->stop || !s->hooks->stop(s->hooks->context))
        return 0;
    return error_set(e, ERR_INTERRUPTED, ERROR_NO_OFFSET, "interrupted");
}

static void count(struct stream *s, const struct unit *u, const struct passage *passages)
{
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->n_rungs; i++) {
        struct stream_state *state = s->rungs[i].state;
        s->done += passages[i].bytes;
        state->bytes += passages[i].bytes;
        state->units_reused += (uint64_t)passages[i].kept;
        state->units_redone += state->done[u->number] && !passages[i].kept;
    }
    if (s->hooks->progress)
        s->hooks->progress(s->hooks->context, s->done, s->total);
    pthread_mutex_unlock(&s->lock);
}

static void *work(void *worker)
{
    struct worker *w = worker;
    struct stream *s = w->stream;
    struct error e = {0};
    struct unit u;
    struct span ahead;
    struct passage passages[STREAM_RUNGS];
    while (take_unit(s, &u, &ahead)) {
        read_ahead(s, &ahead);
        if (stopped(s, &e) || run_unit(s, w, &u, passages, &e)) {
            fail(s, &e);
            break;
        }
        count(s, &u, passages);
    }
    return NULL;
}

/* 0, or -1 without memory. */
static int worker_init(struct worker *w, struct stream *s)
{
    w->stream = s;
    for (size_t i = 0; i < s->n_rungs; i++)
        if (rung_buffers_init(&w->b[i], s->rungs[i].plan, &s->rooms[i]))
            return -1;
    return 0;
}

/* Adds up what a worker counted. */
static void worker_clear(struct worker *w, struct stream *s)
{
    for (size_t i = 0; i < s->n_rungs; i++) {
        struct stream_state *state = s->rungs[i].state;
        const struct encode_buffers *b = &w->b[i].b;
        state->cost.size += b->cost.size;
        state->cost.error += b->cost.error;
        state->cost.error_f32 += b->cost.error_f32;
        state->blocks_carried += b->carried;
        state->blocks_not_carried += b->not_carried;
        rung_buffers_clear(&w->b[i]);
    }
}

/* This thread is the first worker. When the system gives less than was wished for, those that it gives work. */
static int run_workers(struct stream *s, int threads, struct error *e)
{
    struct worker *workers = calloc((size_t)threads, sizeof *workers);
    int n = 0;
    while (workers && n < threads && !worker_init(&workers[n], s)) {
        if (n && thread_start(&workers[n].thread, work, &workers[n]))
            break;
        n++;
    }
    if (!n)
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for a worker's buffers");
    else
        work(&workers[0]);
    for (int i = 1; i < n; i++)
        pthread_join(workers[i].thread, NULL);
    for (int i = 0; workers && i < threads; i++)
        worker_clear(&workers[i], s);
    free(workers);
    return n ? 0 : -1;
}

/* Encoders of all rungs; curvatures are made once for all. */
static int init_encoders(struct stream *s, struct error *e)
{
    int rc = 0;
    for (size_t i = 0; i < s->n_rungs; i++)
        rc |= encoder_init(&s->encoders[i], s->rungs[i].plan, i ? s->encoders[0].feedback : NULL, rc ? NULL : e);
    return rc ? -1 : 0;
}

static int differ(size_t tensor, const struct plan *p, const char *what, struct error *e)
{
    error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "these outputs cannot be made in one pass: their plans differ in %s", what);
    return tensor < p->n_tensors ? error_at_tensor(e, p->tensors[tensor].out.name) : -1;
}

int stream_same_units(const struct plan *a, const struct plan *b, struct error *e)
{
    if (a->n_tensors != b->n_tensors || a->n_units != b->n_units || a->unit_from != b->unit_from || a->unit_to != b->unit_to)
        return differ(SIZE_MAX, a, "the number of tensors or units", e);
    for (size_t i = 0; i < a->n_tensors; i++) {
        const struct plan_tensor *t = &a->tensors[i], *v = &b->tensors[i];
        if (t->weight.role != v->weight.role || t->weight.layer != v->weight.layer || t->slab0 != v->slab0 || t->verbatim != v->verbatim ||
            t->units != v->units || t->first_unit != v->first_unit || t->unit_rows != v->unit_rows || t->slice_rows != v->slice_rows)
            return differ(i, a, "the units of a tensor", e);
    }
    return 0;
}

int stream_run(const struct rung *rungs, size_t n, uint64_t from, uint64_t to, const struct stream_hooks *hooks, struct error *e)
{
    struct stream s = {.rungs = rungs, .n_rungs = n, .hooks = hooks, .from = from, .next = from, .to = to, .ahead = from};
    const struct plan *p = rungs[0].plan;
    int threads = p->threads, ordered = p->options.calib != NULL;
    for (size_t i = 0; i < n; i++) {
        s.done += rungs[i].state->bytes;
        s.total += rungs[i].plan->part_bytes;
        s.rooms[i] = unit_room(rungs[i].plan);
        threads = rungs[i].plan->threads < threads ? rungs[i].plan->threads : threads;
        ordered &= !rungs[i].plan->options.compress; /* places are given in the order of units */
    }
    if (ordered && !(s.order = order_by_expert(p, from, to)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the order of units");
    pthread_mutex_init(&s.lock, NULL);
    int rc = init_encoders(&s, e) ? -1 : run_workers(&s, threads, e);
    for (size_t i = n; i-- > 0;)
        encoder_clear(&s.encoders[i]);
    free(s.order);
    pthread_mutex_destroy(&s.lock);
    if (s.failed && e)
        *e = s.error;
    return s.failed ? -1 : rc;
}
