/* SPDX-License-Identifier: MIT
 * Manifest: JSON to and from struct manifest. */
#include "formats/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

enum { VERSION = 1, MAX_MANIFEST = 512 << 20 };
static const char format_name[] = "pare manifest";

struct manifest *manifest_new(size_t files, size_t tensors)
{
    struct manifest *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->files = arena_array(&m->arena, files + 1, sizeof *m->files);
    m->tensors = arena_array(&m->arena, tensors + 1, sizeof *m->tensors);
    if (!m->files || !m->tensors) {
        manifest_free(m);
        return NULL;
    }
    return m;
}

void manifest_free(struct manifest *m)
{
    if (!m)
        return;
    arena_clear(&m->arena);
    free(m);
}

static void save_file(struct json *list, const struct manifest_file *f)
{
    struct json *o = json_add_object(list, NULL);
    json_add_string(o, "name", f->name);
    json_add_u64(o, "bytes", f->bytes);
    json_add_u64(o, "header_bytes", f->header_bytes);
    json_add_string(o, "header_xxh3_128", f->header_hash);
}

static void save_tensor(struct json *list, const struct manifest_tensor *t)
{
    struct json *o = json_add_object(list, NULL), *shape;
    json_add_string(o, "name", t->name);
    json_add_u64(o, "file", t->file);
    json_add_string(o, "type", t->type);
    shape = json_add_array(o, "shape");
    for (uint32_t i = 0; i < t->n_dims; i++)
        json_add_u64(shape, NULL, t->dims[i]);
    json_add_u64(o, "offset", t->offset);
    json_add_u64(o, "bytes", t->bytes);
    json_add_string(o, "xxh3_128", t->hash);
}

int manifest_save(const struct manifest *m, const char *path, struct error *e)
{
    struct json *root = json_new_object(), *list;
    char *text;
    int rc = -1;
    json_add_string(root, "format", format_name);
    json_add_u64(root, "version", VERSION);
    json_add_string(root, "tool", m->tool);
    if (m->source)
        json_add_string(root, "source", m->source);
    if (m->recipe)
        json_add_string(root, "recipe", m->recipe);
    list = json_add_array(root, "files");
    for (size_t i = 0; i < m->n_files; i++)
        save_file(list, &m->files[i]);
    list = json_add_array(root, "tensors");
    for (size_t i = 0; i < m->n_tensors; i++)
        save_tensor(list, &m->tensors[i]);
    text = list ? json_print(root) : NULL;
    if (text)
        rc = io_write_all(path, text, strlen(text), e);
    else
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the manifest");
    free(text);
    json_free(root);
    return rc;
}

static int bad(struct error *e, const char *what)
{
    return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%s", what);
}

static int load_hash(const struct json *v, char out[HASH_TEXT])
{
    const char *s = json_string(v);
    if (!s || strlen(s) != HASH_TEXT - 1 || strspn(s, "0123456789abcdef") != HASH_TEXT - 1)
        return -1;
    memcpy(out, s, HASH_TEXT);
    return 0;
}

static const char *load_text(struct manifest *m, const struct json *v)
{
    const char *s = json_string(v);
    return s ? arena_copy(&m->arena, s, strlen(s)) : NULL;
}

static int load_file(struct manifest *m, const struct json *v, struct error *e)
{
    struct manifest_file *f = &m->files[m->n_files++];
    f->name = load_text(m, json_get(v, "name"));
    if (!f->name || !io_name_is_plain(f->name))
        return bad(e, "a file of the manifest has no plain name");
    if (json_u64(json_get(v, "bytes"), &f->bytes) || json_u64(json_get(v, "header_bytes"), &f->header_bytes) ||
        f->header_bytes > f->bytes || load_hash(json_get(v, "header_xxh3_128"), f->header_hash))
        return bad(e, "a file of the manifest lacks sizes or hash");
    return 0;
}

static int load_tensor(struct manifest *m, const struct json *v, struct error *e)
{
    struct manifest_tensor *t = &m->tensors[m->n_tensors++];
    t->name = load_text(m, json_get(v, "name"));
    t->type = load_text(m, json_get(v, "type"));
    if (!t->name || !t->type || json_u64(json_get(v, "file"), &t->file) || t->file >= m->n_files ||
        json_u64(json_get(v, "offset"), &t->offset) || json_u64(json_get(v, "bytes"), &t->bytes) ||
        load_hash(json_get(v, "xxh3_128"), t->hash))
        return bad(e, "a tensor of the manifest lacks name, type, place or hash");
    if (t->offset > m->files[t->file].bytes || t->bytes > m->files[t->file].bytes - t->offset) {
        bad(e, "a tensor of the manifest ends behind its file");
        return error_at_tensor(e, t->name);
    }
    for (const struct json *d = json_child(json_get(v, "shape")); d; d = json_next(d))
        if (t->n_dims == TENSOR_MAX_DIMS || json_u64(d, &t->dims[t->n_dims++]))
            return bad(e, "a tensor of the manifest has no valid shape");
    return 0;
}

static struct manifest *load(const struct json *root, struct error *e)
{
    const char *format = json_string(json_get(root, "format"));
    const struct json *files = json_get(root, "files"), *tensors = json_get(root, "tensors");
    uint64_t version;
    if (!format || strcmp(format, format_name) || json_u64(json_get(root, "version"), &version)) {
        bad(e, "this is no manifest of pare");
        return NULL;
    }
    if (version != VERSION) {
        error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "a manifest of a version that is not known");
        return NULL;
    }
    struct manifest *m = manifest_new(json_count(files), json_count(tensors));
    if (!m) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        return NULL;
    }
    m->tool = load_text(m, json_get(root, "tool"));
    m->recipe = load_text(m, json_get(root, "recipe"));
    m->source = load_text(m, json_get(root, "source"));
    if (!m->tool) {
        bad(e, "the manifest does not name the tool that made it");
        goto fail;
    }
    for (const struct json *v = json_child(files); v; v = json_next(v))
        if (load_file(m, v, e))
            goto fail;
    for (const struct json *v = json_child(tensors); v; v = json_next(v))
        if (load_tensor(m, v, e))
            goto fail;
    return m;
fail:
    manifest_free(m);
    return NULL;
}

struct manifest *manifest_load(const char *path, struct error *e)
{
    struct json *root = json_parse_file(path, MAX_MANIFEST, e);
    struct manifest *m = root ? load(root, e) : NULL;
    if (!m)
        error_at_file(e, path);
    json_free(root);
    return m;
}

char *manifest_path(const char *path, int is_folder)
{
    if (is_folder)
        return io_join(path, "pare.manifest.json");
    size_t room = strlen(path) + sizeof ".manifest.json";
    char *p = malloc(room);
    if (p)
        snprintf(p, room, "%s.manifest.json", path);
    return p;
}
