/* SPDX-License-Identifier: MIT
 * Reading weights as F32 rows, from any stored form. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "quant/fp4_ct.h"
#include "quant/fp8_tiles.h"
#include "quant/scan.h"

/* What one read of stored rows takes. */
struct rows {
    const struct stored *s;
    uint64_t row0, n, cols; /* rows of the stored tensor taken as a matrix */
    uint64_t total;         /* its rows; known where it has a layout */
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

/* Bytes of a part that these rows need. Shapes are proven with the first rows; what all rows need is read with all. */
static struct weight_range part_range(const struct rows *r, enum layout_part p)
{
    const struct tensor *t = r->s->parts[p];
    struct weight_range out = {.tensor = t};
    if (t && (p == PART_GLOBAL || p == PART_INDEX))
        out.n = t->bytes;
    else if (t)
        layout_range(r->s->layout, r->s->type, p, r->total, r->cols, r->row0, r->n, t->type->block_bytes, &out.at, &out.n);
    return out;
}

/* Room for a part of n rows, wherever they begin in a tile or in a word of zeros. */
static uint64_t part_room(const struct rows *r, enum layout_part p)
{
    const struct tiling *t = r->s->type->tiling;
    uint64_t slack = p == PART_CODES ? 0 : 2 * (t && t->rows > 8 ? t->rows : 8);
    struct rows most = *r;
    most.row0 = 0;
    most.n = r->n + slack < r->total ? r->n + slack : r->total;
    return align16(part_range(&most, p).n);
}

/* Whether codes are bytes that a tiled type takes as they are stored. */
static int codes_in_place(const struct stored *s)
{
    return s->type->tiling && s->parts[PART_CODES]->type->block_bytes == 1;
}

/* Where the parts of a read lie in its scratch, and what they become. */
struct places {
    uint64_t part[PART_COUNT], blocks, codes, scales, zeros, end;
};

static struct places places_of(const struct rows *r)
{
    struct places at = {.end = 0};
    const struct stored *s = r->s;
    for (int p = 0; p < PART_COUNT; p++) {
        at.part[p] = at.end;
        at.end += part_room(r, (enum layout_part)p);
    }
    at.blocks = at.codes = at.end;
    if (!s->type->tiling) {
        at.end += align16(r->n * row_bytes(s, r->cols));
        return at;
    }
    at.end += codes_in_place(s) ? 0 : align16(r->n * r->cols);
    uint64_t n = part_room(r, PART_SCALES) / s->parts[PART_SCALES]->type->block_bytes;
    at.scales = at.end;
    at.zeros = at.end += align16(4 * n);
    at.end += s->type->tiling->asymmetric ? align16(n) : 0;
    return at;
}

/* Scratch: parts as they are stored, then what they become; without a layout a factor, then rows. */
static uint64_t stored_scratch(const struct rows *r)
{
    if (r->s->layout)
        return places_of(r).end;
    return align16(r->n * row_bytes(r->s, r->cols)) + (r->s->factor ? align16(sizeof(float)) : 0);
}

static int value_error(const struct rows *r, uint64_t index, const char *what, struct error *e)
{
    error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%s at row %" PRIu64 ", column %" PRIu64, what, r->row0 + index / r->cols,
              index % r->cols);
    return error_at_tensor(e, r->s->tensor->name);
}

/* The stored bytes of these rows, and their factor or the other parts of their layout. */
static int ranges_of(const struct rows *r, struct weight_range out[WEIGHT_RANGES])
{
    int n = 0;
    if (r->s->layout) {
        for (int p = 0; p < PART_COUNT; p++)
            if ((out[n] = part_range(r, (enum layout_part)p)).n)
                n++;
        return n;
    }
    uint64_t bytes = row_bytes(r->s, r->cols);
    out[n++] = (struct weight_range){.tensor = r->s->tensor, .at = r->row0 * bytes, .n = r->n * bytes,
                                     .shared = r->s->slab_rows != 0};
    if (r->s->factor)
        out[n++] = (struct weight_range){.tensor = r->s->factor, .at = tensor_elements(r->s->factor) > 1 ? 4 * r->slab : 0, .n = 4};
    return n;
}

const struct quant_type *weight_scale_type(const struct tensor *t)
{
    return quant_type_find(!strcmp(t->type->name, "U8") ? "F8_E8M0" : t->type->name);
}

