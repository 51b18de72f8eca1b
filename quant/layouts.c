/* SPDX-License-Identifier: MIT
 * Shapes of parts, and numbers carried between parts and what codecs make. All words are little-endian in files, so that codes packed
 * along a row are the bytes of a block. */
#include "quant/layouts.h"

#include <string.h>

#include "quant/groups.h"

enum { KIND_INT = 1, KIND_FLOAT, KIND_MXFP4, KIND_NVFP4 };

/* What a type is to a layout. */
struct form {
    int kind, bits, asymmetric;
    uint64_t len;       /* weights of a row under one scale; 0: all of them */
    uint64_t tile_rows; /* rows under one scale */
    const char *scales; /* storage type of the scales, as it is written */
};

static struct form form_of(const struct quant_type *t)
{
    if (t->group)
        return (struct form){KIND_INT, t->group->bits, t->group->asymmetric, (uint64_t)t->group->len, 1, t->group->scales};
    if (t->tiling) /* scales that are powers of two are F32 numbers like others */
        return (struct form){t->tiling->is_float ? KIND_FLOAT : KIND_INT, t->tiling->bits, t->tiling->asymmetric, t->tiling->cols,
                             t->tiling->rows, t->tiling->is_float ? "F32" : t->tiling->scales};
    if (!strcmp(t->name, "MXFP4-CT"))
        return (struct form){KIND_MXFP4, 4, 0, t->block_len, 1, "U8"};
    if (!strcmp(t->name, "NVFP4-CT"))
        return (struct form){KIND_NVFP4, 4, 0, t->block_len, 1, "F8_E4M3"};
    return (struct form){0};
}

static uint64_t div_up(uint64_t a, uint64_t b)
{
    return (a + b - 1) / b;
}

static uint64_t scales_across(const struct form *f, uint64_t cols)
{
    return f->len ? div_up(cols, f->len) : 1;
}

static uint64_t dtype_size(const char *dtype)
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

static int give_shape(const struct layout *l, enum layout_part p, const char *dtype, uint32_t n_dims, uint64_t d0, uint64_t d1,
                      struct part_shape *out)
{
    *out = (struct part_shape){.suffix = l->suffix[p], .dtype = dtype, .n_dims = n_dims, .dims = {d0, d1},
                               .bytes = dtype_size(dtype) * d0 * (n_dims > 1 ? d1 : 1)};
    return 1;
}

static int whole_groups(const struct form *f, uint64_t cols)
{
    return !f->len || cols % f->len == 0;
}

static int pack_shape(const struct layout *l, const struct quant_type *t, enum layout_part p, uint64_t rows, uint64_t cols,
                      struct part_shape *out)
{
    struct form f = form_of(t);
    if (f.kind != KIND_INT || f.tile_rows != 1 || strcmp(f.scales, "BF16") || !whole_groups(&f, cols))
        return -1;
    uint64_t per_word = 32 / (uint64_t)f.bits;
    if (p == PART_CODES)
        return give_shape(l, p, "I32", 2, rows, div_up(cols, per_word), out);
    if (p == PART_SCALES)
        return give_shape(l, p, f.scales, 2, rows, scales_across(&f, cols), out);
    if (p == PART_ZEROS && f.asymmetric)
        return give_shape(l, p, "I32", 2, div_up(rows, per_word), scales_across(&f, cols), out);
    return p == PART_SHAPE ? give_shape(l, p, "I64", 1, 2, 0, out) : 0;
}

static int int_shape(const struct layout *l, const struct quant_type *t, enum layout_part p, uint64_t rows, uint64_t cols,
                     struct part_shape *out)
{
    struct form f = form_of(t);
    if (f.kind != KIND_INT || f.bits != 8 || f.len || f.tile_rows != 1 || strcmp(f.scales, "BF16"))
        return -1;
    if (p == PART_CODES)
        return give_shape(l, p, "I8", 2, rows, cols, out);
    if (p == PART_SCALES)
        return give_shape(l, p, f.scales, 2, rows, 1, out);
    return p == PART_ZEROS && f.asymmetric ? give_shape(l, p, "I8", 2, rows, 1, out) : 0;
}

static int float_shape(const struct layout *l, const struct quant_type *t, enum layout_part p, uint64_t rows, uint64_t cols,
                       struct part_shape *out)
{
    struct form f = form_of(t);
    if (f.kind != KIND_FLOAT)
        return -1;
    if (p == PART_CODES)
        return give_shape(l, p, "F8_E4M3", 2, rows, cols, out);
    return p == PART_SCALES ? give_shape(l, p, f.scales, 2, div_up(rows, f.tile_rows), scales_across(&f, cols), out) : 0;
}

