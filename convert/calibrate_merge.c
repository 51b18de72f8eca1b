/* SPDX-License-Identifier: MIT
 * Parts of a calibration added up. */
#include "convert/calibrate_merge.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "convert/calibrate_files.h"

enum { PIECE = 1 << 18 }; /* floats of a tensor that are held at a time */

struct part {
    const char *folder;
    struct calibration_record record;
    struct model model; /* family and params only */
    struct calibration *files;
};

struct merge {
    struct part *parts; /* by their numbers */
    size_t n;
    const char *out;
    const struct stream_hooks *hooks;
    uint64_t tokens;
    double *sum;  /* [PIECE] */
    float *piece; /* [PIECE] */
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the calibration");
}

/* ---- which parts they are */

static int refuse(const struct part *p, struct error *e, const char *what)
{
    error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%s", what);
    return error_at_file(e, p->folder);
}

static int by_number(const void *a, const void *b)
{
    const struct part *p = a, *q = b;
    return (p->record.part > q->record.part) - (p->record.part < q->record.part);
}

static int same_run(const struct calibration_record *a, const struct calibration_record *b)
{
    return !strcmp(a->source, b->source) && !strcmp(a->tokens, b->tokens) && !strcmp(a->tool, b->tool) && a->ctx == b->ctx &&
           a->all_chunks == b->all_chunks && a->parts == b->parts && a->group_routing == b->group_routing && a->family == b->family &&
           !memcmp(&a->params, &b->params, sizeof a->params);
}

/* They are sorted. */
static int check_cover(const struct merge *m, struct error *e)
{
    const struct calibration_record *first = &m->parts[0].record;
    uint64_t at = 0;
    for (size_t i = 0; i < m->n; i++) {
        const struct calibration_record *r = &m->parts[i].record;
        if (!same_run(first, r))
            return refuse(&m->parts[i], e, "this part is of another run: source, tokens, options or version differ from the others'");
        if (i && r->part == m->parts[i - 1].record.part)
            return refuse(&m->parts[i], e, "this part is there twice");
        if (r->part != i + 1)
            break;
        if (r->first_chunk != at)
            return refuse(&m->parts[i], e, "this part does not begin where the one before it ends");
        at += r->chunks;
    }
    for (size_t i = 0; i < m->n || i < first->parts; i++)
        if (i >= m->n || m->parts[i].record.part != i + 1)
            return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "part %zu of %" PRIu64 " is missing", i + 1, first->parts);
    return at == first->all_chunks ? 0 : refuse(&m->parts[m->n - 1], e, "the parts are not the whole");
}

static int is_same_folder(const char *a, const char *b)
{
    struct stat s, t;
    return !stat(a, &s) && !stat(b, &t) && s.st_dev == t.st_dev && s.st_ino == t.st_ino;
}

static int open_parts(struct merge *m, const char *const *folders, struct error *e)
{
    for (size_t i = 0; i < m->n; i++) {
        struct part *p = &m->parts[i];
        p->folder = folders[i];
        if (record_read(folders[i], &p->record, NULL, e))
            return -1;
        if (is_same_folder(folders[i], m->out)) {
            error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "the folder to make is one of the parts");
            return error_at_file(e, folders[i]);
        }
    }
    qsort(m->parts, m->n, sizeof *m->parts, by_number);
    if (check_cover(m, e))
        return -1;
    for (size_t i = 0; i < m->n; i++) {
        struct part *p = &m->parts[i];
        p->model = (struct model){.family = p->record.family, .params = p->record.params};
        if (!(p->files = calibration_new(p->folder, &p->model, p->record.chunks, p->record.ctx, 0, e)))
            return -1;
    }
    m->tokens = m->parts[0].record.all_chunks * m->parts[0].record.ctx;
    return 0;
}

/* ---- tensors */

static int interrupted(const struct merge *m, struct error *e)
{
    const struct stream_hooks *h = m->hooks;
    return h->stop && h->stop(h->context) ? error_set(e, ERR_INTERRUPTED, ERROR_NO_OFFSET, "interrupted; the same command begins anew") : 0;
}

static int add_up(struct merge *m, const struct tensor *t, int layer, enum half half, const struct io_out *out, struct error *e)
{
    for (uint64_t at = 0, n; at < t->bytes; at += n) {
        n = t->bytes - at < PIECE * sizeof(float) ? t->bytes - at : PIECE * sizeof(float);
        const size_t floats = (size_t)n / sizeof(float);
        memset(m->sum, 0, floats * sizeof *m->sum);
        for (size_t i = 0; i < m->n; i++) {
            const struct source *s = calibration_file(m->parts[i].files, layer, half);
            if (calibration_floats(s, source_find(s, t->name), at, m->piece, floats, e))
                return -1;
            for (size_t k = 0; k < floats; k++)
                m->sum[k] += (double)m->piece[k];
        }
        for (size_t k = 0; k < floats; k++)
            m->piece[k] = (float)m->sum[k];
        if (interrupted(m, e) || io_out_write(out, t->offset + at, m->piece, (size_t)n, e))
            return -1;
    }
    return 0;
}

static int put_in_order(struct merge *m, const struct tensor *t, int layer, enum half half, const struct io_out *out, struct error *e)
{
    uint64_t to = t->offset;
    for (size_t i = 0; i < m->n; i++) {
        const struct source *s = calibration_file(m->parts[i].files, layer, half);
        const struct tensor *from = source_find(s, t->name);
        for (uint64_t at = 0, n; at < from->bytes; at += n, to += n) {
            n = from->bytes - at < PIECE * sizeof *m->piece ? from->bytes - at : PIECE * sizeof *m->piece;
            if (interrupted(m, e) || source_read(s, from, at, m->piece, (size_t)n, e) || io_out_write(out, to, m->piece, (size_t)n, e))
                return -1;
        }
    }
    return 0;
}

