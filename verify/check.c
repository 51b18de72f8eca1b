/* SPDX-License-Identifier: MIT
 * Check: jobs (a matrix, a hashed range) run in any order on any thread; each leaves its verdict in its own place, and the
 * report is put together in job order. */
#include "verify/check.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "formats/pack.h"
#include "verify/hashing.h"

enum { CHUNK_FLOATS = 1 << 19 };
#define HEADER SIZE_MAX /* in place of a tensor's number */
#define PADDING (SIZE_MAX - 1)

struct job {
    struct weight weight; /* value jobs */
    uint64_t slab;
    size_t file, tensor; /* hash jobs; tensor: a number, HEADER or PADDING */
    uint64_t bytes;      /* for the progress */
    char *verdict;       /* malloc'd text of a finding, or NULL */
};

struct run {
    const struct model *model;
    const struct source *packed; /* of hashes: the pack that they are of, or NULL */
    const struct manifest *manifest;
    struct io_file *files; /* of the manifest */
    const struct manifest_tensor **placed; /* its tensors by file and offset */
    struct job *jobs;
    size_t n, room;
    uint64_t done, total;
    int failed;
    struct error error;
    const struct check_hooks *hooks;
};

static struct job *add_job(struct run *r, struct error *e)
{
    if (r->n == r->room) {
        size_t room = r->room ? 2 * r->room : 256;
        struct job *jobs = realloc(r->jobs, room * sizeof *jobs);
        if (!jobs) {
            error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
            return NULL;
        }
        r->jobs = jobs;
        r->room = room;
    }
    struct job *j = &r->jobs[r->n++];
    *j = (struct job){.tensor = HEADER};
    return j;
}

static void finish_job(struct run *r, const struct job *j)
{
#pragma omp critical(check_progress)
    {
        r->done += j->bytes;
        if (r->hooks->progress)
            r->hooks->progress(r->hooks->context, r->done, r->total);
        if (r->hooks->stop && r->hooks->stop(r->hooks->context) && !r->failed)
            r->failed = error_set(&r->error, ERR_INTERRUPTED, ERROR_NO_OFFSET, "interrupted");
    }
}

static void fail(struct run *r, const struct error *e)
{
#pragma omp critical(check_progress)
    {
        if (!r->failed) {
            r->failed = 1;
            r->error = *e;
        }
    }
}

static int has_failed(const struct run *r)
{
    int f;
#pragma omp critical(check_progress)
    f = r->failed;
    return f;
}

/* A finding that is lost for want of memory must not read as "no problem". */
static int say(struct job *j, const char *text, struct error *e)
{
    free(j->verdict); /* the last word counts */
    return (j->verdict = strdup(text)) ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

/* What an error about data says, as a finding. Anything else stops the check. */
static int verdict(struct job *j, struct error *e)
{
    return e->code == ERR_FORMAT && !say(j, e->text, e) ? 0 : -1;
}

/* Scales of quantized weights that decode to nothing useful; those that are powers of two are never zero. */
static int look_at_scales(const struct run *r, struct job *j, const struct stored *s, struct error *e)
{
    const struct tensor *scales = s->parts[PART_SCALES];
    const struct quant_type *type = weight_scale_type(scales);
    const int is_fp8 = s->type->tiling && s->type->tiling->is_float;
    uint64_t n = tensor_elements(scales), zeros = 0, odd = 0;
    uint8_t *raw = malloc((size_t)scales->bytes + 1);
    if (!raw)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    int rc = source_read(r->model->source, scales, 0, raw, (size_t)scales->bytes, e);
    for (uint64_t i = 0; !rc && i < n && type; i++) {
        float f;
        type->ref.decode(raw + i * type->block_bytes, &f, 1);
        odd += !isfinite(f) || (is_fp8 && f < 0);
        zeros += type->block_bytes > 1 && f < 1.1754944e-38f && f > -1.1754944e-38f; /* zero or subnormal */
    }
    free(raw);
    if (!rc && zeros + odd) {
        char text[96];
        snprintf(text, sizeof text, "%" PRIu64 " of %" PRIu64 " %sscales are %s", odd ? odd : zeros, n,
                 scales->n_dims == 2 && scales->type->block_bytes == 4 ? "tile " : "", odd ? "NaN, infinite or negative" : "zero or subnormal");
        rc = say(j, text, e);
    }
    return rc;
}

/* The job of check_scales. */
static int check_scales_of(const struct run *r, struct job *j, struct error *e)
{
    const struct stored *s = model_stored(r->model, j->weight.role, j->weight.layer, (int)j->slab);
    return s->parts[PART_SCALES] && look_at_scales(r, j, s, e) && verdict(j, e) ? -1 : 0;
}

static int check_matrix(const struct run *r, struct job *j, struct error *e)
{
    const struct weight *w = &j->weight;
    const struct stored *s = model_stored(r->model, w->role, w->layer, (int)j->slab);
    uint64_t rows = CHUNK_FLOATS / w->cols;
    rows = rows < 1 ? 1 : rows > w->rows ? w->rows : rows;
    float *x = malloc((size_t)(rows * w->cols) * sizeof *x), largest = 0;
    void *scratch = malloc(weight_scratch(r->model, w, rows) + 64);
    int rc = x && scratch ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc && s->parts[PART_SCALES])
        rc = look_at_scales(r, j, s, e);
    for (uint64_t at = 0; !rc && at < w->rows; at += rows) {
        uint64_t n = w->rows - at < rows ? w->rows - at : rows;
        struct weight_seen seen = {.amax = 0};
        rc = weight_read(r->model, w, j->slab, at, n, x, scratch, &seen, e);
        largest = seen.amax > largest ? seen.amax : largest;
    }
    free(x);
    free(scratch);
    if (!rc && largest == 0 && !j->verdict && !(roles[w->role].flags & ROLE_VECTOR))
        rc = say(j, "all values are zero", e);
    return rc && verdict(j, e) ? -1 : 0;
}

