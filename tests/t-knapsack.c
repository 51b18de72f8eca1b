/* SPDX-License-Identifier: MIT
 * The choice of types under a budget, against trying everything, and at the size of a 671B model's experts. */
#include <stdlib.h>
#include <time.h>

#include "convert/knapsack.h"
#include "tests/tap.h"

enum { SMALL = 7, OPTIONS = 5, LAYERS = 58, EXPERTS = 256, MATRICES = 3, TYPES = 12, LARGE = LAYERS * EXPERTS * MATRICES };

static uint64_t state = 1;

static double uniform(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) / 9007199254740992.0;
}

/* Sizes rise, costs fall, mostly. */
static void make(struct knapsack_option *o, size_t n, double scale)
{
    for (size_t i = 0; i < n; i++) {
        o[i].bytes = (uint64_t)(scale * (1 + (double)i + 0.8 * uniform()));
        o[i].cost = scale * (0.3 + uniform()) / (double)(1 << 2 * i);
    }
}

/* The least cost of items i.. within `left`, or infinity. */
static double best(const struct knapsack_item *items, size_t i, uint64_t left)
{
    double least = 1e300;
    if (i == SMALL)
        return 0;
    for (size_t o = 0; o < items[i].n; o++)
        if (items[i].options[o].bytes <= left) {
            double cost = items[i].options[o].cost + best(items, i + 1, left - items[i].options[o].bytes);
            least = cost < least ? cost : least;
        }
    return least;
}

struct tally {
    int over, below, missed; /* budgets exceeded; costs below the optimum; no answer where there is one */
    double excess, worst;    /* over the optimum: mean and largest */
};

static void try_one(struct tally *t, double place)
{
    struct knapsack_option options[SMALL][OPTIONS];
    struct knapsack_item items[SMALL];
    struct knapsack_sum sum;
    size_t choice[SMALL];
    for (size_t i = 0; i < SMALL; i++) {
        make(options[i], OPTIONS, 50 + 1000 * uniform());
        items[i] = (struct knapsack_item){options[i], OPTIONS};
    }
    struct knapsack *k = knapsack_new(items, SMALL, NULL);
    const uint64_t budget = knapsack_least(k) + (uint64_t)(place * (double)(knapsack_most(k) - knapsack_least(k)));
    t->missed += knapsack_solve(k, budget, choice, &sum, NULL) != 0;
    const double optimum = best(items, 0, budget), excess = sum.cost / optimum - 1;
    uint64_t bytes = 0;
    for (size_t i = 0; i < SMALL; i++)
        bytes += options[i][choice[i]].bytes;
    t->over += bytes > budget || bytes != sum.bytes;
    t->below += excess < -1e-9;
    t->excess += excess;
    t->worst = excess > t->worst ? excess : t->worst;
    knapsack_free(k);
}

static void against_all(void)
{
    enum { TRIES = 200 };
    struct tally t = {0};
    for (int i = 0; i < TRIES; i++)
        try_one(&t, uniform());
    ok(!t.missed && !t.over, "%d budgets of %d items: every one is kept", TRIES, SMALL);
    ok(!t.below, "no cost is below that of the best of all choices");
    ok(t.excess / TRIES < 0.003, "costs are %.3f %% above the best of all choices in the mean", 100 * t.excess / TRIES);
    ok(t.worst < 0.15, "and %.1f %% at most", 100 * t.worst);
}

static void edges(void)
{
    const struct knapsack_option a[] = {{10, 5}, {20, 1}, {15, 7}}, b[] = {{8, 3}};
    const struct knapsack_item items[] = {{a, 3}, {b, 1}};
    struct knapsack_sum sum;
    size_t choice[2];
    struct knapsack *k = knapsack_new(items, 2, NULL);
    ok(knapsack_least(k) == 18 && knapsack_most(k) == 28, "the smallest and the largest sizes that make sense are known");
    ok(knapsack_solve(k, 17, choice, &sum, NULL) == 1, "a budget below the smallest is told");
    ok(knapsack_solve(k, 27, choice, &sum, NULL) == 0 && choice[0] == 0 && choice[1] == 0 && sum.bytes == 18,
       "an option that costs more bytes and saves nothing is not taken");
    ok(knapsack_solve(k, 28, choice, &sum, NULL) == 0 && choice[0] == 1 && sum.cost == 4, "what fits to the byte is taken");
    knapsack_free(k);
}

static void large(void)
{
    struct knapsack_option *options = malloc(LARGE * TYPES * sizeof *options);
    struct knapsack_item *items = malloc(LARGE * sizeof *items);
    size_t *choice = malloc(LARGE * sizeof *choice);
    struct knapsack_sum sum;
    for (size_t i = 0; i < LARGE; i++) {
        make(options + i * TYPES, TYPES, 1e6 * (1 + uniform()));
        items[i] = (struct knapsack_item){options + i * TYPES, TYPES};
    }
    clock_t from = clock();
    struct knapsack *k = knapsack_new(items, LARGE, NULL);
    const uint64_t budget = (knapsack_least(k) + knapsack_most(k)) / 3;
    ok(knapsack_solve(k, budget, choice, &sum, NULL) == 0 && sum.bytes <= budget, "58 layers of 256 experts of 3 matrices of 12 types are chosen");
    const double seconds = (double)(clock() - from) / CLOCKS_PER_SEC;
    ok(seconds < 10, "in %.2f seconds", seconds);
    ok((double)(budget - sum.bytes) < 1e-5 * (double)budget, "and %.7f of the budget is left", (double)(budget - sum.bytes) / (double)budget);
    knapsack_free(k);
    free(options);
    free(items);
    free(choice);
}

int main(void)
{
    plan(11);
    against_all();
    edges();
    large();
    return done();
}
