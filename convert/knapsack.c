/* SPDX-License-Identifier: MIT
 * Multiple-choice knapsack: hulls, steps, repair. */
#include "convert/knapsack.h"

#include <stdlib.h>
#include <string.h>

/* Pairs are tried among so many items, and so often at most; other beginnings of fewer items, each without one of these steps. */
enum { MOST_FOR_PAIRS = 1024, MOST_ROUNDS = 200, MOST_FOR_OTHERS = 128, STEPS_AROUND = 16 };

struct step { /* of an item along its hull */
    double saved_per_byte;
    uint64_t bytes;
    uint32_t item, from, to; /* options */
};

struct knapsack {
    const struct knapsack_item *items;
    size_t n;
    uint32_t *first; /* [n] the smallest options */
    struct step *steps;
    size_t n_steps;
    uint64_t least, most;
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the choice of types");
}

static const struct knapsack_option *option(const struct knapsack *k, size_t item, size_t i)
{
    return &k->items[item].options[i];
}

static uint32_t smallest(const struct knapsack *k, size_t item)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < k->items[item].n; i++) {
        const struct knapsack_option *o = option(k, item, i), *b = option(k, item, best);
        if (o->bytes < b->bytes || (o->bytes == b->bytes && o->cost < b->cost))
            best = i;
    }
    return best;
}

/* The option to which the hull goes from `at`: the one that saves most per byte, of equals the largest. 0: none saves. */
static int next_on_hull(const struct knapsack *k, size_t item, uint32_t at, struct step *s)
{
    const struct knapsack_option *from = option(k, item, at);
    s->saved_per_byte = 0;
    s->bytes = 0;
    for (uint32_t i = 0; i < k->items[item].n; i++) {
        const struct knapsack_option *to = option(k, item, i);
        if (to->bytes <= from->bytes || to->cost >= from->cost)
            continue;
        double rate = (from->cost - to->cost) / (double)(to->bytes - from->bytes);
        if (rate > s->saved_per_byte || (rate == s->saved_per_byte && to->bytes - from->bytes > s->bytes))
            *s = (struct step){rate, to->bytes - from->bytes, (uint32_t)item, at, i};
    }
    return s->bytes != 0;
}

static int by_rate(const void *a, const void *b)
{
    const struct step *s = a, *t = b;
    if (s->saved_per_byte != t->saved_per_byte)
        return s->saved_per_byte > t->saved_per_byte ? -1 : 1;
    if (s->item != t->item)
        return s->item < t->item ? -1 : 1;
    return (s->from > t->from) - (s->from < t->from);
}

static void find_steps(struct knapsack *k)
{
    for (size_t i = 0; i < k->n; i++) {
        uint32_t at = k->first[i] = smallest(k, i);
        k->least += option(k, i, at)->bytes;
        for (struct step s; next_on_hull(k, i, at, &s); at = s.to)
            k->steps[k->n_steps++] = s;
        k->most += option(k, i, at)->bytes;
    }
    qsort(k->steps, k->n_steps, sizeof *k->steps, by_rate);
}

struct knapsack *knapsack_new(const struct knapsack_item *items, size_t n, struct error *e)
{
    struct knapsack *k = calloc(1, sizeof *k);
    size_t most = 1;
    for (size_t i = 0; i < n; i++)
        most += items[i].n;
    if (!k || !(k->first = malloc((n + 1) * sizeof *k->first)) || !(k->steps = malloc(most * sizeof *k->steps))) {
        knapsack_free(k);
        no_memory(e);
        return NULL;
    }
    k->items = items;
    k->n = n;
    find_steps(k);
    return k;
}

void knapsack_free(struct knapsack *k)
{
    if (!k)
        return;
    free(k->first);
    free(k->steps);
    free(k);
}

uint64_t knapsack_least(const struct knapsack *k)
{
    return k->least;
}

uint64_t knapsack_most(const struct knapsack *k)
{
    return k->most;
}

/* ---- repair */

/* Moves item i to the option that saves most and fits. */
static int improve_one(const struct knapsack *k, size_t i, size_t *choice, uint64_t *left)
{
    const struct knapsack_option *now = option(k, i, choice[i]);
    size_t best = choice[i];
    for (size_t o = 0; o < k->items[i].n; o++)
        if (option(k, i, o)->bytes <= now->bytes + *left && option(k, i, o)->cost < option(k, i, best)->cost)
            best = o;
    if (best == choice[i])
        return 0;
    *left = *left + now->bytes - option(k, i, best)->bytes;
    choice[i] = best;
    return 1;
}

