/* SPDX-License-Identifier: MIT
 * Provenance: from plan and hashes to a manifest, and from a manifest to expected hashes. */
#include "convert/provenance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/fold.h"
#include "convert/identity.h"
#include "convert/importance.h"
#include "formats/coded.h"
#include "formats/pack.h"

char *provenance_path(const struct plan *p, const char *path)
{
    char *run = plan_run_name(p, path), *name = run ? manifest_path(run, 0) : NULL;
    free(run);
    return name;
}

/* malloc'd absolute folder of a path, for those who ask for it. */
static char *absolute_folder(const char *path)
{
    char *folder = io_folder(path), *full = folder ? realpath(folder, NULL) : NULL;
    free(folder);
    return full;
}

static void add_output_tensor(struct manifest *m, const struct plan *p, size_t i, const struct placed *placed, const struct chain *c)
{
    const struct tensor *t = &p->tensors[i].out;
    struct manifest_tensor *mt = &m->tensors[m->n_tensors++];
    *mt = (struct manifest_tensor){.name = t->name, .type = t->type->name, .file = t->file - p->file_from,
                                   .offset = placed ? placed[i].offset : t->offset, .bytes = t->bytes,
                                   .stored = p->tensors[i].coded ? placed[i].bytes : 0, .n_dims = t->n_dims};
    memcpy(mt->dims, t->dims, sizeof mt->dims);
    hash_text(c->high, c->low, mt->hash);
}

static int add_output_file(struct manifest *m, const struct plan_file *f, const char *path, uint64_t bytes, struct error *e)
{
    struct manifest_file *mf = &m->files[m->n_files++];
    struct hash *h = hash_new();
    *mf = (struct manifest_file){.name = io_base_name(path), .bytes = bytes, .header_bytes = f->header.size};
    if (!h)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the manifest");
    hash_add(h, f->header.data, f->header.size);
    hash_finish(h, mf->header_hash);
    return 0;
}

static int add_source_file(struct manifest *m, const struct source *s, size_t i, struct error *e)
{
    struct manifest_file *mf = &m->source_files[m->n_source_files++];
    *mf = (struct manifest_file){.name = io_base_name(s->files[i].path), .bytes = s->files[i].size,
                                 .header_bytes = source_header_size(s, i)};
    return hash_range(&s->files[i], 0, mf->header_bytes, mf->header_hash, e);
}

/* Only tensors that went into this output have a hash. */
static void add_source_tensors(struct manifest *m, const struct source *s, const struct chain *chains)
{
    for (size_t i = 0; i < s->n_tensors; i++) {
        const struct tensor *t = &s->tensors[i];
        if (!chains[i].done)
            continue;
        struct manifest_tensor *mt = &m->source_tensors[m->n_source_tensors++];
        *mt = (struct manifest_tensor){.name = t->name, .type = t->type->name, .file = t->file, .offset = t->offset,
                                       .bytes = t->bytes, .stored = t->coded ? coded_stored(t) : 0, .n_dims = t->n_dims};
        memcpy(mt->dims, t->dims, sizeof mt->dims);
        hash_text(chains[i].high, chains[i].low, mt->hash);
    }
}

