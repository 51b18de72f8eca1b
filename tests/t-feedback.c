/* SPDX-License-Identifier: MIT
 * Error feedback: second moments and their factor against plain F64 sums; sweeps of every type that has one: the same bytes on every
 * instruction set and for any neighbours, losses that only fall, that are those of the blocks, and are below those of
 * `--search best`, with columns in either order, which is the same wherever they lie; hostile rows and curvatures. With --bench: speed against the machine's peak. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "convert/feedback/columns.h"
#include "convert/feedback/hessian.h"
#include "convert/feedback/ldl.h"
#include "quant/best.h"
#include "tests/patterns.h"
#include "tests/peak.h"
#include "tests/tap.h"

static const struct isa {
    const char *name;
    unsigned cpu;
} isas[] = {{"scalar", 0}, {"avx2", CPU_AVX2}, {"avx512", CPU_AVX2 | CPU_AVX512}};
enum { N_ISAS = sizeof isas / sizeof *isas, PASSES = 2 };

static const size_t sizes[] = {1, 17, 64, 65, 257};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static struct error why;
static uint64_t seed = 1;

/* 0: this processor has not got it. */
static int most_threads(const struct isa *isa)
{
    return (isa->cpu & cpu_features()) != isa->cpu ? 0 : isa->cpu == cpu_features() ? 4 : 1;
}

static void *need(size_t bytes)
{
    void *p = calloc(1, bytes + 1);
    if (!p)
        bail("out of memory");
    return p;
}

static struct square square_new(size_t n)
{
    struct square s;
    if (square_init(&s, n, &why))
        bail("%s", why.text);
    return s;
}

static int same_square(const struct square *a, const struct square *b)
{
    return !memcmp(a->data, b->data, square_floats(a->n) * sizeof *a->data);
}

static struct square copy_of(const struct square *s)
{
    struct square to = square_new(s->n);
    memcpy(to.data, s->data, square_floats(s->n) * sizeof *s->data);
    return to;
}

/* n features of MOMENT_TOKENS tokens: neighbours have much in common, all have something. */
static void fill_tokens(float *x, size_t n)
{
    for (size_t t = 0; t < MOMENT_TOKENS; t++) {
        float common = rng_gauss(&seed), last = rng_gauss(&seed);
        for (size_t j = 0; j < n; j++) {
            last = 0.9f * last + 0.4f * rng_gauss(&seed);
            x[j * MOMENT_TOKENS + t] = last + 0.3f * common;
        }
    }
}

/* ---- second moments */

static double product(const float *x, const float *y, size_t tokens)
{
    double sum = 0;
    for (size_t t = 0; t < tokens; t++)
        sum += (double)x[t] * (double)y[t];
    return sum;
}

static double size_of(const float *x, const float *y, size_t tokens)
{
    return sqrt(product(x, x, tokens) * product(y, y, tokens));
}

/* The largest error of s against x y', as a part of the vectors' sizes; only kept elements. */
static double worst(const struct square *s, const float *x, const float *y, size_t tokens, int lower)
{
    double most = 0;
    for (size_t i = 0; i < s->n; i++)
        for (size_t j = 0; j < s->n; j++) {
            const float *xi = x + i * MOMENT_TOKENS, *yj = y + j * MOMENT_TOKENS;
            if (lower && i < j / LANES * LANES)
                continue;
            double error = fabs((double)*square_at(s, i, j) - product(xi, yj, tokens)) / size_of(xi, yj, tokens);
            most = error > most ? error : most;
        }
    return most;
}

static int symmetric(const struct square *s)
{
    for (size_t i = 0; i < s->n; i++)
        for (size_t j = 0; j < i; j++)
            if (*square_at(s, i, j) != *square_at(s, j, i))
                return 0;
    return 1;
}

/* What every instruction set and number of threads makes of it is the scalar code's, of one thread. */
static int moments_agree(const struct square *moment, const struct square *cross, const float *x, const float *y, size_t tokens)
{
    int same = 1;
    for (int i = 0; i < N_ISAS; i++)
        for (int threads = 1; threads <= most_threads(&isas[i]); threads++) {
            struct square m = square_new(moment->n), c = square_new(moment->n);
            square_add_moment(&m, gemm_for(isas[i].cpu), x, MOMENT_TOKENS, tokens, threads);
            square_mirror(&m, threads);
            square_add_cross(&c, gemm_for(isas[i].cpu), x, y, MOMENT_TOKENS, tokens, threads);
            same &= same_square(&m, moment) && same_square(&c, cross);
            square_clear(&m);
            square_clear(&c);
        }
    return same;
}

