/* SPDX-License-Identifier: MIT
 * Encoder: one way for every type. Rows become blocks by search or by error feedback, or codes and scales of tiles; a layout makes parts
 * of either. */
#include "convert/encode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "convert/importance.h"
#include "convert/lossless.h"
#include "convert/via.h"

int encoder_init(struct encoder *c, const struct plan *p, struct feedback *shared, struct error *e)
{
    *c = (struct encoder){.plan = p, .cpu = cpu_features(), .feedback = shared};
    if (p->options.calib && !shared) {
        feedback_init(&c->own, p->options.calib, &p->options.feedback, p->threads);
        c->feedback = &c->own;
    }
    return p->options.fold && !(c->fold = fold_new(p, e)) ? -1 : 0;
}

void encoder_clear(struct encoder *c)
{
    fold_free(c->fold);
    feedback_clear(&c->own);
}

int encode_buffers_init(struct encode_buffers *b, const struct unit_room *room)
{
    *b = (struct encode_buffers){.floats = malloc(room->floats * sizeof *b->floats + 64),
                                 .turned = malloc(room->turned * sizeof *b->turned + 64),
                                 .folded = malloc(room->folded * sizeof *b->folded + 64),
                                 .importance = malloc(room->importance * sizeof *b->importance + 64),
                                 .encoded = malloc(room->encoded + 64),
                                 .blocks = malloc(room->blocks + 64),
                                 .compared = malloc((room->compared ? room->floats : 0) * sizeof *b->compared + 64),
                                 .other = malloc((room->compared ? room->blocks : 0) + 64),
                                 .scratch = malloc(room->scratch + 64)};
    return b->floats && b->turned && b->folded && b->importance && b->encoded && b->blocks && b->compared && b->other && b->scratch ? 0 : -1;
}

void encode_buffers_clear(struct encode_buffers *b)
{
    free(b->floats);
    free(b->turned);
    free(b->folded);
    free(b->importance);
    free(b->encoded);
    free(b->blocks);
    free(b->compared);
    free(b->other);
    free(b->scratch);
    sweep_free(b->sweeper);
    *b = (struct encode_buffers){.floats = NULL};
}

static void encode_blocks(const struct encoder *c, const struct plan_tensor *t, const float *x, const float *importance,
                          uint8_t *to, size_t n)
{
    const struct quant_kernels k = quant_kernels_for(t->type, c->cpu);
    k.encode(x, importance, to, n);
    if (k.improve && !c->plan->options.recipe.compat)
        k.improve(x, importance, to, n);
}

/* 0, to be given back, 1 without data, or -1. */
static int get_curvature(struct encoder *c, const struct plan_tensor *t, uint64_t slab, const struct curvature **h, struct error *e)
{
    struct fold_slab folded = {.cols = NULL};
    if (c->fold && fold_get(c->fold, t, slab, &folded, e))
        return -1;
    int rc = feedback_get(c->feedback, &t->weight, t->type, slab, &(struct column_change){folded.cols, folded.col_from}, h, e);
    if (c->fold)
        fold_put(c->fold, &folded);
    return rc;
}

/* Rows of a matrix whose inputs are known. 1 when there is nothing to be had from them. */
static int encode_with_feedback(struct encoder *c, struct encode_buffers *b, const struct plan_tensor *t, uint64_t slab, const float *x,
                                uint8_t *to, uint64_t bytes, struct error *e)
{
    const struct curvature *h;
    const uint64_t row_bytes = t->weight.cols / t->type->block_len * t->type->block_bytes;
    if (!b->sweeper || b->swept != t->type || b->swept_cols != t->weight.cols) {
        sweep_free(b->sweeper);
        if (!(b->sweeper = sweep_new(t->type, (size_t)t->weight.cols, c->cpu, &c->feedback->o.sweep, e)))
            return -1;
        b->swept = t->type;
        b->swept_cols = t->weight.cols;
    }
    int rc = get_curvature(c, t, slab, &h, e);
    if (rc)
        return rc;
    sweep_rows(b->sweeper, h, x, (size_t)(bytes / row_bytes), to, NULL);
    feedback_put(c->feedback);
    return 0;
}

