/* SPDX-License-Identifier: MIT
 * Units expert by expert. */
#include "convert/order.h"

#include <stdlib.h>

#include "convert/unit.h"

struct visit {
    uint64_t group, slab, number; /* in this order */
};

static int compare(const void *a, const void *b)
{
    const struct visit *x = a, *y = b;
    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    if (x->slab != y->slab)
        return x->slab < y->slab ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

static int is_expert(const struct plan_tensor *t)
{
    return roles[t->weight.role].flags & ROLE_EXPERT;
}

/* The first tensor that a tensor is visited together with. */
static size_t leader(const struct plan *p, size_t tensor)
{
    const struct plan_tensor *t = &p->tensors[tensor];
    size_t first = tensor;
    for (size_t i = tensor; is_expert(t) && i-- > 0 && p->tensors[i].weight.layer == t->weight.layer;)
        if (is_expert(&p->tensors[i]))
            first = i;
    return first;
}

uint32_t *order_by_expert(const struct plan *p, uint64_t from, uint64_t to)
{
    struct visit *list = malloc((size_t)(to - from + 1) * sizeof *list);
    uint32_t *order = malloc((size_t)(to - from + 1) * sizeof *order);
    size_t led = SIZE_MAX, group = 0;
    for (uint64_t i = from; list && order && i < to; i++) {
        struct unit u = unit_at(p, i);
        if (u.tensor != led) {
            led = u.tensor;
            group = leader(p, led);
        }
        list[i - from] = (struct visit){group, is_expert(&p->tensors[u.tensor]) ? u.source_slab : 0, i};
    }
    if (!list || !order) {
        free(list);
        free(order);
        return NULL;
    }
    qsort(list, (size_t)(to - from), sizeof *list, compare);
    for (uint64_t i = from; i < to; i++)
        order[i - from] = (uint32_t)list[i - from].number;
    free(list);
    return order;
}