static void moments(size_t n)
{
    static const size_t tokens[] = {1, 64, 200, MOMENT_TOKENS};
    float *x = need(n * MOMENT_TOKENS * sizeof *x), *y = need(n * MOMENT_TOKENS * sizeof *y);
    double error = 0;
    int mirrored = 1, same = 1;
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        struct square m = square_new(n), c = square_new(n);
        fill_tokens(x, n);
        fill_tokens(y, n);
        square_add_moment(&m, gemm_scalar, x, MOMENT_TOKENS, tokens[i], 1);
        square_add_cross(&c, gemm_scalar, x, y, MOMENT_TOKENS, tokens[i], 1);
        error = fmax(error, fmax(worst(&m, x, x, tokens[i], 1), worst(&c, x, y, tokens[i], 0)));
        square_mirror(&m, 1);
        mirrored &= symmetric(&m);
        same &= tokens[i] % LANES == 0 || moments_agree(&m, &c, x, y, tokens[i]);
        square_clear(&m);
        square_clear(&c);
    }
    ok(error < 3e-6, "moments of %zu inputs, their own and crossed, are the F64 sums to %.1e of their size", n, error);
    ok(mirrored, "and symmetric once mirrored");
    ok(same, "the same on every instruction set, for 1 to 4 threads");
    free(x);
    free(y);
}

static void moments_add_up(void)
{
    enum { N = 130 };
    float *x = need(2 * N * MOMENT_TOKENS * sizeof *x), *half = x + N * MOMENT_TOKENS;
    struct square once = square_new(N), twice = square_new(N);
    int same = 1;
    fill_tokens(x, N);
    memcpy(half, x, N * MOMENT_TOKENS * sizeof *x);
    for (size_t r = 0; r < N; r++) /* what lies behind the tokens is not read */
        for (size_t t = 100; t < MOMENT_TOKENS; t++)
            half[r * MOMENT_TOKENS + t] = NAN;
    square_add_moment(&once, gemm_scalar, x, MOMENT_TOKENS, 100, 1);
    square_add_moment(&twice, gemm_scalar, half, MOMENT_TOKENS, 100, 1);
    same &= same_square(&once, &twice);
    square_add_moment(&twice, gemm_scalar, half, MOMENT_TOKENS, 100, 1);
    for (size_t i = 0; i < square_floats(N); i++)
        same &= twice.data[i] == 2 * once.data[i];
    ok(same, "a second block of tokens is added to the first; nothing behind its last token is read");
    square_clear(&once);
    square_clear(&twice);
    free(x);
}

/* ---- curvatures */

enum kind { CORRELATED, IDENTITY, TWINS, STILL, KINDS }; /* each column twice; a column without variance */
static const char *const kinds[KINDS] = {"correlated", "identity", "duplicated columns", "a column without variance"};

static void fill_moment(struct square *h, enum kind kind)
{
    float *x = need(h->n * MOMENT_TOKENS * sizeof *x);
    for (int i = 0; i < 3; i++) {
        fill_tokens(x, h->n);
        for (size_t j = 1; j < h->n && kind == TWINS; j += 2)
            memcpy(x + j * MOMENT_TOKENS, x + (j - 1) * MOMENT_TOKENS, MOMENT_TOKENS * sizeof *x);
        if (kind == STILL)
            memset(x + h->n / 2 * MOMENT_TOKENS, 0, MOMENT_TOKENS * sizeof *x);
        square_add_moment(h, gemm_for(cpu_features()), x, MOMENT_TOKENS, MOMENT_TOKENS, 1);
    }
    for (size_t i = 0; i < square_floats(h->n); i++)
        h->data[i] /= 3 * MOMENT_TOKENS;
    square_mirror(h, 1);
    free(x);
}

