/* SPDX-License-Identifier: MIT
 * Reading weights as F32 rows, from any stored form. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "quant/floats.h"
#include "quant/fp8_tiles.h"
#include "quant/scan.h"

/* What one read of stored rows takes. */
struct rows {
    const struct stored *s;
    uint64_t row0, n, cols; /* rows of the stored tensor taken as a matrix */
    uint64_t slab;          /* of a stack, that they are in */
};

static uint64_t align16(uint64_t n)
{
    return (n + 15) / 16 * 16;
}

static uint64_t row_bytes(const struct stored *s, uint64_t cols)
{
    return cols / s->type->block_len * s->type->block_bytes;
}

static uint64_t tiles_across(const struct model *m, uint64_t cols)
{
    return (cols + m->params.tile_cols - 1) / m->params.tile_cols;
}

/* Tile rows that n rows can touch, wherever they begin. */
static uint64_t max_tile_rows(const struct model *m, uint64_t n)
{
    return n / m->params.tile_rows + 2;
}

/* Scratch: F32 scales first, then the raw bytes of scales and rows; or a factor, then rows. */
static uint64_t stored_scratch(const struct model *m, const struct rows *r)
{
    uint64_t bytes = align16(r->n * row_bytes(r->s, r->cols));
    if (r->s->scale)
        bytes += 2 * align16(4 * max_tile_rows(m, r->n) * tiles_across(m, r->cols));
    if (r->s->factor)
        bytes += align16(sizeof(float));
    return bytes;
}

static int value_error(const struct rows *r, uint64_t index, const char *what, struct error *e)
{
    error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%s at row %" PRIu64 ", column %" PRIu64, what, r->row0 + index / r->cols,
              index % r->cols);
    return error_at_tensor(e, r->s->tensor->name);
}

/* The stored bytes of these rows, and the scales of all tile rows that they touch or their factor. */
static int ranges_of(const struct model *m, const struct rows *r, struct weight_range out[2])
{
    uint64_t bytes = row_bytes(r->s, r->cols);
    out[0] = (struct weight_range){.tensor = r->s->tensor, .at = r->row0 * bytes, .n = r->n * bytes};
    if (r->s->factor)
        out[1] = (struct weight_range){.tensor = r->s->factor, .at = tensor_elements(r->s->factor) > 1 ? 4 * r->slab : 0, .n = 4};
    if (!r->s->scale)
        return r->s->factor ? 2 : 1;
    uint64_t row = tiles_across(m, r->cols) * r->s->scale->type->block_bytes;
    uint64_t first = r->row0 / m->params.tile_rows, last = (r->row0 + r->n - 1) / m->params.tile_rows;
    out[1] = (struct weight_range){.tensor = r->s->scale, .at = first * row, .n = (last - first + 1) * row};
    return 2;
}

/* Reads the scales of the tile rows that r touches into F32. */
static int read_scales(const struct model *m, const struct rows *r, float *scales, uint8_t *raw, struct error *e)
{
    const struct tensor *t = r->s->scale;
    uint64_t across = tiles_across(m, r->cols), first = r->row0 / m->params.tile_rows;
    uint64_t last = (r->row0 + r->n - 1) / m->params.tile_rows, n = (last - first + 1) * across;
    uint32_t size = t->type->block_bytes;
    if (source_read(m->source, t, first * across * size, raw, (size_t)(n * size), e))
        return -1;
    for (uint64_t i = 0; i < n; i++) {
        if (size == 1)
            scales[i] = e8m0_to_f32(raw[i]);
        else
            memcpy(&scales[i], raw + 4 * i, 4);
        if (!(scales[i] >= 0) || scales[i] > 3.402823466e38f) {
            error_set(e, ERR_FORMAT, t->offset + (first * across + i) * size, "scale %g is negative or not finite",
                      (double)scales[i]);
            return error_at_tensor(e, t->name);
        }
    }
    return 0;
}

