/* SPDX-License-Identifier: MIT
 * Sensitivities: jobs by input, tasks of a job over threads. */
#include "convert/sensitivity.h"

#include <stdlib.h>
#include <string.h>

#include "convert/calibration_record.h"
#include "convert/encode.h"
#include "model/forward/gemm.h"

/* Rows that are tried: of a matrix that is alone, of one of many at least (of a stack with one type, of one with its own), of all of them. They
 * come in blocks, with tiles in whole ones. */
enum { ROWS_ALONE = 512, ROWS_STACKED = 64, ROWS_OWN = 128, ROWS_OF_ALL = 2048, BLOCK_ROWS = LANES, TILE_ROWS = 128, MOST_TYPES = POOL_MOST };

struct sample { /* some rows of a matrix */
    uint64_t row0, rows;
    float *x;
    void *scratch;
    struct weight_seen seen;
};

struct job { /* one matrix */
    size_t maker;
    struct weight weight;
    uint64_t slab, own; /* of the role; which of its inputs */
    enum input input;
    size_t measured;    /* of m->weights */
    const struct plan_tensor *tried[MOST_TYPES]; /* with the types that are new */
    size_t n_tried;
    struct sample *samples;
    size_t n_samples;
    double *loss;       /* [samples][2 + n_tried]: output, coarse, types */
};

struct measuring {
    const struct candidates *c;
    struct measured *m;
    struct encoder encoder;
    struct calibration_record record;
    struct job *jobs;
    size_t n_jobs, most_cols, step; /* step: rows of a block */
    int threads;
    gemm_fn *gemm;
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for sensitivities");
}

int coarse_round(const float *x, size_t n, float *y)
{
    static const char name[] = "Q4_0";
    const struct quant_type *type = quant_type_find(name);
    uint8_t block[32];
    if (n % type->block_len)
        return -1;
    for (size_t i = 0; i < n; i += type->block_len) {
        type->ref.encode(x + i, NULL, block, 1);
        type->ref.decode(block, y + i, 1);
    }
    return 0;
}

/* ---- jobs */

static int is_measured(const struct plan_tensor *t, const struct model *m)
{
    return !(roles[t->weight.role].flags & ROLE_ALWAYS_F32) && t->weight.layer < (int)m->params.num_hidden_layers;
}

static struct measured_weight *weight_of(struct measured *m, const struct plan *p, const struct weight *w, struct error *e)
{
    struct measured_weight *found = measured_find(m, w->role, w->layer);
    const size_t slabs = (size_t)role_slabs(w->role, &p->model->params);
    if (!found)
        return measured_add(m, w->role, w->layer, slabs, e);
    if (found->slabs == slabs)
        return found;
    error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "sensitivity.json is of a model with other experts or heads (remove it to measure again)");
    error_at_file(e, p->options.calib->folder);
    return NULL;
}

/* Types of a maker that are to be measured. */
static void add_types(const struct measuring *s, struct job *j, const struct measured_weight *w)
{
    for (size_t k = 0; k < s->c->n_pool; k++) {
        const struct plan_tensor *t = candidate(s->c, k, j->maker);
        int known = measured_errors(w, t->type) != NULL;
        for (size_t i = 0; i < j->n_tried; i++)
            known |= j->tried[i]->type == t->type;
        if (!known)
            j->tried[j->n_tried++] = t;
    }
}

static int by_input(const void *a, const void *b)
{
    const struct job *j = a, *k = b;
    if (j->weight.layer != k->weight.layer)
        return j->weight.layer < k->weight.layer ? -1 : 1;
    if (j->input != k->input)
        return j->input < k->input ? -1 : 1;
    if (j->own != k->own)
        return j->own < k->own ? -1 : 1;
    if (j->weight.role != k->weight.role)
        return j->weight.role < k->weight.role ? -1 : 1;
    return (j->slab > k->slab) - (j->slab < k->slab);
}

static int same_input(const struct job *j, const struct job *k)
{
    return j->weight.layer == k->weight.layer && j->input == k->input && j->own == k->own && j->input != INPUT_NONE;
}