struct pair {
    size_t i, j, a, b; /* items and their options */
    double saved;
};

/* The best change of two items together. */
static void best_of_pair(const struct knapsack *k, size_t i, size_t j, const size_t *choice, uint64_t left, struct pair *best)
{
    const struct knapsack_option *x = option(k, i, choice[i]), *y = option(k, j, choice[j]);
    const uint64_t room = x->bytes + y->bytes + left;
    const double cost = x->cost + y->cost;
    for (size_t a = 0; a < k->items[i].n; a++)
        for (size_t b = 0; b < k->items[j].n && option(k, i, a)->bytes <= room; b++) {
            const struct knapsack_option *p = option(k, i, a), *q = option(k, j, b);
            double saved = cost - p->cost - q->cost;
            /* a hair is rounding, and would go round in circles */
            if (q->bytes <= room - p->bytes && saved > best->saved && saved > 1e-12 * cost)
                *best = (struct pair){i, j, a, b, saved};
        }
}

static int improve_pair(const struct knapsack *k, size_t *choice, uint64_t *left)
{
    struct pair best = {.saved = 0};
    for (size_t i = 0; i < k->n; i++)
        for (size_t j = i + 1; j < k->n; j++)
            best_of_pair(k, i, j, choice, *left, &best);
    if (!(best.saved > 0))
        return 0;
    *left = *left + option(k, best.i, choice[best.i])->bytes + option(k, best.j, choice[best.j])->bytes -
            option(k, best.i, best.a)->bytes - option(k, best.j, best.b)->bytes;
    choice[best.i] = best.a;
    choice[best.j] = best.b;
    return 1;
}

static void repair(const struct knapsack *k, size_t *choice, uint64_t left)
{
    for (int round = 0, changed = 1; changed && round < MOST_ROUNDS; round++) {
        changed = 0;
        for (size_t i = 0; i < k->n; i++)
            changed |= improve_one(k, i, choice, &left);
        if (!changed && k->n <= MOST_FOR_PAIRS)
            changed = improve_pair(k, choice, &left);
    }
}

/* The steps that fit but for step `without`; returns what is left. *last: behind the last that was taken before one did not fit. */
static uint64_t take_steps(const struct knapsack *k, uint64_t left, size_t without, size_t *choice, size_t *last)
{
    int all = 1;
    for (size_t i = 0; i < k->n; i++)
        choice[i] = k->first[i];
    for (size_t s = 0; s < k->n_steps; s++) {
        const struct step *step = &k->steps[s];
        if (s == without || choice[step->item] != step->from)
            continue;
        all = all && step->bytes <= left;
        *last = all ? s + 1 : *last;
        if (step->bytes > left)
            continue;
        choice[step->item] = step->to;
        left -= step->bytes;
    }
    return left;
}

static struct knapsack_sum sum_of(const struct knapsack *k, const size_t *choice)
{
    struct knapsack_sum sum = {0, 0};
    for (size_t i = 0; i < k->n; i++) {
        sum.bytes += option(k, i, choice[i])->bytes;
        sum.cost += option(k, i, choice[i])->cost;
    }
    return sum;
}

/* Other beginnings: each without one of the steps around the last, whose bytes are then spent elsewhere. */
static void try_others(const struct knapsack *k, uint64_t left, size_t last, size_t *choice, size_t *other, struct knapsack_sum *sum)
{
    const size_t from = last > STEPS_AROUND ? last - STEPS_AROUND : 0, to = last + STEPS_AROUND < k->n_steps ? last + STEPS_AROUND : k->n_steps;
    for (size_t s = from; s < to; s++) {
        size_t ignored = 0;
        repair(k, other, take_steps(k, left, s, other, &ignored));
        struct knapsack_sum found = sum_of(k, other);
        if (found.cost >= sum->cost)
            continue;
        *sum = found;
        memcpy(choice, other, k->n * sizeof *choice);
    }
}

int knapsack_solve(const struct knapsack *k, uint64_t budget, size_t *choice, struct knapsack_sum *sum, struct error *e)
{
    size_t last = 0, *other;
    *sum = (struct knapsack_sum){0, 0};
    if (budget < k->least)
        return 1;
    repair(k, choice, take_steps(k, budget - k->least, SIZE_MAX, choice, &last));
    *sum = sum_of(k, choice);
    if (k->n > MOST_FOR_OTHERS)
        return 0;
    if (!(other = malloc((k->n + 1) * sizeof *other)))
        return no_memory(e);
    try_others(k, budget - k->least, last, choice, other, sum);
    free(other);
    return 0;
}
