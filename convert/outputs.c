/* SPDX-License-Identifier: MIT
 * Outputs: opening, writing, syncing and finishing the files of a run. */
#include "convert/outputs.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_OPEN = 4 }; /* files at a time, unless more are being written to */

int outputs_init(struct outputs *o, const struct plan *p, const char *path, struct error *e)
{
    *o = (struct outputs){.plan = p, .files = calloc(p->n_files + 1, sizeof *o->files)};
    pthread_mutex_init(&o->lock, NULL);
    int rc = o->files ? 0 : -1;
    for (size_t i = 0; o->files && i < p->n_files; i++) {
        o->files[i].out.fd = -1;
        o->files[i].bytes = p->files[i].bytes;
        if (!(o->files[i].path = plan_file_name(p, path, i)))
            rc = -1;
    }
    return rc ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory") : 0;
}

void outputs_clear(struct outputs *o)
{
    for (size_t i = 0; o->files && i < o->plan->n_files; i++) {
        io_out_keep(&o->files[i].out);
        free(o->files[i].path);
    }
    free(o->files);
    o->files = NULL;
    pthread_mutex_destroy(&o->lock);
}

/* The partial file of an earlier run or of this one: 1 and open, 0 when it is not there in its size. */
static int reopen(const struct outputs *o, size_t file, struct io_out *out, struct error *e)
{
    return io_out_reopen(out, o->files[file].path, o->plan->options.compress ? IO_ANY_SIZE : o->plan->files[file].bytes, e);
}

int outputs_create(struct outputs *o, struct error *e)
{
    const struct plan *p = o->plan;
    for (size_t i = p->file_from; i < p->file_to; i++) {
        struct output_file *f = &o->files[i];
        const struct buffer *header = &p->files[i].header;
        if (p->options.consume ? io_out_create_sparse(&f->out, f->path, p->files[i].bytes, e)
                               : io_out_create(&f->out, f->path, p->files[i].bytes, e))
            return -1;
        int rc = io_out_write(&f->out, 0, header->data, header->size, e) || io_out_sync(&f->out, e);
        io_out_keep(&f->out);
        if (rc)
            return -1;
    }
    return io_sync_folder(o->files[p->file_from].path, e);
}

int outputs_present(struct outputs *o, int or_final, struct error *e)
{
    int there = 1;
    for (size_t i = o->plan->file_from; there == 1 && i < o->plan->file_to; i++) {
        struct io_out out;
        there = reopen(o, i, &out, e);
        io_out_keep(&out);
        if (there == 0 && or_final)
            there = io_kind(o->files[i].path) == 1;
    }
    return there;
}

static char *partial_name(const struct output_file *f)
{
    return io_append(f->path, ".partial");
}

int outputs_any(const struct outputs *o)
{
    int any = 0;
    for (size_t i = o->plan->file_from; i < o->plan->file_to; i++) {
        char *partial = partial_name(&o->files[i]);
        any |= partial && io_kind(partial) != 0;
        free(partial);
    }
    return any;
}

void outputs_abandon(struct outputs *o)
{
    for (size_t i = o->plan->file_from; i < o->plan->file_to; i++) {
        char *partial = partial_name(&o->files[i]);
        io_out_keep(&o->files[i].out);
        if (partial && io_kind(partial) == 1)
            unlink(partial);
        free(partial);
    }
}

/* Makes room for one more descriptor: the first file that nobody writes to is synced and closed. The lock is held. */
static int close_one(struct outputs *o, struct error *e)
{
    size_t open = 0;
    for (size_t i = o->plan->file_from; i < o->plan->file_to; i++)
        open += o->files[i].out.fd >= 0;
    for (size_t i = o->plan->file_from; open >= MAX_OPEN && i < o->plan->file_to; i++) {
        struct output_file *f = &o->files[i];
        if (f->out.fd < 0 || f->pins)
            continue;
        if (f->dirty && io_out_sync(&f->out, e))
            return -1;
        f->dirty = 0;
        io_out_keep(&f->out);
        break;
    }
    return 0;
}

/* Opens the file if it is closed and keeps it open until release. */
static struct output_file *acquire(struct outputs *o, size_t file, struct error *e)
{
    struct output_file *f = &o->files[file];
    int there = 1;
    pthread_mutex_lock(&o->lock);
    if (f->out.fd < 0)
        there = close_one(o, e) ? -1 : reopen(o, file, &f->out, e);
    if (there == 1)
        f->pins++;
    pthread_mutex_unlock(&o->lock);
    if (there == 0) {
        error_set(e, ERR_IO, ERROR_NO_OFFSET, "the partial output was removed or changed by somebody else");
        error_at_file(e, f->path);
    }
    return there == 1 ? f : NULL;
}