static int list_jobs(struct measuring *s, struct error *e)
{
    const struct plan *p = s->c->plans[0];
    size_t room = 0;
    for (size_t i = 0; i < s->c->n_makers; i++)
        room += (size_t)candidate(s->c, 0, i)->weight.slabs;
    if (!(s->jobs = calloc(room + 1, sizeof *s->jobs)))
        return no_memory(e);
    for (size_t i = 0; i < s->c->n_makers; i++) {
        const struct plan_tensor *t = candidate(s->c, 0, i);
        if (is_measured(t, p->model) && !weight_of(s->m, p, &t->weight, e))
            return -1;
    }
    for (size_t i = 0; i < s->c->n_makers; i++) {
        const struct plan_tensor *t = candidate(s->c, 0, i);
        for (uint64_t slab = 0; slab < t->weight.slabs && is_measured(t, p->model); slab++) {
            struct job *j = &s->jobs[s->n_jobs];
            const int own = roles[t->weight.role].flags & (ROLE_PER_HEAD | ROLE_EXPERT);
            *j = (struct job){.maker = i, .weight = t->weight, .slab = t->slab0 + slab, .own = own ? t->slab0 + slab : 0, .input = input_of(t->weight.role)};
            j->measured = (size_t)(measured_find(s->m, t->weight.role, t->weight.layer) - s->m->weights);
            add_types(s, j, &s->m->weights[j->measured]);
            s->most_cols = t->weight.cols > s->most_cols ? (size_t)t->weight.cols : s->most_cols;
            s->n_jobs += j->n_tried > 0;
        }
    }
    qsort(s->jobs, s->n_jobs, sizeof *s->jobs, by_input);
    return 0;
}

/* Rooms for the results of the layer that begins with job `first`. */
static int add_results(struct measuring *s, size_t first, size_t *n_new, struct error *e)
{
    for (size_t i = first; i < s->n_jobs && s->jobs[i].weight.layer == s->jobs[first].weight.layer; i++) {
        struct measured_weight *w = &s->m->weights[s->jobs[i].measured];
        for (size_t k = 0; k < s->jobs[i].n_tried; k++) {
            const struct quant_type *type = s->jobs[i].tried[k]->type;
            if (measured_errors(w, type))
                continue;
            if (!measured_add_type(s->m, w, type, e))
                return -1;
            ++*n_new;
        }
    }
    return 0;
}

/* ---- samples */

static uint64_t wanted_rows(const struct measuring *s, const struct job *j)
{
    uint64_t slabs = role_slabs(j->weight.role, &s->c->base->model->params);
    uint64_t share = slabs == 1 ? ROWS_ALONE : ROWS_OF_ALL / slabs, least = j->weight.slabs > 1 ? ROWS_STACKED : ROWS_OWN;
    return share < least ? least : share;
}

static size_t block_rows(const struct candidates *c)
{
    for (size_t k = 0; k < c->n_pool; k++)
        if (c->pool[k]->tiling)
            return TILE_ROWS;
    return BLOCK_ROWS;
}

static int read_sample(const struct measuring *s, const struct job *j, struct sample *a, struct error *e)
{
    const struct model *m = s->c->base->model;
    a->x = malloc((size_t)(a->rows * j->weight.cols) * sizeof *a->x + 64);
    a->scratch = malloc(weight_scratch(m, &j->weight, a->rows) + 64);
    return !a->x || !a->scratch ? no_memory(e) : weight_read(m, &j->weight, j->slab, a->row0, a->rows, a->x, a->scratch, &a->seen, e);
}

static int read_job(const struct measuring *s, struct job *j, struct error *e)
{
    const uint64_t all = (j->weight.rows + s->step - 1) / s->step, some = (wanted_rows(s, j) + s->step - 1) / s->step;
    j->n_samples = (size_t)(some < all ? some : all);
    j->samples = calloc(j->n_samples, sizeof *j->samples);
    j->loss = calloc(j->n_samples * (2 + j->n_tried), sizeof *j->loss);
    if (!j->samples || !j->loss)
        return no_memory(e);
    for (size_t i = 0; i < j->n_samples; i++) {
        struct sample *a = &j->samples[i];
        a->row0 = i * all / j->n_samples * s->step;
        a->rows = j->weight.rows - a->row0 < s->step ? j->weight.rows - a->row0 : s->step;
        if (read_sample(s, j, a, e))
            return -1;
    }
    return 0;
}

