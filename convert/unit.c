/* SPDX-License-Identifier: MIT
 * Units: numbers to places. */
#include "convert/unit.h"

#include <string.h>

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
    u.source_slab = t->slab0 + u.slab;
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

static int part_outputs(const struct plan *p, const struct unit *u, struct unit_output out[UNIT_OUTPUTS])
{
    const struct plan_tensor *t = &p->tensors[u->tensor];
    for (int i = 0; i < t->n_parts; i++) {
        out[i].tensor = u->tensor + (size_t)i;
        layout_range(t->layout, t->type, t[i].part, t->weight.rows, t->weight.cols, u->row0, u->rows, 0, &out[i].at, &out[i].bytes);
    }
    return t->n_parts;
}

int unit_outputs(const struct plan *p, const struct unit *u, struct unit_output out[UNIT_OUTPUTS])
{
    const struct plan_tensor *t = &p->tensors[u->tensor], *v = t + 1;
    if (t->layout)
        return part_outputs(p, u, out);
    out[0] = (struct unit_output){u->tensor, (u->slab * t->weight.rows + u->row0) * row_bytes(t), u->rows * row_bytes(t)};
    if (t->units != UNITS_WITH_NEXT)
        return 1;
    uint64_t bytes = v->weight.rows * row_bytes(v);
    out[1] = (struct unit_output){u->tensor + 1, u->slab * bytes, bytes};
    return 2;
}

int unit_ranges(const struct plan *p, const struct unit *u, struct weight_range out[WEIGHT_RANGES])
{
    const struct tensor *verbatim = p->tensors[u->tensor].verbatim;
    if (!verbatim)
        return weight_ranges(p->model, &u->source, u->source_slab, u->source_row0, u->source_rows, out);
    out[0] = (struct weight_range){.tensor = verbatim, .at = u->row0, .n = u->rows};
    return 1;
}

uint64_t unit_bytes(const struct unit_output *out, int n)
{
    uint64_t bytes = 0;
    for (int i = 0; i < n; i++)
        bytes += out[i].bytes;
    return bytes;
}

struct unit unit_slice(const struct plan *p, const struct unit *u, uint64_t at)
{
    const struct plan_tensor *t = &p->tensors[u->tensor];
    struct unit s = *u;
    if (t->slice_rows >= t->unit_rows)
        return s;
    s.row0 = u->row0 + at;
    s.rows = u->rows - at < t->slice_rows ? u->rows - at : t->slice_rows;
    s.source_row0 = s.row0;
    s.source_rows = s.rows;
    return s;
}

size_t unit_block_bytes(const struct plan_tensor *t, uint64_t rows)
{
    const struct tiling *tiles = t->type->tiling;
    if (!tiles)
        return (size_t)(rows * row_bytes(t));
    size_t n = tiled_down(tiles, (size_t)rows) * tiled_across(tiles, (size_t)t->weight.cols);
    return (size_t)(rows * t->weight.cols) + n * (sizeof(float) + 1) + sizeof(float);
}

static size_t max(size_t a, uint64_t b)
{
    return a > b ? a : (size_t)b;
}

int unit_compares(const struct plan_tensor *t)
{
    return t->type->tiling && !strcmp(t->type->tiling->scales, "F8_E8M0") && !t->copied && !t->scales_from;
}

struct unit_room unit_room(const struct plan *p)
{
    struct unit_room room = {0};
    for (size_t i = 0; i < p->n_tensors; i++) {
        const struct plan_tensor *t = &p->tensors[i];
        struct unit_output out[UNIT_OUTPUTS];
        room.importance = max(room.importance, t->importance ? t->weight.cols * (p->options.fold ? 2 : 1) : 0);
        if (!unit_count(t))
            continue;
        struct unit u = unit_at(p, t->first_unit), slice = unit_slice(p, &u, 0);
        int n = unit_outputs(p, &u, out);
        room.encoded = max(room.encoded, unit_bytes(out, n));
        if (t->verbatim)
            continue;
        room.floats = max(room.floats, slice.source_rows * u.source.cols);
        room.folded = max(room.folded, p->options.fold ? u.source_rows * u.source.cols : 0);
        room.turned = max(room.turned, t->units == UNITS_WITH_NEXT ? u.rows * t->weight.cols : 0);
        room.compared |= unit_compares(t);
        room.blocks = max(room.blocks, t->layout ? unit_block_bytes(t, slice.rows) : 0);
        room.scratch = max(room.scratch, weight_scratch(p->model, &u.source, slice.source_rows));
    }
    return room;
}
