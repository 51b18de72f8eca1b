/* SPDX-License-Identifier: MIT
 * Fold: which vector acts on which side of a tensor, the vectors in memory, and their application. */
#include "convert/fold.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "convert/fold_choice.h"
#include "convert/via.h"

static const struct {
    const char *name;
    unsigned flag;
} words[] = {{"up-down", FOLD_UP_DOWN}, {"permute", FOLD_PERMUTE}, {"v-o", FOLD_V_O}, {"norms", FOLD_NORMS}};
enum { N_WORDS = sizeof words / sizeof *words };

/* What a kind's vector needs: scales for one flag, an order for another. */
static const struct {
    unsigned scale, order;
} needs[FOLD_KIND_COUNT] = {
    [FOLD_KIND_DENSE] = {FOLD_UP_DOWN, FOLD_PERMUTE}, [FOLD_KIND_SHARED] = {FOLD_UP_DOWN, FOLD_PERMUTE},
    [FOLD_KIND_EXPERT] = {FOLD_UP_DOWN, FOLD_PERMUTE}, [FOLD_KIND_VALUE] = {FOLD_V_O, 0},
    [FOLD_KIND_ATTN_NORM] = {FOLD_NORMS, 0}, [FOLD_KIND_Q_A_NORM] = {FOLD_NORMS, 0},
    [FOLD_KIND_KV_A_NORM] = {FOLD_NORMS, 0}, [FOLD_KIND_FFN_NORM] = {FOLD_NORMS, 0},
};

/* How a vector acts on rows or columns. */
enum action { NOTHING, TIMES, OVER, ORDER_ONLY };
struct side {
    enum fold_kind kind;
    enum action action;
};
static const struct {
    struct side rows, cols;
} sides[ROLE_COUNT] = {
    [ROLE_ATTN_NORM] = {.cols = {FOLD_KIND_ATTN_NORM, OVER}},
    [ROLE_ATTN_Q] = {.cols = {FOLD_KIND_ATTN_NORM, TIMES}},
    [ROLE_ATTN_Q_A] = {.cols = {FOLD_KIND_ATTN_NORM, TIMES}},
    [ROLE_ATTN_KV_A_MQA] = {.cols = {FOLD_KIND_ATTN_NORM, TIMES}},
    [ROLE_INDEXER_K] = {.cols = {FOLD_KIND_ATTN_NORM, TIMES}},
    [ROLE_INDEXER_PROJ] = {.cols = {FOLD_KIND_ATTN_NORM, TIMES}},
    [ROLE_ATTN_Q_A_NORM] = {.cols = {FOLD_KIND_Q_A_NORM, OVER}},
    [ROLE_ATTN_Q_B] = {.cols = {FOLD_KIND_Q_A_NORM, TIMES}},
    [ROLE_INDEXER_Q_B] = {.cols = {FOLD_KIND_Q_A_NORM, TIMES}},
    [ROLE_ATTN_KV_A_NORM] = {.cols = {FOLD_KIND_KV_A_NORM, OVER}},
    [ROLE_ATTN_K_B] = {.rows = {FOLD_KIND_KV_A_NORM, TIMES}}, /* stored transposed */
    [ROLE_ATTN_V_B] = {.rows = {FOLD_KIND_VALUE, OVER}, .cols = {FOLD_KIND_KV_A_NORM, TIMES}},
    [ROLE_ATTN_OUTPUT] = {.cols = {FOLD_KIND_VALUE, TIMES}},
    [ROLE_FFN_NORM] = {.cols = {FOLD_KIND_FFN_NORM, OVER}},
    [ROLE_FFN_GATE_INP] = {.cols = {FOLD_KIND_FFN_NORM, TIMES}},
    [ROLE_FFN_GATE] = {{FOLD_KIND_DENSE, ORDER_ONLY}, {FOLD_KIND_FFN_NORM, TIMES}},
    [ROLE_FFN_UP] = {{FOLD_KIND_DENSE, OVER}, {FOLD_KIND_FFN_NORM, TIMES}},
    [ROLE_FFN_DOWN] = {.cols = {FOLD_KIND_DENSE, TIMES}},
    [ROLE_FFN_GATE_SHEXP] = {{FOLD_KIND_SHARED, ORDER_ONLY}, {FOLD_KIND_FFN_NORM, TIMES}},
    [ROLE_FFN_UP_SHEXP] = {{FOLD_KIND_SHARED, OVER}, {FOLD_KIND_FFN_NORM, TIMES}},
    [ROLE_FFN_DOWN_SHEXP] = {.cols = {FOLD_KIND_SHARED, TIMES}},
    [ROLE_FFN_GATE_EXPS] = {{FOLD_KIND_EXPERT, ORDER_ONLY}, {FOLD_KIND_FFN_NORM, TIMES}},
    [ROLE_FFN_UP_EXPS] = {{FOLD_KIND_EXPERT, OVER}, {FOLD_KIND_FFN_NORM, TIMES}},
    [ROLE_FFN_DOWN_EXPS] = {.cols = {FOLD_KIND_EXPERT, TIMES}},
};

