/* SPDX-License-Identifier: MIT
 * Consume: counting who still needs a shard, and removing it in an order that a power cut cannot turn into a loss: stand-in
 * durable, then the shard's name gone. */
#include "convert/consume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "convert/unit.h"
#include "formats/source.h"

enum { DISK_BLOCK = 4096 };

/* The different source files that a unit reads from. */
static int files_of(const struct plan *p, const struct unit *u, uint32_t out[WEIGHT_RANGES])
{
    struct weight_range r[WEIGHT_RANGES];
    int n = unit_ranges(p, u, r), files = 0;
    for (int i = 0, k; i < n; i++) {
        for (k = 0; k < files && out[k] != r[i].tensor->file; k++)
            ;
        if (k == files)
            out[files++] = r[i].tensor->file;
    }
    return files;
}

static uint64_t *count_units(const struct plan *p, const unsigned char *done)
{
    uint64_t *left = calloc(p->model->source->n_files + 1, sizeof *left);
    uint32_t files[WEIGHT_RANGES];
    for (uint64_t i = 0; left && i < p->n_units; i++) {
        struct unit u = unit_at(p, i);
        for (int k = 0, n = done && done[i] ? 0 : files_of(p, &u, files); k < n; k++)
            left[files[k]]++;
    }
    return left;
}

/* Output that is written and not durable yet: at most two groups (the keeper is bounded), and what the threads have in hand. */
static uint64_t undurable_bytes(const struct plan *p)
{
    uint64_t one = unit_room(p).encoded;
    return 2 * p->options.sync_every + (uint64_t)(p->options.threads + 2) * one;
}

/* The stand-in of a shard takes as much as its header. */
static uint64_t stand_ins(const struct source *s)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s->n_files; i++)
        n += source_header_size(s, i) + DISK_BLOCK;
    return n;
}

/* Journal and manifest, at most. */
static uint64_t records(const struct plan *p)
{
    const struct source *s = p->model->source;
    return 128 * p->n_units + 512 * (s->n_tensors + s->n_files + p->n_tensors + p->n_files);
}

/* Output and shards as the run goes, unit by unit; shards go only after a group of units is durable. */
static int simulate(struct plan *p, struct error *e)
{
    const struct source *s = p->model->source;
    uint64_t *left = count_units(p, NULL), written = 0, freed = 0, peak = 0;
    uint32_t files[WEIGHT_RANGES];
    if (!left)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t i = 0; i < p->n_files; i++)
        written += p->files[i].header.size;
    for (uint64_t i = 0; i < p->n_units; i++) {
        struct unit u = unit_at(p, i);
        struct unit_output out[UNIT_OUTPUTS];
        for (int k = 0, n = unit_outputs(p, &u, out); k < n; k++)
            written += out[k].bytes;
        peak = written > freed && written - freed > peak ? written - freed : peak;
        for (int k = 0, n = files_of(p, &u, files); k < n; k++)
            freed += --left[files[k]] ? 0 : s->files[files[k]].readable;
    }
    free(left);
    uint64_t most = peak + undurable_bytes(p);
    p->disk_peak = (most < p->total ? most : p->total) + stand_ins(s) + records(p);
    return 0;
}

static int check_shard(const struct io_file *f, struct error *e)
{
    struct stat st;
    if (f->readable < f->size)
        return 0; /* a stand-in */
    if (lstat(f->path, &st))
        return io_error(e, "stat", f->path, ERROR_NO_OFFSET);
    if (S_ISREG(st.st_mode) && st.st_nlink == 1)
        return 0;
    error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--consume removes only files that lie in the folder: this one is %s",
              S_ISREG(st.st_mode) ? "linked from elsewhere too" : "a symbolic link");
    return error_at_file(e, f->path);
}

int consume_plan(struct plan *p, struct error *e)
{
    const struct source *s = p->model->source;
    p->disk_peak = p->part_bytes + records(p);
    if (!p->options.consume)
        return 0;
    if (!s->is_folder)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--consume needs a checkpoint folder as its source");
    if (p->options.fold)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET,
                         "--consume and --fold exclude each other: a tensor's scales follow from others, whose shards may be gone");
    if (p->options.sequential.tokens.chunks)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--consume and --sequential exclude each other: a run that goes on reads layers again");
    if (p->options.calib)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET,
                         "--consume and --calib exclude each other: what an expert's down reads follows from its gate and up, whose shards may be gone");
    if (p->options.parts > 1)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--consume and --part exclude each other: other parts need the shards");
    for (size_t i = 0; i < s->n_files; i++)
        if (check_shard(&s->files[i], e))
            return -1;
    return simulate(p, e);
}

