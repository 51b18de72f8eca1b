/* SPDX-License-Identifier: MIT
 * Manifest: JSON to and from struct manifest. */
#include "formats/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/json.h"
#include "formats/split_name.h"

enum { VERSION = 2, MAX_MANIFEST = 512 << 20, FLUSH = 64 << 10 };
static const char format_name[] = "pare manifest";
static const char own_hash[] = ",\n\t\"manifest_xxh3_128\":\t\"", own_end[] = "\"\n}\n";

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

int manifest_add_source(struct manifest *m, size_t files, size_t tensors)
{
    m->source_files = arena_array(&m->arena, files + 1, sizeof *m->source_files);
    m->source_tensors = arena_array(&m->arena, tensors + 1, sizeof *m->source_tensors);
    return m->source_files && m->source_tensors ? 0 : -1;
}

void manifest_free(struct manifest *m)
{
    if (!m)
        return;
    arena_clear(&m->arena);
    free(m);
}

static struct json *file_json(const struct manifest_file *f)
{
    struct json *o = json_new_object();
    json_add_string(o, "name", f->name);
    json_add_u64(o, "bytes", f->bytes);
    json_add_u64(o, "header_bytes", f->header_bytes);
    json_add_string(o, "header_xxh3_128", f->header_hash);
    return o;
}

static struct json *tensor_json(const struct manifest_tensor *t)
{
    struct json *o = json_new_object(), *shape;
    json_add_string(o, "name", t->name);
    json_add_u64(o, "file", t->file);
    json_add_string(o, "type", t->type);
    shape = json_add_array(o, "shape");
    for (uint32_t i = 0; i < t->n_dims; i++)
        json_add_u64(shape, NULL, t->dims[i]);
    json_add_u64(o, "offset", t->offset);
    json_add_u64(o, "bytes", t->bytes);
    if (t->stored)
        json_add_u64(o, "stored", t->stored);
    json_add_string(o, "xxh3_128", t->hash);
    return o;
}

/* The file is written as it grows: the text of 90,000 source tensors is not held in memory, let alone their tree. */
struct writer {
    struct io_out out;
    struct buffer pending;
    struct hash *hash; /* of all before its own line */
    uint64_t at;
    int failed;
};

static void flush(struct writer *w, struct error *e)
{
    struct buffer *b = &w->pending;
    if (b->failed && !w->failed)
        w->failed = error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the manifest");
    if (!w->failed && b->size)
        w->failed = io_out_write(&w->out, w->at, b->data, b->size, e);
    if (!w->failed && w->hash)
        hash_add(w->hash, b->data, b->size);
    w->at += b->size;
    b->size = 0;
}

static void add_line(struct writer *w, struct json *o, int first, struct error *e)
{
    char *text = o ? json_print_line(o) : NULL;
    if (text)
        buffer_printf(&w->pending, "%s\n\t\t%s", first ? "" : ",", text);
    else
        w->pending.failed = 1;
    free(text);
    json_free(o);
    if (w->pending.size > FLUSH)
        flush(w, e);
}

static void add_lists(struct writer *w, const char *prefix, const struct manifest_file *files, size_t n_files,
                      const struct manifest_tensor *tensors, size_t n_tensors, struct error *e)
{
    buffer_printf(&w->pending, ",\n\t\"%sfiles\":\t[", prefix);
    for (size_t i = 0; i < n_files; i++)
        add_line(w, file_json(&files[i]), i == 0, e);
    buffer_printf(&w->pending, "\n\t],\n\t\"%stensors\":\t[", prefix);
    for (size_t i = 0; i < n_tensors; i++)
        add_line(w, tensor_json(&tensors[i]), i == 0, e);
    buffer_text(&w->pending, "\n\t]");
}

static void add_text(struct json *o, const char *key, const char *value)
{
    if (value)
        json_add_string(o, key, value);
}

/* What stands before the lists, without the closing brace. */
static void add_head(struct buffer *b, const struct manifest *m)
{
    struct json *root = json_new_object();
    json_add_string(root, "format", format_name);
    json_add_u64(root, "version", VERSION);
    json_add_string(root, "tool", m->tool);
    add_text(root, "source", m->source);
    add_text(root, "source_folder", m->source_folder);
    add_text(root, "output", m->output);
    add_text(root, "output_folder", m->output_folder);
    add_text(root, "target", m->target);
    add_text(root, "recipe", m->recipe);
    add_text(root, "imatrix", m->imatrix);
    add_text(root, "calibration", m->calibration);
    add_text(root, "fold", m->fold);
    if (m->predicted_kl > 0)
        json_add_f64(root, "predicted_kl", m->predicted_kl);
    add_text(root, "plan_xxh3_128", m->plan_hash[0] ? m->plan_hash : NULL);
    if (m->parts > 1) {
        json_add_u64(root, "part", m->part);
        json_add_u64(root, "parts", m->parts);
        json_add_u64(root, "all_files", m->all_files);
    }
    char *text = root ? json_print(root) : NULL, *end = text ? strrchr(text, '}') : NULL;
    if (end)
        buffer_add(b, text, (size_t)(end - text) - 1);
    else
        b->failed = 1;
    free(text);
    json_free(root);
}

