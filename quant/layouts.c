/* SPDX-License-Identifier: MIT
 * Shapes of parts, and numbers carried between parts and what codecs make. All words are little-endian in files, so that codes packed
 * along a row are the bytes of a block. */
#include "quant/layouts.h"

#include <string.h>

#include "quant/layout_view.h"

static int pack_shape(const struct layout *l, const struct quant_type *t, enum layout_part p, uint64_t rows, uint64_t cols,
                      struct part_shape *out)
{
    struct layout_form f = layout_form_of(t);
    if (f.kind != KIND_INT || f.tile_rows != 1 || strcmp(f.scales, "BF16") || !layout_whole_groups(&f, cols))
        return -1;
    uint64_t per_word = 32 / (uint64_t)f.bits;
    if (p == PART_CODES)
        return layout_give_shape(l, p, "I32", 2, rows, div_up(cols, per_word), out);
    if (p == PART_SCALES)
        return layout_give_shape(l, p, f.scales, 2, rows, layout_scales_across(&f, cols), out);
    if (p == PART_ZEROS && f.asymmetric)
        return layout_give_shape(l, p, "I32", 2, div_up(rows, per_word), layout_scales_across(&f, cols), out);
    return p == PART_SHAPE ? layout_give_shape(l, p, "I64", 1, 2, 0, out) : 0;
}

static int int_shape(const struct layout *l, const struct quant_type *t, enum layout_part p, uint64_t rows, uint64_t cols,
                     struct part_shape *out)
{
    struct layout_form f = layout_form_of(t);
    if (f.kind != KIND_INT || f.bits != 8 || f.len || f.tile_rows != 1 || strcmp(f.scales, "BF16"))
        return -1;
    if (p == PART_CODES)
        return layout_give_shape(l, p, "I8", 2, rows, cols, out);
    if (p == PART_SCALES)
        return layout_give_shape(l, p, f.scales, 2, rows, 1, out);
    return p == PART_ZEROS && f.asymmetric ? layout_give_shape(l, p, "I8", 2, rows, 1, out) : 0;
}

static int float_shape(const struct layout *l, const struct quant_type *t, enum layout_part p, uint64_t rows, uint64_t cols,
                       struct part_shape *out)
{
    struct layout_form f = layout_form_of(t);
    if (f.kind != KIND_FLOAT)
        return -1;
    if (p == PART_CODES)
        return layout_give_shape(l, p, "F8_E4M3", 2, rows, cols, out);
    return p == PART_SCALES ? layout_give_shape(l, p, f.scales, 2, div_up(rows, f.tile_rows), layout_scales_across(&f, cols), out) : 0;
}

static int block_shape(const struct layout *l, const struct quant_type *t, enum layout_part p, uint64_t rows, uint64_t cols,
                       struct part_shape *out)
{
    struct layout_form f = layout_form_of(t);
    if (!t->tiling || !f.len || f.bits != 8 || f.asymmetric)
        return -1;
    if (p == PART_CODES)
        return layout_give_shape(l, p, f.kind == KIND_FLOAT ? "F8_E4M3" : "I8", 2, rows, cols, out);
    return p == PART_SCALES ? layout_give_shape(l, p, f.scales, 2, div_up(rows, f.tile_rows), layout_scales_across(&f, cols), out) : 0;
}

static int nibble_shape(const struct layout *l, const struct quant_type *t, enum layout_part p, uint64_t rows, uint64_t cols,
                        struct part_shape *out)
{
    struct layout_form f = layout_form_of(t);
    if (!t->group || f.bits != 4 || f.asymmetric || strcmp(f.scales, "BF16") || !layout_whole_groups(&f, cols))
        return -1;
    if (p == PART_CODES)
        return layout_give_shape(l, p, "I8", 2, rows, cols / 2, out);
    return p == PART_SCALES ? layout_give_shape(l, p, f.scales, 2, rows, layout_scales_across(&f, cols), out) : 0;
}