static struct curvature curvature_of(size_t n, enum kind kind, enum column_order order, double damping)
{
    struct curvature c = {.h = square_new(n), .u = square_new(n), .d = need(n * sizeof(float))};
    double trace = 0;
    if (kind != IDENTITY)
        fill_moment(&c.h, kind);
    for (size_t i = 0; i < n; i++)
        trace += (double)*square_at(&c.h, i, i);
    for (size_t i = 0; i < n; i++)
        *square_at(&c.h, i, i) += kind == IDENTITY ? 1 : (float)(damping * trace / (double)n);
    c.order = order == ORDER_IMPORTANCE ? need(n * sizeof *c.order) : NULL;
    if (curvature_factor(&c, cpu_features(), 1, &why))
        bail("a curvature of %zu columns, %s, has no factor", n, kinds[kind]);
    return c;
}

/* ---- the factor */

static size_t ordered(const struct curvature *c, size_t j)
{
    return c->order ? c->order[j] : j;
}

/* The largest error of U D U' as a part of H's largest diagonal element. */
static double residual(const struct curvature *c)
{
    double most = 0, largest = 0;
    for (size_t i = 0; i < c->h.n; i++) {
        largest = fmax(largest, (double)*square_at(&c->h, i, i));
        for (size_t k = 0; k <= i; k++) {
            double sum = 0;
            for (size_t j = i; j < c->h.n; j++)
                sum += (double)*square_at(&c->u, j, i) * (double)c->d[ordered(c, j)] * (double)*square_at(&c->u, j, k);
            most = fmax(most, fabs(sum - (double)*square_at(&c->h, ordered(c, i), ordered(c, k))));
        }
    }
    return most / largest;
}

/* By how much some column had less left than the one that was chosen, as a part of that: by elimination in F64. 1: columns are missing. */
static double not_least(const struct curvature *c)
{
    const size_t n = c->h.n;
    double *a = need(n * n * sizeof *a), worst = 0;
    char *seen = need(n);
    for (size_t i = 0; i < n; i++) {
        seen[c->order[i]] = 1;
        for (size_t k = 0; k < n; k++)
            a[i * n + k] = (double)*square_at(&c->h, c->order[i], c->order[k]);
    }
    for (size_t p = n; p-- > 0;)
        for (size_t i = 0; i < p; i++) {
            worst = fmax(worst, 1 - a[i * n + i] / a[p * n + p]);
            for (size_t k = 0; k < p; k++)
                a[i * n + k] -= a[p * n + i] / a[p * n + p] * a[p * n + k];
        }
    worst = memchr(seen, 0, n) ? 1 : worst;
    free(a);
    free(seen);
    return worst;
}

static int factors_agree(const struct curvature *c)
{
    const size_t n = c->h.n;
    struct curvature got = {.h = c->h, .u = square_new(n), .d = need(n * sizeof *got.d)};
    got.order = c->order ? need(n * sizeof *got.order) : NULL;
    int same = 1;
    for (int i = 0; i < N_ISAS; i++)
        for (int threads = 1; threads <= most_threads(&isas[i]); threads++)
            same &= !curvature_factor(&got, isas[i].cpu, threads, &why) && !memcmp(got.d, c->d, n * sizeof *got.d) &&
                    same_square(&got.u, &c->u) && (!c->order || !memcmp(got.order, c->order, n * sizeof *got.order));
    got.h = (struct square){0};
    curvature_clear(&got);
    return same;
}

static void factors(size_t n, enum kind kind, enum column_order order)
{
    struct curvature c = curvature_of(n, kind, order, 0.001);
    double error = residual(&c);
    int unit = 1, positive = 1;
    for (size_t i = 0; i < n; i++) {
        unit &= *square_at(&c.u, i, i) == 1;
        positive &= c.d[i] > 0;
    }
    ok(error < 2e-6, "U D U' of %zu x %zu, %s, %s order, gives the matrix back to %.1e", n, n, kinds[kind], column_order_names[order],
       error);
    if (order == ORDER_IMPORTANCE) {
        double off = not_least(&c);
        ok(off < 1e-4, "each column is the one of which the columns behind it leave the least, to %.1e", off);
    }
    ok(unit && positive, "U's diagonal is 1, D is positive");
    ok(factors_agree(&c), "the same on every instruction set, for 1 to 4 threads");
    curvature_clear(&c);
}