/* Encodes rows of one slab; with an importance row by row, as codecs want it. */
static int encode_rows(struct encoder *c, struct encode_buffers *b, const struct plan_tensor *t, uint64_t slab, const float *x,
                       uint8_t *to, uint64_t bytes, struct error *e)
{
    if (feedback_applies(c->plan->options.calib, &t->weight, t->type)) {
        int rc = encode_with_feedback(c, b, t, slab, x, to, bytes, e);
        if (rc <= 0)
            return rc;
    }
    if (!t->importance) {
        encode_blocks(c, t, x, NULL, to, (size_t)(bytes / t->type->block_bytes));
        return 0;
    }
    size_t blocks = (size_t)(t->weight.cols / t->type->block_len), row = blocks * t->type->block_bytes;
    if (importance_read(c->plan, t, slab, b->importance, e) ||
        (c->fold && fold_importance(c->fold, t, slab, b->importance, e)))
        return -1;
    for (uint64_t at = 0; at < bytes; at += row, x += t->weight.cols)
        encode_blocks(c, t, x, b->importance, to + at, blocks);
    return 0;
}

/* The type of the source's blocks when they can be carried over as they are: nothing has changed the weights since. */
static const struct quant_type *carried_from(const struct encoder *c, const struct plan_tensor *t, const struct unit *slice,
                                             const struct weight_seen *seen)
{
    if (!seen->blocks || c->fold || c->plan->options.recipe.via_bf16 || slice->source.from_kv_b || t->units == UNITS_WITH_NEXT)
        return NULL;
    const struct stored *s = model_stored(c->plan->model, slice->source.role, slice->source.layer, (int)slice->source_slab);
    return lossless_applies(s->type, t->type) ? s->type : NULL;
}

/* Rows whose source has blocks: those that fit are carried over, for the others the rows are encoded. */
static int encode_or_carry(struct encoder *c, struct encode_buffers *b, const struct plan_tensor *t, const struct unit *slice,
                           const struct weight_seen *seen, const float *x, uint8_t *to, uint64_t bytes, struct error *e)
{
    const struct quant_type *from = carried_from(c, t, slice, seen);
    size_t n = (size_t)(bytes / t->type->block_bytes), left = from ? lossless_carry(from, t->type, seen->blocks, to, n) : n;
    if (from) {
        b->carried += n - left;
        b->not_carried += left;
    }
    if (left && encode_rows(c, b, t, t->slab0 + slice->slab, x, to, bytes, e))
        return -1;
    if (from && left)
        lossless_carry(from, t->type, seen->blocks, to, n);
    return 0;
}

/* With --via bf16: what a BF16 file of the model would hold in place of what was read. Norms and router stay F32 in it. */
static int read_via_bf16(const struct encoder *c, const struct encode_buffers *b, const struct unit *u, float *amax, struct error *e)
{
    const struct quant_type *bf16 = quant_type_find("BF16");
    if (roles[u->source.role].flags & ROLE_ALWAYS_F32)
        return 0;
    if (*amax > bf16->max_abs) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "a weight of magnitude %g does not fit BF16", (double)*amax);
        return error_at_tensor(e, c->plan->tensors[u->tensor].out.name);
    }
    via_bf16(b->floats, (size_t)(u->source_rows * u->source.cols), c->cpu);
    via_bf16(amax, 1, c->cpu);
    return 0;
}

static int check_range(const struct plan_tensor *t, float amax, struct error *e)
{
    if (!(amax > t->type->max_abs))
        return 0;
    error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "a weight of magnitude %g does not fit %s", (double)amax, t->type->name);
    return error_at_tensor(e, t->out.name);
}

/* ---- parts of a layout */

static struct tiled tiles_in(const struct plan_tensor *t, uint64_t rows, uint8_t *blocks)
{
    const size_t codes = (size_t)(rows * t->weight.cols), floats = (codes + sizeof(float) - 1) / sizeof(float) * sizeof(float);
    const size_t n = tiled_down(t->type->tiling, (size_t)rows) * tiled_across(t->type->tiling, (size_t)t->weight.cols);
    return (struct tiled){.type = t->type, .rows = (size_t)rows, .cols = (size_t)t->weight.cols, .codes = blocks,
                          .scale = (float *)(void *)(blocks + floats), .zero = t->type->tiling->asymmetric ? (int8_t *)blocks + floats + n * sizeof(float) : NULL};
}

/* The source's own codes and scales, which the model has proven to be of these tiles. */
static void take_tiles(const struct weight_seen *seen, struct tiled *tiles)
{
    const struct weight_range *codes = &seen->ranges[0], *scales = &seen->ranges[1];
    const struct quant_type *type = weight_scale_type(scales->tensor);
    memcpy(tiles->codes, codes->bytes, (size_t)codes->n);
    type->ref.decode(scales->bytes, tiles->scale, (size_t)(scales->n / type->block_bytes));
}

static double squared_error(const struct encoder *c, struct encode_buffers *b, const struct tiled *t)
{
    double sum = 0;
    tiled_decode(t, 0, t->rows, b->compared, c->cpu);
    for (size_t i = 0; i < t->rows * t->cols; i++) {
        double off = (double)b->floats[i] - (double)b->compared[i];
        sum += off * off;
    }
    return sum;
}