int weight_scales(const struct model *m, const struct stored *s, uint64_t row0, uint64_t n, float *out, struct error *e)
{
    const struct rows r = {.s = s, .row0 = row0, .n = n, .cols = s->tensor->dims[1]};
    uint8_t *raw = malloc(4 * max_tile_rows(m, n) * tiles_across(m, r.cols));
    int rc = raw ? read_scales(m, &r, out, raw, e) : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    free(raw);
    return rc;
}

/* The number that multiplies these rows, at `range`, into *f. */
static int read_factor(const struct model *m, const struct weight_range *range, float *f, struct error *e)
{
    const struct tensor *t = range->tensor;
    if (source_read(m->source, t, range->at, f, sizeof *f, e))
        return -1;
    if (*f >= 0 && *f <= 3.402823466e38f)
        return 0;
    error_set(e, ERR_FORMAT, t->offset + range->at, "scale %g is negative or not finite", (double)*f);
    return error_at_tensor(e, t->name);
}

/* Rows of one stored tensor, decoded and proven finite. */
static int read_stored(const struct model *m, const struct rows *r, float *out, void *scratch, struct weight_seen *seen,
                       struct error *e)
{
    const struct stored *s = r->s;
    uint64_t bytes = r->n * row_bytes(s, r->cols), count = r->n * r->cols, bad;
    uint8_t *raw = scratch;
    float *scales = NULL, *factor = NULL;
    seen->n = ranges_of(m, r, seen->ranges);
    if (s->scale) {
        uint64_t room = align16(4 * max_tile_rows(m, r->n) * tiles_across(m, r->cols));
        scales = scratch;
        if (read_scales(m, r, scales, raw + room, e))
            return -1;
        seen->ranges[1].bytes = raw + room;
        raw += 2 * room;
    }
    if (s->factor) {
        factor = scratch;
        if (read_factor(m, &seen->ranges[1], factor, e))
            return -1;
        seen->ranges[1].bytes = factor;
        raw += align16(sizeof *factor);
    }
    seen->ranges[0].bytes = raw;
    if (source_read(m->source, s->tensor, r->row0 * row_bytes(s, r->cols), raw, (size_t)bytes, e))
        return -1;
    if (s->scale) {
        struct fp8_rows f = {.codes = raw, .scale_inv = scales, .first_row = (size_t)r->row0, .rows = (size_t)r->n,
                             .cols = (size_t)r->cols, .tile_rows = (size_t)m->params.tile_rows,
                             .tile_cols = (size_t)m->params.tile_cols};
        if ((bad = fp8_decode_rows(&f, out, m->cpu)) < count)
            return value_error(r, bad, "NaN (an FP8 code)", e);
    } else {
        struct quant_kernels k = quant_kernels_for(s->type, m->cpu);
        k.decode(raw, out, (size_t)(count / s->type->block_len));
    }
    for (uint64_t i = 0; factor && i < count; i++)
        out[i] *= *factor;
    if ((bad = scan_finite(out, (size_t)count, &seen->amax)) < count)
        return value_error(r, bad, "a value that is NaN or infinite", e);
    return 0;
}

/* Where the rows of `slab` lie: in their own tensor or in a stack. */
static struct rows locate(const struct model *m, const struct weight *w, uint64_t slab, uint64_t row0, uint64_t n)
{
    const struct stored *s = model_stored(m, w->role, w->layer, (int)slab);
    int in_stack = m->source->meta != NULL;
    return (struct rows){.s = s, .row0 = row0 + (in_stack ? slab * w->rows : 0), .n = n, .cols = w->cols, .slab = slab};
}