struct fold_vector {
    struct fold_vector *next;
    enum fold_kind kind;
    int layer, ready, users;
    uint64_t slab, bytes, used_at; /* used_at: the fold's clock */
    float *times, *over;           /* NULL: no scales */
    uint32_t *from;                /* NULL: the order as it is */
};

struct fold {
    const struct plan *plan;
    unsigned cpu;
    uint64_t room;
    pthread_mutex_t lock; /* guards all below, and of vectors the list, ready, users and used_at */
    pthread_cond_t change;
    struct fold_vector *list;
    uint64_t bytes, clock;
};

int fold_parse(const char *list, unsigned *flags, struct error *e)
{
    *flags = 0;
    if (!strcmp(list, "none"))
        return 0;
    if (!strcmp(list, "all")) {
        *flags = FOLD_ALL;
        return 0;
    }
    for (const char *at = list;; at++) {
        size_t n = strcspn(at, ","), i = 0;
        while (i < N_WORDS && (strlen(words[i].name) != n || strncmp(at, words[i].name, n)))
            i++;
        if (i == N_WORDS)
            return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--fold: '%.*s' is none of up-down, permute, v-o, norms, all, none",
                             (int)(n < 40 ? n : 40), at);
        *flags |= words[i].flag;
        at += n;
        if (!*at)
            return 0;
    }
}

const char *fold_text(unsigned flags, char out[FOLD_TEXT])
{
    size_t n = 0;
    snprintf(out, FOLD_TEXT, "none");
    for (size_t i = 0; i < N_WORDS; i++)
        if (flags & words[i].flag)
            n += (size_t)snprintf(out + n, FOLD_TEXT - n, "%s%s", n ? "," : "", words[i].name);
    return out;
}

static uint64_t vector_bytes(const struct plan *p, enum fold_kind kind, int layer)
{
    uint64_t n = fold_channels(p->model, kind, layer);
    return sizeof(struct fold_vector) + n * ((p->options.fold & needs[kind].scale ? 2 * sizeof(float) : 0) +
                                             (p->options.fold & needs[kind].order ? sizeof(uint32_t) : 0));
}

/* Vectors of a layer, of all its experts: its gate, up and down tensors follow one another. */
static uint64_t layer_bytes(const struct plan *p)
{
    uint64_t most = 0;
    for (int layer = 0; layer < (int)arch_all_layers(&p->model->params); layer++) {
        uint64_t sum = 0;
        for (int kind = 1; kind < FOLD_KIND_COUNT; kind++)
            sum += vector_bytes(p, (enum fold_kind)kind, layer) *
                   (kind == FOLD_KIND_EXPERT ? p->model->params.n_routed_experts : 1);
        most = sum > most ? sum : most;
    }
    return most;
}

uint64_t fold_memory(const struct plan *p, uint64_t *per_thread)
{
    *per_thread = p->options.fold ? fold_choose_memory(p) : 0;
    return p->options.fold ? 2 * layer_bytes(p) : 0;
}

struct fold *fold_new(const struct plan *p, struct error *e)
{
    struct fold *f = calloc(1, sizeof *f);
    if (!f) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        return NULL;
    }
    f->plan = p;
    f->cpu = cpu_features();
    f->room = 2 * layer_bytes(p);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->change, NULL);
    return f;
}

static void vector_free(struct fold_vector *v)
{
    free(v->times);
    free(v->over);
    free(v->from);
    free(v);
}

void fold_free(struct fold *f)
{
    if (!f)
        return;
    while (f->list) {
        struct fold_vector *next = f->list->next;
        vector_free(f->list);
        f->list = next;
    }
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->change);
    free(f);
}

