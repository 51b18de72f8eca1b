/* SPDX-License-Identifier: MIT
 * Views: blocks and tiled rows under one way of asking. */
#include "quant/layout_view.h"

#include <string.h>

#include "quant/groups.h"

struct layout_form layout_form_of(const struct quant_type *t)
{
    if (t->group)
        return (struct layout_form){KIND_INT, t->group->bits, t->group->asymmetric, (uint64_t)t->group->len, 1, t->group->scales};
    if (t->tiling) /* scales that are powers of two are F32 numbers like others */
        return (struct layout_form){t->tiling->is_float ? KIND_FLOAT : KIND_INT, t->tiling->bits, t->tiling->asymmetric, t->tiling->cols,
                             t->tiling->rows, t->tiling->is_float ? "F32" : t->tiling->scales};
    if (!strcmp(t->name, "MXFP4-CT"))
        return (struct layout_form){KIND_MXFP4, 4, 0, t->block_len, 1, "U8"};
    if (!strcmp(t->name, "NVFP4-CT"))
        return (struct layout_form){KIND_NVFP4, 4, 0, t->block_len, 1, "F8_E4M3"};
    return (struct layout_form){0};
}

uint64_t layout_scales_across(const struct layout_form *f, uint64_t cols)
{
    return f->len ? div_up(cols, f->len) : 1;
}

uint64_t layout_dtype_size(const char *dtype)
{
    static const struct {
        const char *name;
        uint64_t size;
    } sizes[] = {{"I64", 8}, {"I32", 4}, {"F32", 4}, {"BF16", 2}, {"F16", 2}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (!strcmp(sizes[i].name, dtype))
            return sizes[i].size;
    return 1;
}

int layout_give_shape(const struct layout *l, enum layout_part p, const char *dtype, uint32_t n_dims, uint64_t d0, uint64_t d1,
                      struct part_shape *out)
{
    *out = (struct part_shape){.suffix = l->suffix[p], .dtype = dtype, .n_dims = n_dims, .dims = {d0, d1},
                               .bytes = layout_dtype_size(dtype) * d0 * (n_dims > 1 ? d1 : 1)};
    return 1;
}

int layout_whole_groups(const struct layout_form *f, uint64_t cols)
{
    return !f->len || cols % f->len == 0;
}

struct layout_view view_of(const struct part_rows *r, const void *blocks)
{
    struct layout_form f = layout_form_of(r->type);
    struct layout_view v = {.f = f, .cols = r->cols, .groups = layout_scales_across(&f, r->cols), .per_word = 32 / (uint64_t)f.bits,
                     .low = 1 << (f.bits - 1), .type = r->type};
    if (r->type->tiling)
        v.tiled = blocks;
    else
        v.blocks = (uint8_t *)blocks; /* put only reads */
    return v;
}

static uint8_t *view_block(const struct layout_view *v, uint64_t row, uint64_t group)
{
    return v->blocks + (row * v->groups + group) * v->type->block_bytes;
}

uint8_t *view_codes(const struct layout_view *v, uint64_t row, uint64_t w)
{
    uint64_t i = w * v->per_word, code_bytes = v->f.len * (uint64_t)v->f.bits / 8;
    return view_block(v, row, i / v->f.len) + v->type->block_bytes - code_bytes + i % v->f.len * (uint64_t)v->f.bits / 8;
}

uint32_t view_word(const struct layout_view *v, uint64_t row, uint64_t w)
{
    if (!v->tiled)
        return load_32(view_codes(v, row, w));
    uint32_t word = 0;
    uint64_t first = w * v->per_word, n = v->cols - first < v->per_word ? v->cols - first : v->per_word;
    const uint8_t *code = v->tiled->codes + row * v->cols + first;
    for (uint64_t i = 0; i < n; i++)
        word |= (uint32_t)((int8_t)code[i] + v->low) << i * (uint64_t)v->f.bits;
    return word;
}

void view_set_word(const struct layout_view *v, uint64_t row, uint64_t w, uint32_t word)
{
    if (!v->tiled) {
        store_32(view_codes(v, row, w), word);
        return;
    }
    uint64_t first = w * v->per_word, n = v->cols - first < v->per_word ? v->cols - first : v->per_word;
    uint8_t *code = v->tiled->codes + row * v->cols + first;
    uint32_t mask = (1u << v->f.bits) - 1;
    for (uint64_t i = 0; i < n; i++)
        code[i] = (uint8_t)((int)(word >> i * (uint64_t)v->f.bits & mask) - v->low);
}

float view_scale(const struct layout_view *v, uint64_t row, uint64_t g)
{
    return v->tiled ? v->tiled->scale[row] : group_take(v->type->group, view_block(v, row, g)).scale;
}

int view_zero(const struct layout_view *v, uint64_t row, uint64_t g)
{
    if (!v->f.asymmetric)
        return v->low;
    return v->tiled ? v->tiled->zero[row] + v->low : group_take(v->type->group, view_block(v, row, g)).zero;
}

int view_set_group(const struct layout_view *v, uint64_t row, uint64_t g, float scale, int zero)
{
    if (!v->f.asymmetric && zero != v->low)
        return -1;
    if (!v->tiled) {
        group_give(v->type->group, scale, zero, view_block(v, row, g));
        return 0;
    }
    v->tiled->scale[row] = scale;
    if (v->f.asymmetric)
        v->tiled->zero[row] = (int8_t)(zero - v->low);
    return 0;
}

const struct quant_type *view_scale_type(const struct part_rows *r)
{
    return r->scales ? r->scales : quant_type_find(layout_form_of(r->type).scales);
}

float view_scale_at(const struct part_rows *r, const struct quant_type *t, uint64_t i)
{
    float f;
    t->ref.decode((const uint8_t *)r->part[PART_SCALES] + i * t->block_bytes, &f, 1);
    return f;
}

void view_put_scale_at(const struct part_rows *r, const struct quant_type *t, uint64_t i, float f)
{
    t->ref.encode(&f, NULL, (uint8_t *)r->part[PART_SCALES] + i * t->block_bytes, 1);
}

uint32_t view_field(const struct layout_view *v, const uint8_t *words, uint64_t i)
{
    return load_32(words) >> i % v->per_word * (uint64_t)v->f.bits & ((1u << v->f.bits) - 1);
}