/* Whatever there is to choose between: equal columns come as they lie, from the last. */
static void equal_columns_stay(void)
{
    struct curvature c = curvature_of(130, IDENTITY, ORDER_IMPORTANCE, 0);
    int stay = 1;
    for (size_t i = 0; i < c.h.n; i++)
        stay &= c.order[i] == i;
    ok(stay, "columns that are all alike keep their order");
    curvature_clear(&c);
}

static void bad_pivots(size_t n)
{
    static const float bad[] = {0, -1, NAN, INFINITY};
    float *d = need(n * sizeof *d);
    uint32_t *order = need(n * sizeof *order);
    int refused = 1;
    for (size_t at = 0; at < n; at += n / 3 + 1)
        for (size_t b = 0; b < sizeof bad / sizeof *bad; b++) {
            struct curvature c = curvature_of(n, CORRELATED, ORDER_NATURAL, 0.001);
            *square_at(&c.h, at, at) = bad[b];
            struct square again = copy_of(&c.h);
            refused &= ldl_factor(&c.h, d, NULL, 0, 1, &why) == 1 && ldl_factor(&again, d, order, 0, 1, &why) == 1;
            square_clear(&again);
            curvature_clear(&c);
        }
    ok(refused, "of %zu columns, a pivot that is 0, negative, infinite or no number is reported, in any order", n);
    free(d);
    free(order);
}

/* ---- inner loops */

static void columns_equal_scalar(const struct isa *isa)
{
    enum { N = 37, STRIDE = 3 };
    static float w[N * STRIDE], x[LANES], in[N * LANES], want[N * LANES], got[N * LANES];
    static float v[6][LANES], a[3][LANES], b[3][LANES];
    const struct columns *s = &columns_scalar, *c = columns_for(isa->cpu);
    int same = 1;
    for (int round = 0; round < 50; round++) {
        fill_floats(w, N * STRIDE, round % PATTERNS, 1e3f, seed++);
        fill_floats(x, LANES, (round + 3) % PATTERNS, 1e3f, seed++);
        fill_floats(in, N * LANES, (round + 5) % PATTERNS, 1e3f, seed++);
        for (int less = 0; less < 2; less++) {
            memcpy(want, in, sizeof in);
            memcpy(got, in, sizeof in);
            (less ? s->spread_less : s->spread)(w, STRIDE, N, x, want);
            (less ? c->spread_less : c->spread)(w, STRIDE, N, x, got);
            same &= !memcmp(want, got, sizeof want);
        }
        memcpy(want, in, sizeof in);
        memcpy(got, in, sizeof in);
        x[round % LANES] = 0; /* a lane that does not move, whatever its direction is */
        in[round % LANES] = INFINITY;
        s->steps(x, in, N, want);
        c->steps(x, in, N, got);
        same &= !memcmp(want, got, sizeof want) && isfinite(want[LANES + round % LANES]);
        double sums[2][LANES];
        s->dots(want, v[0], 1, sums[0]);
        c->dots(want, v[0], 1, sums[1]);
        same &= !memcmp(sums[0], sums[1], sizeof sums[0]);
        s->dots(want, got, N, sums[0]);
        c->dots(want, got, N, sums[1]);
        same &= !memcmp(sums[0], sums[1], sizeof sums[0]);
        for (int i = 0; i < 6; i++)
            fill_floats(v[i], LANES, (round + i) % PATTERNS, i == 0 ? 2 : 1, seed++);
        memcpy(a, v + 3, sizeof a);
        memcpy(b, v + 3, sizeof b);
        int moved = s->accept(0.7f, v[0], v[1], v[2], v[5], a[0], a[1], a[2]);
        same &= moved == c->accept(0.7f, v[0], v[1], v[2], v[5], b[0], b[1], b[2]) && !memcmp(a, b, sizeof a);
    }
    ok(same, "%s: the inner loops give the scalar bits", isa->name);
}

/* ---- sweeps */

struct job {
    const struct quant_type *type;
    struct curvature c;
    size_t n, rows, row_bytes;
    float *x;
    uint8_t *blocks;
    double *loss; /* [rows][1 + PASSES] */
};