/* The mark comes after the write, never before: a sync in between would take it away and not have these bytes. */
static void release(struct outputs *o, struct output_file *f, int written)
{
    pthread_mutex_lock(&o->lock);
    f->pins--;
    f->dirty |= written;
    pthread_mutex_unlock(&o->lock);
}

int outputs_write_file(struct outputs *o, size_t file, uint64_t at, const void *bytes, size_t n, struct error *e)
{
    struct output_file *f = acquire(o, file, e);
    if (!f)
        return -1;
    int rc = io_out_write(&f->out, at, bytes, n, e);
    if (!rc)
        io_out_flush(&f->out, at, n);
    release(o, f, 1);
    return rc;
}

int outputs_write(struct outputs *o, size_t tensor, uint64_t at, const void *bytes, size_t n, struct error *e)
{
    const struct tensor *t = &o->plan->tensors[tensor].out;
    return outputs_write_file(o, t->file, t->offset + at, bytes, n, e);
}

int outputs_read(struct outputs *o, size_t tensor, uint64_t at, void *bytes, size_t n, struct error *e)
{
    const struct tensor *t = &o->plan->tensors[tensor].out;
    struct output_file *f = acquire(o, t->file, e);
    if (!f)
        return -1;
    int rc = io_out_read(&f->out, t->offset + at, bytes, n, e);
    release(o, f, 0);
    return rc;
}

int outputs_is_partial(struct outputs *o, size_t file, struct error *e)
{
    struct io_out out;
    if (o->files[file].out.fd >= 0)
        return 1;
    int there = reopen(o, file, &out, e);
    io_out_keep(&out);
    return there;
}

int outputs_cut(struct outputs *o, size_t file, uint64_t bytes, struct error *e)
{
    struct output_file *f = &o->files[file];
    int partial = outputs_is_partial(o, file, e), rc;
    f->bytes = bytes;
    if (partial <= 0)
        return partial;
    if (!(f = acquire(o, file, e)))
        return -1;
    rc = io_out_cut(&f->out, bytes, e);
    release(o, f, 1);
    return rc;
}

/* Syncs one file when it is dirty. Afterwards it is closed if no one writes to it: most are done for good then. */
static int sync_file(struct outputs *o, struct output_file *f, struct error *e)
{
    pthread_mutex_lock(&o->lock);
    int dirty = f->dirty;
    f->dirty = 0;
    f->pins += dirty;
    pthread_mutex_unlock(&o->lock);
    int rc = dirty ? io_out_sync(&f->out, e) : 0;
    pthread_mutex_lock(&o->lock);
    f->pins -= dirty;
    if (!f->pins && !f->dirty)
        io_out_keep(&f->out);
    pthread_mutex_unlock(&o->lock);
    return rc;
}

int outputs_sync(struct outputs *o, struct error *e)
{
    int rc = 0;
    for (size_t i = o->plan->file_from; !rc && i < o->plan->file_to; i++)
        rc = sync_file(o, &o->files[i], e);
    return rc;
}

/* Whether the final name holds a file with this plan's header: an earlier finish was stopped after its renaming. */
static int is_finished(const struct output_file *f, const struct plan_file *pf, struct error *e)
{
    struct io_file in;
    if (io_open(&in, f->path, e))
        return -1;
    char *header = malloc(pf->header.size + 1);
    int rc = header ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc && in.size != f->bytes)
        rc = 1;
    if (!rc)
        rc = io_read(&in, 0, header, pf->header.size, e) ? -1 : memcmp(header, pf->header.data, pf->header.size) != 0;
    if (rc > 0) {
        error_set(e, ERR_IO, ERROR_NO_OFFSET, "the partial output is gone, and this is not what it would have become");
        error_at_file(e, f->path);
    }
    free(header);
    io_close(&in);
    return rc ? -1 : 0;
}

int outputs_finish(struct outputs *o, struct error *e)
{
    for (size_t i = o->plan->file_from; i < o->plan->file_to; i++) {
        struct output_file *f = &o->files[i];
        int there = f->out.fd >= 0 ? 1 : reopen(o, i, &f->out, e);
        if (there < 0 || (there ? io_out_finish(&f->out, e) : is_finished(f, &o->plan->files[i], e)))
            return -1;
    }
    return 0;
}
