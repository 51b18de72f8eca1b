/* SPDX-License-Identifier: MIT
 * Sweeps over the columns of LANES rows. */
#include "convert/feedback/sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "convert/feedback/sweep_parts.h"
#include "quant/fp4.h"

/* Columns whose errors reach each other one by one; what is farther goes through the matrix product. */
enum { NEAR = 32 };

static size_t groups_per_row(const struct quant_type *t, size_t n)
{
    return n / (size_t)t->best->form.len;
}

size_t sweep_bytes(const struct quant_type *t, size_t n)
{
    size_t floats = n * LANES * 4 + (size_t)CHUNK_MOST * LANES * 5 + groups_per_row(t, n) * LANES * 2 + (size_t)LANES * t->block_len * 2;
    return sizeof(struct sweeper) + floats * sizeof(float) + n / t->block_len * LANES * sizeof(struct super) + (size_t)LANES * t->block_bytes;
}

static void *get(size_t bytes, int *failed)
{
    void *p = NULL;
    *failed |= posix_memalign(&p, 64, bytes + 64);
    return p;
}

struct sweeper *sweep_new(const struct quant_type *type, size_t n, unsigned cpu, const struct sweep_options *o, struct error *e)
{
    struct sweeper *s = calloc(1, sizeof *s);
    int failed = !s;
    if (s) {
        const size_t lanes = LANES * sizeof(float), groups = groups_per_row(type, n), len = type->block_len;
        *s = (struct sweeper){.type = type, .best = type->best, .kernels = quant_kernels_for(type, cpu), .panels = panels_for(cpu),
                              .columns = columns_for(cpu), .gemm = gemm_for(cpu), .o = *o, .n = n, .len = len, .blocks = n / len};
        s->w = get(n * lanes, &failed);
        s->e = get(n * lanes, &failed);
        s->code = get(n * lanes, &failed);
        s->sorted = get(n * lanes, &failed);
        s->t = get(CHUNK_MOST * lanes, &failed);
        s->super = get(s->blocks * LANES * sizeof *s->super, &failed);
        s->step = get(groups * lanes, &failed);
        s->offset = get(groups * lanes, &failed);
        s->x = get(len * lanes, &failed);
        s->importance = get(len * lanes, &failed);
        s->found = get((size_t)LANES * type->block_bytes, &failed);
        for (int i = 0; i < 2; i++) {
            s->v[i] = get(CHUNK_MOST * lanes, &failed);
            s->hv[i] = get(CHUNK_MOST * lanes, &failed);
        }
    }
    if (!failed)
        return s;
    sweep_free(s);
    error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for error feedback");
    return NULL;
}