static int fp4_shape(const struct layout *l, const struct quant_type *t, enum layout_part p, uint64_t rows, uint64_t cols,
                     struct part_shape *out)
{
    struct layout_form f = layout_form_of(t);
    if (f.kind != (l->suffix[PART_GLOBAL] ? KIND_NVFP4 : KIND_MXFP4) || !layout_whole_groups(&f, cols))
        return -1;
    if (p == PART_CODES)
        return layout_give_shape(l, p, "U8", 2, rows, cols / 2, out);
    if (p == PART_SCALES)
        return layout_give_shape(l, p, f.scales, 2, rows, cols / f.len, out);
    return p == PART_GLOBAL && l->suffix[p] ? layout_give_shape(l, p, "F32", 1, 1, 0, out) : 0;
}

/* Zeros packed along the rows. Words are the matrix's, whatever the range: its first row may lie within one. */
static uint8_t *pack_zero_word(const struct part_rows *r, const struct layout_view *v, uint64_t row, uint64_t g)
{
    uint64_t word = (r->row0 + row) / v->per_word - r->row0 / v->per_word;
    return (uint8_t *)r->part[PART_ZEROS] + 4 * (word * v->groups + g);
}

static void put_shape(const struct part_rows *r)
{
    uint8_t *p = r->part[PART_SHAPE];
    if (r->row0 || !p)
        return;
    const uint64_t dims[2] = {r->rows, r->cols};
    for (int i = 0; i < 16; i++)
        p[i] = (uint8_t)(dims[i / 8] >> 8 * (i % 8));
}

static int shape_is(const struct part_rows *r)
{
    const uint8_t *p = r->part[PART_SHAPE];
    const uint64_t dims[2] = {r->rows, r->cols};
    for (int i = 0; p && !r->row0 && i < 16; i++)
        if (p[i] != (uint8_t)(dims[i / 8] >> 8 * (i % 8)))
            return 0;
    return 1;
}

/* Codes of a row between its words and the view. A group's fill whole words, which are its bytes. */
static void put_row_words(const struct layout_view *v, uint64_t o, uint8_t *words)
{
    const uint64_t n = v->f.len * (uint64_t)v->f.bits / 8;
    for (uint64_t g = 0; !v->tiled && g < v->groups; g++)
        memcpy(words + g * n, view_codes(v, o, g * v->f.len / v->per_word), (size_t)n);
    for (uint64_t w = 0; v->tiled && w < div_up(v->cols, v->per_word); w++)
        store_32(words + 4 * w, view_word(v, o, w));
}

static void get_row_words(const struct layout_view *v, uint64_t o, const uint8_t *words)
{
    const uint64_t n = v->f.len * (uint64_t)v->f.bits / 8;
    for (uint64_t g = 0; !v->tiled && g < v->groups; g++)
        memcpy(view_codes(v, o, g * v->f.len / v->per_word), words + g * n, (size_t)n);
    for (uint64_t w = 0; v->tiled && w < div_up(v->cols, v->per_word); w++)
        view_set_word(v, o, w, load_32(words + 4 * w));
}

static void pack_put(const struct layout *l, const struct part_rows *r, const void *blocks)
{
    struct layout_view v = view_of(r, blocks);
    const struct quant_type *scales = view_scale_type(r);
    uint64_t words = div_up(r->cols, v.per_word);
    (void)l;
    put_shape(r);
    if (v.f.asymmetric)
        memset(r->part[PART_ZEROS], 0, 4 * div_up(r->n, v.per_word) * v.groups);
    for (uint64_t o = 0; o < r->n; o++) {
        put_row_words(&v, o, (uint8_t *)r->part[PART_CODES] + 4 * o * words);
        for (uint64_t g = 0; g < v.groups; g++) {
            view_put_scale_at(r, scales, o * v.groups + g, view_scale(&v, o, g));
            if (v.f.asymmetric) {
                uint8_t *word = pack_zero_word(r, &v, o, g);
                store_32(word, load_32(word) | (uint32_t)view_zero(&v, o, g) << o % v.per_word * (uint64_t)v.f.bits);
            }
        }
    }
}