static void clear_job(struct job *j)
{
    for (size_t i = 0; j->samples && i < j->n_samples; i++) {
        free(j->samples[i].x);
        free(j->samples[i].scratch);
    }
    free(j->samples);
    free(j->loss);
    j->samples = NULL;
    j->loss = NULL;
}

/* ---- losses */

struct worker {
    struct encode_buffers b;
    float *y;            /* [TILE_ROWS][cols] */
    float *lanes, *sums; /* [cols][LANES] */
};

static int worker_init(struct worker *w, size_t cols)
{
    const struct unit_room room = {.floats = TILE_ROWS * cols, .importance = cols, .blocks = 6 * TILE_ROWS * cols + 4096, .compared = 1};
    *w = (struct worker){.y = malloc(TILE_ROWS * cols * sizeof *w->y), .lanes = malloc(cols * LANES * sizeof *w->lanes),
                         .sums = malloc(cols * LANES * sizeof *w->sums)};
    return encode_buffers_init(&w->b, &room) || !w->y || !w->lanes || !w->sums ? -1 : 0;
}

static void worker_clear(struct worker *w)
{
    encode_buffers_clear(&w->b);
    free(w->y);
    free(w->lanes);
    free(w->sums);
}

/* Sum over rows of (x - y) H (x - y)'; y NULL: of x H x'. H NULL: the identity. */
static double loss_of(const struct measuring *s, struct worker *w, const struct square *h, const float *x, const float *y, size_t rows, size_t n)
{
    double sum = 0;
    for (size_t i = 0; !h && i < rows * n; i++) {
        double d = (double)x[i] - (y ? (double)y[i] : 0);
        sum += d * d;
    }
    for (size_t at = 0; h && at < rows; at += LANES) {
        for (size_t j = 0; j < n; j++)
            for (size_t l = 0; l < LANES; l++)
                w->lanes[j * LANES + l] = at + l < rows ? x[(at + l) * n + j] - (y ? y[(at + l) * n + j] : 0) : 0;
        for (size_t p = 0; p < square_panels(n); p++) {
            size_t k = n - p * LANES < LANES ? n - p * LANES : LANES;
            s->gemm(square_row(h, p, 0), LANES, n, w->lanes + p * LANES * LANES, k, LANES, w->sums, p == 0);
        }
        for (size_t i = 0; i < n * LANES; i++)
            sum += (double)w->lanes[i] * (double)w->sums[i];
    }
    return sum > 0 ? sum : 0;
}

struct task {
    struct job *job;
    size_t sample, what; /* 0 output, 1 coarse, 2.. tried */
};

static int run_task(struct measuring *s, struct worker *w, const struct task *t, const struct square *h, struct error *e)
{
    struct job *j = t->job;
    const struct sample *a = &j->samples[t->sample];
    const size_t n = (size_t)j->weight.cols, rows = (size_t)a->rows;
    double *loss = &j->loss[t->sample * (2 + j->n_tried) + t->what];
    int rounded = t->what != 0;
    if (t->what == 1) {
        rounded = !coarse_round(a->x, n, w->y);
        for (size_t r = 1; rounded && r < rows; r++)
            coarse_round(a->x + r * n, n, w->y + r * n);
        if (!rounded)
            return 0;
    } else if (t->what > 1) {
        const struct plan_tensor *tried = j->tried[t->what - 2];
        const struct unit slice = {.slab = j->slab - tried->slab0, .row0 = a->row0, .rows = a->rows, .source = j->weight, .source_slab = j->slab,
                                   .source_row0 = a->row0, .source_rows = a->rows};
        if (encode_try(&s->encoder, &w->b, tried, &slice, &a->seen, a->x, w->y, e))
            return -1;
    }
    *loss = loss_of(s, w, h, a->x, rounded ? w->y : NULL, rows, n);
    return 0;
}