void sweep_free(struct sweeper *s)
{
    if (!s)
        return;
    void *all[] = {s->w, s->e, s->code, s->sorted, s->t, s->super, s->step, s->offset, s->x, s->importance, s->found, s->v[0], s->v[1], s->hv[0], s->hv[1]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    free(s);
}

static struct chunk chunk_at(const struct sweeper *s, size_t first)
{
    size_t most = s->len < LANES ? LANES : s->len;
    return (struct chunk){first, s->n - first < most ? s->n - first : most};
}

void sweep_take_steps(struct sweeper *s, size_t block)
{
    const size_t groups = (size_t)s->best->groups;
    for (size_t l = 0; l < LANES; l++) {
        const struct super *from = &s->super[block * LANES + l];
        for (size_t g = 0, at = block * groups; g < groups; g++, at++) {
            s->step[at * LANES + l] = s->best->step ? s->best->step(from->scale[g]) : from->d * (float)from->scale[g];
            s->offset[at * LANES + l] = from->dmin * (float)from->min[g];
        }
    }
}

/* ---- 1: the sweep */

/* A target that the type can store: feedback may ask for more than the largest weight that it takes, or in F32 for no number. */
static float within(const struct sweeper *s, float t, float w)
{
    const float most = s->type->max_abs;
    t = t == t ? t : w;
    return t > most ? most : t < -most ? -most : t;
}

/* Of scales that are codes, those of FP4: none whose largest weight is infinite, for the targets of the block's later columns are not known. */
static void bound_scales(const struct best *b, struct super *u)
{
    for (size_t g = 0; b->step && g < (size_t)b->groups; g++)
        while (!isfinite(b->step(u->scale[g]) * f4_values[7]))
            u->scale[g]--;
}

/* Scales for block number `block`, whose targets are t [len][LANES]. */
static void choose_scales(struct sweeper *s, const struct curvature *c, size_t block, const float *t)
{
    const size_t len = s->len;
    for (size_t l = 0; l < LANES; l++)
        for (size_t i = 0; i < len; i++) {
            s->x[l * len + i] = within(s, t[i * LANES + l], 0);
            s->importance[l * len + i] = c->d[block * len + i];
        }
    s->kernels.encode(s->x, NULL, s->found, LANES);
    s->kernels.improve(s->x, s->importance, s->found, LANES);
    for (size_t l = 0; l < LANES; l++) {
        s->best->take(s->found + l * s->type->block_bytes, &s->super[block * LANES + l]);
        bound_scales(s->best, &s->super[block * LANES + l]);
    }
    sweep_take_steps(s, block);
}

/* The column that the sweep takes as number j. */
static size_t column_at(const struct curvature *c, size_t j)
{
    return c->order ? c->order[j] : j;
}

/* Rounds columns [first, first + n) of a chunk, whose targets in s->t lack only what these columns do to each other. */
static void round_near(struct sweeper *s, const struct curvature *c, const struct chunk *at, size_t first, size_t n)
{
    for (size_t j = first; j < first + n; j++) {
        const size_t col = column_at(c, j), g = group_of(s, col);
        float y[LANES], *t = s->t + (j - at->first) * LANES, *e = s->sorted + j * LANES;
        s->panels->nearest(&s->best->form, LANES, t, s->step + g * LANES, s->offset + g * LANES, y, s->code + col * LANES);
        for (size_t l = 0; l < LANES; l++)
            e[l] = s->w[col * LANES + l] - y[l];
        s->columns->spread(square_at(&c->u, j + 1, j), LANES, first + n - j - 1, e, t + LANES);
    }
}

/* Targets of a chunk's columns but for what they do to each other. */
static void aim(struct sweeper *s, const struct curvature *c, const struct chunk *at)
{
    for (size_t p = 0; p * LANES < at->first; p++)
        s->gemm(square_row(&c->u, p, at->first), LANES, at->n, s->sorted + p * LANES * LANES, LANES, LANES, s->t, p == 0);
    for (size_t j = 0; j < at->n; j++) {
        const float *w = s->w + column_at(c, at->first + j) * LANES;
        float *t = s->t + j * LANES;
        for (size_t l = 0; l < LANES; l++)
            t[l] = within(s, w[l] + (at->first ? t[l] : 0), w[l]);
    }
}

static void sweep_chunk(struct sweeper *s, const struct curvature *c, const struct chunk *at)
{
    const size_t near = s->len < NEAR && !c->order ? s->len : NEAR;
    aim(s, c, at);
    for (size_t j = at->first, n, end = at->first + at->n; j < end; j += n) {
        n = end - j < near ? end - j : near;
        if (!c->order && j % s->len == 0)
            choose_scales(s, c, j / s->len, s->t + (j - at->first) * LANES);
        round_near(s, c, at, j, n);
        if (j + n < end)
            s->gemm(square_at(&c->u, j + n, j), LANES, end - j - n, s->sorted + j * LANES, n, LANES, s->t + (j + n - at->first) * LANES, 0);
    }
}

static void sweep_all(struct sweeper *s, const struct curvature *c)
{
    for (size_t b = 0; c->order && b < s->blocks; b++)
        choose_scales(s, c, b, s->w + b * s->len * LANES);
    for (size_t first = 0; first < s->n;) {
        const struct chunk chunk = chunk_at(s, first);
        sweep_chunk(s, c, &chunk);
        first += chunk.n;
    }
    for (size_t j = 0; j < s->n; j++)
        memcpy(s->e + column_at(c, j) * LANES, s->sorted + j * LANES, LANES * sizeof *s->e);
}

/* ---- 2: passes */

/* Gradients of a chunk: s->t = (e H) of its columns. */
static void gradients(struct sweeper *s, const struct curvature *c, const struct chunk *at)
{
    for (size_t p = 0; p < square_panels(s->n); p++) {
        size_t n = s->n - p * LANES < LANES ? s->n - p * LANES : LANES;
        s->gemm(square_row(&c->h, p, at->first), LANES, at->n, s->e + p * LANES * LANES, n, LANES, s->t, p == 0);
    }
}

/* Codes of columns [first, first + n) of a chunk, each to its best place, all others given. Gradients follow up to the last of them; what
 * is behind learns of the changes from s->v[0]. Returns whether there are any. */
static int descend_near(struct sweeper *s, const struct curvature *c, const struct chunk *at, size_t first, size_t n)
{
    int any = 0;
    for (size_t j = first; j < first + n; j++) {
        const float h = *square_at(&c->h, j, j);
        float *g = s->t + (j - at->first) * LANES, *change = s->v[0] + (j - at->first) * LANES;
        const size_t group = group_of(s, j);
        float stored[LANES], target[LANES], y[LANES], code[LANES];
        for (size_t l = 0; l < LANES; l++) {
            stored[l] = s->w[j * LANES + l] - s->e[j * LANES + l];
            target[l] = stored[l] + g[l] / h;
        }
        s->panels->nearest(&s->best->form, LANES, target, s->step + group * LANES, s->offset + group * LANES, y, code);
        if (s->columns->accept(h, g, stored, y, code, s->e + j * LANES, s->code + j * LANES, change)) {
            s->columns->spread(square_at(&c->h, j + 1, j), LANES, first + n - j - 1, change, g + LANES);
            any = 1;
        }
    }
    return any;
}

static void descend_chunk(struct sweeper *s, const struct curvature *c, const struct chunk *at)
{
    for (size_t j = at->first, n, end = at->first + at->n; j < end; j += n) {
        n = end - j < NEAR ? end - j : NEAR;
        if (descend_near(s, c, at, j, n) && j + n < end)
            s->gemm(square_at(&c->h, j + n, j), LANES, end - j - n, s->v[0] + (j - at->first) * LANES, n, LANES,
                    s->t + (j + n - at->first) * LANES, 0);
    }
}

static void pass(struct sweeper *s, const struct curvature *c)
{
    for (size_t first = 0; first < s->n;) {
        const struct chunk at = chunk_at(s, first);
        gradients(s, c, &at);
        refit_chunk(s, c, &at);
        descend_chunk(s, c, &at);
        first += at.n;
    }
}

/* ---- the target */

/* z = r H^-1 in place, r and z [n][LANES] in the factor's order: with H = U D U' two triangular solves. */
static void solve(struct sweeper *s, const struct curvature *c, float *z)
{
    for (size_t k = s->n; k-- > 0;) /* from the last column: what is left of r once later columns are known */
        for (size_t p = 0; p * LANES < k; p++) {
            size_t n = k - p * LANES < LANES ? k - p * LANES : LANES;
            s->columns->spread_less(square_row(&c->u, p, k), 1, n, z + k * LANES, z + p * LANES * LANES);
        }
    for (size_t j = 0; j < s->n; j++)
        for (size_t l = 0; l < LANES; l++)
            z[j * LANES + l] /= c->d[column_at(c, j)];
    for (size_t j = 0; j + 1 < s->n; j++)
        s->columns->spread_less(square_at(&c->u, j + 1, j), LANES, s->n - j - 1, z + j * LANES, z + (j + 1) * LANES);
}

/* Moves the weights to where, on the inputs behind what is quantized, they give the original outputs. */
static void pull_target(struct sweeper *s, const struct curvature *c)
{
    float *sum = s->e, *z = s->sorted;
    for (size_t p = 0; p < square_panels(s->n); p++) {
        size_t n = s->n - p * LANES < LANES ? s->n - p * LANES : LANES;
        s->gemm(square_row(&c->cross, p, 0), LANES, s->n, s->w + p * LANES * LANES, n, LANES, sum, p == 0);
    }
    for (size_t j = 0; j < s->n; j++)
        memcpy(z + j * LANES, sum + column_at(c, j) * LANES, LANES * sizeof *z);
    solve(s, c, z);
    const float by = (float)s->o.pull;
    for (size_t j = 0; j < s->n; j++)
        for (size_t l = 0; l < LANES; l++)
            s->w[column_at(c, j) * LANES + l] += by * z[j * LANES + l];
}

/* ---- rows */

static void load(struct sweeper *s, const float *x, size_t rows)
{
    for (size_t j = 0; j < s->n; j++)
        for (size_t l = 0; l < LANES; l++)
            s->w[j * LANES + l] = l < rows ? x[l * s->n + j] : 0;
}

static void store(struct sweeper *s, size_t rows, uint8_t *blocks)
{
    uint8_t codes[BEST_MOST_LEN];
    for (size_t l = 0; l < rows; l++)
        for (size_t b = 0; b < s->blocks; b++, blocks += s->type->block_bytes) {
            for (size_t i = 0; i < s->len; i++)
                codes[i] = (uint8_t)s->code[(b * s->len + i) * LANES + l];
            s->best->give(&s->super[b * LANES + l], codes, blocks);
        }
}

/* e H e' of each row, in F64 over F32 gradients. */
static void losses(struct sweeper *s, const struct curvature *c, double *loss, size_t rows, size_t stride)
{
    double sum[LANES] = {0};
    for (size_t first = 0; first < s->n;) {
        const struct chunk at = chunk_at(s, first);
        gradients(s, c, &at);
        for (size_t j = 0; j < at.n; j++)
            for (size_t l = 0; l < LANES; l++)
                sum[l] += (double)s->t[j * LANES + l] * (double)s->e[(first + j) * LANES + l];
        first += at.n;
    }
    for (size_t l = 0; l < rows; l++)
        loss[l * stride] = sum[l];
}

void sweep_rows(struct sweeper *s, const struct curvature *c, const float *x, size_t rows, uint8_t *blocks, double *loss)
{
    const size_t stride = 1 + (size_t)s->o.passes;
    for (size_t at = 0, n; at < rows; at += n, blocks += n * s->blocks * s->type->block_bytes) {
        n = rows - at < LANES ? rows - at : LANES;
        load(s, x + at * s->n, n);
        if (c->cross.n)
            pull_target(s, c);
        sweep_all(s, c);
        if (loss)
            losses(s, c, loss + at * stride, n, stride);
        for (int i = 0; i < s->o.passes; i++) {
            pass(s, c);
            if (loss)
                losses(s, c, loss + at * stride + 1 + (size_t)i, n, stride);
        }
        store(s, n, blocks);
    }
}