/* The same rows with F32 scales, to tell what powers of two cost. */
static void compare_scales(const struct encoder *c, struct encode_buffers *b, const struct plan_tensor *t, const struct tiled *made)
{
    struct plan_tensor as_f32 = *t;
    as_f32.type = quant_type_find("FP8-BLOCK");
    struct tiled other = tiles_in(&as_f32, made->rows, b->other);
    tiled_encode(&other, b->floats, NULL, NULL, c->plan->options.recipe.compat, c->cpu);
    for (size_t i = 0; i < made->rows * made->cols; i++)
        b->cost.size += (double)b->floats[i] * (double)b->floats[i];
    b->cost.error += squared_error(c, b, made);
    b->cost.error_f32 += squared_error(c, b, &other);
}

static int encode_tiles(struct encoder *c, struct encode_buffers *b, const struct plan_tensor *t, const struct unit *slice,
                        const struct weight_seen *seen, struct tiled *tiles, struct error *e)
{
    const float *given = NULL;
    if (t->copied) {
        take_tiles(seen, tiles);
        return 0;
    }
    if (t->scales_from) {
        if (weight_scales(c->plan->options.scales_from, t->scales_from, slice->row0, slice->rows, tiles->scale, e))
            return -1;
        given = tiles->scale;
    }
    if (t->importance && importance_read(c->plan, t, t->slab0 + slice->slab, b->importance, e))
        return -1;
    tiled_encode(tiles, b->floats, t->importance ? b->importance : NULL, given, c->plan->options.recipe.compat, c->cpu);
    if (unit_compares(t))
        compare_scales(c, b, t, tiles);
    return 0;
}

/* Where the rows of a slice go in the unit's encoded parts. */
static void place_parts(const struct encoder *c, struct encode_buffers *b, const struct unit *u, const struct unit *slice,
                        struct part_rows *r)
{
    const struct plan_tensor *t = &c->plan->tensors[u->tensor];
    struct unit_output all[UNIT_OUTPUTS], some[UNIT_OUTPUTS];
    uint8_t *at = b->encoded;
    int n = unit_outputs(c->plan, u, all);
    unit_outputs(c->plan, slice, some);
    for (int i = 0; i < n; at += all[i++].bytes)
        r->part[t[i].part] = t->layout->whole ? at : at + (some[i].at - all[i].at);
}

static int encode_parts(struct encoder *c, struct encode_buffers *b, const struct unit *u, const struct unit *slice,
                        const struct weight_seen *seen, struct error *e)
{
    const struct plan_tensor *t = &c->plan->tensors[u->tensor];
    struct part_rows r = {.type = t->type, .rows = t->weight.rows, .cols = t->weight.cols, .row0 = slice->row0, .n = slice->rows};
    struct tiled tiles;
    const size_t count = (size_t)(slice->rows * t->weight.cols);
    place_parts(c, b, u, slice, &r);
    if (r.part[PART_GLOBAL]) {
        for (size_t i = 0; i < count; i++)
            b->floats[i] *= b->global;
        if (slice->row0 == 0)
            memcpy(r.part[PART_GLOBAL], &b->global, sizeof b->global);
    }
    if (t->type->tiling)
        tiles = tiles_in(t, slice->rows, b->blocks);
    int rc = t->type->tiling ? encode_tiles(c, b, t, slice, seen, &tiles, e)
                             : encode_or_carry(c, b, t, slice, seen, b->floats, b->blocks, unit_block_bytes(t, slice->rows), e);
    if (!rc)
        t->layout->put(t->layout, &r, t->type->tiling ? (const void *)&tiles : b->blocks);
    return rc;
}

/* The largest magnitude of a whole matrix. */
static int largest(struct encode_buffers *b, const struct plan *p, const struct weight *w, uint64_t slab, uint64_t step, float *amax,
                   struct error *e)
{
    for (uint64_t row = 0; row < w->rows; row += step) {
        struct weight_seen seen;
        if (weight_read(p->model, w, slab, row, w->rows - row < step ? w->rows - row : step, b->floats, b->scratch, &seen, e))
            return -1;
        *amax = seen.amax > *amax ? seen.amax : *amax;
    }
    return 0;
}

static float global_scale(float amax)
{
    const float scale = 448.0f * 6 / amax;
    return scale <= 3.402823466e38f ? scale : 1;
}

