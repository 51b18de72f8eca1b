/* SPDX-License-Identifier: MIT
 * Join: checking parts against each other and against their files, then one manifest. */
#include "convert/join.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "convert/plan.h"
#include "formats/manifest.h"

static int bad(struct error *e, const char *path, const char *what)
{
    error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%s", what);
    return error_at_file(e, path);
}

static int same(const char *a, const char *b)
{
    return a && b && !strcmp(a, b);
}

static int same_file(const struct manifest_file *a, const struct manifest_file *b)
{
    return same(a->name, b->name) && a->bytes == b->bytes && a->header_bytes == b->header_bytes &&
           !strcmp(a->header_hash, b->header_hash);
}

/* Of one conversion: everything but the parts' own files and tensors is equal. */
static int check_pair(const struct manifest *a, const struct manifest *b, const char *path, struct error *e)
{
    int equal = same(a->fold ? a->fold : "", b->fold ? b->fold : "") &&
                same(a->calibration ? a->calibration : "", b->calibration ? b->calibration : "") &&
                same(a->imatrix ? a->imatrix : "", b->imatrix ? b->imatrix : "") && same(a->tool, b->tool) && same(a->recipe, b->recipe) && same(a->target, b->target) &&
                same(a->source, b->source) && !strcmp(a->plan_hash, b->plan_hash) && same(a->output, b->output) &&
                a->parts == b->parts &&
                a->all_files == b->all_files && a->n_source_files == b->n_source_files;
    for (size_t i = 0; equal && i < a->n_source_files; i++)
        equal = same_file(&a->source_files[i], &b->source_files[i]);
    return equal ? 0 : bad(e, path, "this part is of another conversion than the first: tool, recipe, imatrix, calibration, fold, plan, source or output differ");
}

/* Puts the parts in their order; each once. */
static int order(struct manifest **list, const char *const *paths, size_t n, struct manifest **out, struct error *e)
{
    for (size_t i = 0; i < n; i++) {
        struct manifest *m = list[i];
        if (m->parts != n)
            return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%zu manifests were given, the conversion has %" PRIu64 " parts", n,
                             m->parts);
        if (out[m->part - 1])
            return bad(e, paths[i], "this part was given twice");
        if (check_pair(list[0], m, paths[i], e))
            return -1;
        out[m->part - 1] = m;
    }
    return 0;
}

/* The file is there, with its size and header. Its tensors are `check`'s business. */
static int check_file(const struct manifest_file *f, const char *folder, struct error *e)
{
    char *path = io_join(folder, f->name), hash[HASH_TEXT];
    struct io_file in = {.handle = NULL};
    int rc = path ? io_open(&in, path, e) : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc && in.size != f->bytes)
        rc = bad(e, f->name, "the file has not the size that its manifest says");
    if (!rc)
        rc = hash_range(&in, 0, f->header_bytes, hash, e);
    if (!rc && strcmp(hash, f->header_hash))
        rc = bad(e, f->name, "the file has not the header that its manifest says");
    io_close(&in);
    free(path);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct manifest_tensor *)a)->name, ((const struct manifest_tensor *)b)->name);
}

/* Source tensors of all parts; a tensor that two parts read must have had the same bytes. */
static int join_sources(struct manifest *m, struct error *e)
{
    size_t kept = 0;
    qsort(m->source_tensors, m->n_source_tensors, sizeof *m->source_tensors, by_name);
    for (size_t i = 0; i < m->n_source_tensors; i++) {
        const struct manifest_tensor *t = &m->source_tensors[i];
        if (kept && !by_name(&m->source_tensors[kept - 1], t)) {
            if (strcmp(m->source_tensors[kept - 1].hash, t->hash)) {
                error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "two parts read different bytes of this source tensor");
                return error_at_tensor(e, t->name);
            }
            continue;
        }
        m->source_tensors[kept++] = *t;
    }
    m->n_source_tensors = kept;
    return 0;
}

