/* SPDX-License-Identifier: MIT
 * Stream: units over threads. */
#include "convert/stream.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "convert/encode.h"
#include "convert/order.h"

/* Source bytes that are asked of the disk ahead of the workers. */
enum { READ_AHEAD = 32 << 20 };

struct stream {
    const struct plan *plan;
    struct outputs *out;
    struct keeper *keeper;
    struct stream_state *state;
    const struct stream_hooks *hooks;
    struct unit_room room;
    uint32_t *order;   /* of units; NULL: by number */
    struct encoder encoder;

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
    struct encode_buffers b;
};

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
        uint64_t bytes = source_bytes(r, unit_ranges(s->plan, u, r));
        s->ahead_bytes -= s->ahead_bytes < bytes ? s->ahead_bytes : bytes;
        s->ahead = s->ahead < s->next ? s->next : s->ahead;
        ahead->from = s->ahead;
        while (s->ahead < s->to && s->ahead_bytes < READ_AHEAD && s->ahead - ahead->from < 4) {
            struct unit v = unit_in_order(s, s->ahead++);
            s->ahead_bytes += source_bytes(r, unit_ranges(s->plan, &v, r));
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
        for (int i = 0, n = unit_ranges(s->plan, &u, r); i < n && !s->state->done[u.number]; i++)
            io_will_need(&s->plan->model->source->files[r[i].tensor->file], r[i].tensor->offset + r[i].at, r[i].n);
    }
}