int encode_begin(struct encoder *c, struct encode_buffers *b, const struct unit *u, struct error *e)
{
    const struct plan_tensor *t = &c->plan->tensors[u->tensor];
    struct weight partner;
    float amax = 0;
    if (!t->layout || !t->layout->suffix[PART_GLOBAL])
        return 0;
    /* engines hold both halves of what they fuse under one scale */
    enum tensor_role with = role_partner(t->weight.role);
    if (largest(b, c->plan, &u->source, u->source_slab, t->slice_rows, &amax, e) ||
        (with != ROLE_COUNT && model_weight(c->plan->model, with, t->weight.layer, &partner) &&
         largest(b, c->plan, &partner, u->source_slab, t->slice_rows, &amax, e)))
        return -1;
    b->global = global_scale(amax);
    return 0;
}

/* ---- units */

/* Encodes what was read where the blocks are the output, which lie behind one another in b->encoded. */
static int encode_whole(struct encoder *c, struct encode_buffers *b, const struct unit *u, const struct weight_seen *seen, float amax,
                        struct error *e)
{
    struct unit_output out[UNIT_OUTPUTS];
    const float *x = b->floats;
    uint8_t *to = b->encoded;
    int n = unit_outputs(c->plan, u, out);
    for (int i = 0; i < n; i++) {
        const struct plan_tensor *t = &c->plan->tensors[out[i].tensor];
        if (n == 2 && i == 0) { /* a head of kv_b: the K half, turned, then the V half */
            weight_turn_k_half(b->floats, t->weight.cols, u->source.cols, 0, t->weight.rows, b->turned);
            x = b->turned;
        } else if (n == 2) {
            x = b->floats + c->plan->tensors[out[0].tensor].weight.cols * u->source.cols;
        }
        const float *y = x;
        float most = amax;
        if (c->fold && !(y = fold_rows(c->fold, t, u->slab, u->row0, n == 2 ? t->weight.rows : u->rows, x, b->folded, &most, e)))
            return -1;
        if (check_range(t, most, e) || encode_or_carry(c, b, t, u, seen, y, to, out[i].bytes, e))
            return -1;
        to += out[i].bytes;
    }
    return 0;
}

int encode_slice(struct encoder *c, struct encode_buffers *b, const struct unit *u, const struct unit *slice, const struct weight_seen *seen,
                 struct error *e)
{
    const struct plan_tensor *t = &c->plan->tensors[u->tensor];
    float amax = seen->amax;
    if (c->plan->options.recipe.via_bf16 && read_via_bf16(c, b, slice, &amax, e))
        return -1;
    if (!t->layout)
        return encode_whole(c, b, u, seen, amax, e);
    return check_range(t, amax, e) || encode_parts(c, b, u, slice, seen, e) ? -1 : 0;
}

/* ---- encoders that share curvatures */

int encode_order(const struct encoder *c, const struct unit *u)
{
    const struct plan_tensor *t = &c->plan->tensors[u->tensor];
    /* a head of kv_b has two matrices, with inputs of their own */
    return t->units != UNITS_WITH_NEXT && feedback_applies(c->plan->options.calib, &t->weight, t->type) ? (int)feedback_order(c->feedback, t->type) : -1;
}

int encode_hold(struct encoder *c, const struct unit *u, struct error *e)
{
    const struct plan_tensor *t = &c->plan->tensors[u->tensor];
    const struct curvature *h;
    return get_curvature(c, t, t->slab0 + u->slab, &h, e);
}

void encode_release(struct encoder *c)
{
    feedback_put(c->feedback);
}

/* ---- what a type would make of them */

int encode_try(struct encoder *c, struct encode_buffers *b, const struct plan_tensor *t, const struct unit *slice, const struct weight_seen *seen,
               const float *x, float *y, struct error *e)
{
    const size_t n = (size_t)(slice->rows * t->weight.cols);
    float by = 1, amax = 0;
    memcpy(b->floats, x, n * sizeof *x);
    if (t->type->tiling) {
        struct tiled tiles = tiles_in(t, slice->rows, b->blocks);
        if (encode_tiles(c, b, t, slice, seen, &tiles, e))
            return -1;
        tiled_decode(&tiles, 0, (size_t)slice->rows, y, c->cpu);
        return 0;
    }
    for (size_t i = 0; i < n && t->layout && t->layout->suffix[PART_GLOBAL]; i++)
        amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
    by = amax > 0 ? global_scale(amax) : 1;
    for (size_t i = 0; i < n; i++)
        b->floats[i] *= by;
    const size_t blocks = n / t->type->block_len;
    if (check_range(t, seen->amax * by, e) || encode_or_carry(c, b, t, slice, seen, b->floats, b->blocks, blocks * t->type->block_bytes, e))
        return -1;
    quant_kernels_for(t->type, c->cpu).decode(b->blocks, y, blocks);
    for (size_t i = 0; i < n; i++)
        y[i] /= by;
    return 0;
}
