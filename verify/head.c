/* SPDX-License-Identifier: MIT
 * Final norm and vocabulary projection. The listed positions are packed into panels of their own first, so that nothing is
 * computed for positions that nobody scores. */
#include "verify/head.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct side { /* one model's part */
    struct forward *f;
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
    for (size_t r = 0; r < D; r++)
        for (size_t i = 0; i < list->n; i++)
            panel_row(&all, i / LANES, r)[i % LANES] =
                panel_row(&s->f->hidden, list->token[i] / LANES, r)[list->token[i] % LANES];
    int rc = forward_norm(s->f, norm, layer, &all, &s->x, e);
    panels_clear(&all, store);
    return rc;
}

static int side_init(struct side *s, struct forward *f, enum tensor_role norm, int layer, const struct head_list *list,
                     struct error *e)
{
    *s = (struct side){.f = f};
    if (!f)
        return 0;
    forward_head(f, layer, &s->w);
    return pack(s, norm, layer, list, e) || panels_init(&s->y, f->options.store, s->x.tiles, HEAD_BLOCK, e) ? -1 : 0;
}

static void side_clear(struct side *s)
{
    if (!s->f)
        return;
    panels_clear(&s->x, s->f->options.store);
    panels_clear(&s->y, s->f->options.store);
}

static int write_block(int fd, const struct side *s, const struct head_list *list, uint64_t row0, size_t n,
                       struct error *e)
{
    float line[HEAD_BLOCK];
    for (size_t i = 0; i < list->n; i++) {
        for (size_t r = 0; r < n; r++)
            line[r] = panel_row(&s->y, i / LANES, r)[i % LANES];
        uint64_t at = ((uint64_t)i * s->w.rows + row0) * sizeof *line;
        if (pwrite(fd, line, n * sizeof *line, (off_t)at) != (ssize_t)(n * sizeof *line))
            return error_set(e, ERR_IO, ERROR_NO_OFFSET, "cannot write the logits: %s", strerror(errno));
    }
    return 0;
}

static void add_block(const struct side *b, const struct side *c, const struct head_list *list, int32_t row0, size_t n,
                      struct position *positions)
{
#pragma omp parallel for num_threads(b->f->options.threads)
    for (size_t i = 0; i < list->n; i++)
        position_add(&positions[i], row0, n, panel_row(&b->y, i / LANES, 0) + i % LANES,
                     c->f ? panel_row(&c->y, i / LANES, 0) + i % LANES : NULL, LANES);
}

int head_run(struct forward *base, struct forward *cand, enum tensor_role norm, int layer, const struct head_list *list,
             struct position *positions, int fd, struct error *e)
{
    struct side b, c = {.f = NULL};
    int rc = side_init(&b, base, norm, layer, list, e) || side_init(&c, cand, norm, layer, list, e);
    for (uint64_t row = 0; !rc && row < b.w.rows; row += HEAD_BLOCK) {
        uint64_t n = b.w.rows - row < HEAD_BLOCK ? b.w.rows - row : HEAD_BLOCK;
        rc = forward_product(base, &b.w, 0, row, n, &b.x, &b.y, 0, e) ||
             (cand && forward_product(cand, &c.w, 0, row, n, &c.x, &c.y, 0, e)) ||
             (fd >= 0 && write_block(fd, &b, list, row, (size_t)n, e));
        if (!rc)
            add_block(&b, &c, list, (int32_t)row, (size_t)n, positions);
    }
    side_clear(&b);
    side_clear(&c);
    return rc ? -1 : 0;
}
