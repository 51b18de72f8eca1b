/* SPDX-License-Identifier: MIT
 * Units: numbers to places. */
#include "convert/unit.h"

uint64_t unit_count(const struct plan_tensor *t)
{
    if (t->units == UNITS_OF_PREVIOUS)
        return 0;
    return t->weight.slabs * ((t->weight.rows + t->unit_rows - 1) / t->unit_rows);
}

/* The last tensor whose first unit is not behind `number`. A tensor without units shares that number with the next one. */
static size_t tensor_of(const struct plan *p, uint64_t number)
{
    size_t from = 0, to = p->n_tensors;
    while (to - from > 1) {
        size_t middle = from + (to - from) / 2;
        if (p->tensors[middle].first_unit <= number)
            from = middle;
        else
            to = middle;
    }
    return from;
}

struct unit unit_at(const struct plan *p, uint64_t number)
{
    size_t tensor = tensor_of(p, number);
    const struct plan_tensor *t = &p->tensors[tensor];
    uint64_t per_slab = (t->weight.rows + t->unit_rows - 1) / t->unit_rows, index = number - t->first_unit;
    struct unit u = {.number = number, .tensor = tensor, .slab = index / per_slab,
                     .row0 = index % per_slab * t->unit_rows};
    u.rows = t->weight.rows - u.row0 < t->unit_rows ? t->weight.rows - u.row0 : t->unit_rows;
    u.source = t->weight;
    u.source_slab = u.slab;
    u.source_row0 = u.row0;
    u.source_rows = u.rows;
    if (t->units == UNITS_WITH_NEXT) {
        model_weight(p->model, ROLE_ATTN_KV_B, t->weight.layer, &u.source);
        u.source_slab = 0;
        u.source_rows = u.source.rows / t->weight.slabs;
        u.source_row0 = u.slab * u.source_rows;
    }
    return u;
}

static uint64_t row_bytes(const struct plan_tensor *t)
{
    return t->weight.cols / t->type->block_len * t->type->block_bytes;
}

int unit_outputs(const struct plan *p, const struct unit *u, struct unit_output out[2])
{
    const struct plan_tensor *t = &p->tensors[u->tensor], *v = t + 1;
    out[0] = (struct unit_output){u->tensor, (u->slab * t->weight.rows + u->row0) * row_bytes(t), u->rows * row_bytes(t)};
    if (t->units != UNITS_WITH_NEXT)
        return 1;
    uint64_t bytes = v->weight.rows * row_bytes(v);
    out[1] = (struct unit_output){u->tensor + 1, u->slab * bytes, bytes};
    return 2;
}

static size_t max(size_t a, uint64_t b)
{
    return a > b ? a : (size_t)b;
}

struct unit_room unit_room(const struct plan *p)
{
    struct unit_room room = {0};
    for (size_t i = 0; i < p->n_tensors; i++) {
        const struct plan_tensor *t = &p->tensors[i];
        struct unit_output out[2];
        room.importance = max(room.importance, t->importance ? t->weight.cols * (p->options.fold ? 2 : 1) : 0);
        if (!unit_count(t))
            continue;
        struct unit u = unit_at(p, t->first_unit);
        int n = unit_outputs(p, &u, out);
        room.floats = max(room.floats, u.source_rows * u.source.cols);
        room.folded = max(room.folded, p->options.fold ? u.source_rows * u.source.cols : 0);
        room.turned = max(room.turned, n == 2 ? u.rows * t->weight.cols : 0);
        room.encoded = max(room.encoded, out[0].bytes + (n == 2 ? out[1].bytes : 0));
        room.scratch = max(room.scratch, weight_scratch(p->model, &u.source, u.source_rows));
    }
    return room;
}