/* "ffn.inputs" has a row of each token. */
static int is_of_tokens(const char *name)
{
    const char *kind = strrchr(name, '.') + 1;
    return !strcmp(kind, "inputs") || !strcmp(kind, "chosen") || !strcmp(kind, "gates");
}

static int merge_tensors(struct merge *m, const struct calibration_layout *l, int layer, enum half half, const struct io_out *out,
                         struct error *e)
{
    if (io_out_write(out, 0, l->header.data, l->header.size, e))
        return -1;
    for (size_t i = 0; i < l->n; i++) {
        const struct tensor *t = &l->tensors[i];
        if (is_of_tokens(t->name) ? put_in_order(m, t, layer, half, out, e) : add_up(m, t, layer, half, out, e))
            return -1;
    }
    return 0;
}

static int merge_file(struct merge *m, int layer, enum half half, struct error *e)
{
    struct calibration_layout l;
    struct io_out out = {.fd = -1};
    char *path = calibration_path(m->out, layer, half);
    int rc = path ? 0 : no_memory(e);
    for (size_t i = 0; !rc && i < m->n; i++)
        rc = calibration_load(m->parts[i].files, layer, half, e);
    if (!rc && !(rc = calibration_layout(&m->parts[0].record.params, layer, half, m->tokens, 0, &l, e))) {
        rc = io_out_create(&out, path, l.bytes, e) || merge_tensors(m, &l, layer, half, &out, e) || io_out_finish(&out, e);
        if (rc)
            io_out_abandon(&out);
        buffer_clear(&l.header);
    }
    for (size_t i = 0; i < m->n; i++)
        calibration_unload(m->parts[i].files, layer, half);
    free(path);
    return rc ? -1 : 0;
}

static int merge_files(struct merge *m, struct error *e)
{
    const int n = (int)m->parts[0].record.params.num_hidden_layers;
    m->sum = malloc(PIECE * sizeof *m->sum);
    m->piece = malloc(PIECE * sizeof *m->piece);
    if (!m->sum || !m->piece)
        return no_memory(e);
    for (int layer = 0; layer < n; layer++) {
        if (m->hooks->progress)
            m->hooks->progress(m->hooks->context, (uint64_t)layer, (uint64_t)n);
        if (merge_file(m, layer, HALF_ATTENTION, e) || merge_file(m, layer, HALF_MLP, e))
            return -1;
    }
    return merge_file(m, -1, HALF_ATTENTION, e);
}

/* The parts' tokens behind one another. */
static int merge_ids(const struct merge *m, struct error *e)
{
    const struct calibration_record *all = &m->parts[0].record;
    int32_t *ids = malloc((size_t)m->tokens * sizeof *ids);
    uint64_t at = 0;
    int rc = ids ? 0 : no_memory(e);
    for (size_t i = 0; !rc && i < m->n; i++) {
        const struct calibration_record *r = &m->parts[i].record;
        int32_t *some = calibration_read_tokens(m->parts[i].folder, r->chunks, r->ctx, 0, r->chunks, INT32_MAX, e);
        rc = some ? 0 : -1;
        if (some)
            memcpy(ids + at, some, (size_t)(r->chunks * r->ctx) * sizeof *ids);
        at += r->chunks * r->ctx;
        free(some);
    }
    rc = rc || calibration_write_tokens(m->out, ids, all->all_chunks, all->ctx, e);
    free(ids);
    return rc ? -1 : 0;
}

/* ---- all of it */

/* What calibration.json says of the whole; its strings are the first part's. */
static int whole_record(const struct merge *m, struct calibration_record *r, struct error *e)
{
    struct hash *h = hash_new();
    *r = m->parts[0].record;
    r->arena = (struct arena){0};
    r->use = NULL;
    r->chunks = r->all_chunks;
    r->part = r->parts = 1;
    if (!h)
        return no_memory(e);
    for (size_t i = 0; i < m->n; i++)
        hash_add(h, m->parts[i].record.run, HASH_TEXT);
    hash_finish(h, r->run);
    return 0;
}

int calibrate_merge(const char *const *folders, size_t n, const char *out, int restart, const struct stream_hooks *hooks,
                    struct calibrate_result *r, struct error *e)
{
    struct merge m = {.parts = calloc(n, sizeof *m.parts), .n = n, .out = out, .hooks = hooks};
    struct calibrate_state state = {0};
    struct calibration_record whole = {0};
    *r = (struct calibrate_result){0};
    int rc = !m.parts ? no_memory(e)
                      : open_parts(&m, folders, e) || calibrate_state_open(&state, out, restart, e) || merge_files(&m, e) ||
                            merge_ids(&m, e) || whole_record(&m, &whole, e) || calibrate_finish(out, &m.parts[0].model, &whole, &r->bytes, e);
    if (!rc)
        calibrate_state_remove(&state);
    calibrate_state_close(&state);
    record_clear(&whole);
    for (size_t i = 0; m.parts && i < n; i++) {
        calibration_close(m.parts[i].files);
        record_clear(&m.parts[i].record);
    }
    free(m.parts);
    free(m.sum);
    free(m.piece);
    return rc ? -1 : 0;
}