/* Scales that are read must be finite, and those of FP8 not negative. */
static int check_scales(const struct rows *r, const struct weight_range *range, unsigned cpu, struct error *e)
{
    const struct tensor *t = range->tensor;
    const struct quant_type *type = weight_scale_type(t);
    int may_be_negative = !(r->s->type->tiling && r->s->type->tiling->is_float);
    const struct quant_kernels k = quant_kernels_for(type, cpu);
    float f[256];
    for (uint64_t at = 0, n; at < range->n; at += n * type->block_bytes) {
        n = (range->n - at) / type->block_bytes;
        n = n < 256 ? n : 256;
        k.decode((const uint8_t *)range->bytes + at, f, (size_t)n);
        for (uint64_t i = 0; i < n; i++)
            if (!(f[i] >= (may_be_negative ? -3.402823466e38f : 0)) || f[i] > 3.402823466e38f) {
                error_set(e, ERR_FORMAT, t->offset + range->at + at + i * type->block_bytes,
                          may_be_negative ? "scale %g is not finite" : "scale %g is negative or not finite", (double)f[i]);
                return error_at_tensor(e, t->name);
            }
    }
    return 0;
}

int weight_scales(const struct model *m, const struct stored *s, uint64_t row0, uint64_t n, float *out, struct error *e)
{
    const struct rows r = {.s = s, .row0 = row0, .n = n, .total = s->tensor->dims[0], .cols = s->tensor->dims[1]};
    struct weight_range range = part_range(&r, PART_SCALES);
    const struct quant_type *type = weight_scale_type(range.tensor);
    uint8_t *raw = malloc((size_t)range.n);
    int rc = raw ? source_read(m->source, range.tensor, range.at, raw, (size_t)range.n, e)
                 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    range.bytes = raw;
    if (!rc && !(rc = check_scales(&r, &range, m->cpu, e)))
        type->ref.decode(raw, out, (size_t)range.n / type->block_bytes);
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

/* Reads what a layout has of these rows, each part to its place. */
static int read_parts(const struct model *m, const struct rows *r, const struct places *at, uint8_t *scratch, struct part_rows *parts,
                      struct weight_seen *seen, struct error *e)
{
    seen->n = ranges_of(r, seen->ranges);
    for (int i = 0, p = 0; i < seen->n; i++, p++) {
        struct weight_range *range = &seen->ranges[i];
        while (r->s->parts[p] != range->tensor)
            p++;
        parts->part[p] = scratch + at->part[p];
        range->bytes = parts->part[p];
        if (source_read(m->source, range->tensor, range->at, parts->part[p], (size_t)range->n, e))
            return -1;
    }
    return 0;
}

static int decode_tiled(const struct model *m, const struct rows *r, const struct tiled *t, float *out, struct error *e)
{
    const struct tiling *form = t->type->tiling;
    uint64_t bad;
    if (!form->is_float) {
        tiled_decode(t, 0, (size_t)r->n, out, m->cpu);
        return 0;
    }
    struct fp8_rows f = {.codes = t->codes, .scale_inv = t->scale, .first_row = (size_t)r->row0, .rows = (size_t)r->n,
                         .cols = (size_t)r->cols, .tile_rows = form->rows, .tile_cols = form->cols ? form->cols : (size_t)r->cols};
    if ((bad = fp8_decode_rows(&f, out, m->cpu)) < r->n * r->cols)
        return value_error(r, bad, "NaN (an FP8 code)", e);
    return 0;
}

/* Rows of a matrix in a layout: its parts, what they are put together to, and the numbers. */
static int read_layout(const struct model *m, const struct rows *r, float *out, uint8_t *scratch, struct weight_seen *seen,
                       struct error *e)
{
    const struct stored *s = r->s;
    const struct quant_type *scales = weight_scale_type(s->parts[PART_SCALES]);
    struct places at = places_of(r);
    struct part_rows parts = {.type = s->type, .rows = r->total, .cols = r->cols, .row0 = r->row0, .n = r->n,
                              .scales = scales};
    if (read_parts(m, r, &at, scratch, &parts, seen, e))
        return -1;
    for (int i = 0; i < seen->n; i++)
        if (seen->ranges[i].tensor == s->parts[PART_SCALES] && scales->block_bytes > 1 && check_scales(r, &seen->ranges[i], m->cpu, e))
            return -1;
    struct tiled tiled = {.type = s->type, .rows = (size_t)r->n, .cols = (size_t)r->cols, .first_row = (size_t)r->row0,
                          .codes = codes_in_place(s) ? parts.part[PART_CODES] : scratch + at.codes,
                          .scale = (float *)(void *)(scratch + at.scales),
                          .zero = s->type->tiling && s->type->tiling->asymmetric ? (int8_t *)(scratch + at.zeros) : NULL};
    void *to = s->type->tiling ? (void *)&tiled : scratch + at.blocks;
    if (s->layout->get(s->layout, &parts, to)) {
        error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "shape, group index or zero points are not those of %s in %s", s->type->name,
                  s->layout->name);
        return error_at_tensor(e, s->tensor->name);
    }
    if (s->type->tiling)
        return decode_tiled(m, r, &tiled, out, e);
    seen->blocks = to;
    size_t n = (size_t)(r->n * r->cols / s->type->block_len);
    float global;
    if (!s->parts[PART_GLOBAL]) {
        quant_kernels_for(s->type, m->cpu).decode(to, out, n);
        return 0;
    }
    memcpy(&global, parts.part[PART_GLOBAL], sizeof global);
    nvfp4_ct_values(to, global, out, n);
    return 0;
}