static int pack_get(const struct layout *l, const struct part_rows *r, void *blocks)
{
    struct layout_view v = view_of(r, blocks);
    const struct quant_type *scales = view_scale_type(r);
    uint64_t words = div_up(r->cols, v.per_word);
    (void)l;
    for (uint64_t o = 0; o < r->n; o++) {
        for (uint64_t g = 0; g < v.groups; g++) {
            int zero = v.f.asymmetric ? (int)view_field(&v, pack_zero_word(r, &v, o, g), r->row0 + o) : v.low;
            view_set_group(&v, o, g, view_scale_at(r, scales, o * v.groups + g), zero);
        }
        get_row_words(&v, o, (const uint8_t *)r->part[PART_CODES] + 4 * o * words);
    }
    return shape_is(r) ? 0 : -1;
}

/* Tiles whose codes are stored as they are: bytes, and scales beside them. Codes may be in their part already. */
static void tiles_put(const struct layout *l, const struct part_rows *r, const void *blocks)
{
    const struct tiled *in = blocks;
    const struct quant_type *scales = view_scale_type(r);
    uint64_t n = tiled_down(r->type->tiling, (size_t)r->n) * tiled_across(r->type->tiling, (size_t)r->cols);
    (void)l;
    if (in->codes != r->part[PART_CODES])
        memcpy(r->part[PART_CODES], in->codes, (size_t)(r->n * r->cols));
    for (uint64_t i = 0; i < n; i++)
        view_put_scale_at(r, scales, i, in->scale[i]);
    if (in->zero)
        memcpy(r->part[PART_ZEROS], in->zero, (size_t)n);
}

static int tiles_get(const struct layout *l, const struct part_rows *r, void *blocks)
{
    const struct tiled *out = blocks;
    const struct quant_type *scales = view_scale_type(r);
    uint64_t tile = r->type->tiling->rows, down = div_up(r->row0 + r->n, tile) - r->row0 / tile;
    uint64_t n = down * tiled_across(r->type->tiling, (size_t)r->cols);
    (void)l;
    if (out->codes != r->part[PART_CODES])
        memcpy(out->codes, r->part[PART_CODES], (size_t)(r->n * r->cols));
    for (uint64_t i = 0; i < n; i++)
        out->scale[i] = view_scale_at(r, scales, i);
    if (out->zero)
        memcpy(out->zero, r->part[PART_ZEROS], (size_t)n);
    return 0;
}

/* Nibbles in two's complement: u with its upper bit turned. */
static void turn_signs(const uint8_t *from, uint8_t *to, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        to[i] = from[i] ^ 0x88;
}

static void nibble_put(const struct layout *l, const struct part_rows *r, const void *blocks)
{
    struct layout_view v = view_of(r, blocks);
    const struct quant_type *scales = view_scale_type(r);
    const uint64_t n = v.f.len / 2;
    (void)l;
    for (uint64_t o = 0; o < r->n; o++)
        for (uint64_t g = 0; g < v.groups; g++) {
            view_put_scale_at(r, scales, o * v.groups + g, view_scale(&v, o, g));
            turn_signs(view_codes(&v, o, g * v.f.len / v.per_word), (uint8_t *)r->part[PART_CODES] + (o * v.groups + g) * n, n);
        }
}

static int nibble_get(const struct layout *l, const struct part_rows *r, void *blocks)
{
    struct layout_view v = view_of(r, blocks);
    const struct quant_type *scales = view_scale_type(r);
    const uint64_t n = v.f.len / 2;
    (void)l;
    for (uint64_t o = 0; o < r->n; o++)
        for (uint64_t g = 0; g < v.groups; g++) {
            view_set_group(&v, o, g, view_scale_at(r, scales, o * v.groups + g), v.low);
            turn_signs((const uint8_t *)r->part[PART_CODES] + (o * v.groups + g) * n, view_codes(&v, o, g * v.f.len / v.per_word), n);
        }
    return 0;
}

static void fp4_put(const struct layout *l, const struct part_rows *r, const void *blocks)
{
    uint64_t n = r->n * (r->cols / r->type->block_len), codes = r->type->block_len / 2;
    const uint8_t *block = blocks;
    (void)l;
    for (uint64_t i = 0; i < n; i++, block += 1 + codes) {
        ((uint8_t *)r->part[PART_SCALES])[i] = block[0];
        memcpy((uint8_t *)r->part[PART_CODES] + i * codes, block + 1, (size_t)codes);
    }
}

