/* SPDX-License-Identifier: MIT
 * Sampled rows of logits: two heaps of the smallest on top, one by logit, one by key; what leaves the first is offered to the second. */
#include "verify/base_sample.h"

#include <math.h>
#include <stdlib.h>

#include "model/forward/det_math.h"

enum { MOST = BASE_SAMPLE_MOST + 1 };

struct item {
    double rank; /* what the heap is ordered by */
    float logit;
    int32_t id;
};

struct heap {
    struct item items[MOST];
    size_t n, most;
};

/* Of equal ranks the higher id goes first. */
static int below(const struct item *a, const struct item *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->id > b->id;
}

static void sink(struct heap *h, size_t i)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->n)
            return;
        child += child + 1 < h->n && below(&h->items[child + 1], &h->items[child]);
        if (!below(&h->items[child], &h->items[i]))
            return;
        struct item t = h->items[i];
        h->items[i] = h->items[child];
        h->items[child] = t;
        i = child;
    }
}

/* 1 and the item that found no room, else 0. */
static int offer(struct heap *h, struct item x, struct item *left)
{
    if (h->n < h->most) {
        size_t i = h->n++;
        for (; i && below(&x, &h->items[(i - 1) / 2]); i = (i - 1) / 2)
            h->items[i] = h->items[(i - 1) / 2];
        h->items[i] = x;
        return 0;
    }
    *left = x;
    if (!h->most || !below(&h->items[0], &x))
        return 1;
    *left = h->items[0];
    h->items[0] = x;
    sink(h, 0);
    return 1;
}

static int by_rank(const void *a, const void *b) /* largest first */
{
    return below(a, b) ? 1 : below(b, a) ? -1 : 0;
}

static int by_id(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static uint64_t mix(uint64_t x) /* splitmix64's finalizer */
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Offers a token to those that are drawn. u is (bits + 1/2) / 2^52; -ln(-ln(1 - u)) is at most -ln u, which its leading zeros bound. */
static void draw(struct heap *h, uint64_t seed, struct item x)
{
    uint64_t bits = mix(seed ^ (uint64_t)(uint32_t)x.id * 0xd6e8feb86659fd93u) >> 12;
    int zeros = bits ? __builtin_clzll(bits) - 12 : 53;
    struct item left;
    if (h->n == h->most && (double)x.logit + (zeros + 1) * 0.6931471805599454 < h->items[0].rank)
        return;
    double u = ((double)bits + 0.5) * 0x1p-52;
    x.rank = (double)x.logit - det_log(-det_log(1 - u));
    offer(h, x, &left);
}

static uint16_t code_of(double log_p)
{
    const double code = rint(-log_p * BASE_CODE_STEPS);
    return (uint16_t)(code < 0 ? 0 : code > UINT16_MAX ? UINT16_MAX : code);
}

void base_sample_draw(const float *row, size_t vocab, double log_sum, size_t best, size_t drawn, uint64_t seed, const struct base_sample *to)
{
    struct heap top = {.most = best < MOST ? best : MOST}, rest = {.most = drawn < MOST ? drawn + 1 : MOST};
    struct item left;
    for (size_t i = 0; i < vocab; i++) {
        struct item x = {(double)row[i], row[i], (int32_t)i};
        if (offer(&top, x, &left))
            draw(&rest, seed, left);
    }
    qsort(top.items, top.n, sizeof *top.items, by_rank);
    qsort(rest.items, rest.n, sizeof *rest.items, by_rank);
    *to->threshold = rest.n > drawn ? (float)(rest.items[drawn].rank - log_sum) : -INFINITY;
    rest.n = rest.n > drawn ? drawn : rest.n;
    qsort(rest.items, rest.n, sizeof *rest.items, by_id);
    for (size_t i = 0; i < best + drawn; i++) {
        const struct item *x = i < best ? (i < top.n ? &top.items[i] : NULL) : i - best < rest.n ? &rest.items[i - best] : NULL;
        to->ids[i] = x ? x->id : -1;
        to->codes[i] = x ? code_of((double)x->logit - log_sum) : 0;
    }
}

/* p (x - 1 + e^-x) with x = ln p - ln q. */
static double term(double log_p, double log_q)
{
    double x = log_p - log_q;
    return det_exp(log_p) * (x - 1) + det_exp(log_q);
}

double base_sample_kld(const struct base_sample *s, size_t best, size_t drawn, const float *row, double row_log_sum)
{
    double sum = 0;
    for (size_t i = 0; i < best + drawn; i++) {
        if (s->ids[i] < 0)
            continue;
        double log_p = -(double)s->codes[i] / BASE_CODE_STEPS, t = term(log_p, (double)row[s->ids[i]] - row_log_sum);
        if (i >= best && *s->threshold > -INFINITY) {
            double x = det_exp(log_p - (double)*s->threshold);
            t /= x > 1e-9 ? 1 - det_exp(-x) : x;
        }
        sum += t;
    }
    return sum > 0 ? sum : 0;
}