/* The rows of kv_b that one head's K or V half takes. */
static struct rows locate_half(const struct model *m, const struct weight *w, uint64_t head)
{
    const struct arch_params *p = &m->params;
    uint64_t per_head = p->qk_nope_head_dim + p->v_head_dim;
    int is_v = w->role == ROLE_ATTN_V_B;
    return (struct rows){.s = model_stored(m, ROLE_ATTN_KV_B, w->layer, 0),
                         .row0 = head * per_head + (is_v ? p->qk_nope_head_dim : 0),
                         .n = is_v ? p->v_head_dim : p->qk_nope_head_dim,
                         .cols = p->kv_lora_rank};
}

size_t weight_scratch(const struct model *m, const struct weight *w, uint64_t n_rows)
{
    struct rows r = w->from_kv_b ? locate_half(m, w, 0) : locate(m, w, 0, 0, n_rows);
    if (w->from_kv_b && w->role == ROLE_ATTN_V_B)
        r.n = n_rows;
    if (!r.s->type)
        return 0;
    uint64_t bytes = stored_scratch(m, &r);
    if (w->from_kv_b && w->role == ROLE_ATTN_K_B)
        bytes += align16(4 * r.n * r.cols); /* the half before it is transposed */
    return (size_t)bytes;
}

void weight_turn_k_half(const float *half, uint64_t rows, uint64_t cols, uint64_t first, uint64_t n, float *out)
{
    for (uint64_t c = 0; c < n; c++)
        for (uint64_t d = 0; d < rows; d++)
            out[c * rows + d] = half[d * cols + first + c];
}

static int read_k_half(const struct model *m, const struct rows *half, uint64_t row0, uint64_t n, float *out, void *scratch,
                       struct weight_seen *seen, struct error *e)
{
    uint64_t room = align16(4 * half->n * half->cols);
    if (read_stored(m, half, scratch, (uint8_t *)scratch + room, seen, e))
        return -1;
    weight_turn_k_half(scratch, half->n, half->cols, row0, n, out);
    return 0;
}

/* The stored rows behind rows of a weight: of a K half always the whole half, since rows become columns. */
static struct rows rows_behind(const struct model *m, const struct weight *w, uint64_t slab, uint64_t row0, uint64_t n)
{
    struct rows r = w->from_kv_b ? locate_half(m, w, slab) : locate(m, w, slab, row0, n);
    if (w->from_kv_b && w->role == ROLE_ATTN_V_B) {
        r.row0 += row0;
        r.n = n;
    }
    return r;
}

int weight_ranges(const struct model *m, const struct weight *w, uint64_t slab, uint64_t row0, uint64_t n_rows,
                  struct weight_range out[2])
{
    struct rows r = rows_behind(m, w, slab, row0, n_rows);
    return r.s->type ? ranges_of(m, &r, out) : 0;
}

int weight_read(const struct model *m, const struct weight *w, uint64_t slab, uint64_t row0, uint64_t n_rows, float *out,
                void *scratch, struct weight_seen *seen, struct error *e)
{
    struct weight_seen ignored;
    struct rows r = rows_behind(m, w, slab, row0, n_rows);
    const struct tensor *t = r.s->tensor;
    int rc;
    seen = seen ? seen : &ignored;
    if (!r.s->type) {
        error_set(e, ERR_UNSUPPORTED, t->offset, "no decoder for type %s", t->type->name);
        rc = error_at_tensor(e, t->name);
    } else if (w->from_kv_b && w->role == ROLE_ATTN_K_B) {
        rc = read_k_half(m, &r, row0, n_rows, out, scratch, seen, e);
    } else {
        rc = read_stored(m, &r, out, scratch, seen, e);
    }
    return rc ? error_at_file(e, m->source->files[t->file].path) : 0;
}

const char *weight_source_name(const struct model *m, const struct weight *w, uint64_t slab, char out[TENSOR_NAME])
{
    const struct stored *s = model_stored(m, w->from_kv_b ? ROLE_ATTN_KV_B : w->role, w->layer, (int)slab);
    snprintf(out, TENSOR_NAME, "%s", s->tensor->name);
    return out;
}