/* Moves a unit's encoded bytes to or from the output files. */
static int transfer(const struct stream *s, const struct worker *w, const struct unit *u,
                    int (*move)(struct outputs *, size_t, uint64_t, uint8_t *, size_t, struct error *), struct error *e)
{
    struct unit_output out[UNIT_OUTPUTS];
    uint8_t *bytes = w->b.encoded;
    int n = unit_outputs(s->plan, u, out), rc = 0;
    for (int i = 0; !rc && i < n; i++) {
        rc = out[i].bytes ? move(s->out, out[i].tensor, out[i].at, bytes, (size_t)out[i].bytes, e) : 0;
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

/* Records of the hashes that a unit completes. */
struct records {
    struct journal_record list[1 + UNIT_OUTPUTS + WEIGHT_RANGES];
    size_t n;
};

static void add_record(struct records *r, const struct journal_record *record)
{
    r->list[r->n++] = *record;
}

/* The source's bytes that were read for a slice. Of all slices of a unit only one completes a tensor's hash. */
static int feed_source(const struct stream *s, const struct weight_seen *seen, struct records *r, struct error *e)
{
    for (int i = 0; i < seen->n; i++) {
        const struct weight_range *g = &seen->ranges[i];
        size_t source = source_index(s, g->tensor);
        const struct chain *c = &s->state->source.list[source];
        int rc = chain_feed(&s->state->source, source, g->at, g->bytes, g->n, e);
        if (rc < 0 || (rc && check_expected(s, source, e)))
            return -1;
        if (rc)
            add_record(r, &(struct journal_record){JOURNAL_SOURCE, source, c->high, c->low, 0});
    }
    return 0;
}

static int feed_output(const struct stream *s, const struct worker *w, const struct unit *u, struct records *r, struct error *e)
{
    struct unit_output out[UNIT_OUTPUTS];
    const uint8_t *bytes = w->b.encoded;
    for (int i = 0, n = unit_outputs(s->plan, u, out); i < n; bytes += out[i++].bytes) {
        const struct chain *c = &s->state->output.list[out[i].tensor];
        int rc = out[i].bytes ? chain_feed(&s->state->output, out[i].tensor, out[i].at, bytes, out[i].bytes, e) : 0;
        if (rc < 0)
            return -1;
        if (rc)
            add_record(r, &(struct journal_record){JOURNAL_OUTPUT, out[i].tensor, c->high, c->low, c->crc});
    }
    return 0;
}

/* Whether any hash still lacks this unit's bytes. */
static int hashes_want(const struct stream *s, const struct unit *u, int *want_source)
{
    struct unit_output out[UNIT_OUTPUTS];
    struct weight_range r[WEIGHT_RANGES];
    int want = 0;
    *want_source = 0;
    for (int i = 0, n = unit_outputs(s->plan, u, out); i < n; i++)
        want |= out[i].bytes && !s->state->output.list[out[i].tensor].done;
    for (int i = 0, n = unit_ranges(s->plan, u, r); i < n; i++)
        *want_source |= !s->state->source.list[source_index(s, r[i].tensor)].done;
    return want | *want_source;
}

/* A unit that is on the disk already: 1 when its bytes are there (now in w->b.encoded) and 0 when they are not what the
 * journal says. */
static int read_back(const struct stream *s, const struct worker *w, const struct unit *u, uint64_t bytes, struct error *e)
{
    if (transfer(s, w, u, read_bytes, e))
        return -1;
    return hash_64(w->b.encoded, (size_t)bytes, 0) == s->state->unit_hash[u->number];
}

static uint64_t output_bytes(const struct stream *s, const struct unit *u)
{
    struct unit_output out[UNIT_OUTPUTS];
    return unit_bytes(out, unit_outputs(s->plan, u, out));
}

/* Reads a unit of a tensor that is copied. */
static int copy_unit(const struct stream *s, const struct worker *w, const struct unit *u, struct records *r, struct error *e)
{
    struct weight_seen seen = {.n = unit_ranges(s->plan, u, seen.ranges)};
    struct weight_range *g = &seen.ranges[0];
    g->bytes = w->b.encoded;
    return source_read(s->plan->model->source, g->tensor, g->at, w->b.encoded, (size_t)g->n, e) || feed_source(s, &seen, r, e) ? -1 : 0;
}

/* Reads a unit slice by slice, for its hashes and, with `encode`, into its outputs' bytes. */
static int run_slices(struct stream *s, struct worker *w, const struct unit *u, int encode, struct records *r, struct error *e)
{
    if (s->plan->tensors[u->tensor].verbatim)
        return copy_unit(s, w, u, r, e);
    if (encode && encode_begin(&s->encoder, &w->b, u, e))
        return -1;
    for (uint64_t at = 0; at < u->rows;) {
        const struct unit slice = unit_slice(s->plan, u, at);
        struct weight_seen seen = {.n = 0};
        if (weight_read(s->plan->model, &slice.source, slice.source_slab, slice.source_row0, slice.source_rows, w->b.floats, w->b.scratch,
                        &seen, e) ||
            (encode && encode_slice(&s->encoder, &w->b, u, &slice, &seen, e)) || feed_source(s, &seen, r, e))
            return -1;
        at += slice.rows;
    }
    return 0;
}

/* *kept: the unit was on the disk already and is good. */
static int run_unit(struct stream *s, struct worker *w, const struct unit *u, int *kept, struct error *e)
{
    struct records r = {.n = 0};
    uint64_t bytes = output_bytes(s, u);
    int want_source, want = hashes_want(s, u, &want_source);
    *kept = s->state->done[u->number];
    if (*kept && !want)
        return 0;
    if (*kept && (*kept = read_back(s, w, u, bytes, e)) < 0)
        return -1;
    if ((!*kept || want_source) && run_slices(s, w, u, !*kept, &r, e))
        return -1;
    if (!*kept) {
        if (transfer(s, w, u, write_bytes, e))
            return -1;
        add_record(&r, &(struct journal_record){JOURNAL_UNIT, u->number, bytes, hash_64(w->b.encoded, (size_t)bytes, 0), 0});
    }
    if (feed_output(s, w, u, &r, e))
        return -1;
    return r.n ? keeper_add(s->keeper, r.list, r.n, e) : 0;
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
    while (workers && n < s->plan->threads && !encode_buffers_init(&workers[n].b, &s->room)) {
        workers[n].stream = s;
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
    for (int i = 0; workers && i < s->plan->threads; i++) {
        const struct scale_cost *cost = &workers[i].b.cost;
        s->state->cost.size += cost->size;
        s->state->cost.error += cost->error;
        s->state->cost.error_f32 += cost->error_f32;
        s->state->blocks_carried += workers[i].b.carried;
        s->state->blocks_not_carried += workers[i].b.not_carried;
        encode_buffers_clear(&workers[i].b);
    }
    free(workers);
    return n ? 0 : -1;
}

int stream_run(const struct plan *p, uint64_t from, uint64_t to, struct outputs *out, struct keeper *keeper, struct stream_state *state,
               const struct stream_hooks *hooks, struct error *e)
{
    struct stream s = {.plan = p, .out = out, .keeper = keeper, .state = state, .hooks = hooks, .room = unit_room(p),
                       .from = from, .next = from, .to = to, .ahead = from, .done = state->bytes};
    if (p->options.calib && !(s.order = order_by_expert(p, from, to)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the order of units");
    pthread_mutex_init(&s.lock, NULL);
    int rc = encoder_init(&s.encoder, p, e) ? -1 : run_workers(&s, e);
    encoder_clear(&s.encoder);
    free(s.order);
    pthread_mutex_destroy(&s.lock);
    state->bytes = s.done;
    if (s.failed && e)
        *e = s.error;
    return s.failed ? -1 : rc;
}