static struct job job_new(const struct quant_type *t, size_t rows, enum kind kind, enum column_order order)
{
    struct job j = {.type = t, .n = t->block_len == 256 ? 512 : t->block_len == 128 ? 384 : t->block_len == 64 ? 320 : 352, .rows = rows};
    j.c = curvature_of(j.n, kind, order, 0.03);
    j.row_bytes = j.n / t->block_len * t->block_bytes;
    j.x = need(rows * j.n * sizeof *j.x);
    j.blocks = need(rows * j.row_bytes);
    j.loss = need(rows * (1 + PASSES) * sizeof *j.loss);
    for (size_t i = 0; i < rows * j.n; i++)
        j.x[i] = 0.05f * rng_gauss(&seed);
    return j;
}

static void job_free(struct job *j)
{
    curvature_clear(&j->c);
    free(j->x);
    free(j->blocks);
    free(j->loss);
}

static void sweep_with(const struct job *j, unsigned cpu, int passes, const float *x, size_t rows, uint8_t *blocks, double *loss)
{
    struct sweeper *s = sweep_new(j->type, j->n, cpu, &(struct sweep_options){.passes = passes}, &why);
    if (!s)
        bail("%s", why.text);
    sweep_rows(s, &j->c, x, rows, blocks, loss);
    sweep_free(s);
}

static void sweep(const struct job *j, unsigned cpu, const float *x, size_t rows, uint8_t *blocks, double *loss)
{
    sweep_with(j, cpu, PASSES, x, rows, blocks, loss);
}

/* e H e' of what a row's blocks decode to, in F64. */
static double loss_of(const struct job *j, size_t row, const uint8_t *blocks)
{
    float *y = need(j->n * sizeof *y);
    double *e = need(j->n * sizeof *e), sum = 0;
    j->type->ref.decode(blocks, y, j->n / j->type->block_len);
    for (size_t i = 0; i < j->n; i++)
        e[i] = (double)j->x[row * j->n + i] - (double)y[i];
    for (size_t i = 0; i < j->n; i++) {
        double g = 0;
        for (size_t k = 0; k < j->n; k++)
            g += (double)*square_at(&j->c.h, k, i) * e[k];
        sum += g * e[i];
    }
    free(y);
    free(e);
    return sum;
}

/* The loss of `--search best`, all columns weighed alike, without feedback. */
static double best_loss(const struct job *j, size_t row)
{
    const size_t blocks = j->n / j->type->block_len;
    const struct quant_kernels k = quant_kernels_for(j->type, cpu_features());
    const float *x = j->x + row * j->n;
    uint8_t *to = need(j->row_bytes);
    float *ones = need(j->n * sizeof *ones);
    for (size_t i = 0; i < j->n; i++)
        ones[i] = 1;
    k.encode(x, NULL, to, blocks);
    k.improve(x, ones, to, blocks);
    double loss = loss_of(j, row, to);
    free(to);
    free(ones);
    return loss;
}

static void losses_fall(const struct quant_type *t, enum column_order order)
{
    struct job j = job_new(t, 70, CORRELATED, order);
    double first = 0, last = 0, best = 0, off = 0;
    int falls = 1;
    sweep(&j, cpu_features(), j.x, j.rows, j.blocks, j.loss);
    for (size_t r = 0; r < j.rows; r++) {
        const double *l = j.loss + r * (1 + PASSES);
        for (int i = 0; i < PASSES; i++)
            falls &= l[i + 1] <= l[i] * (1 + 1e-5);
        first += l[0];
        last += l[PASSES];
        best += best_loss(&j, r);
        off = fmax(off, fabs(loss_of(&j, r, j.blocks + r * j.row_bytes) / l[PASSES] - 1));
    }
    ok(first <= best, "%s: a sweep's loss in %s order is %.3f of --search best's", t->name, column_order_names[order], first / best);
    ok(falls && last < first, "%s: each pass lowers the loss of every row, to %.3f", t->name, last / best);
    ok(off < 1e-4, "%s: what the blocks decode to has the loss that was told, to %.1e", t->name, off);
    job_free(&j);
}

/* Where a column that lies at `to` of the second matrix lies in the first: whole blocks from the last to the first. */
static size_t moved_from(const struct job *j, size_t to)
{
    const size_t len = j->type->block_len;
    return (j->n / len - 1 - to / len) * len + to % len;
}