static int fp4_get(const struct layout *l, const struct part_rows *r, void *blocks)
{
    uint64_t n = r->n * (r->cols / r->type->block_len), codes = r->type->block_len / 2;
    uint8_t *block = blocks;
    (void)l;
    for (uint64_t i = 0; i < n; i++, block += 1 + codes) {
        block[0] = ((const uint8_t *)r->part[PART_SCALES])[i];
        memcpy(block + 1, (const uint8_t *)r->part[PART_CODES] + i * codes, (size_t)codes);
    }
    return 0;
}

const struct layout layouts[] = {
    {"pack-quantized", 0, {".weight_packed", ".weight_scale", ".weight_zero_point", NULL, ".weight_shape"}, pack_shape, pack_put,
     pack_get},
    {"int-quantized", 0, {".weight", ".weight_scale", ".weight_zero_point"}, int_shape, tiles_put, tiles_get},
    {"float-quantized", 0, {".weight", ".weight_scale"}, float_shape, tiles_put, tiles_get},
    {"mxfp4-pack-quantized", 0, {".weight_packed", ".weight_scale"}, fp4_shape, fp4_put, fp4_get},
    {"nvfp4-pack-quantized", 0, {".weight_packed", ".weight_scale", NULL, ".weight_global_scale"}, fp4_shape, fp4_put, fp4_get},
    {"gptq", 1, {".qweight", ".scales", ".qzeros", [PART_INDEX] = ".g_idx"}, layout_turned_shape, layout_gptq_put, layout_gptq_get},
    {"gptq_v2", 1, {".qweight", ".scales", ".qzeros", [PART_INDEX] = ".g_idx"}, layout_turned_shape, layout_gptq_put, layout_gptq_get},
    {"awq", 1, {".qweight", ".scales", ".qzeros"}, layout_turned_shape, layout_awq_put, layout_awq_get},
    {"block", 0, {".weight", ".weight_scale_inv"}, block_shape, tiles_put, tiles_get},
    {"w4afp8", 0, {".weight", ".weight_scale_inv"}, nibble_shape, nibble_put, nibble_get},
    {"kt-amx", 1, {".weight", ".scale"}, layout_amx_shape, layout_amx_put, layout_amx_get},
    {0},
};

const struct layout *layout_find(const char *name)
{
    for (const struct layout *l = layouts; l->name; l++)
        if (!strcmp(l->name, name))
            return l;
    return NULL;
}

int layout_takes(const struct layout *l, const struct quant_type *t)
{
    struct part_shape shape;
    return l->shape(l, t, PART_CODES, 256, 256, &shape) > 0; /* a size that every group and word divides */
}

void layout_range(const struct layout *l, const struct quant_type *t, enum layout_part p, uint64_t rows, uint64_t cols, uint64_t row0,
                  uint64_t n_rows, uint32_t dtype_bytes, uint64_t *at, uint64_t *n)
{
    struct part_shape s;
    struct layout_form f = layout_form_of(t);
    *at = *n = 0;
    if (l->shape(l, t, p, rows, cols, &s) <= 0)
        return;
    uint64_t size = p == PART_SCALES && dtype_bytes ? dtype_bytes : layout_dtype_size(s.dtype), down = 1;
    if (l->whole || p == PART_SHAPE || p == PART_GLOBAL || p == PART_INDEX) {
        int once = p == PART_SHAPE || p == PART_GLOBAL || p == PART_INDEX;
        *n = once && row0 ? 0 : s.bytes / layout_dtype_size(s.dtype) * size;
        return;
    }
    if (p == PART_SCALES)
        down = f.tile_rows;
    if (p == PART_ZEROS && !strcmp(s.dtype, "I32"))
        down = 32 / (uint64_t)f.bits;
    uint64_t first = row0 / down, last = div_up(row0 + n_rows, down);
    *at = first * s.dims[1] * size;
    *n = (last - first) * s.dims[1] * size;
}
