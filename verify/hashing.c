/* SPDX-License-Identifier: MIT
 * Hashing whole sources, in parallel over tensors. */
#include "verify/hashing.h"

#include <stdlib.h>
#include <string.h>

#include "formats/coded.h"

static const char *const side_files[] = {
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
    "model.safetensors.index.json",
};
enum { N_SIDE = sizeof side_files / sizeof *side_files };

static int add_file(struct manifest *m, const struct io_file *f, const char *name, uint64_t header, struct error *e)
{
    struct manifest_file *mf = &m->files[m->n_files++];
    mf->name = arena_copy(&m->arena, name, strlen(name));
    mf->bytes = f->size;
    mf->header_bytes = header;
    if (!mf->name)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    return hash_range(f, 0, header, mf->header_hash, e);
}

static int add_side_files(struct manifest *m, const struct source *s, struct error *e)
{
    int rc = 0;
    for (int i = 0; i < N_SIDE && !rc && s->is_folder; i++) {
        char *path = io_join(s->path, side_files[i]);
        struct io_file f = {.handle = NULL};
        if (!path)
            rc = error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        else if (io_kind(path))
            rc = io_open(&f, path, e) || add_file(m, &f, side_files[i], f.size, e);
        io_close(&f);
        free(path);
    }
    return rc ? -1 : 0;
}

static int add_tensors(struct manifest *m, const struct source *s, int threads, const struct check_hooks *hooks,
                       struct error *e)
{
    uint64_t done = 0;
    int failed = 0;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (size_t i = 0; i < s->n_tensors; i++) {
        const struct tensor *t = &s->tensors[i];
        struct manifest_tensor *mt = &m->tensors[i];
        struct error why = {0};
        int rc = 0, skip;
#pragma omp critical(hashing)
        skip = failed;
        *mt = (struct manifest_tensor){.name = t->name, .type = t->type->name, .file = t->file, .bytes = t->bytes, .stored = t->coded ? coded_stored(t) : 0,
                                       .n_dims = t->n_dims};
        mt->offset = t->offset;
        memcpy(mt->dims, t->dims, sizeof mt->dims);
        if (!skip)
            rc = source_hash(s, t, mt->hash, &why);
#pragma omp critical(hashing)
        {
            done += t->bytes;
            if (!rc && hooks->stop && hooks->stop(hooks->context))
                rc = error_set(&why, ERR_INTERRUPTED, ERROR_NO_OFFSET, "interrupted");
            if (rc && !failed && e)
                *e = why;
            failed |= rc;
            if (hooks->progress)
                hooks->progress(hooks->context, done, s->tensor_bytes);
        }
    }
    m->n_tensors = s->n_tensors;
    return failed ? -1 : 0;
}

struct manifest *manifest_of_source(const struct source *s, const char *tool, int threads,
                                    const struct check_hooks *hooks, struct error *e)
{
    struct manifest *m = manifest_new(s->n_files + N_SIDE, s->n_tensors);
    int rc = m ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (m)
        m->tool = tool;
    for (size_t i = 0; !rc && i < s->n_files; i++)
        rc = add_file(m, &s->files[i], io_base_name(s->files[i].path), source_header_size(s, i), e);
    if (rc || add_side_files(m, s, e) || add_tensors(m, s, threads, hooks, e)) {
        manifest_free(m);
        return NULL;
    }
    return m;
}
