/* SPDX-License-Identifier: MIT
 * What the layouts share: what a type is to them, and integer codes with their scales and zeros whether they lie in blocks
 * (quant/groups.h) or tiled (quant/tiled.h). Codes and zeros are taken as u = q + 2^(b-1); words are little-endian. For the files that
 * make quant/layouts.h's table. */
#ifndef PARE_QUANT_LAYOUT_VIEW_H
#define PARE_QUANT_LAYOUT_VIEW_H

#include <stdint.h>

#include "quant/layouts.h"

enum { KIND_INT = 1, KIND_FLOAT, KIND_MXFP4, KIND_NVFP4 };

/* What a type is to a layout. */
struct layout_form {
    int kind, bits, asymmetric;
    uint64_t len;       /* weights of a row under one scale; 0: all of them */
    uint64_t tile_rows; /* rows under one scale */
    const char *scales; /* storage type of the scales, as it is written */
};
struct layout_form layout_form_of(const struct quant_type *t); /* kind 0: no layout takes the type */
uint64_t layout_scales_across(const struct layout_form *f, uint64_t cols);
int layout_whole_groups(const struct layout_form *f, uint64_t cols);

uint64_t layout_dtype_size(const char *dtype);
/* Fills *out and returns 1. */
int layout_give_shape(const struct layout *l, enum layout_part p, const char *dtype, uint32_t n_dims, uint64_t d0, uint64_t d1,
                      struct part_shape *out);

struct layout_view {
    struct layout_form f;
    uint64_t cols, groups, per_word; /* of a row: weights, scales; codes of a word */
    int low;                         /* 2^(b-1) */
    const struct quant_type *type;
    uint8_t *blocks;
    const struct tiled *tiled;       /* in place of blocks */
};
struct layout_view view_of(const struct part_rows *r, const void *blocks);

/* Codes of word w of a row, the first in the low bits; what would lie beyond the row is 0. */
uint32_t view_word(const struct layout_view *v, uint64_t row, uint64_t w);
void view_set_word(const struct layout_view *v, uint64_t row, uint64_t w, uint32_t word);
uint8_t *view_codes(const struct layout_view *v, uint64_t row, uint64_t w); /* where a block has that word */

float view_scale(const struct layout_view *v, uint64_t row, uint64_t g);
int view_zero(const struct layout_view *v, uint64_t row, uint64_t g);
/* -1 when the type has no such zero. */
int view_set_group(const struct layout_view *v, uint64_t row, uint64_t g, float scale, int zero);

/* The code of element i, in a word of packed ones. */
uint32_t view_field(const struct layout_view *v, const uint8_t *word, uint64_t i);

/* Scale i of PART_SCALES, in its storage type. */
const struct quant_type *view_scale_type(const struct part_rows *r);
float view_scale_at(const struct part_rows *r, const struct quant_type *t, uint64_t i);
void view_put_scale_at(const struct part_rows *r, const struct quant_type *t, uint64_t i, float f);

static inline uint64_t div_up(uint64_t a, uint64_t b)
{
    return (a + b - 1) / b;
}

static inline uint32_t load_32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void store_32(uint8_t *p, uint32_t u)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(u >> 8 * i);
}

/* quant/layouts_turned.c: GPTQ and AWQ */
int layout_turned_shape(const struct layout *l, const struct quant_type *t, enum layout_part p, uint64_t rows, uint64_t cols,
                        struct part_shape *out);
void layout_gptq_put(const struct layout *l, const struct part_rows *r, const void *blocks);
int layout_gptq_get(const struct layout *l, const struct part_rows *r, void *blocks);
void layout_awq_put(const struct layout *l, const struct part_rows *r, const void *blocks);
int layout_awq_get(const struct layout *l, const struct part_rows *r, void *blocks);

/* quant/layouts_amx.c */
int layout_amx_shape(const struct layout *l, const struct quant_type *t, enum layout_part p, uint64_t rows, uint64_t cols,
                     struct part_shape *out);
void layout_amx_put(const struct layout *l, const struct part_rows *r, const void *blocks);
int layout_amx_get(const struct layout *l, const struct part_rows *r, void *blocks);

#endif