static int run_tasks(struct measuring *s, const struct task *tasks, size_t n, const struct square *h, struct error *e)
{
    int rc = 0;
#pragma omp parallel num_threads(s->threads)
    {
        struct worker w;
        int failed = worker_init(&w, s->most_cols);
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < n; i++) {
            struct error why = {0};
            if (!(failed ? no_memory(&why) : run_task(s, &w, &tasks[i], h, &why)))
                continue;
#pragma omp critical(sensitivity_error)
            {
                if (!rc && e)
                    *e = why;
                rc = -1;
            }
        }
        worker_clear(&w);
    }
    return rc;
}

/* ---- inputs */

/* The types of one order of columns: -1, those without error feedback, go with the first. */
static int is_of_order(const struct measuring *s, const struct plan_tensor *t, int order, int first)
{
    const int fed = feedback_applies(s->c->base->options.calib, &t->weight, t->type);
    return fed ? (int)feedback_order(s->encoder.feedback, t->type) == order : first;
}

static size_t tasks_of(const struct measuring *s, struct job *jobs, size_t n, int order, int first, struct task *out)
{
    size_t count = 0;
    for (struct job *j = jobs; j < jobs + n; j++)
        for (size_t a = 0; a < j->n_samples; a++)
            for (size_t what = 0; what < 2 + j->n_tried; what++)
                if (what < 2 ? first : is_of_order(s, j->tried[what - 2], order, first))
                    out[count++] = (struct task){j, a, what};
    return count;
}

/* Under the curvature with columns in this order; the first order has what is of none. */
static int measure_order(struct measuring *s, struct job *jobs, size_t n, int order, int first, struct task *tasks, struct error *e)
{
    static const char *const of_order[ORDER_COUNT] = {[ORDER_IMPORTANCE] = "Q4_0", [ORDER_NATURAL] = "Q4_K"};
    const struct quant_type *any = quant_type_find(of_order[order]);
    const struct column_change none = {NULL, NULL};
    const struct curvature *h = NULL;
    const size_t count = tasks_of(s, jobs, n, order, first, tasks);
    if (!count)
        return 0;
    if (jobs->input == INPUT_NONE)
        return run_tasks(s, tasks, count, NULL, e);
    int without = feedback_get(s->encoder.feedback, &jobs->weight, any, jobs->slab, &none, &h, e);
    if (without)
        return without < 0 ? -1 : 0;
    int rc = run_tasks(s, tasks, count, &h->h, e);
    feedback_put(s->encoder.feedback);
    return rc;
}

/* What a slab's errors count: an expert's by its gates. */
static double slab_weight(const struct measuring *s, const struct job *j)
{
    const struct arch_params *p = &s->c->base->model->params;
    if (!(roles[j->weight.role].flags & ROLE_EXPERT))
        return 1;
    size_t layer = (size_t)j->weight.layer - (size_t)p->first_k_dense_replace;
    return s->record.use[layer * (size_t)p->n_routed_experts + j->slab].gates2 / (double)s->c->base->options.calib->tokens;
}

/* F32 is what the file keeps, so that a choice does not depend on whether it was read. */
static void take_results(struct measuring *s, const struct job *j)
{
    struct measured_weight *w = &s->m->weights[j->measured];
    double rows = 0, sums[2 + MOST_TYPES] = {0};
    for (size_t a = 0; a < j->n_samples; a++) {
        rows += (double)j->samples[a].rows;
        for (size_t i = 0; i < 2 + j->n_tried; i++)
            sums[i] += j->loss[a * (2 + j->n_tried) + i];
    }
    const double by = slab_weight(s, j) * (double)j->weight.rows / rows;
    w->output[j->slab] = (double)(float)(by * sums[0]);
    w->coarse[j->slab] = (double)(float)(by * sums[1]);
    for (size_t i = 0; i < j->n_tried; i++)
        measured_errors(w, j->tried[i]->type)[j->slab] = (double)(float)(by * sums[2 + i]);
}