/* A matrix with its blocks the other way around, and its inputs with it. */
static struct job moved_job(const struct job *j)
{
    struct job m = *j;
    m.c = (struct curvature){.h = square_new(j->n), .u = copy_of(&j->c.u), .d = need(j->n * sizeof(float))};
    m.c.order = need(j->n * sizeof *m.c.order);
    m.x = need(j->rows * j->n * sizeof *m.x);
    m.blocks = need(j->rows * j->row_bytes);
    m.loss = need(1);
    for (size_t i = 0; i < j->n; i++) {
        for (size_t k = 0; k < j->n; k++)
            *square_at(&m.c.h, i, k) = *square_at(&j->c.h, moved_from(j, i), moved_from(j, k));
        for (size_t r = 0; r < j->rows; r++)
            m.x[r * j->n + i] = j->x[r * j->n + moved_from(j, i)];
        m.c.d[i] = j->c.d[moved_from(j, i)];
        m.c.order[i] = (uint32_t)moved_from(j, j->c.order[i]); /* which is its own inverse */
    }
    return m;
}

/* With the same columns one after another a sweep rounds them alike wherever they lie. */
static void moved_blocks_move(const struct quant_type *t)
{
    struct job j = job_new(t, 5, STILL, ORDER_IMPORTANCE), m = moved_job(&j);
    int same = 1, breaks = 0;
    sweep_with(&j, cpu_features(), 0, j.x, j.rows, j.blocks, NULL);
    sweep_with(&m, cpu_features(), 0, m.x, m.rows, m.blocks, NULL);
    for (size_t r = 0; r < j.rows; r++)
        for (size_t i = 0; i < j.n; i += t->block_len)
            same &= !memcmp(m.blocks + r * j.row_bytes + i / t->block_len * t->block_bytes,
                            j.blocks + r * j.row_bytes + moved_from(&j, i) / t->block_len * t->block_bytes, t->block_bytes);
    for (size_t i = 1; i < j.n; i++)
        breaks += j.c.order[i] != j.c.order[i - 1] + 1;
    ok(same && breaks > 0, "%s: a sweep by importance does not see where blocks lie", t->name);
    job_free(&j);
    job_free(&m);
}

static void identity_is_no_worse(const struct quant_type *t)
{
    struct job j = job_new(t, 20, IDENTITY, ORDER_IMPORTANCE);
    int good = 1;
    sweep(&j, cpu_features(), j.x, j.rows, j.blocks, j.loss);
    for (size_t r = 0; r < j.rows; r++)
        good &= loss_of(&j, r, j.blocks + r * j.row_bytes) <= best_loss(&j, r) * (1 + 1e-6);
    ok(good, "%s: where columns are independent no row's error is above --search best's", t->name);
    job_free(&j);
}

static void sweep_equals_scalar(const struct quant_type *t, enum column_order order)
{
    struct job j = job_new(t, 66, CORRELATED, order);
    uint8_t *got = need(j.rows * j.row_bytes);
    sweep(&j, 0, j.x, j.rows, j.blocks, NULL);
    for (int i = 1; i < N_ISAS; i++) {
        if ((isas[i].cpu & cpu_features()) != isas[i].cpu) {
            skip("this processor has not got it", "%s %s: the scalar bytes", t->name, isas[i].name);
            continue;
        }
        sweep(&j, isas[i].cpu, j.x, j.rows, got, NULL);
        ok(!memcmp(got, j.blocks, j.rows * j.row_bytes), "%s %s, %s order: the scalar bytes", t->name, isas[i].name,
           column_order_names[order]);
    }
    free(got);
    job_free(&j);
}

/* Rows of very different sizes, in every place of a group and alone. */
static void rows_are_independent(const struct quant_type *t)
{
    static const size_t counts[] = {1, 3, 64, 65};
    struct job j = job_new(t, 131, CORRELATED, ORDER_IMPORTANCE);
    uint8_t *got = need(j.rows * j.row_bytes);
    int same = 1;
    for (size_t r = 0; r < j.rows; r += 3)
        for (size_t i = 0; i < j.n; i++)
            j.x[r * j.n + i] *= r % 2 ? 1e-3f : 10;
    sweep(&j, cpu_features(), j.x, j.rows, j.blocks, NULL);
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++)
        for (size_t first = 0; first + counts[k] <= j.rows; first += 47) {
            sweep(&j, cpu_features(), j.x + first * j.n, counts[k], got, NULL);
            same &= !memcmp(got, j.blocks + first * j.row_bytes, counts[k] * j.row_bytes);
        }
    ok(same, "%s: a row's bytes do not depend on the rows beside it, nor on their number", t->name);
    free(got);
    job_free(&j);
}