/* Under the lock. */
static void drop(struct fold *f, struct fold_vector *v)
{
    struct fold_vector **at = &f->list;
    while (*at != v)
        at = &(*at)->next;
    *at = v->next;
    f->bytes -= v->bytes;
    vector_free(v);
}

/* Under the lock: forgets those that nobody holds, the longest unused first, until there is room for what is in use. */
static void make_room(struct fold *f)
{
    while (f->bytes > f->room) {
        struct fold_vector *oldest = NULL;
        for (struct fold_vector *v = f->list; v; v = v->next)
            if (!v->users && (!oldest || v->used_at < oldest->used_at))
                oldest = v;
        if (!oldest)
            return;
        drop(f, oldest);
    }
}

static struct fold_vector *vector_new(const struct plan *p, enum fold_kind kind, int layer, uint64_t slab)
{
    struct fold_vector *v = calloc(1, sizeof *v);
    uint64_t n = fold_channels(p->model, kind, layer);
    int scale = (p->options.fold & needs[kind].scale) != 0, order = (p->options.fold & needs[kind].order) != 0;
    if (!v)
        return NULL;
    *v = (struct fold_vector){.kind = kind, .layer = layer, .slab = slab, .users = 1, .bytes = vector_bytes(p, kind, layer)};
    v->times = scale ? malloc(n * sizeof *v->times) : NULL;
    v->over = scale ? malloc(n * sizeof *v->over) : NULL;
    v->from = order ? malloc(n * sizeof *v->from) : NULL;
    if ((!scale || (v->times && v->over)) && (!order || v->from))
        return v;
    vector_free(v);
    return NULL;
}

static int vector_fill(const struct fold *f, struct fold_vector *v, struct error *e)
{
    uint64_t n = fold_channels(f->plan->model, v->kind, v->layer);
    if (fold_choose(f->plan, v->kind, v->layer, v->slab, v->times, v->from, e))
        return -1;
    for (uint64_t i = 0; v->times && i < n; i++)
        v->over[i] = 1 / v->times[i];
    return 0;
}

/* A vector with this thread among its users, made if need be. NULL on error. */
static struct fold_vector *hold(struct fold *f, enum fold_kind kind, int layer, uint64_t slab, struct error *e)
{
    pthread_mutex_lock(&f->lock);
    struct fold_vector *v = f->list;
    while (v && (v->kind != kind || v->layer != layer || v->slab != slab || !v->ready)) {
        int busy = v->kind == kind && v->layer == layer && v->slab == slab;
        if (busy)
            pthread_cond_wait(&f->change, &f->lock);
        v = busy ? f->list : v->next;
    }
    if (v) {
        v->users++;
        v->used_at = ++f->clock;
    } else if ((v = vector_new(f->plan, kind, layer, slab))) {
        v->used_at = ++f->clock;
        v->next = f->list;
        f->list = v;
        f->bytes += v->bytes;
        make_room(f);
        pthread_mutex_unlock(&f->lock);
        int rc = vector_fill(f, v, e);
        pthread_mutex_lock(&f->lock);
        v->ready = !rc;
        if (rc)
            drop(f, v);
        v = rc ? NULL : v;
        pthread_cond_broadcast(&f->change);
    } else {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for scales of a fold");
    }
    pthread_mutex_unlock(&f->lock);
    return v;
}

static int wanted(const struct fold *f, const struct side *s)
{
    unsigned flags = f->plan->options.fold;
    return s->action != NOTHING && (flags & (s->action == ORDER_ONLY ? 0 : needs[s->kind].scale) || flags & needs[s->kind].order);
}

/* Only an expert's channels are its own; of value channels a head's v_b has its part. */
static int hold_side(struct fold *f, const struct side *s, const struct plan_tensor *t, uint64_t slab, struct fold_vector **held,
                     const float **scale, const uint32_t **from, struct error *e)
{
    if (!wanted(f, s))
        return 0;
    struct fold_vector *v = hold(f, s->kind, t->weight.layer, s->kind == FOLD_KIND_EXPERT ? slab : 0, e);
    uint64_t first = s->kind == FOLD_KIND_VALUE && t->weight.role == ROLE_ATTN_V_B ? slab * t->weight.rows : 0;
    if (!v)
        return -1;
    *held = v;
    *from = v->from;
    if (v->times && s->action != ORDER_ONLY)
        *scale = (s->action == OVER ? v->over : v->times) + first;
    return 0;
}

