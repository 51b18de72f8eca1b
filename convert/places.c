/* SPDX-License-Identifier: MIT
 * Places of coded units, one behind the other. */
#include "convert/places.h"

#include <stdlib.h>

#include "base/coding.h"
#include "formats/coded.h"

int places_init(struct places *p, const struct plan *plan, struct error *e)
{
    if (!plan->options.compress)
        return 0;
    p->plan = plan;
    p->next = plan->unit_from;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->turn, NULL);
    p->size = calloc((size_t)plan->n_units + 1, sizeof *p->size);
    return p->size ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

void places_clear(struct places *p)
{
    if (!p->plan)
        return;
    free(p->size);
    pthread_cond_destroy(&p->turn);
    pthread_mutex_destroy(&p->lock);
    *p = (struct places){.plan = NULL};
}

uint64_t coded_chunk_of(const struct plan_tensor *t)
{
    const uint64_t rows = t->unit_rows < t->weight.rows ? t->unit_rows : t->weight.rows;
    return rows * (t->weight.cols / t->type->block_len * t->type->block_bytes);
}

uint64_t coded_most(const struct plan_tensor *t)
{
    const uint64_t count = unit_count(t);
    return coded_table_bytes(count) + t->out.bytes + count * CODING_MORE;
}

/* The place of a unit, when what is before it in the plan ends at *end. */
static uint64_t step(const struct plan *p, uint64_t number, uint64_t size, uint64_t *end)
{
    const struct unit u = unit_at(p, number);
    const struct plan_tensor *t = &p->tensors[u.tensor];
    if (number == t->first_unit) {
        const struct plan_file *f = &p->files[t->out.file];
        *end = p->target->place(p, u.tensor, u.tensor == f->first ? f->header.size : *end);
        *end += t->coded ? coded_table_bytes(unit_count(t)) : 0;
    }
    uint64_t at = *end;
    *end += size;
    return at;
}

int places_take(struct places *p, uint64_t unit, uint64_t size, uint64_t *at)
{
    pthread_mutex_lock(&p->lock);
    while (!p->stopped && p->next < unit)
        pthread_cond_wait(&p->turn, &p->lock);
    int rc = p->stopped && p->next < unit ? -1 : 0;
    if (!rc) {
        *at = step(p->plan, unit, size, &p->end);
        p->size[unit] = size;
        p->next++;
        pthread_cond_broadcast(&p->turn);
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

void places_stop(struct places *p)
{
    if (!p->plan)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopped = 1;
    pthread_cond_broadcast(&p->turn);
    pthread_mutex_unlock(&p->lock);
}

struct placed *places_of_tensors(const struct places *places, uint64_t **file_ends)
{
    const struct plan *p = places->plan;
    struct placed *placed = calloc(p->n_tensors + 1, sizeof *placed);
    *file_ends = calloc(p->n_files + 1, sizeof **file_ends);
    uint64_t end = 0;
    for (size_t i = 0; placed && *file_ends && i < p->n_tensors; i++) {
        const struct plan_tensor *t = &p->tensors[i];
        const uint64_t count = unit_count(t), table = t->coded ? coded_table_bytes(count) : 0;
        if (t->out.file < p->file_from || t->out.file >= p->file_to)
            continue;
        for (uint64_t k = 0; k < count; k++) {
            uint64_t at = step(p, t->first_unit + k, places->size[t->first_unit + k], &end);
            placed[i].offset = k ? placed[i].offset : at - table;
        }
        placed[i].offset = count ? placed[i].offset : end;
        placed[i].bytes = end - placed[i].offset;
        (*file_ends)[t->out.file] = end;
    }
    if (placed && *file_ends)
        return placed;
    free(placed);
    free(*file_ends);
    *file_ends = NULL;
    return NULL;
}
