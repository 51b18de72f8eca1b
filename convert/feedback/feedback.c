/* SPDX-License-Identifier: MIT
 * One curvature at a time, shared by the workers. */
#include "convert/feedback/feedback.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "quant/best.h"

const char *feedback_text(const struct calibration *cal, const struct feedback_options *o, char out[FEEDBACK_TEXT])
{
    snprintf(out, FEEDBACK_TEXT, "XXH3-128 %s, %" PRIu64 " chunks of %" PRIu64 " tokens, damping %.9g, blend %.9g, %d passes, order %s",
             cal->hash, cal->chunks, cal->ctx, o->hessian.damping, o->hessian.blend, o->sweep.passes, column_order_names[o->hessian.order]);
    size_t n = strlen(out);
    if (cal->following)
        snprintf(out + n, FEEDBACK_TEXT - n, ", sequential, pull %.9g", o->sweep.pull);
    return out;
}

void feedback_init(struct feedback *f, const struct calibration *cal, const struct feedback_options *o, int threads)
{
    *f = (struct feedback){.cal = cal, .o = *o, .threads = threads};
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->free, NULL);
}

void feedback_clear(struct feedback *f)
{
    if (!f->cal)
        return;
    curvature_clear(&f->curvature);
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->free);
    f->cal = NULL;
}

int feedback_applies(const struct calibration *cal, const struct weight *w, const struct quant_type *type)
{
    return cal && type->best && w->layer < (int)cal->n_layers && input_of(w->role) != INPUT_NONE && !(roles[w->role].flags & ROLE_VECTOR);
}

enum column_order feedback_order(const struct feedback *f, const struct quant_type *type)
{
    if (f->o.hessian.order != ORDER_BY_TYPE)
        return f->o.hessian.order;
    return type->best->groups == 1 ? ORDER_IMPORTANCE : ORDER_NATURAL;
}

static struct feedback_key key_of(const struct feedback *f, const struct weight *w, const struct quant_type *type, uint64_t slab)
{
    int own = roles[w->role].flags & (ROLE_PER_HEAD | ROLE_EXPERT);
    return (struct feedback_key){input_of(w->role), w->layer, own ? slab : 0, feedback_order(f, type)};
}

static int same(const struct feedback_key *a, const struct feedback_key *b)
{
    return a->input == b->input && a->layer == b->layer && a->slab == b->slab && a->order == b->order;
}

/* With the lock held, which is released while it works. */
static int make(struct feedback *f, const struct feedback_key *key, const struct weight *w, uint64_t slab,
                const struct column_change *change, struct error *e)
{
    struct hessian_facts facts;
    f->making = 1;
    f->key = (struct feedback_key){INPUT_NONE, 0, 0, ORDER_NATURAL};
    const struct hessian_options o = {f->o.hessian.damping, f->o.hessian.blend, key->order};
    pthread_mutex_unlock(&f->lock);
    curvature_clear(&f->curvature);
    int rc = hessian_make(f->cal, w, slab, change, &o, f->threads, &f->curvature, &facts, e);
    pthread_mutex_lock(&f->lock);
    f->making = 0;
    f->without = rc == 1;
    if (rc >= 0)
        f->key = *key;
    pthread_cond_broadcast(&f->free);
    return rc;
}

int feedback_get(struct feedback *f, const struct weight *w, const struct quant_type *type, uint64_t slab, const struct column_change *change,
                 const struct curvature **c, struct error *e)
{
    const struct feedback_key key = key_of(f, w, type, slab);
    int rc = 0;
    pthread_mutex_lock(&f->lock);
    while (!same(&f->key, &key) && (f->users || f->making))
        pthread_cond_wait(&f->free, &f->lock);
    if (!same(&f->key, &key))
        rc = make(f, &key, w, slab, change, e) < 0 ? -1 : 0;
    if (!rc && f->without)
        rc = 1;
    f->users += rc == 0;
    *c = &f->curvature;
    pthread_mutex_unlock(&f->lock);
    return rc;
}

void feedback_put(struct feedback *f)
{
    pthread_mutex_lock(&f->lock);
    if (!--f->users)
        pthread_cond_broadcast(&f->free);
    pthread_mutex_unlock(&f->lock);
}
