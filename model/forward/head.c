/* SPDX-License-Identifier: MIT
 * Final norm and vocabulary projection. The listed positions are packed into panels of their own first, so that nothing is
 * computed for positions that nobody scores. */
#include "model/forward/head.h"

#include <stdlib.h>

struct side { /* one model's part */
    struct forward *f;
    size_t first_tile;
    struct weight w;
    struct panels x, y; /* packed normed states; logits of a block */
};

/* Normed hidden states of the listed positions. */
static int pack(struct side *s, enum tensor_role norm, int layer, const struct head_list *list, struct error *e)
{
    struct panels all;
    struct panel_store *store = s->f->options.store;
    size_t D = s->f->hidden.rows, tiles = (list->n + LANES - 1) / LANES;
    if (panels_init(&s->x, store, tiles, D, e) || panels_init(&all, store, tiles, D, e))
        return -1;
#pragma omp parallel for num_threads(s->f->options.threads)
    for (size_t r = 0; r < D; r++)
        for (size_t i = 0; i < list->n; i++)
            panel_row(&all, i / LANES, r)[i % LANES] =
                panel_row(&s->f->hidden, s->first_tile + list->token[i] / LANES, r)[list->token[i] % LANES];
    int rc = forward_norm(s->f, norm, layer, &all, &s->x, e);
    panels_clear(&all, store);
    return rc;
}

static int side_init(struct side *s, const struct head_side *of, enum tensor_role norm, int layer, const struct head_list *list,
                     struct error *e)
{
    *s = (struct side){.f = of->f, .first_tile = of->first_tile};
    forward_head(s->f, layer, &s->w);
    return pack(s, norm, layer, list, e) || panels_init(&s->y, s->f->options.store, s->x.tiles, HEAD_BLOCK, e) ? -1 : 0;
}

static void side_clear(struct side *s)
{
    if (!s->f)
        return;
    panels_clear(&s->x, s->f->options.store);
    panels_clear(&s->y, s->f->options.store);
}

static void add_block(const struct side *b, const struct side *c, const struct head_list *list, int32_t row0, size_t n,
                      struct position *positions)
{
#pragma omp parallel for num_threads(b->f->options.threads)
    for (size_t i = 0; i < list->n; i++)
        position_add(&positions[i], row0, n, panel_row(&b->y, i / LANES, 0) + i % LANES,
                     c ? panel_row(&c->y, i / LANES, 0) + i % LANES : NULL, LANES);
}

/* Rows [row, row + n) of the vocabulary: side 0 is the base. */
static int run_block(struct side *sides, size_t n_sides, const struct head_list *list, uint64_t row, uint64_t n, struct position *positions,
                     struct error *e)
{
    for (size_t i = 0; i < n_sides; i++)
        if (forward_product(sides[i].f, &sides[i].w, 0, row, n, &sides[i].x, &sides[i].y, 0, e))
            return -1;
    for (size_t i = 1; i < n_sides; i++)
        add_block(&sides[0], &sides[i], list, (int32_t)row, (size_t)n, positions + (i - 1) * list->n);
    if (n_sides == 1)
        add_block(&sides[0], NULL, list, (int32_t)row, (size_t)n, positions);
    return 0;
}

int head_run(const struct head_side *base, const struct head_side *cands, size_t n_cands, enum tensor_role norm, int layer,
             const struct head_list *list, struct position *positions, struct error *e)
{
    struct side *sides = calloc(n_cands + 1, sizeof *sides);
    int rc = sides ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the logits");
    for (size_t i = 0; !rc && i <= n_cands; i++)
        rc = side_init(&sides[i], i ? &cands[i - 1] : base, norm, layer, list, e);
    for (uint64_t row = 0; !rc && row < sides[0].w.rows; row += HEAD_BLOCK) {
        uint64_t n = sides[0].w.rows - row < HEAD_BLOCK ? sides[0].w.rows - row : HEAD_BLOCK;
        rc = run_block(sides, n_cands + 1, list, row, n, positions, e);
    }
    for (size_t i = 0; sides && i <= n_cands; i++)
        side_clear(&sides[i]);
    free(sides);
    return rc ? -1 : 0;
}

void head_row(struct position *p, const float *b, const float *c, size_t vocab)
{
    for (size_t row = 0; row < vocab; row += HEAD_BLOCK)
        position_add(p, (int32_t)row, vocab - row < HEAD_BLOCK ? vocab - row : HEAD_BLOCK, b + row, c ? c + row : NULL, 1);
}

/* One group of positions: its rows, a block of the vocabulary at a time. */
static int group_rows(const struct head_side *side, enum tensor_role norm, int layer, const struct head_list *group, float *rows, struct error *e)
{
    struct side s = {0};
    int rc = side_init(&s, side, norm, layer, group, e);
    for (uint64_t row = 0; !rc && row < s.w.rows; row += HEAD_BLOCK) {
        uint64_t n = s.w.rows - row < HEAD_BLOCK ? s.w.rows - row : HEAD_BLOCK;
        rc = forward_product(s.f, &s.w, 0, row, n, &s.x, &s.y, 0, e);
#pragma omp parallel for num_threads(s.f->options.threads)
        for (size_t i = 0; i < group->n; i++)
            for (uint64_t r = 0; r < n; r++)
                rows[i * s.w.rows + row + r] = panel_row(&s.y, i / LANES, (size_t)r)[i % LANES];
    }
    side_clear(&s);
    return rc ? -1 : 0;
}

int head_rows(const struct head_side *side, enum tensor_role norm, int layer, const struct head_list *list, const struct head_reader *reader,
              struct error *e)
{
    const size_t vocab = (size_t)side->f->model->params.vocab_size, fit = HEAD_ROWS_BYTES / sizeof(float) / vocab;
    const size_t most = fit < LANES ? LANES : fit - fit % LANES, step = most < list->n ? most : list->n;
    float *rows = malloc((step * vocab + 1) * sizeof *rows);
    int rc = rows ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the logits");
    for (size_t at = 0; !rc && at < list->n; at += step) {
        const struct head_list group = {list->token + at, list->n - at < step ? list->n - at : step};
        rc = group_rows(side, norm, layer, &group, rows, e) || reader->rows(reader->context, at, group.n, rows, e) ? -1 : 0;
    }
    free(rows);
    return rc;
}