static int all_finite(const struct job *j)
{
    float *y = need(j->rows * j->n * sizeof *y);
    int finite = 1;
    j->type->ref.decode(j->blocks, y, j->rows * j->n / j->type->block_len);
    for (size_t i = 0; i < j->rows * j->n; i++)
        finite &= isfinite(y[i]) != 0;
    free(y);
    return finite;
}

/* No loss above that of rounding without feedback, but for what F32 cannot tell. */
static int no_worse(const struct job *j)
{
    int good = 1;
    for (size_t r = 0; r < j->rows; r++) {
        double is = loss_of(j, r, j->blocks + r * j->row_bytes), best = best_loss(j, r);
        good &= is <= best * (1 + 1e-4) + 1e-60;
    }
    return good;
}

static void hostile_curvatures(const struct quant_type *t)
{
    for (enum kind kind = TWINS; kind < KINDS; kind++) {
        struct job j = job_new(t, 20, kind, ORDER_IMPORTANCE);
        memset(j.x + 3 * j.n, 0, j.n * sizeof *j.x);
        sweep(&j, cpu_features(), j.x, j.rows, j.blocks, j.loss);
        ok(all_finite(&j) && no_worse(&j), "%s: %s: finite, no row's loss above --search best's", t->name, kinds[kind]);
        ok(loss_of(&j, 3, j.blocks + 3 * j.row_bytes) == 0, "%s: a row of zeros among others stays one", t->name);
        job_free(&j);
    }
}

static void hostile_rows(const struct quant_type *t)
{
    struct job j = job_new(t, PATTERNS, CORRELATED, ORDER_IMPORTANCE);
    static const float sizes_of[] = {1, 1e-3f, 1e-12f, 1e-30f};
    memset(j.x, 0, j.rows * j.n * sizeof *j.x);
    sweep(&j, cpu_features(), j.x, j.rows, j.blocks, j.loss);
    int zero = 1;
    for (size_t r = 0; r < j.rows; r++)
        zero &= loss_of(&j, r, j.blocks + r * j.row_bytes) == 0;
    ok(zero, "%s: nothing but zeros stays so", t->name);
    for (size_t k = 0; k < sizeof sizes_of / sizeof *sizes_of; k++) {
        const float limit = t->max_abs * sizes_of[k];
        for (int p = 0; p < PATTERNS; p++)
            fill_floats(j.x + (size_t)p * j.n, j.n, p, limit, seed++);
        sweep(&j, cpu_features(), j.x, j.rows, j.blocks, j.loss);
        ok(all_finite(&j), "%s: rows of magnitudes up to %g stay finite", t->name, (double)limit);
    }
    job_free(&j);
}

/* ---- speed, on one core */

/* Columns that have much in common lie far apart, so that an order of them moves all. */
static struct curvature bench_curvature(size_t n)
{
    struct curvature c = {.h = square_new(n), .d = need(n * sizeof(float))};
    float *powers = need(n * sizeof *powers);
    for (size_t i = 0; i < n; i++)
        powers[i] = i ? 0.9f * powers[i - 1] : 1;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            size_t a = i * 2477 % n, b = j * 2477 % n; /* a prime that divides no n here: all places, once each */
            *square_at(&c.h, i, j) = powers[a > b ? a - b : b - a] + (i == j ? 0.03f : 0);
        }
    free(powers);
    c.u = copy_of(&c.h);
    return c;
}

static void bench_line(const char *what, size_t n, double flops, double took, double peak)
{
    printf("  %-15s %5zu columns: %6.1f GFLOP/s, %3.0f %% of peak\n", what, n, flops / took / 1e9, 100 * flops / took / 1e9 / peak);
    fflush(stdout);
}

static void bench_moment(size_t n, double peak)
{
    float *x = need(n * MOMENT_TOKENS * sizeof *x);
    struct square s = square_new(n);
    fill_tokens(x, n);
    double t = seconds();
    square_add_moment(&s, gemm_for(cpu_features()), x, MOMENT_TOKENS, MOMENT_TOKENS, 1);
    bench_line("moments", n, (double)n * (double)n * MOMENT_TOKENS, seconds() - t, peak);
    square_clear(&s);
    free(x);
}