static int block_shape(const struct layout *l, const struct quant_type *t, enum layout_part p, uint64_t rows, uint64_t cols,
                       struct part_shape *out)
{
    struct form f = form_of(t);
    if (!t->tiling || !f.len || f.bits != 8 || f.asymmetric)
        return -1;
    if (p == PART_CODES)
        return give_shape(l, p, f.kind == KIND_FLOAT ? "F8_E4M3" : "I8", 2, rows, cols, out);
    return p == PART_SCALES ? give_shape(l, p, f.scales, 2, div_up(rows, f.tile_rows), scales_across(&f, cols), out) : 0;
}

static int fp4_shape(const struct layout *l, const struct quant_type *t, enum layout_part p, uint64_t rows, uint64_t cols,
                     struct part_shape *out)
{
    struct form f = form_of(t);
    if (f.kind != (l->suffix[PART_GLOBAL] ? KIND_NVFP4 : KIND_MXFP4) || !whole_groups(&f, cols))
        return -1;
    if (p == PART_CODES)
        return give_shape(l, p, "U8", 2, rows, cols / 2, out);
    if (p == PART_SCALES)
        return give_shape(l, p, f.scales, 2, rows, cols / f.len, out);
    return p == PART_GLOBAL && l->suffix[p] ? give_shape(l, p, "F32", 1, 1, 0, out) : 0;
}

/* GPTQ and AWQ: matrices of inputs x outputs, both of which must fill words. */
static int turned_shape(const struct layout *l, const struct quant_type *t, enum layout_part p, uint64_t rows, uint64_t cols,
                        struct part_shape *out)
{
    struct form f = form_of(t);
    int awq = !l->suffix[PART_INDEX];
    if (f.kind != KIND_INT || f.tile_rows != 1 || strcmp(f.scales, "F16") || (awq && f.bits != 4) || !whole_groups(&f, cols))
        return -1;
    uint64_t per_word = 32 / (uint64_t)f.bits, groups = scales_across(&f, cols);
    if (rows % per_word || cols % per_word)
        return -1;
    if (p == PART_CODES)
        return awq ? give_shape(l, p, "I32", 2, cols, rows / per_word, out) : give_shape(l, p, "I32", 2, cols / per_word, rows, out);
    if (p == PART_SCALES)
        return give_shape(l, p, f.scales, 2, groups, rows, out);
    if (p == PART_ZEROS)
        return give_shape(l, p, "I32", 2, groups, rows / per_word, out);
    return p == PART_INDEX && l->suffix[p] ? give_shape(l, p, "I32", 1, cols, 0, out) : 0;
}

static uint32_t load_32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void store_32(uint8_t *p, uint32_t u)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(u >> 8 * i);
}

/* Integer codes with their scales and zeros, in blocks or tiled. Codes and zeros are taken as u = q + 2^(b-1). */
struct view {
    struct form f;
    uint64_t cols, groups, per_word;
    int low; /* 2^(b-1) */
    const struct quant_type *type;
    uint8_t *blocks;
    const struct tiled *tiled; /* in place of blocks */
};

static struct view view_of(const struct part_rows *r, const void *blocks)
{
    struct form f = form_of(r->type);
    struct view v = {.f = f, .cols = r->cols, .groups = scales_across(&f, r->cols), .per_word = 32 / (uint64_t)f.bits,
                     .low = 1 << (f.bits - 1), .type = r->type};
    if (r->type->tiling)
        v.tiled = blocks;
    else
        v.blocks = (uint8_t *)blocks; /* put only reads */
    return v;
}

static uint8_t *view_block(const struct view *v, uint64_t row, uint64_t group)
{
    return v->blocks + (row * v->groups + group) * v->type->block_bytes;
}

/* Where a block has the codes of word w of a row. */
static uint8_t *view_codes(const struct view *v, uint64_t row, uint64_t w)
{
    uint64_t i = w * v->per_word, code_bytes = v->f.len * (uint64_t)v->f.bits / 8;
    return view_block(v, row, i / v->f.len) + v->type->block_bytes - code_bytes + i % v->f.len * (uint64_t)v->f.bits / 8;
}

/* Codes of one word of a row, the first in the low bits; what would lie beyond the row is 0. */
static uint32_t view_word(const struct view *v, uint64_t row, uint64_t w)
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

static void view_set_word(const struct view *v, uint64_t row, uint64_t w, uint32_t word)
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