/* Rows that are stored by themselves, or with a factor. */
static int read_plain(const struct model *m, const struct rows *r, float *out, uint8_t *raw, struct weight_seen *seen, struct error *e)
{
    const struct stored *s = r->s;
    uint64_t count = r->n * r->cols;
    float *factor = NULL;
    seen->n = ranges_of(r, seen->ranges);
    if (s->factor) {
        factor = (float *)(void *)raw;
        if (read_factor(m, &seen->ranges[1], factor, e))
            return -1;
        seen->ranges[1].bytes = factor;
        raw += align16(sizeof *factor);
    }
    seen->ranges[0].bytes = raw;
    if (source_read(m->source, s->tensor, seen->ranges[0].at, raw, (size_t)seen->ranges[0].n, e))
        return -1;
    seen->blocks = s->factor || s->type->flags & QT_FLOAT ? NULL : raw;
    quant_kernels_for(s->type, m->cpu).decode(raw, out, (size_t)(count / s->type->block_len));
    for (uint64_t i = 0; factor && i < count; i++)
        out[i] *= *factor;
    return 0;
}

/* Rows of one stored tensor, decoded and proven finite. */
static int read_stored(const struct model *m, const struct rows *r, float *out, void *scratch, struct weight_seen *seen,
                       struct error *e)
{
    uint64_t count = r->n * r->cols, bad;
    seen->blocks = NULL;
    if (r->s->layout ? read_layout(m, r, out, scratch, seen, e) : read_plain(m, r, out, scratch, seen, e))
        return -1;
    if ((bad = scan_finite(out, (size_t)count, &seen->amax)) < count)
        return value_error(r, bad, "a value that is NaN or infinite", e);
    return 0;
}

/* Where the rows of `slab` lie: in their own tensor or in a stack. */
static struct rows locate(const struct model *m, const struct weight *w, uint64_t slab, uint64_t row0, uint64_t n)
{
    const struct stored *s = model_stored(m, w->role, w->layer, (int)slab);
    uint64_t before = 0;
    if (m->source->meta) /* a stack */
        before = slab * (s->slab_rows ? s->slab_rows : w->rows) + s->first_row;
    return (struct rows){.s = s, .row0 = row0 + before, .n = n, .cols = w->cols, .total = w->rows, .slab = slab};
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
                         .cols = p->kv_lora_rank,
                         .total = p->num_attention_heads * per_head};
}

/* The experts of a pack may be stored in as many ways as there are experts, and some may be missing. */
static size_t expert_scratch(const struct model *m, const struct weight *w, uint64_t n_rows)
{
    uint64_t most = 0;
    for (uint64_t slab = 0; slab < w->slabs; slab++) {
        const struct rows r = locate(m, w, slab, 0, n_rows);
        const uint64_t bytes = r.s && r.s->type ? stored_scratch(&r) : 0;
        most = bytes > most ? bytes : most;
    }
    return (size_t)most;
}

size_t weight_scratch(const struct model *m, const struct weight *w, uint64_t n_rows)
{
    if (m->source->pack && roles[w->role].flags & ROLE_EXPERT)
        return expert_scratch(m, w, n_rows);
    struct rows r = w->from_kv_b ? locate_half(m, w, 0) : locate(m, w, 0, 0, n_rows);
    if (w->from_kv_b && w->role == ROLE_ATTN_V_B)
        r.n = n_rows;
    if (!r.s->type)
        return 0;
    uint64_t bytes = stored_scratch(&r);
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
                  struct weight_range out[WEIGHT_RANGES])
{
    struct rows r = rows_behind(m, w, slab, row0, n_rows);
    return r.s->type ? ranges_of(&r, out) : 0;
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
    if (!rc && m->filter)
        m->filter->change(m->filter->context, w, slab, row0, n_rows, out);
    return rc ? error_at_file(e, m->source->files[t->file].path) : 0;
}

const char *weight_source_name(const struct model *m, const struct weight *w, uint64_t slab, char out[TENSOR_NAME])
{
    const struct stored *s = model_stored(m, w->from_kv_b ? ROLE_ATTN_KV_B : w->role, w->layer, (int)slab);
    snprintf(out, TENSOR_NAME, "%s", s->tensor->name);
    return out;
}
