/* SPDX-License-Identifier: MIT
 * What a server told of a position: checked, and held against what the base knows. */
#include "verify/told.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/forward/det_math.h"

static const double log_p_slack = 1e-3, sum_slack = 1e-2, tiny = 1e-12, least_log_p = -745; /* e^-745 is just above 0 */

/* Texts of tokens may hold a NUL, written \u0000, which JSON readers and we refuse: it becomes the picture of one. */
static void mend(char *body)
{
    for (char *at = body; (at = strstr(at, "\\u0000")); at += 6) {
        size_t slashes = 1;
        while (at - slashes >= body && at[-(ptrdiff_t)slashes] == '\\')
            slashes++;
        if (slashes % 2)
            memcpy(at + 2, "2400", 4);
    }
}

struct json *told_parse(char *body, size_t size, struct error *e)
{
    mend(body);
    return json_parse(body, size, e);
}

static int by_id(const void *a, const void *b)
{
    const struct told_entry *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

struct told_entry *told_check(const struct told *t, size_t vocab, const char **what)
{
    struct told_entry *list = malloc((t->n + 1) * sizeof *list);
    double sum = 0;
    *what = NULL;
    if (!list)
        return NULL;
    for (size_t i = 0; !*what && i < t->n; i++) {
        if (t->ids[i] < 0 || (uint64_t)t->ids[i] >= vocab)
            *what = "a token that the base's vocabulary does not have";
        else if (isnan(t->log_p[i]) || t->log_p[i] > log_p_slack)
            *what = "a probability above 1, or none";
        else
            list[i] = (struct told_entry){(int32_t)t->ids[i], t->log_p[i] > 0 ? 0 : t->log_p[i] < least_log_p ? least_log_p : t->log_p[i]};
        sum += *what ? 0 : det_exp(list[i].log_p);
    }
    if (!*what) {
        qsort(list, t->n, sizeof *list, by_id);
        for (size_t i = 1; i < t->n && !*what; i++)
            *what = list[i].id == list[i - 1].id ? "a token twice" : NULL;
        *what = !*what && sum > 1 + sum_slack ? "probabilities that add up to more than 1" : *what;
    }
    if (!*what)
        return list;
    free(list);
    return NULL;
}

double told_bound(const struct base_list *b, const struct told_entry *list, size_t n, double left[2])
{
    double sum = 0, p = 0, q = 0;
    for (size_t i = 0, k = 0; i < n; i++) {
        while (k < b->n && b->ids[k] < list[i].id)
            k++;
        if (k == b->n || b->ids[k] != list[i].id)
            continue;
        const double pi = det_exp(b->log_p[k]), qi = det_exp(list[i].log_p);
        sum += pi * (b->log_p[k] - list[i].log_p);
        p += pi;
        q += qi;
    }
    left[0] = p < 1 ? 1 - p : 0;
    left[1] = q < 1 ? 1 - q : 0;
    if (left[0] > tiny)
        sum += left[0] * (det_log(left[0]) - det_log(left[1] > tiny ? left[1] : tiny));
    return sum > 0 ? sum : 0;
}

void told_best(const struct told_entry *list, size_t n, struct position *p)
{
    p->cand = (struct softmax_sum){0, 1};
    p->cand_top.n = 0;
    for (size_t i = 0; i < n; i++)
        top_add(&p->cand_top, (float)list[i].log_p, list[i].id);
}

double told_target(const struct told_entry *list, size_t n, int32_t target, size_t *untold)
{
    double least = 0, q = 0;
    for (size_t i = 0; i < n; i++) {
        if (list[i].id == target)
            return list[i].log_p;
        least = list[i].log_p < least ? list[i].log_p : least;
        q += det_exp(list[i].log_p);
    }
    ++*untold;
    const double rest = det_log(1 - q > tiny ? 1 - q : tiny);
    return rest < least ? rest : least;
}
