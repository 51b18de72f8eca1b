/* SPDX-License-Identifier: MIT
 * The layout of kt-kernel's expert matrices for AMX: codes in the order in which tiles of 16 rows and 64 bytes are loaded.
 *
 *   matrix      blocks of 64 rows (INT8) or 128 (INT4), the last with fewer
 *   block       panels of 3584 columns, the last with fewer
 *   panel       strips of 32 rows
 *   strip       pieces of 64 columns, or of 128, whose codes share bytes: low nibbles the first 64, high nibbles the others
 *   piece       two tiles of 16 rows; a tile is 16 x 16 words of four columns, turned: word (column / 4) * 16 + row
 *
 * Scales are F32, one per row; w = q * scale, but of INT4 w = 16 q * scale, as the kernel leaves the nibble in the upper half of a byte.
 * Source: kvcache-ai/ktransformers kt-kernel/operators/amx/la/amx_kernels.hpp GemmKernel224Int8::BufferB, amx_buffers.hpp
 * BufferBInt4Impl (N_BLOCK of commit 0d2168a29; earlier ones had 256 or 128 rows for INT8). */
#include "quant/layout_view.h"

#include <string.h>

enum { STRIP = 32, TILE_ROWS = 16, TILE_BYTES = 1024, WORD = 4, PIECE = 64, PANEL = 3584 };

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

int layout_amx_shape(const struct layout *l, const struct quant_type *t, enum layout_part p, uint64_t rows, uint64_t cols,
                     struct part_shape *out)
{
    struct layout_form f = layout_form_of(t);
    const uint64_t row_bytes = cols * (uint64_t)f.bits / 8;
    if (f.kind != KIND_INT || f.tile_rows != 1 || f.len || f.asymmetric || !t->tiling || strcmp(f.scales, "F32") || rows % STRIP ||
        row_bytes % PIECE)
        return -1;
    if (p == PART_CODES)
        return layout_give_shape(l, p, "I8", 1, rows * row_bytes, 0, out);
    return p == PART_SCALES ? layout_give_shape(l, p, "F32", 1, rows, 0, out) : 0;
}

/* The byte of the codes that has this one. */
static uint64_t place_of(const struct part_rows *r, int bits, uint64_t row, uint64_t col)
{
    const uint64_t block_rows = bits == 8 ? 64 : 128, per_byte = (uint64_t)(8 / bits);
    const uint64_t block = row / block_rows * block_rows, n_rows = least(block_rows, r->rows - block);
    const uint64_t panel = col / PANEL * PANEL, n_cols = least(PANEL, r->cols - panel);
    const uint64_t strip = (row - block) / STRIP * STRIP, piece = (col - panel) / (PIECE * per_byte) * (PIECE * per_byte);
    const uint64_t in_strip = (row - block) % STRIP, byte = (col - panel) % PIECE;
    const uint64_t codes = block * r->cols + panel * n_rows + strip * n_cols + piece * STRIP;
    return codes / per_byte + in_strip / TILE_ROWS * TILE_BYTES + (byte / WORD * TILE_ROWS + in_strip % TILE_ROWS) * WORD + byte % WORD;
}

/* Whether a code of INT4 has the upper half of its byte. */
static int is_upper(uint64_t col)
{
    return col % PANEL % (2 * PIECE) >= PIECE;
}

void layout_amx_put(const struct layout *l, const struct part_rows *r, const void *blocks)
{
    const struct tiled *in = blocks;
    const int bits = r->type->tiling->bits;
    const struct quant_type *scales = view_scale_type(r);
    uint8_t *codes = r->part[PART_CODES];
    (void)l;
    for (uint64_t o = 0; o < r->n; o++) {
        const uint8_t *code = in->codes + o * r->cols;
        for (uint64_t c = 0; c < r->cols; c++) {
            uint8_t *to = codes + place_of(r, bits, r->row0 + o, c);
            if (bits == 8)
                *to = code[c];
            else if (is_upper(c))
                *to = (uint8_t)((*to & 0x0f) | code[c] << 4);
            else
                *to = (uint8_t)((*to & 0xf0) | (code[c] & 0x0f));
        }
        view_put_scale_at(r, scales, r->row0 + o, bits == 8 ? in->scale[o] : in->scale[o] / 16);
    }
}

int layout_amx_get(const struct layout *l, const struct part_rows *r, void *blocks)
{
    const struct tiled *out = blocks;
    const int bits = r->type->tiling->bits;
    const struct quant_type *scales = view_scale_type(r);
    const uint8_t *codes = r->part[PART_CODES];
    (void)l;
    for (uint64_t o = 0; o < r->n; o++) {
        uint8_t *code = out->codes + o * r->cols;
        for (uint64_t c = 0; c < r->cols; c++) {
            const uint8_t byte = codes[place_of(r, bits, r->row0 + o, c)];
            code[c] = bits == 8 ? byte : (uint8_t)((((is_upper(c) ? byte >> 4 : byte & 0x0f) ^ 8) - 8));
        }
        out->scale[o] = view_scale_at(r, scales, r->row0 + o) * (bits == 8 ? 1 : 16);
    }
    return 0;
}