/* 0 when all bytes from .. to are zeros, 1 and the place of one that is not, or -1. */
static int find_byte(const struct io_file *f, uint64_t *from, uint64_t to, struct error *e)
{
    uint8_t bytes[4096];
    for (uint64_t at = *from; at < to;) {
        size_t n = to - at < sizeof bytes ? (size_t)(to - at) : sizeof bytes;
        if (io_read(f, at, bytes, n, e))
            return -1;
        for (size_t i = 0; i < n; i++)
            if (bytes[i]) {
                *from = at + i;
                return 1;
            }
        at += n;
    }
    return 0;
}

/* What no hash covers: from the header to the first tensor, between tensors, behind the last. */
static int check_padding(const struct run *r, struct job *j, struct error *e)
{
    const struct io_file *f = &r->files[j->file];
    const struct manifest *m = r->manifest;
    uint64_t end = m->files[j->file].header_bytes;
    char text[96];
    for (size_t i = 0; i <= m->n_tensors; i++) {
        const struct manifest_tensor *t = i < m->n_tensors ? r->placed[i] : NULL;
        if (t && t->file != j->file)
            continue;
        int found = find_byte(f, &end, t ? t->offset : m->files[j->file].bytes, e);
        if (found < 0)
            return verdict(j, e);
        if (found) {
            snprintf(text, sizeof text, "the byte at %" PRIu64 " lies in padding and is not zero", end);
            return say(j, text, e);
        }
        end = t && t->offset + t->bytes > end ? t->offset + t->bytes : end;
    }
    return 0;
}

/* A pack has sums of its own, which are held against its bytes elsewhere (check_pack.h): they must be those of the manifest. */
static int check_packed(const struct run *r, struct job *j, const struct manifest_tensor *t, struct error *e)
{
    const struct tensor *is = source_find(r->packed, t->name);
    if (is && is->offset == t->offset && is->bytes == t->bytes && !strcmp(is->packed->hash, t->hash))
        return 0;
    return say(j, "the pack has not this tensor here, or its hash is not the manifest's", e);
}

static int check_range(const struct run *r, struct job *j, struct error *e)
{
    const struct manifest_file *f = &r->manifest->files[j->file];
    int header = j->tensor == HEADER;
    char got[HASH_TEXT];
    if (!r->files[j->file].handle)
        return 0; /* its own finding already */
    if (j->tensor == PADDING)
        return check_padding(r, j, e);
    const struct manifest_tensor *t = header ? NULL : &r->manifest->tensors[j->tensor];
    if (t && r->packed)
        return check_packed(r, j, t, e);
    if (hash_range(&r->files[j->file], header ? 0 : t->offset, header ? f->header_bytes : t->bytes, got, e))
        return verdict(j, e);
    if (!strcmp(got, header ? f->header_hash : t->hash))
        return 0;
    return say(j, header ? "the header's bytes differ from the manifest's hash"
                         : "the tensor's bytes differ from the manifest's hash", e);
}