static struct manifest *make(const struct plan *p, const struct convert_options *o, const struct outputs *out,
                             const struct stream_state *state, struct error *e)
{
    const struct source *s = p->model->source;
    struct manifest *m = manifest_new(p->file_to - p->file_from, p->n_tensors);
    char recipe[RECIPE_TEXT], importance[IMPORTANCE_TEXT], feedback[FEEDBACK_TEXT], fold[FOLD_TEXT];
    int rc = !m || !recipe_text(&p->options.recipe, recipe) || manifest_add_source(m, s->n_files, s->n_tensors) || identity_plan_hash(p, m->plan_hash) ||
                     !(m->recipe = arena_copy(&m->arena, recipe, strlen(recipe))) ? -1 : 0;
    if (!rc && p->options.imatrix) {
        importance_text(p, importance);
        rc = (m->imatrix = arena_copy(&m->arena, importance, strlen(importance))) ? 0 : -1;
    }
    if (!rc && p->options.calib) {
        m->predicted_kl = p->options.recipe.predicted_kl;
        feedback_text(p->options.calib, &p->options.feedback, feedback);
        rc = (m->calibration = arena_copy(&m->arena, feedback, strlen(feedback))) ? 0 : -1;
    }
    if (!rc && p->options.fold) {
        fold_text(p->options.fold, fold);
        rc = (m->fold = arena_copy(&m->arena, fold, strlen(fold))) ? 0 : -1;
    }
    uint64_t *ends = NULL;
    struct placed *placed = !rc && p->options.compress ? places_of_tensors(&state->places, &ends) : NULL;
    rc = rc || (p->options.compress && !placed) ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the manifest") : 0;
    for (size_t i = p->file_from; !rc && i < p->file_to; i++) {
        const struct plan_file *f = &p->files[i];
        rc = add_output_file(m, f, out->files[i].path, out->files[i].bytes, e);
        for (size_t k = f->first; k < f->first + f->n; k++)
            add_output_tensor(m, p, k, placed, &state->output.list[k]);
    }
    free(placed);
    free(ends);
    for (size_t i = 0; !rc && i < s->n_files; i++)
        rc = add_source_file(m, s, i, e);
    if (rc) {
        manifest_free(m);
        return NULL;
    }
    add_source_tensors(m, s, state->source.list);
    m->tool = o->tool;
    m->target = p->target->name;
    m->source = io_base_name(s->path);
    m->output = io_base_name(o->path);
    m->part = (uint64_t)p->options.part;
    m->parts = (uint64_t)p->options.parts;
    m->all_files = p->n_files;
    return m;
}

int provenance_save(const struct plan *p, const struct convert_options *o, const struct outputs *out,
                    const struct stream_state *state, struct error *e)
{
    struct manifest *m = make(p, o, out, state, e);
    char *where = provenance_path(p, o->path), *source = NULL, *output = NULL;
    int rc = m && where ? 0 : m ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the manifest") : -1;
    if (!rc && o->with_paths) {
        m->source_folder = source = realpath(p->model->source->path, NULL);
        m->output_folder = output = absolute_folder(o->path);
    }
    if (!rc)
        rc = manifest_save(m, where, e);
    free(source);
    free(output);
    free(where);
    manifest_free(m);
    return rc;
}

static int disagrees(const struct manifest_tensor *mt, const char *manifest, const char *what, struct error *e)
{
    error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the source's manifest %s", what);
    error_at_file(e, manifest);
    return error_at_tensor(e, mt->name);
}

static int expect(const struct source *s, const struct manifest *m, const char *path, struct stream_state *state, struct error *e)
{
    if (!state->expected && !(state->expected = calloc(s->n_tensors + 1, HASH_TEXT)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct manifest_tensor *mt = &m->tensors[i];
        const struct tensor *t = source_find(s, mt->name);
        if (!t)
            return disagrees(mt, path, "lists a tensor that the source does not have", e);
        if (t->bytes != mt->bytes || t->offset != mt->offset || strcmp(t->type->name, mt->type))
            return disagrees(mt, path, "gives a tensor another type, size or place than the source does", e);
        memcpy(state->expected[t - s->tensors], mt->hash, HASH_TEXT);
    }
    return 0;
}

/* A pack brings the hashes of its tensors along. */
static int expect_packed(const struct source *s, struct stream_state *state, struct error *e)
{
    if (!state->expected && !(state->expected = calloc(s->n_tensors + 1, HASH_TEXT)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t i = 0; i < s->n_tensors; i++)
        memcpy(state->expected[i], s->tensors[i].packed->hash, HASH_TEXT);
    return 0;
}

int provenance_expect(const struct plan *p, struct stream_state *state, struct error *e)
{
    const struct source *s = p->model->source;
    char *path;
    struct manifest *m = NULL;
    if (s->pack)
        return expect_packed(s, state, e);
    int rc = manifest_find(s->path, s->is_folder, &path, e);
    if (path)
        rc = (m = manifest_load(path, e)) ? expect(s, m, path, state, e) : -1;
    manifest_free(m);
    free(path);
    return rc;
}