static int measure_input(struct measuring *s, struct job *jobs, size_t n, struct error *e)
{
    size_t tasks = 0;
    struct task *list = NULL;
    int rc = 0, first = feedback_order(s->encoder.feedback, quant_type_find("Q4_0"));
    for (size_t i = 0; !rc && i < n; i++) {
        rc = read_job(s, &jobs[i], e);
        tasks += jobs[i].n_samples * (2 + jobs[i].n_tried);
    }
    if (!rc && !(list = malloc((tasks + 1) * sizeof *list)))
        rc = no_memory(e);
    for (int i = 0; !rc && i < ORDER_COUNT; i++)
        rc = measure_order(s, jobs, n, (first + i) % ORDER_COUNT, i == 0, list, e);
    for (size_t i = 0; i < n; i++) {
        if (!rc)
            take_results(s, &jobs[i]);
        clear_job(&jobs[i]);
    }
    free(list);
    return rc ? -1 : 0;
}

/* What a layer's matrices came to is kept when all of them are done: an interrupted run goes on with the next. */
static int measure_all(struct measuring *s, size_t *n_new, const struct stream_hooks *hooks, struct error *e)
{
    for (size_t i = 0, end; i < s->n_jobs; i = end) {
        if ((!i || s->jobs[i].weight.layer != s->jobs[i - 1].weight.layer) && add_results(s, i, n_new, e))
            return -1;
        for (end = i + 1; end < s->n_jobs && same_input(&s->jobs[i], &s->jobs[end]);)
            end++;
        if (hooks->progress)
            hooks->progress(hooks->context, i, s->n_jobs);
        if (hooks->stop && hooks->stop(hooks->context))
            return error_set(e, ERR_INTERRUPTED, ERROR_NO_OFFSET, "interrupted; the same command goes on with layer %d", s->jobs[i].weight.layer);
        if (measure_input(s, s->jobs + i, end - i, e))
            return -1;
        if ((end == s->n_jobs || s->jobs[end].weight.layer != s->jobs[i].weight.layer) && measured_write(s->m, s->c->base->options.calib->folder, e))
            return -1;
    }
    return 0;
}

/* As many threads as --memory has room for beside the largest curvature, one at least. */
static void fit_memory(struct measuring *s)
{
    const struct plan_options *o = &s->c->base->options;
    uint64_t curvature = 0, sweeper = 0, cols = s->most_cols;
    for (size_t i = 0; i < s->n_jobs; i++) {
        const struct weight *w = &s->jobs[i].weight;
        uint64_t made = s->jobs[i].input != INPUT_NONE ? hessian_bytes(o->calib, w, s->threads) : 0;
        curvature = made > curvature ? made : curvature;
        for (size_t k = 0; k < s->jobs[i].n_tried; k++)
            if (s->jobs[i].tried[k]->type->best) {
                uint64_t bytes = sweep_bytes(s->jobs[i].tried[k]->type, (size_t)w->cols);
                sweeper = bytes > sweeper ? bytes : sweeper;
            }
    }
    const uint64_t each = sweeper + (3 * sizeof(float) + 6) * TILE_ROWS * cols + 2 * sizeof(float) * LANES * cols;
    while (s->threads > 1 && curvature + (uint64_t)s->threads * each > o->memory)
        s->threads--;
}

int sensitivity_measure(const struct candidates *c, struct measured *m, size_t *n_new, const struct stream_hooks *hooks, struct error *e)
{
    struct measuring s = {.c = c, .m = m, .threads = c->base->options.threads, .gemm = gemm_for(c->base->model->cpu), .step = block_rows(c)};
    *n_new = 0;
    int rc = encoder_init(&s.encoder, c->base, NULL, e) || record_read(c->base->options.calib->folder, &s.record, NULL, e) || list_jobs(&s, e);
    if (!rc) {
        fit_memory(&s);
        rc = measure_all(&s, n_new, hooks, e);
    }
    encoder_clear(&s.encoder);
    record_clear(&s.record);
    free(s.jobs);
    return rc ? -1 : 0;
}