static struct manifest *join(struct manifest *const *parts, size_t n, struct error *e)
{
    size_t files = 0, tensors = 0, sources = 0;
    for (size_t i = 0; i < n; i++) {
        files += parts[i]->n_files;
        tensors += parts[i]->n_tensors;
        sources += parts[i]->n_source_tensors;
    }
    struct manifest *m = manifest_new(files, tensors);
    if (!m || manifest_add_source(m, parts[0]->n_source_files, sources)) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        manifest_free(m);
        return NULL;
    }
    memcpy(m->plan_hash, parts[0]->plan_hash, sizeof m->plan_hash);
    m->tool = parts[0]->tool;
    m->recipe = parts[0]->recipe;
    m->imatrix = parts[0]->imatrix;
    m->calibration = parts[0]->calibration;
    m->fold = parts[0]->fold;
    m->predicted_kl = parts[0]->predicted_kl;
    m->target = parts[0]->target;
    m->source = parts[0]->source;
    m->output = parts[0]->output;
    m->source_folder = parts[0]->source_folder;
    m->output_folder = parts[0]->output_folder;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < parts[i]->n_tensors; k++) {
            m->tensors[m->n_tensors] = parts[i]->tensors[k];
            m->tensors[m->n_tensors++].file += m->n_files;
        }
        for (size_t k = 0; k < parts[i]->n_files; k++)
            m->files[m->n_files++] = parts[i]->files[k];
        for (size_t k = 0; k < parts[i]->n_source_tensors; k++)
            m->source_tensors[m->n_source_tensors++] = parts[i]->source_tensors[k];
    }
    for (size_t k = 0; k < parts[0]->n_source_files; k++)
        m->source_files[m->n_source_files++] = parts[0]->source_files[k];
    if (m->n_files == parts[0]->all_files && !join_sources(m, e))
        return m;
    if (m->n_files != parts[0]->all_files)
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the parts have %zu files, the conversion %" PRIu64, m->n_files,
                  parts[0]->all_files);
    manifest_free(m);
    return NULL;
}

/* The parts of a checkpoint lie in its folder, those of a file beside it. */
static int is_checkpoint(const struct manifest *m)
{
    const struct target *t = m->target ? target_find(m->target) : NULL;
    return t && t->form;
}

static int save(const struct manifest *m, const char *folder, struct join_result *r, struct error *e)
{
    const int in_folder = is_checkpoint(m);
    char *out = in_folder ? strdup(folder) : io_join(folder, m->output);
    int rc = 0;
    for (size_t i = 0; !rc && i < m->n_files; i++) {
        rc = check_file(&m->files[i], folder, e);
        r->bytes += m->files[i].bytes;
    }
    r->files = m->n_files;
    r->tensors = m->n_tensors;
    if (!rc && (!out || !(r->path = manifest_path(out, in_folder))))
        rc = error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc)
        rc = manifest_save(m, r->path, e);
    free(out);
    return rc;
}

int join_manifests(const char *const *paths, size_t n, struct join_result *r, struct error *e)
{
    struct manifest **list = calloc(n + 1, sizeof *list), **ordered = calloc(n + 1, sizeof *ordered), *m = NULL;
    char *folder = io_folder(paths[0]);
    int rc = list && ordered && folder ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    *r = (struct join_result){.files = 0};
    for (size_t i = 0; !rc && i < n; i++) {
        if (!(list[i] = manifest_load(paths[i], e)))
            rc = -1;
        else if (list[i]->parts < 2 || !list[i]->output || !io_name_is_plain(list[i]->output) || !list[i]->source_files)
            rc = bad(e, paths[i], "this is no manifest of a conversion's part");
    }
    if (!rc)
        rc = order(list, paths, n, ordered, e) || !(m = join(ordered, n, e)) || save(m, folder, r, e) ? -1 : 0;
    manifest_free(m);
    for (size_t i = 0; list && i < n; i++)
        manifest_free(list[i]);
    free(list);
    free(ordered);
    free(folder);
    return rc;
}
