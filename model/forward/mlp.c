/* SPDX-License-Identifier: MIT
 * One MLP: down(silu(gate x) * (up x)). */
#include "model/forward/lanes.h"
#include "model/forward/parts.h"

static void gate_and_up(const struct forward *f, struct panels *gate, const struct panels *up)
{
    const struct lanes *lanes = lanes_for(f->model->cpu);
    size_t rows = gate->tiles * gate->rows;
#pragma omp parallel for num_threads(f->options.threads)
    for (size_t r = 0; r < rows; r++) {
        size_t used = r / gate->rows + 1 == gate->tiles && gate->last_lanes ? gate->last_lanes : LANES;
        lanes->silu_mul(gate->data + r * LANES, up->data + r * LANES, used);
    }
}

int forward_mlp_inner(const struct forward *f, const struct weight w[2], uint64_t slab, const struct panels *x,
                      struct panels *y, struct error *e)
{
    struct panel_store *store = f->options.store;
    struct panels up = {0};
    int rc = panels_init(&up, store, x->tiles, y->rows, e);
    y->last_lanes = up.last_lanes = x->last_lanes;
    rc = rc || forward_product(f, &w[0], slab, 0, y->rows, x, y, 0, e) ||
         forward_product(f, &w[1], slab, 0, y->rows, x, &up, 0, e);
    if (!rc)
        gate_and_up(f, y, &up);
    panels_clear(&up, store);
    return rc ? -1 : 0;
}

int observe(const struct forward *f, const struct input_seen *what, struct error *e)
{
    const struct forward_observer *o = f->options.observer;
    return o ? o->seen(o->context, f, what, e) : 0;
}

int mlp_product(const struct forward *f, const struct weight w[3], uint64_t slab, const struct panels *x, struct panels *y,
                struct input_seen inner, struct error *e)
{
    struct panels h = {0};
    int rc = panels_init(&h, f->options.store, x->tiles, (size_t)w[0].rows, e) || forward_mlp_inner(f, w, slab, x, &h, e);
    inner.x = &h;
    rc = rc || observe(f, &inner, e) || forward_product(f, &w[2], slab, 0, w[2].rows, &h, y, 0, e);
    panels_clear(&h, f->options.store);
    return rc ? -1 : 0;
}

int need_three(const struct forward *f, enum tensor_role gate, int layer, struct weight w[3], struct error *e)
{
    for (int i = 0; i < 3; i++) /* gate, up, down stand in this order in the table of roles */
        if (need_weight(f, (enum tensor_role)(gate + i), layer, &w[i], e))
            return -1;
    return 0;
}

int mlp_add(struct forward *f, int layer, const struct panels *x, struct error *e)
{
    struct weight w[3];
    struct panels y = {0};
    int rc = need_three(f, ROLE_FFN_GATE, layer, w, e) ||
             panels_init(&y, f->options.store, x->tiles, f->hidden.rows, e) || mlp_product(f, w, 0, x, &y, (struct input_seen){INPUT_FFN_INNER, layer}, e);
    if (!rc)
        panels_add(f, &f->hidden, &y);
    panels_clear(&y, f->options.store);
    return rc ? -1 : 0;
}