int fold_get(struct fold *f, const struct plan_tensor *t, uint64_t slab, struct fold_slab *out, struct error *e)
{
    *out = (struct fold_slab){.rows = NULL};
    const struct side *rows = &sides[t->weight.role].rows, *cols = &sides[t->weight.role].cols;
    if (!hold_side(f, rows, t, slab, &out->held[0], &out->rows, &out->row_from, e) &&
        !hold_side(f, cols, t, slab, &out->held[1], &out->cols, &out->col_from, e))
        return 0;
    fold_put(f, out);
    return -1;
}

void fold_put(struct fold *f, struct fold_slab *s)
{
    pthread_mutex_lock(&f->lock);
    for (int i = 0; i < 2; i++)
        if (s->held[i])
            s->held[i]->users--;
    make_room(f);
    pthread_mutex_unlock(&f->lock);
    *s = (struct fold_slab){.rows = NULL};
}

static void fold_row(const struct fold_slab *s, float row_scale, const float *x, uint64_t cols, float *out)
{
    for (uint64_t j = 0; j < cols; j++) {
        uint64_t c = s->col_from ? s->col_from[j] : j;
        out[j] = row_scale * x[c] * (s->cols ? s->cols[c] : 1);
    }
}

/* Row r of the slab, which is not among those that were read: into row [cols]. */
static int read_row(const struct fold *f, const struct plan_tensor *t, uint64_t slab, uint64_t r, float *row, void *scratch,
                    struct error *e)
{
    if (weight_read(f->plan->model, &t->weight, slab, r, 1, row, scratch, NULL, e))
        return -1;
    if (f->plan->options.recipe.via_bf16)
        via_bf16(row, (size_t)t->weight.cols, f->cpu);
    return 0;
}

static int fold_all_rows(const struct fold *f, const struct fold_slab *s, const struct plan_tensor *t, uint64_t slab, uint64_t row0,
                         uint64_t n_rows, const float *x, float *out, struct error *e)
{
    uint64_t cols = t->weight.cols;
    float *row = s->row_from ? malloc(cols * sizeof *row) : NULL;
    void *scratch = s->row_from ? malloc(weight_scratch(f->plan->model, &t->weight, 1) + 64) : NULL;
    int rc = !s->row_from || (row && scratch) ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for a fold");
    for (uint64_t i = 0; !rc && i < n_rows; i++) {
        uint64_t r = s->row_from ? s->row_from[row0 + i] : row0 + i;
        int here = r >= row0 && r < row0 + n_rows;
        if (!here && (rc = read_row(f, t, slab, r, row, scratch, e)))
            break;
        fold_row(s, s->rows ? s->rows[r] : 1, here ? x + (r - row0) * cols : row, cols, out + i * cols);
    }
    free(row);
    free(scratch);
    return rc;
}

static float largest(const float *x, uint64_t n)
{
    float most = 0;
    for (uint64_t i = 0; i < n; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    return most;
}

const float *fold_rows(struct fold *f, const struct plan_tensor *t, uint64_t slab, uint64_t row0, uint64_t n_rows, const float *x,
                       float *out, float *amax, struct error *e)
{
    struct fold_slab s;
    if (fold_get(f, t, slab, &s, e))
        return NULL;
    int acts = s.held[0] || s.held[1], rc = acts ? fold_all_rows(f, &s, t, slab, row0, n_rows, x, out, e) : 0;
    fold_put(f, &s);
    if (rc)
        return NULL;
    if (acts)
        *amax = largest(out, n_rows * t->weight.cols);
    return acts ? out : x;
}

int fold_importance(struct fold *f, const struct plan_tensor *t, uint64_t slab, float *w, struct error *e)
{
    struct fold_slab s;
    uint64_t cols = t->weight.cols;
    if (fold_get(f, t, slab, &s, e))
        return -1;
    if (s.cols || s.col_from) {
        memcpy(w + cols, w, cols * sizeof *w);
        for (uint64_t j = 0; j < cols; j++) {
            uint64_t c = s.col_from ? s.col_from[j] : j;
            float scale = s.cols ? s.cols[c] : 1;
            w[j] = w[cols + c] / (scale * scale);
        }
    }
    fold_put(f, &s);
    return 0;
}
