/* SPDX-License-Identifier: MIT
 * Layouts of GPTQ and AWQ: matrices of inputs x outputs, turned against ours, whose parts run across our rows. */
#include "quant/layout_view.h"

#include <string.h>

/* GPTQ and AWQ: matrices of inputs x outputs, both of which must fill words. */
int layout_turned_shape(const struct layout *l, const struct quant_type *t, enum layout_part p, uint64_t rows, uint64_t cols,
                        struct part_shape *out)
{
    struct layout_form f = layout_form_of(t);
    int awq = !l->suffix[PART_INDEX];
    if (f.kind != KIND_INT || f.tile_rows != 1 || strcmp(f.scales, "F16") || (awq && f.bits != 4) || !layout_whole_groups(&f, cols))
        return -1;
    uint64_t per_word = 32 / (uint64_t)f.bits, groups = layout_scales_across(&f, cols);
    if (rows % per_word || cols % per_word)
        return -1;
    if (p == PART_CODES)
        return layout_give_shape(l, p, "I32", 2, awq ? cols : cols / per_word, awq ? rows / per_word : rows, out);
    if (p == PART_SCALES)
        return layout_give_shape(l, p, f.scales, 2, groups, rows, out);
    if (p == PART_ZEROS)
        return layout_give_shape(l, p, "I32", 2, groups, rows / per_word, out);
    return p == PART_INDEX && l->suffix[p] ? layout_give_shape(l, p, "I32", 1, cols, 0, out) : 0;
}

/* GPTQ: a row's words one below the other; AWQ: a word holds eight rows, in this order. */
static const uint8_t awq_order[8] = {0, 2, 4, 6, 1, 3, 5, 7};

static uint64_t awq_nibble(uint64_t row)
{
    return row % 8 / 2 + (row % 2) * 4;
}

static uint64_t group_len(const struct layout_view *v)
{
    return v->f.len ? v->f.len : v->cols;
}

static void put_index(const struct part_rows *r, const struct layout_view *v)
{
    for (uint64_t i = 0; r->part[PART_INDEX] && !r->row0 && i < r->cols; i++)
        store_32((uint8_t *)r->part[PART_INDEX] + 4 * i, (uint32_t)(i / group_len(v)));
}

static int index_is(const struct part_rows *r, const struct layout_view *v)
{
    const uint8_t *index = r->part[PART_INDEX];
    for (uint64_t i = 0; index && i < r->cols; i++)
        if (load_32(index + 4 * i) != (uint32_t)(i / group_len(v)))
            return 0;
    return 1;
}

/* Scales and zeros of a range, [groups][rows]. `minus`: what is stored is that much smaller than the zero. */
static void turned_put_groups(const struct part_rows *r, const struct layout_view *v, int awq, int minus)
{
    const struct quant_type *scales = view_scale_type(r);
    uint32_t mask = (1u << v->f.bits) - 1;
    for (uint64_t g = 0; g < v->groups; g++)
        for (uint64_t o = 0; o < r->n; o++) {
            uint64_t row = r->row0 + o, place = awq ? awq_nibble(row) : row % v->per_word;
            uint8_t *word = (uint8_t *)r->part[PART_ZEROS] + 4 * (g * (r->rows / v->per_word) + row / v->per_word);
            uint32_t old = row % v->per_word ? load_32(word) : 0;
            view_put_scale_at(r, scales, g * r->rows + row, view_scale(v, o, g));
            store_32(word, old | ((uint32_t)(view_zero(v, o, g) - minus) & mask) << place * (uint64_t)v->f.bits);
        }
}

static int turned_get_groups(const struct part_rows *r, const struct layout_view *v, int awq, int minus)
{
    const struct quant_type *scales = view_scale_type(r);
    for (uint64_t g = 0; g < v->groups; g++)
        for (uint64_t o = 0; o < r->n; o++) {
            uint64_t row = r->row0 + o;
            const uint8_t *word = (const uint8_t *)r->part[PART_ZEROS] + 4 * (g * (r->rows / v->per_word) + row / v->per_word);
            int zero = (int)view_field(v, word, awq ? awq_nibble(row) : row) + minus;
            if (view_set_group(v, o, g, view_scale_at(r, scales, g * r->rows + row), zero))
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

void layout_gptq_put(const struct layout *l, const struct part_rows *r, const void *blocks)
{
    struct layout_view v = view_of(r, blocks);
    put_index(r, &v);
    turned_put_groups(r, &v, 0, !strcmp(l->name, "gptq"));
    for (uint64_t first = 0; first < r->n; first += STRIP)
        for (uint64_t w = 0; w < r->cols / v.per_word; w++)
            for (uint64_t o = first; o < r->n && o < first + STRIP; o++)
                store_32(gptq_word(r, w, o), view_word(&v, o, w));
}

int layout_gptq_get(const struct layout *l, const struct part_rows *r, void *blocks)
{
    struct layout_view v = view_of(r, blocks);
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

void layout_awq_put(const struct layout *l, const struct part_rows *r, const void *blocks)
{
    struct layout_view v = view_of(r, blocks);
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

int layout_awq_get(const struct layout *l, const struct part_rows *r, void *blocks)
{
    struct layout_view v = view_of(r, blocks);
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