/* LANES rows: the sweep, and two passes. Counted is the products' arithmetic, 1 + 2 * 2 times the columns' square of each row. */
static void bench_sweep(const struct quant_type *type, const struct curvature *c, double peak)
{
    const size_t n = c->h.n;
    float *x = need(LANES * n * sizeof *x);
    uint8_t *blocks = need(LANES * (n / type->block_len) * type->block_bytes);
    struct sweeper *s = sweep_new(type, n, cpu_features(), &(struct sweep_options){.passes = PASSES}, &why);
    if (!s)
        bail("%s", why.text);
    for (size_t i = 0; i < LANES * n; i++)
        x[i] = 0.05f * rng_gauss(&seed);
    double t = seconds();
    sweep_rows(s, c, x, LANES, blocks, NULL);
    bench_line(type->name, n, LANES * (1 + 2.0 * PASSES) * (double)n * (double)n, seconds() - t, peak);
    sweep_free(s);
    free(blocks);
    free(x);
}

static int bench(void)
{
    static const size_t columns[] = {2048, 7168};
    static const char *const types[] = {"Q4_K", "Q3_K", "IQ4_XS", "Q4_0"};
    const double peak = peak_gflops(cpu_features());
    printf("error feedback: peak of fused multiply-adds %.1f GFLOP/s on one core\n", peak);
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        const size_t n = columns[i];
        bench_moment(n, peak);
        struct curvature c = bench_curvature(n);
        for (enum column_order order = 0; order < ORDER_COUNT; order++) {
            c.order = order == ORDER_IMPORTANCE ? need(n * sizeof *c.order) : NULL;
            double t = seconds();
            if (curvature_factor(&c, cpu_features(), 1, &why))
                bail("no factor");
            t = seconds() - t;
            bench_line(c.order ? "factor, ordered" : "factor", n, (double)n * (double)n * (double)n / 3, t, peak);
            free(c.order);
        }
        c.order = NULL;
        for (size_t k = 0; k < sizeof types / sizeof *types; k++)
            bench_sweep(quant_type_find(types[k]), &c, peak);
        curvature_clear(&c);
    }
    return 0;
}

/* Checkpoints' types that differ from others by a constant. */
static int covered(const struct quant_type *t)
{
    return (t->group && strcmp(t->name, "INT4-G128") && strcmp(t->name, "INT4-G128-ASYM")) || !strcmp(t->name, "MXFP4-CT");
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--bench"))
        return bench();
    for (size_t i = 0; i < N_SIZES; i++) {
        moments(sizes[i]);
        factors(sizes[i], CORRELATED, ORDER_NATURAL);
        factors(sizes[i], CORRELATED, ORDER_IMPORTANCE);
    }
    moments_add_up();
    factors(130, TWINS, ORDER_IMPORTANCE);
    factors(130, STILL, ORDER_IMPORTANCE);
    equal_columns_stay();
    bad_pivots(70);
    bad_pivots(1);
    for (int i = 1; i < N_ISAS; i++)
        if ((isas[i].cpu & cpu_features()) == isas[i].cpu)
            columns_equal_scalar(&isas[i]);
        else
            skip("this processor has not got it", "%s: the inner loops give the scalar bits", isas[i].name);
    for (const struct quant_type *t = quant_types; t->name; t++) {
        if (!t->best || covered(t))
            continue;
        losses_fall(t, ORDER_IMPORTANCE);
        moved_blocks_move(t);
        identity_is_no_worse(t);
        sweep_equals_scalar(t, ORDER_IMPORTANCE);
        rows_are_independent(t);
        hostile_curvatures(t);
        hostile_rows(t);
    }
    static const char *const natural[] = {"Q4_0", "NVFP4"}; /* blocks of 32, and four groups of 16 */
    for (size_t i = 0; i < sizeof natural / sizeof *natural; i++) {
        losses_fall(quant_type_find(natural[i]), ORDER_NATURAL);
        sweep_equals_scalar(quant_type_find(natural[i]), ORDER_NATURAL);
    }
    return done();
}