static int run_jobs(struct run *r, int threads, int (*one)(const struct run *, struct job *, struct error *))
{
    for (size_t i = 0; i < r->n; i++)
        r->total += r->jobs[i].bytes;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (size_t i = 0; i < r->n; i++) {
        struct error e = {0};
        if (has_failed(r))
            continue;
        if (one(r, &r->jobs[i], &e))
            fail(r, &e);
        finish_job(r, &r->jobs[i]);
    }
    return r->failed;
}

int check_add_finding(struct check_report *r, const char *tensor, const char *text, struct error *e)
{
    r->n_problems++;
    if (!r->findings && !(r->findings = arena_array(&r->arena, CHECK_MAX, sizeof *r->findings)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (r->n_findings == CHECK_MAX)
        return 0;
    struct finding *f = &r->findings[r->n_findings++];
    f->tensor = arena_copy(&r->arena, tensor, strlen(tensor));
    f->text = arena_copy(&r->arena, text, strlen(text));
    return f->tensor && f->text ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

int check_add_note(struct check_report *r, const char *text, struct error *e)
{
    if (!r->notes && !(r->notes = arena_array(&r->arena, CHECK_NOTES, sizeof *r->notes)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (r->n_notes == CHECK_NOTES)
        return 0;
    const char *copy = arena_copy(&r->arena, text, strlen(text));
    if (!copy)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    r->notes[r->n_notes++] = copy;
    return 0;
}

/* "name (expert 3)": in a stack the tensor's name alone says too little. */
static void job_name(const struct run *r, const struct job *j, char *out, size_t size)
{
    char name[TENSOR_NAME];
    if (r->manifest) {
        const char *s = j->tensor >= PADDING ? r->manifest->files[j->file].name
                                             : r->manifest->tensors[j->tensor].name;
        snprintf(out, size, "%s", s);
        return;
    }
    weight_source_name(r->model, &j->weight, j->slab, name);
    if (j->weight.slabs > 1 && r->model->source->meta)
        snprintf(out, size, "%s (slab %" PRIu64 ")", name, j->slab);
    else
        snprintf(out, size, "%s", name);
}

static int collect(struct run *r, struct check_report *report, struct error *e)
{
    int rc = 0;
    for (size_t i = 0; i < r->n; i++) {
        char name[2 * TENSOR_NAME];
        struct job *j = &r->jobs[i];
        if (j->verdict && !rc) {
            job_name(r, j, name, sizeof name);
            rc = check_add_finding(report, name, j->verdict, e);
        }
        free(j->verdict);
        report->bytes += j->bytes;
    }
    report->matrices += r->n;
    free(r->jobs);
    if (r->failed && e)
        *e = r->error;
    return r->failed ? -1 : rc;
}

static int check_weights(const struct model *m, int threads, const struct check_hooks *hooks,
                         int (*one)(const struct run *, struct job *, struct error *), struct check_report *report, struct error *e)
{
    struct run r = {.model = m, .hooks = hooks};
    for (int layer = -1; layer < (int)arch_all_layers(&m->params); layer++)
        for (int role = 0; role < ROLE_COUNT; role++) {
            struct weight w;
            if (!model_weight(m, (enum tensor_role)role, layer, &w) || w.from_kv_b)
                continue;
            for (uint64_t slab = 0; slab < w.slabs; slab++) {
                if (!weight_has(m, &w, slab))
                    continue;
                struct job *j = add_job(&r, e);
                if (!j) {
                    free(r.jobs);
                    return -1;
                }
                j->weight = w;
                j->slab = slab;
                j->bytes = w.rows * w.cols;
            }
        }
    run_jobs(&r, threads, one);
    return collect(&r, report, e);
}

int check_values(const struct model *m, int threads, const struct check_hooks *hooks, struct check_report *report, struct error *e)
{
    return check_weights(m, threads, hooks, check_matrix, report, e);
}

int check_scales(const struct model *m, int threads, const struct check_hooks *hooks, struct check_report *report, struct error *e)
{
    return check_weights(m, threads, hooks, check_scales_of, report, e);
}

/* Opens the manifest's files; what is wrong with a file as a whole is a finding. */
static int open_files(struct run *r, const char *folder, char **paths, struct check_report *report, struct error *e)
{
    for (size_t i = 0; i < r->manifest->n_files; i++) {
        const struct manifest_file *f = &r->manifest->files[i];
        struct error why = {0};
        char text[160];
        if (!(paths[i] = io_join(folder, f->name)))
            return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        if (io_open(&r->files[i], paths[i], &why)) {
            if (check_add_finding(report, f->name, why.text, e))
                return -1;
        } else if (r->files[i].size != f->bytes) {
            snprintf(text, sizeof text, "the file has %" PRIu64 " bytes, the manifest says %" PRIu64, r->files[i].size,
                     f->bytes);
            if (check_add_finding(report, f->name, text, e))
                return -1;
        }
    }
    return 0;
}

static int lists(const struct manifest *m, const char *name)
{
    for (size_t i = 0; i < m->n_files; i++)
        if (!strcmp(m->files[i].name, name))
            return 1;
    return 0;
}

static int find_unlisted(const struct manifest *m, const struct source *s, struct check_report *report, struct error *e)
{
    for (size_t i = 0; m->parts <= 1 && i < s->n_files; i++) {
        const char *name = io_base_name(s->files[i].path);
        if (!lists(m, name) && check_add_finding(report, name, "the manifest does not list this file", e))
            return -1;
    }
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct manifest_tensor *x = *(const struct manifest_tensor *const *)a, *y = *(const struct manifest_tensor *const *)b;
    return x->file != y->file ? (x->file < y->file ? -1 : 1) : x->offset != y->offset ? (x->offset < y->offset ? -1 : 1) : 0;
}

static int add_padding_jobs(struct run *r, struct error *e)
{
    size_t n = r->manifest->n_tensors;
    if (!(r->placed = malloc((n + 1) * sizeof *r->placed)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t i = 0; i < n; i++)
        r->placed[i] = &r->manifest->tensors[i];
    qsort(r->placed, n, sizeof *r->placed, by_place);
    for (size_t i = 0; i < r->manifest->n_files; i++) {
        struct job *j = add_job(r, e);
        if (!j)
            return -1;
        j->file = i;
        j->tensor = PADDING;
    }
    return 0;
}

static int add_hash_jobs(struct run *r, struct error *e)
{
    for (size_t i = 0; i < r->manifest->n_files; i++) {
        struct job *j = add_job(r, e);
        if (!j)
            return -1;
        j->file = i;
        j->bytes = r->manifest->files[i].header_bytes;
    }
    for (size_t i = 0; i < r->manifest->n_tensors; i++) {
        struct job *j = add_job(r, e);
        if (!j)
            return -1;
        j->file = (size_t)r->manifest->tensors[i].file;
        j->tensor = i;
        j->bytes = r->manifest->tensors[i].bytes;
    }
    return 0;
}

int check_hashes(const struct manifest *m, const struct source *s, const char *folder, int threads,
                 const struct check_hooks *hooks, struct check_report *report, struct error *e)
{
    struct run r = {.manifest = m, .hooks = hooks, .packed = s->pack ? s : NULL};
    char **paths = calloc(m->n_files + 1, sizeof *paths);
    int rc = -1;
    r.files = calloc(m->n_files + 1, sizeof *r.files);
    for (size_t i = 0; r.files && i < m->n_files; i++)
        r.files[i].handle = NULL;
    if (!paths || !r.files)
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    else if (!find_unlisted(m, s, report, e) && !open_files(&r, folder, paths, report, e) && !add_hash_jobs(&r, e) &&
             (s->pack || !add_padding_jobs(&r, e))) { /* what lies between the tensors of a pack is its tar: check_pack.h */
        run_jobs(&r, threads, check_range);
        rc = collect(&r, report, e);
    } else {
        free(r.jobs);
    }
    for (size_t i = 0; r.files && paths && i < m->n_files; i++) {
        io_close(&r.files[i]);
        free(paths[i]);
    }
    free(r.files);
    free(r.placed);
    free(paths);
    return rc;
}

void check_report_clear(struct check_report *r)
{
    arena_clear(&r->arena);
    *r = (struct check_report){0};
}
