/* SPDX-License-Identifier: MIT
 * Conversion: checks, stream, finish, manifest. */
#include "convert/convert.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/manifest.h"

static int refuse(const char *path, enum error_code code, const char *what, struct error *e)
{
    error_set(e, code, ERROR_NO_OFFSET, "%s", what);
    return error_at_file(e, path);
}

/* Bytes that a killed run's partial file holds; it will be replaced, so they come back first. */
static uint64_t held_by_partial(const char *path)
{
    struct stat st;
    size_t room = strlen(path) + sizeof ".partial";
    char *partial = malloc(room);
    uint64_t held = 0;
    if (partial) {
        snprintf(partial, room, "%s.partial", path);
        if (!stat(partial, &st))
            held = (uint64_t)st.st_blocks * 512;
    }
    free(partial);
    return held;
}

/* Whether the output is what the source consists of: a shard, or a side file of a folder. */
static int is_of_source(const struct source *s, const struct stat *out)
{
    static const char *const side[] = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
                                       "chat_template.jinja", "model.safetensors.index.json",
                                       "inference/config_671B_v3.2.json"};
    int found = 0;
    for (size_t i = 0; i < s->n_files; i++)
        found |= s->files[i].dev == (uint64_t)out->st_dev && s->files[i].ino == (uint64_t)out->st_ino;
    for (size_t i = 0; s->is_folder && i < sizeof side / sizeof *side; i++) {
        struct stat st;
        char *path = io_join(s->path, side[i]);
        found |= path && !stat(path, &st) && st.st_dev == out->st_dev && st.st_ino == out->st_ino;
        free(path);
    }
    return found;
}

int convert_check_output(const struct plan *p, const char *path, int force, struct error *e)
{
    const struct source *s = p->model->source;
    struct stat st;
    uint64_t space;
    char a[SIZE_TEXT], b[SIZE_TEXT];
    if (!stat(path, &st)) {
        if (is_of_source(s, &st))
            return refuse(path, ERR_USAGE, "the output is one of the source's files", e);
        if (!S_ISREG(st.st_mode))
            return refuse(path, ERR_USAGE, "the output exists and is no regular file", e);
        if (!force)
            return refuse(path, ERR_USAGE, "the output exists (--force replaces it)", e);
    }
    if (io_free_space(path, &space, e))
        return -1;
    if (space + held_by_partial(path) >= p->total)
        return 0;
    error_set(e, ERR_IO, ERROR_NO_OFFSET, "too little disk: %s are needed, %s are free", size_text(p->total, a),
              size_text(space, b));
    return error_at_file(e, path);
}

static struct manifest *make_manifest(const struct plan *p, const char *path, const char *tool,
                                      char (*hashes)[HASH_TEXT])
{
    struct manifest *m = manifest_new(1, p->n_tensors);
    struct hash *h = hash_new();
    if (!m || !h) {
        manifest_free(m);
        hash_free(h);
        return NULL;
    }
    m->tool = tool;
    m->recipe = p->options.recipe.name;
    m->source = io_base_name(p->model->source->path);
    m->files[0] = (struct manifest_file){.name = io_base_name(path), .bytes = p->total, .header_bytes = p->header.size};
    hash_add(h, p->header.data, p->header.size);
    hash_finish(h, m->files[0].header_hash);
    m->n_files = 1;
    for (size_t i = 0; i < p->n_tensors; i++) {
        const struct tensor *t = &p->tensors[i].out;
        struct manifest_tensor *mt = &m->tensors[m->n_tensors++];
        *mt = (struct manifest_tensor){.name = t->name, .type = t->type->name, .offset = t->offset, .bytes = t->bytes,
                                       .n_dims = t->n_dims};
        memcpy(mt->dims, t->dims, sizeof mt->dims);
        memcpy(mt->hash, hashes[i], HASH_TEXT);
    }
    return m;
}

static int save_manifest(const struct plan *p, const char *path, const char *tool, char (*hashes)[HASH_TEXT],
                         struct error *e)
{
    struct manifest *m = make_manifest(p, path, tool, hashes);
    char *where = manifest_path(path, 0);
    int rc = m && where ? manifest_save(m, where, e)
                        : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the manifest");
    free(where);
    manifest_free(m);
    return rc;
}

int convert_run(const struct plan *p, const char *path, const char *tool, const struct stream_hooks *hooks,
                struct error *e)
{
    struct io_out out;
    char(*hashes)[HASH_TEXT] = calloc(p->n_tensors + 1, HASH_TEXT);
    char *old_manifest = manifest_path(path, 0);
    int rc = -1;
    if (!hashes || !old_manifest) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        goto done;
    }
    if (io_out_create(&out, path, p->total, e))
        goto done;
    if (stream_run(p, &out, hooks, hashes, e)) {
        io_out_abandon(&out);
        goto done;
    }
    /* never an old manifest beside a new file */
    unlink(old_manifest);
    if (io_out_finish(&out, e))
        goto done;
    rc = save_manifest(p, path, tool, hashes, e);
done:
    free(old_manifest);
    free(hashes);
    return rc;
}
