/* SPDX-License-Identifier: MIT
 * Stream: units over threads. Order matters for one thing only, the running hash of each output tensor: a worker that has
 * encoded its unit waits for its turn to hash it. Units are handed out in order, so the wait is short and the earliest unit
 * never waits. */
#include "convert/stream.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/cpu.h"

struct unit {
    size_t tensor;
    uint64_t slab, row0, rows;
    uint64_t index; /* within its tensor */
};

struct stream {
    const struct plan *plan;
    const struct io_out *out;
    const struct stream_hooks *hooks;
    char (*hashes)[HASH_TEXT];
    unsigned cpu;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t turn;  /* a unit was hashed, or the run failed */
    struct unit next;
    struct hash **running; /* per tensor; NULL before its first unit and after its last */
    uint64_t *hashed;      /* per tensor: units hashed */
    uint64_t done;         /* output bytes */
    int failed;
    struct error error;
};

struct worker { /* buffers of one thread */
    float *floats;
    void *encoded, *scratch;
};

/* 1 and a unit, or 0 when none is left or the run failed. */
static int take_unit(struct stream *s, struct unit *u)
{
    pthread_mutex_lock(&s->lock);
    int more = !s->failed && s->next.tensor < s->plan->n_tensors;
    if (more) {
        const struct plan_tensor *t = &s->plan->tensors[s->next.tensor];
        *u = s->next;
        u->rows = t->weight.rows - u->row0 < t->unit_rows ? t->weight.rows - u->row0 : t->unit_rows;
        s->next.index++;
        s->next.row0 += u->rows;
        if (s->next.row0 == t->weight.rows) {
            s->next.row0 = 0;
            if (++s->next.slab == t->weight.slabs)
                s->next = (struct unit){.tensor = u->tensor + 1};
        }
    }
    pthread_mutex_unlock(&s->lock);
    return more;
}

static int is_last(const struct plan_tensor *t, const struct unit *u)
{
    return u->slab + 1 == t->weight.slabs && u->row0 + u->rows == t->weight.rows;
}

static uint64_t row_bytes(const struct plan_tensor *t)
{
    return t->weight.cols / t->type->block_len * t->type->block_bytes;
}

/* Waits for the unit's turn. 0, or -1 when the run failed meanwhile. Holds the lock on return. */
static int await_turn(struct stream *s, const struct unit *u)
{
    pthread_mutex_lock(&s->lock);
    while (!s->failed && s->hashed[u->tensor] != u->index)
        pthread_cond_wait(&s->turn, &s->lock);
    return s->failed ? -1 : 0;
}

static int hash_unit(struct stream *s, const struct unit *u, const void *bytes, uint64_t n, struct error *e)
{
    const struct plan_tensor *t = &s->plan->tensors[u->tensor];
    int rc = await_turn(s, u);
    if (!rc && u->index == 0 && !(s->running[u->tensor] = hash_new()))
        rc = error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    pthread_mutex_unlock(&s->lock);
    if (rc)
        return rc;
    /* nobody else may touch this tensor's hash until `hashed` moves on */
    hash_add(s->running[u->tensor], bytes, (size_t)n);
    pthread_mutex_lock(&s->lock);
    if (is_last(t, u)) {
        hash_finish(s->running[u->tensor], s->hashes[u->tensor]);
        s->running[u->tensor] = NULL;
    }
    s->hashed[u->tensor]++;
    s->done += n;
    if (s->hooks->progress)
        s->hooks->progress(s->hooks->context, s->done, s->plan->total - s->plan->header.size);
    pthread_cond_broadcast(&s->turn);
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static int run_unit(struct stream *s, const struct worker *w, const struct unit *u, struct error *e)
{
    const struct plan *p = s->plan;
    const struct plan_tensor *t = &p->tensors[u->tensor];
    uint64_t bytes = u->rows * row_bytes(t);
    uint64_t at = t->out.offset + (u->slab * t->weight.rows + u->row0) * row_bytes(t);
    float amax;
    if (weight_read(p->model, &t->weight, u->slab, u->row0, u->rows, w->floats, w->scratch, &amax, e))
        return -1;
    if (amax > t->type->max_abs) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "a weight of magnitude %g does not fit %s", (double)amax, t->type->name);
        return error_at_tensor(e, t->out.name);
    }
    struct quant_kernels k = quant_kernels_for(t->type, s->cpu);
    k.encode(w->floats, w->encoded, (size_t)(u->rows * t->weight.cols / t->type->block_len));
    if (io_out_write(s->out, at, w->encoded, (size_t)bytes, e))
        return -1;
    return hash_unit(s, u, w->encoded, bytes, e);
}