uint64_t consume_losses(const struct plan *p, const char **first)
{
    const struct source *s = p->model->source;
    unsigned char *used = calloc(s->n_tensors + 1, 1), *goes = calloc(s->n_files + 1, 1);
    struct weight_range r[WEIGHT_RANGES];
    uint64_t lost = 0;
    *first = NULL;
    for (uint64_t i = 0; used && goes && i < p->n_units; i++) {
        struct unit u = unit_at(p, i);
        int n = unit_ranges(p, &u, r);
        for (int k = 0; k < n; k++) {
            used[r[k].tensor - s->tensors] = 1;
            goes[r[k].tensor->file] = 1;
        }
    }
    for (size_t i = 0; used && goes && i < s->n_tensors; i++)
        if (!used[i] && goes[s->tensors[i].file]) {
            *first = lost++ ? *first : s->tensors[i].name;
        }
    free(used);
    free(goes);
    return lost;
}

static int copy_header(const struct io_file *f, uint64_t n, const char *stand_in, struct error *e)
{
    struct io_out o;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                {.tv_sec = f->mtime_ns / 1000000000, .tv_nsec = f->mtime_ns % 1000000000}};
    char *header = malloc((size_t)n + 1);
    if (!header)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    int rc = io_read(f, 0, header, (size_t)n, e) || io_out_create_sparse(&o, stand_in, f->size, e) ? -1 : 0;
    if (!rc) {
        rc = io_out_write(&o, 0, header, (size_t)n, e) ? -1 : 0;
        if (!rc && futimens(o.fd, times))
            rc = io_error(e, "set the time of", stand_in, ERROR_NO_OFFSET);
        if (rc || (rc = io_out_finish(&o, e)))
            io_out_abandon(&o);
    }
    free(header);
    return rc;
}

static int remove_file(const char *path, struct error *e)
{
    int rc;
    while ((rc = unlink(path)) && errno == EINTR)
        ;
    return rc && errno != ENOENT ? io_error(e, "remove", path, ERROR_NO_OFFSET) : 0;
}

static int remove_shard(struct consumer *c, size_t i, struct error *e)
{
    const struct source *s = c->plan->model->source;
    const struct io_file *f = &s->files[i];
    if (f->readable < f->size)
        return 0; /* gone already: this is its stand-in */
    char *stand_in = io_append(f->path, SOURCE_CONSUMED);
    int rc = stand_in ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc)
        rc = io_unchanged(f, e) || copy_header(f, source_header_size(s, i), stand_in, e) || remove_file(f->path, e) ||
             io_sync_folder(f->path, e) ? -1 : 0;
    free(stand_in);
    if (!rc) {
        c->gone[i] = 1;
        c->removed++;
        c->freed += f->size;
    }
    return rc;
}

int consumer_init(struct consumer *c, const struct plan *p, const unsigned char *done, struct error *e)
{
    uint64_t *all = count_units(p, NULL);
    int rc = 0;
    *c = (struct consumer){.plan = p, .units_left = count_units(p, done), .done = malloc(p->n_units + 1),
                           .gone = calloc(p->model->source->n_files + 1, 1)};
    if (!all || !c->units_left || !c->done || !c->gone)
        rc = error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    else
        memcpy(c->done, done, p->n_units);
    for (size_t i = 0; !rc && i < p->model->source->n_files; i++)
        if (all[i] && !c->units_left[i])
            rc = remove_shard(c, i, e);
    free(all);
    return rc;
}

void consumer_clear(struct consumer *c)
{
    free(c->units_left);
    free(c->done);
    free(c->gone);
    *c = (struct consumer){.plan = c->plan};
}

int consumer_durable(void *consumer, const struct journal_record *r, size_t n, struct error *e)
{
    struct consumer *c = consumer;
    uint32_t files[WEIGHT_RANGES];
    for (size_t i = 0; i < n; i++) {
        if (r[i].kind != JOURNAL_UNIT || c->done[r[i].a])
            continue;
        c->done[r[i].a] = 1;
        struct unit u = unit_at(c->plan, r[i].a);
        for (int k = 0, m = files_of(c->plan, &u, files); k < m; k++)
            if (!--c->units_left[files[k]] && remove_shard(c, files[k], e))
                return -1;
    }
    return 0;
}

int consumer_finish(struct consumer *c, struct error *e)
{
    const struct source *s = c->plan->model->source;
    int rc = 0;
    for (size_t i = 0; !rc && i < s->n_files; i++) {
        char *stand_in = io_append(s->files[i].path, SOURCE_CONSUMED);
        rc = stand_in ? remove_file(stand_in, e) : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        free(stand_in);
    }
    return rc;
}