static float view_scale(const struct view *v, uint64_t row, uint64_t g)
{
    return v->tiled ? v->tiled->scale[row] : group_take(v->type->group, view_block(v, row, g)).scale;
}

static int view_zero(const struct view *v, uint64_t row, uint64_t g)
{
    if (!v->f.asymmetric)
        return v->low;
    return v->tiled ? v->tiled->zero[row] + v->low : group_take(v->type->group, view_block(v, row, g)).zero;
}

/* -1 when the type has no such zero. */
static int view_set_group(const struct view *v, uint64_t row, uint64_t g, float scale, int zero)
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

static const struct quant_type *scale_type(const struct part_rows *r)
{
    return r->scales ? r->scales : quant_type_find(form_of(r->type).scales);
}

static float scale_at(const struct part_rows *r, const struct quant_type *t, uint64_t i)
{
    float f;
    t->ref.decode((const uint8_t *)r->part[PART_SCALES] + i * t->block_bytes, &f, 1);
    return f;
}

static void put_scale_at(const struct part_rows *r, const struct quant_type *t, uint64_t i, float f)
{
    t->ref.encode(&f, NULL, (uint8_t *)r->part[PART_SCALES] + i * t->block_bytes, 1);
}

/* Bits of one code among words of `row` elements, in word i / per_word of them. */
static uint32_t field(const struct view *v, const uint8_t *words, uint64_t i)
{
    return load_32(words) >> i % v->per_word * (uint64_t)v->f.bits & ((1u << v->f.bits) - 1);
}

/* Zeros packed along the rows. Words are the matrix's, whatever the range: its first row may lie within one. */
static uint8_t *pack_zero_word(const struct part_rows *r, const struct view *v, uint64_t row, uint64_t g)
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
static void put_row_words(const struct view *v, uint64_t o, uint8_t *words)
{
    const uint64_t n = v->f.len * (uint64_t)v->f.bits / 8;
    for (uint64_t g = 0; !v->tiled && g < v->groups; g++)
        memcpy(words + g * n, view_codes(v, o, g * v->f.len / v->per_word), (size_t)n);
    for (uint64_t w = 0; v->tiled && w < div_up(v->cols, v->per_word); w++)
        store_32(words + 4 * w, view_word(v, o, w));
}

static void get_row_words(const struct view *v, uint64_t o, const uint8_t *words)
{
    const uint64_t n = v->f.len * (uint64_t)v->f.bits / 8;
    for (uint64_t g = 0; !v->tiled && g < v->groups; g++)
        memcpy(view_codes(v, o, g * v->f.len / v->per_word), words + g * n, (size_t)n);
    for (uint64_t w = 0; v->tiled && w < div_up(v->cols, v->per_word); w++)
        view_set_word(v, o, w, load_32(words + 4 * w));
}

static void pack_put(const struct layout *l, const struct part_rows *r, const void *blocks)
{
    struct view v = view_of(r, blocks);
    const struct quant_type *scales = scale_type(r);
    uint64_t words = div_up(r->cols, v.per_word);
    (void)l;
    put_shape(r);
    if (v.f.asymmetric)
        memset(r->part[PART_ZEROS], 0, 4 * div_up(r->n, v.per_word) * v.groups);
    for (uint64_t o = 0; o < r->n; o++) {
        put_row_words(&v, o, (uint8_t *)r->part[PART_CODES] + 4 * o * words);
        for (uint64_t g = 0; g < v.groups; g++) {
            put_scale_at(r, scales, o * v.groups + g, view_scale(&v, o, g));
            if (v.f.asymmetric) {
                uint8_t *word = pack_zero_word(r, &v, o, g);
                store_32(word, load_32(word) | (uint32_t)view_zero(&v, o, g) << o % v.per_word * (uint64_t)v.f.bits);
            }
        }
    }
}

static int pack_get(const struct layout *l, const struct part_rows *r, void *blocks)
{
    struct view v = view_of(r, blocks);
    const struct quant_type *scales = scale_type(r);
    uint64_t words = div_up(r->cols, v.per_word);
    (void)l;
    for (uint64_t o = 0; o < r->n; o++) {
        for (uint64_t g = 0; g < v.groups; g++) {
            int zero = v.f.asymmetric ? (int)field(&v, pack_zero_word(r, &v, o, g), r->row0 + o) : v.low;
            view_set_group(&v, o, g, scale_at(r, scales, o * v.groups + g), zero);
        }
        get_row_words(&v, o, (const uint8_t *)r->part[PART_CODES] + 4 * o * words);
    }
    return shape_is(r) ? 0 : -1;
}