static void fail(struct stream *s, const struct error *e)
{
    pthread_mutex_lock(&s->lock);
    if (!s->failed) {
        s->failed = 1;
        s->error = *e;
    }
    pthread_cond_broadcast(&s->turn);
    pthread_mutex_unlock(&s->lock);
}

static int stopped(const struct stream *s, struct error *e)
{
    if (!s->hooks->stop || !s->hooks->stop(s->hooks->context))
        return 0;
    return error_set(e, ERR_INTERRUPTED, ERROR_NO_OFFSET, "interrupted");
}

/* The largest of each buffer over all tensors. */
static int worker_init(struct worker *w, const struct plan *p)
{
    size_t floats = 0, encoded = 0, scratch = 0;
    for (size_t i = 0; i < p->n_tensors; i++) {
        const struct plan_tensor *t = &p->tensors[i];
        size_t f = (size_t)(t->unit_rows * t->weight.cols), b = (size_t)(t->unit_rows * row_bytes(t));
        size_t x = weight_scratch(p->model, &t->weight, t->unit_rows);
        floats = f > floats ? f : floats;
        encoded = b > encoded ? b : encoded;
        scratch = x > scratch ? x : scratch;
    }
    w->floats = malloc(floats * sizeof *w->floats + 64);
    w->encoded = malloc(encoded + 64);
    w->scratch = malloc(scratch + 64);
    return w->floats && w->encoded && w->scratch ? 0 : -1;
}

static void worker_clear(struct worker *w)
{
    free(w->floats);
    free(w->encoded);
    free(w->scratch);
}

static void work(struct stream *s)
{
    struct worker w = {0};
    struct error e = {0};
    struct unit u;
    if (worker_init(&w, s->plan)) {
        error_set(&e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for a worker's buffers");
        fail(s, &e);
    }
    while (take_unit(s, &u))
        if (stopped(s, &e) || run_unit(s, &w, &u, &e)) {
            fail(s, &e);
            break;
        }
    worker_clear(&w);
}

int stream_run(const struct plan *p, const struct io_out *out, const struct stream_hooks *hooks,
               char (*hashes)[HASH_TEXT], struct error *e)
{
    struct stream s = {.plan = p, .out = out, .hooks = hooks, .hashes = hashes, .cpu = cpu_features()};
    pthread_mutex_init(&s.lock, NULL);
    pthread_cond_init(&s.turn, NULL);
    s.running = calloc(p->n_tensors + 1, sizeof *s.running);
    s.hashed = calloc(p->n_tensors + 1, sizeof *s.hashed);
    if (!s.running || !s.hashed) {
        s.failed = error_set(&s.error, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    } else if (io_out_write(out, 0, p->header.data, p->header.size, &s.error)) {
        s.failed = 1;
    } else {
#pragma omp parallel num_threads(p->threads)
        work(&s);
    }
    for (size_t i = 0; s.running && i < p->n_tensors; i++)
        hash_free(s.running[i]);
    free(s.running);
    free(s.hashed);
    pthread_mutex_destroy(&s.lock);
    pthread_cond_destroy(&s.turn);
    if (s.failed && e)
        *e = s.error;
    return s.failed ? -1 : 0;
}