/* The last line: the hash of all bytes before it. */
static void add_own_hash(struct writer *w, struct error *e)
{
    char hash[HASH_TEXT];
    flush(w, e);
    hash_finish(w->hash, hash);
    w->hash = NULL;
    buffer_printf(&w->pending, "%s%s%s", own_hash, hash, own_end);
    flush(w, e);
}

int manifest_save(const struct manifest *m, const char *path, struct error *e)
{
    struct writer w = {.hash = hash_new()};
    if (!w.hash)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the manifest");
    if (io_out_create(&w.out, path, 0, e)) {
        hash_free(w.hash);
        return -1;
    }
    add_head(&w.pending, m);
    add_lists(&w, "", m->files, m->n_files, m->tensors, m->n_tensors, e);
    if (m->source_files)
        add_lists(&w, "source_", m->source_files, m->n_source_files, m->source_tensors, m->n_source_tensors, e);
    add_own_hash(&w, e);
    buffer_clear(&w.pending);
    if (!w.failed && !io_out_finish(&w.out, e))
        return 0;
    io_out_abandon(&w.out);
    return -1;
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

static int load_file(struct manifest *m, const struct json *v, struct manifest_file *f, struct error *e)
{
    f->name = load_text(m, json_get(v, "name"));
    if (!f->name || !io_name_is_plain(f->name))
        return bad(e, "a file of the manifest has no plain name");
    if (json_u64(json_get(v, "bytes"), &f->bytes) || json_u64(json_get(v, "header_bytes"), &f->header_bytes) ||
        f->header_bytes > f->bytes || load_hash(json_get(v, "header_xxh3_128"), f->header_hash))
        return bad(e, "a file of the manifest lacks sizes or hash");
    return 0;
}

/* A tensor of one of these files. */
static int load_tensor(struct manifest *m, const struct json *v, struct manifest_tensor *t,
                       const struct manifest_file *files, size_t n_files, struct error *e)
{
    t->name = load_text(m, json_get(v, "name"));
    t->type = load_text(m, json_get(v, "type"));
    if (!t->name || !t->type || json_u64(json_get(v, "file"), &t->file) || t->file >= n_files ||
        json_u64(json_get(v, "offset"), &t->offset) || json_u64(json_get(v, "bytes"), &t->bytes) ||
        load_hash(json_get(v, "xxh3_128"), t->hash))
        return bad(e, "a tensor of the manifest lacks name, type, place or hash");
    const struct json *stored = json_get(v, "stored");
    if (stored && json_u64(stored, &t->stored))
        return bad(e, "a tensor's stored bytes are no number");
    if (t->offset > files[t->file].bytes || (t->stored ? t->stored : t->bytes) > files[t->file].bytes - t->offset) {
        bad(e, "a tensor of the manifest ends behind its file");
        return error_at_tensor(e, t->name);
    }
    for (const struct json *d = json_child(json_get(v, "shape")); d; d = json_next(d))
        if (t->n_dims == TENSOR_MAX_DIMS || json_u64(d, &t->dims[t->n_dims++]))
            return bad(e, "a tensor of the manifest has no valid shape");
    return 0;
}

static int load_lists(struct manifest *m, const struct json *root, struct error *e)
{
    for (const struct json *v = json_child(json_get(root, "files")); v; v = json_next(v))
        if (load_file(m, v, &m->files[m->n_files++], e))
            return -1;
    for (const struct json *v = json_child(json_get(root, "tensors")); v; v = json_next(v))
        if (load_tensor(m, v, &m->tensors[m->n_tensors++], m->files, m->n_files, e))
            return -1;
    const struct json *files = json_get(root, "source_files"), *tensors = json_get(root, "source_tensors");
    if (!files)
        return 0;
    if (manifest_add_source(m, json_count(files), json_count(tensors)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (const struct json *v = json_child(files); v; v = json_next(v))
        if (load_file(m, v, &m->source_files[m->n_source_files++], e))
            return -1;
    for (const struct json *v = json_child(tensors); v; v = json_next(v))
        if (load_tensor(m, v, &m->source_tensors[m->n_source_tensors++], m->source_files, m->n_source_files, e))
            return -1;
    return 0;
}

static int load_part(struct manifest *m, const struct json *root, struct error *e)
{
    m->part = m->parts = 1;
    if (!json_get(root, "parts"))
        return 0;
    if (json_u64(json_get(root, "part"), &m->part) || json_u64(json_get(root, "parts"), &m->parts) ||
        json_u64(json_get(root, "all_files"), &m->all_files) || m->part < 1 || m->part > m->parts)
        return bad(e, "the manifest of a part does not say which part it is");
    return 0;
}

static struct manifest *load(const struct json *root, int whole, struct error *e)
{
    const char *format = json_string(json_get(root, "format"));
    uint64_t version;
    if (!format || strcmp(format, format_name) || json_u64(json_get(root, "version"), &version)) {
        bad(e, "this is no manifest of pare");
        return NULL;
    }
    if (version != VERSION) {
        error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "a manifest of a version that is not known");
        return NULL;
    }
    if (!whole) {
        bad(e, "the manifest was changed or cut: its bytes are not those of its own hash");
        return NULL;
    }
    struct manifest *m = manifest_new(json_count(json_get(root, "files")), json_count(json_get(root, "tensors")));
    if (!m) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        return NULL;
    }
    m->tool = load_text(m, json_get(root, "tool"));
    m->recipe = load_text(m, json_get(root, "recipe"));
    m->imatrix = load_text(m, json_get(root, "imatrix"));
    m->calibration = load_text(m, json_get(root, "calibration"));
    m->fold = load_text(m, json_get(root, "fold"));
    m->target = load_text(m, json_get(root, "target"));
    m->source = load_text(m, json_get(root, "source"));
    m->output = load_text(m, json_get(root, "output"));
    m->source_folder = load_text(m, json_get(root, "source_folder"));
    m->output_folder = load_text(m, json_get(root, "output_folder"));
    const struct json *plan = json_get(root, "plan_xxh3_128"), *kl = json_get(root, "predicted_kl");
    if (plan && load_hash(plan, m->plan_hash))
        bad(e, "the manifest's hash of the plan is none");
    else if (kl && (json_f64(kl, &m->predicted_kl) || !(m->predicted_kl > 0)))
        bad(e, "the manifest's prediction is no number above 0");
    else if (!m->tool)
        bad(e, "the manifest does not name the tool that made it");
    else if (!load_part(m, root, e) && !load_lists(m, root, e))
        return m;
    manifest_free(m);
    return NULL;
}

int manifest_seal(struct buffer *b)
{
    char hash[HASH_TEXT];
    struct hash *h = hash_new();
    if (!h)
        return -1;
    hash_add(h, b->data, b->size);
    hash_finish(h, hash);
    buffer_printf(b, "%s%s%s", own_hash, hash, own_end);
    return b->failed ? -1 : 0;
}

int manifest_is_sealed(const char *text, size_t n, struct error *e)
{
    const size_t end = sizeof own_end - 1, line = sizeof own_hash - 1 + HASH_TEXT - 1 + end;
    char hash[HASH_TEXT];
    if (n <= line)
        return 0;
    struct hash *h = hash_new();
    if (!h)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    hash_add(h, text, n - line);
    hash_finish(h, hash);
    text += n - line;
    return !memcmp(text, own_hash, sizeof own_hash - 1) && !memcmp(text + line - end, own_end, end) &&
           !memcmp(text + sizeof own_hash - 1, hash, HASH_TEXT - 1);
}

struct manifest *manifest_load(const char *path, struct error *e)
{
    char *text;
    size_t n;
    if (io_read_all(path, MAX_MANIFEST, &text, &n, e))
        return NULL;
    int whole = manifest_is_sealed(text, n, e);
    struct json *root = whole < 0 ? NULL : json_parse(text, n, e);
    free(text);
    struct manifest *m = root ? load(root, whole, e) : NULL;
    if (!m)
        error_at_file(e, path);
    json_free(root);
    return m;
}

int manifest_probe(const char *path)
{
    char head[256] = "";
    struct io_file f;
    if (io_open(&f, path, NULL))
        return 0;
    int is = !io_read(&f, 0, head, f.size < sizeof head - 1 ? (size_t)f.size : sizeof head - 1, NULL) && strstr(head, "\"pare manifest\"");
    io_close(&f);
    return is;
}

char *manifest_path(const char *path, int is_folder)
{
    return is_folder ? io_join(path, "pare.manifest.json") : io_append(path, ".manifest.json");
}

int manifest_find(const char *path, int is_folder, char **found, struct error *e)
{
    char *whole = is_folder ? NULL : split_whole(path);
    char *names[2] = {manifest_path(path, is_folder), whole ? manifest_path(whole, 0) : NULL};
    int kind = 0, rc = names[0] ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    *found = NULL;
    for (int i = 0; i < 2; i++) {
        if (!rc && !*found && names[i] && !(rc = io_look(names[i], &kind, e)) && kind)
            *found = names[i];
        else
            free(names[i]);
    }
    free(whole);
    return rc;
}