/* Tiles whose codes are stored as they are: bytes, and scales beside them. Codes may be in their part already. */
static void tiles_put(const struct layout *l, const struct part_rows *r, const void *blocks)
{
    const struct tiled *in = blocks;
    const struct quant_type *scales = scale_type(r);
    uint64_t n = tiled_down(r->type->tiling, (size_t)r->n) * tiled_across(r->type->tiling, (size_t)r->cols);
    (void)l;
    if (in->codes != r->part[PART_CODES])
        memcpy(r->part[PART_CODES], in->codes, (size_t)(r->n * r->cols));
    for (uint64_t i = 0; i < n; i++)
        put_scale_at(r, scales, i, in->scale[i]);
    if (in->zero)
        memcpy(r->part[PART_ZEROS], in->zero, (size_t)n);
}

static int tiles_get(const struct layout *l, const struct part_rows *r, void *blocks)
{
    const struct tiled *out = blocks;
    const struct quant_type *scales = scale_type(r);
    uint64_t tile = r->type->tiling->rows, down = div_up(r->row0 + r->n, tile) - r->row0 / tile;
    uint64_t n = down * tiled_across(r->type->tiling, (size_t)r->cols);
    (void)l;
    if (out->codes != r->part[PART_CODES])
        memcpy(out->codes, r->part[PART_CODES], (size_t)(r->n * r->cols));
    for (uint64_t i = 0; i < n; i++)
        out->scale[i] = scale_at(r, scales, i);
    if (out->zero)
        memcpy(out->zero, r->part[PART_ZEROS], (size_t)n);
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

/* GPTQ: a row's words one below the other; AWQ: a word holds eight rows, in this order. */
static const uint8_t awq_order[8] = {0, 2, 4, 6, 1, 3, 5, 7};

static uint64_t awq_nibble(uint64_t row)
{
    return row % 8 / 2 + (row % 2) * 4;
}

static uint64_t group_len(const struct view *v)
{
    return v->f.len ? v->f.len : v->cols;
}

static void put_index(const struct part_rows *r, const struct view *v)
{
    for (uint64_t i = 0; r->part[PART_INDEX] && !r->row0 && i < r->cols; i++)
        store_32((uint8_t *)r->part[PART_INDEX] + 4 * i, (uint32_t)(i / group_len(v)));
}

static int index_is(const struct part_rows *r, const struct view *v)
{
    const uint8_t *index = r->part[PART_INDEX];
    for (uint64_t i = 0; index && i < r->cols; i++)
        if (load_32(index + 4 * i) != (uint32_t)(i / group_len(v)))
            return 0;
    return 1;
}

/* Scales and zeros of a range, [groups][rows]. `minus`: what is stored is that much smaller than the zero. */
static void turned_put_groups(const struct part_rows *r, const struct view *v, int awq, int minus)
{
    const struct quant_type *scales = scale_type(r);
    uint32_t mask = (1u << v->f.bits) - 1;
    for (uint64_t g = 0; g < v->groups; g++)
        for (uint64_t o = 0; o < r->n; o++) {
            uint64_t row = r->row0 + o, place = awq ? awq_nibble(row) : row % v->per_word;
            uint8_t *word = (uint8_t *)r->part[PART_ZEROS] + 4 * (g * (r->rows / v->per_word) + row / v->per_word);
            uint32_t old = row % v->per_word ? load_32(word) : 0;
            put_scale_at(r, scales, g * r->rows + row, view_scale(v, o, g));
            store_32(word, old | ((uint32_t)(view_zero(v, o, g) - minus) & mask) << place * (uint64_t)v->f.bits);
        }
}

static int turned_get_groups(const struct part_rows *r, const struct view *v, int awq, int minus)
{
    const struct quant_type *scales = scale_type(r);
    for (uint64_t g = 0; g < v->groups; g++)
        for (uint64_t o = 0; o < r->n; o++) {
            uint64_t row = r->row0 + o;
            const uint8_t *word = (const uint8_t *)r->part[PART_ZEROS] + 4 * (g * (r->rows / v->per_word) + row / v->per_word);
            int zero = (int)field(v, word, awq ? awq_nibble(row) : row) + minus;
            if (view_set_group(v, o, g, scale_at(r, scales, g * r->rows + row), zero))
                return -1;
        }
    return 0;
}

/* Sixteen rows at a time: whole cache lines of the parts. */
enum { STRIP = 16 };

static uint8_t *gptq_word(const struct part_rows *r, uint64_t w, uint64_t o)
{
    return (uint8_t *)r->part[PART_CODES] + 4 * (w * r->rows + r->row0 + o);
}

static void gptq_put(const struct layout *l, const struct part_rows *r, const void *blocks)
{
    struct view v = view_of(r, blocks);
    put_index(r, &v);
    turned_put_groups(r, &v, 0, !strcmp(l->name, "gptq"));
    for (uint64_t first = 0; first < r->n; first += STRIP)
        for (uint64_t w = 0; w < r->cols / v.per_word; w++)
            for (uint64_t o = first; o < r->n && o < first + STRIP; o++)
                store_32(gptq_word(r, w, o), view_word(&v, o, w));
}

static int gptq_get(const struct layout *l, const struct part_rows *r, void *blocks)
{
    struct view v = view_of(r, blocks);
    if (!index_is(r, &v) || turned_get_groups(r, &v, 0, !strcmp(l->name, "gptq")))
        return -1;
    for (uint64_t first = 0; first < r->n; first += STRIP)
        for (uint64_t w = 0; w < r->cols / v.per_word; w++)
            for (uint64_t o = first; o < r->n && o < first + STRIP; o++)
                view_set_word(&v, o, w, load_32(gptq_word(r, w, o)));
    return 0;
}

static uint8_t *awq_word(const struct part_rows *r, uint64_t i, uint64_t row)
{
    return (uint8_t *)r->part[PART_CODES] + 4 * (i * (r->rows / 8) + row / 8);
}

/* Eight words of eight nibbles, as a matrix, are transposed: by halves, by bytes, by nibbles. */
static void turn_nibbles(uint32_t w[8])
{
    static const uint32_t masks[3] = {0x0000ffff, 0x00ff00ff, 0x0f0f0f0f};
    for (int stage = 0; stage < 3; stage++)
        for (int k = 0, far = 4 >> stage, shift = 16 >> stage; k < 8; k++) {
            if (k & far)
                continue;
            uint32_t t = (w[k] >> shift ^ w[k + far]) & masks[stage];
            w[k + far] ^= t;
            w[k] ^= t << shift;
        }
}

static void awq_put(const struct layout *l, const struct part_rows *r, const void *blocks)
{
    struct view v = view_of(r, blocks);
    (void)l;
    turned_put_groups(r, &v, 1, 0);
    for (uint64_t o = 0; o < r->n; o += 8)
        for (uint64_t w = 0; w < r->cols / 8; w++) {
            uint32_t words[8];
            for (uint64_t n = 0; n < 8; n++)
                words[n] = view_word(&v, o + awq_order[n], w);
            turn_nibbles(words);
            for (uint64_t i = 0; i < 8; i++)
                store_32(awq_word(r, 8 * w + i, r->row0 + o), words[i]);
        }
}

static int awq_get(const struct layout *l, const struct part_rows *r, void *blocks)
{
    struct view v = view_of(r, blocks);
    (void)l;
    if (turned_get_groups(r, &v, 1, 0))
        return -1;
    for (uint64_t row = r->row0 / 8 * 8; row < r->row0 + r->n; row += 8)
        for (uint64_t w = 0; w < r->cols / 8; w++) {
            uint32_t words[8];
            for (uint64_t i = 0; i < 8; i++)
                words[i] = load_32(awq_word(r, 8 * w + i, row));
            turn_nibbles(words);
            for (uint64_t n = 0; n < 8; n++)
                if (row + awq_order[n] >= r->row0 && row + awq_order[n] < r->row0 + r->n)
                    view_set_word(&v, row + awq_order[n] - r->row0, w, words[n]);
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
    {"gptq", 1, {".qweight", ".scales", ".qzeros", [PART_INDEX] = ".g_idx"}, turned_shape, gptq_put, gptq_get},
    {"gptq_v2", 1, {".qweight", ".scales", ".qzeros", [PART_INDEX] = ".g_idx"}, turned_shape, gptq_put, gptq_get},
    {"awq", 1, {".qweight", ".scales", ".qzeros"}, turned_shape, awq_put, awq_get},
    {"block", 0, {".weight", ".weight_scale_inv"}, block_shape, tiles_put, tiles_get},
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
    struct form f = form_of(t);
    *at = *n = 0;
    if (l->shape(l, t, p, rows, cols, &s) <= 0)
        return;
    uint64_t size = p == PART_SCALES && dtype_bytes ? dtype_bytes : dtype_size(s.dtype), down = 1;
    if (l->whole || p == PART_SHAPE || p == PART_GLOBAL || p == PART_INDEX) {
        int once = p == PART_SHAPE || p == PART_GLOBAL || p == PART_INDEX;
        *n = once && row0 ? 0 : s.bytes / dtype_size(s.dtype) * size;
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
