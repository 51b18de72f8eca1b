/* SPDX-License-Identifier: MIT
 * Plan: what all targets share: the tensor list, units and memory. */
#include "convert/plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "formats/gguf.h"

enum { UNIT_FLOATS = 1 << 20, MIN_UNIT_FLOATS = 1 << 12 };

const struct target *target_find(const char *name)
{
    for (const struct target *t = targets; t->name; t++)
        if (!strcmp(t->name, name))
            return t;
    return NULL;
}

struct plan_tensor *plan_add(struct plan *p, const struct weight *w, const struct quant_type *type, const char *name,
                             struct error *e)
{
    struct plan_tensor *t = &p->tensors[p->n_tensors++];
    unsigned flags = roles[w->role].flags;
    t->weight = *w;
    t->type = type;
    t->out.name = arena_copy(&p->arena, name, strlen(name));
    t->out.type = gguf_storage_by_name(type->name);
    if (flags & (ROLE_EXPERT | ROLE_PER_HEAD))
        t->out.dims[t->out.n_dims++] = w->slabs;
    if (!(flags & ROLE_VECTOR))
        t->out.dims[t->out.n_dims++] = w->rows;
    t->out.dims[t->out.n_dims++] = w->cols;
    if (!t->out.name) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        return NULL;
    }
    if (tensor_size(&t->out, &t->out.bytes, e)) {
        error_at_tensor(e, name);
        return NULL;
    }
    return t;
}

/* Rows of a unit under a bound of floats. A K half is transposed from whole heads of kv_b: smaller units would read the
 * same source rows again. Units of whole FP8 tile rows read each scale once. */
static uint64_t unit_rows(const struct plan *p, const struct plan_tensor *t, uint64_t floats)
{
    const struct weight *w = &t->weight;
    uint64_t rows = floats / w->cols, tile = p->model->params.tile_rows;
    if (w->from_kv_b && w->role == ROLE_ATTN_K_B)
        return w->rows;
    if (rows > tile && tile)
        rows -= rows % tile;
    return rows < 1 ? 1 : rows > w->rows ? w->rows : rows;
}

static uint64_t unit_bytes(const struct plan *p, const struct plan_tensor *t)
{
    uint64_t floats = t->unit_rows * t->weight.cols;
    return 4 * floats + floats / t->type->block_len * t->type->block_bytes +
           weight_scratch(p->model, &t->weight, t->unit_rows) + 256;
}

static uint64_t plan_units(struct plan *p, uint64_t floats)
{
    uint64_t most = 0;
    for (size_t i = 0; i < p->n_tensors; i++) {
        struct plan_tensor *t = &p->tensors[i];
        t->unit_rows = unit_rows(p, t, floats);
        uint64_t bytes = unit_bytes(p, t);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* Chooses units, then threads, so that everything fits the bound. */
static int fit_memory(struct plan *p, struct error *e)
{
    uint64_t peak, now, floats = UNIT_FLOATS, bound = p->options.memory;
    process_memory(&peak, &now);
    p->threads = p->options.threads;
    p->worker_bytes = plan_units(p, floats);
    while (floats > MIN_UNIT_FLOATS && now + p->worker_bytes * (uint64_t)p->threads > bound)
        p->worker_bytes = plan_units(p, floats /= 2);
    while (p->threads > 1 && now + p->worker_bytes * (uint64_t)p->threads > bound)
        p->threads--;
    uint64_t need = now + p->worker_bytes * (uint64_t)p->threads;
    p->peak_memory = need > peak ? need : peak;
    if (need > bound)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--memory %" PRIu64 " is too little: %" PRIu64 " bytes are needed",
                         bound, need);
    return 0;
}

struct plan *plan_new(const struct model *m, const struct target *t, const struct plan_options *o, struct error *e)
{
    struct plan *p = calloc(1, sizeof *p);
    if (!p) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        return NULL;
    }
    p->model = m;
    p->options = *o;
    for (size_t i = 0; i < m->n_notes; i++)
        p->notes[p->n_notes++] = m->notes[i];
    size_t most = (size_t)(arch_all_layers(&m->params) + 1) * ROLE_COUNT;
    if (!(p->tensors = arena_array(&p->arena, most, sizeof *p->tensors))) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        goto fail;
    }
    if (t->build(p, e) || fit_memory(p, e))
        goto fail;
    return p;
fail:
    plan_free(p);
    return NULL;
}

void plan_free(struct plan *p)
{
    if (!p)
        return;
    buffer_clear(&p->header);
    arena_clear(&p->arena);
    free(p);
}
