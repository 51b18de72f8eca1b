/* SPDX-License-Identifier: MIT
 * Reader of a Hugging Face checkpoint folder: model.safetensors.index.json and the shards that it names, or a single
 * model.safetensors. The index is data from a stranger: its names never leave the folder, and it is held against the
 * shards both ways. Layout: {"metadata": {"total_size": N}, "weight_map": {tensor: file}}. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "formats/safetensors.h"

static const char index_name[] = "model.safetensors.index.json";
static const char single_name[] = "model.safetensors";
enum { MAX_INDEX = 256 << 20, MAX_SHARDS = 4096 };

struct entry { /* one line of the weight_map */
    const char *tensor, *file;
};

/* Without memory for the name it says yes: then opening it says what is wrong. */
static int is_there(const char *folder, const char *name)
{
    char *path = io_join(folder, name);
    int kind = path ? io_kind(path) : 1;
    free(path);
    return kind != 0;
}

static int shard_is_there(const char *folder, const char *name)
{
    char *consumed = io_append(name, SOURCE_CONSUMED);
    int there = is_there(folder, name) || (consumed && is_there(folder, consumed));
    free(consumed);
    return there;
}

static int by_tensor(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->tensor, ((const struct entry *)b)->tensor);
}

static int compare_files(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Fills map with the entries of weight_map, borrowed from the JSON tree, in its order. */
static int read_map(const struct json *root, struct entry **map, size_t *n, struct error *e)
{
    const struct json *wm = json_get(root, "weight_map");
    if (!wm || json_type(wm) != JSON_OBJECT)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "weight_map is missing or no object");
    if (!(*map = calloc(json_count(wm) + 1, sizeof **map)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (const struct json *v = json_child(wm); v; v = json_next(v)) {
        struct entry *m = &(*map)[(*n)++];
        *m = (struct entry){json_key(v), json_string(v)};
        if (!m->file || !io_name_is_plain(m->file)) {
            error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "weight_map names no plain file: '%s'",
                      m->file ? m->file : "(not a string)");
            return error_at_tensor(e, m->tensor);
        }
    }
    return 0;
}

/* Opens every file that the map names, once, in the order of their names. */
static int open_shards(struct source *s, const struct entry *map, size_t n, struct error *e)
{
    const char **names = malloc((n + 1) * sizeof *names);
    int rc = -1, file = 0;
    if (!names)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t i = 0; i < n; i++)
        names[i] = map[i].file;
    qsort(names, n, sizeof *names, compare_files);
    for (size_t i = 0; i < n && file >= 0; i++) {
        if (i && !strcmp(names[i - 1], names[i]))
            continue;
        if (s->n_files == MAX_SHARDS) {
            error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "more than %d shards", MAX_SHARDS);
            goto out;
        }
        if (!shard_is_there(s->path, names[i])) {
            error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the index names a shard that is missing");
            error_at_file(e, names[i]);
            goto out;
        }
        char *path = io_join(s->path, names[i]);
        file = path ? source_add_file(s, path, e) : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        free(path);
        if (file < 0 || safetensors_read_header(s, (uint32_t)file, e))
            goto out;
    }
    rc = 0;
out:
    free(names);
    return rc;
}

static int compare_tensor_names(const void *a, const void *b)
{
    const struct tensor *const *s = a, *const *t = b;
    return strcmp((*s)->name, (*t)->name);
}

static int is_scale(const char *name)
{
    static const char suffix[] = "_scale_inv";
    size_t len = strlen(name), k = sizeof suffix - 1;
    return len > k && !strcmp(name + len - k, suffix);
}

/* Every mapped tensor is in the file that the map names, every tensor of a shard is mapped. A released V3.2 index leaves
 * scales out: those are taken from the shards, with a note; a scale without its weight is found later. */
static int check_both_ways(struct source *s, struct entry *map, size_t n, struct error *e)
{
    const struct tensor **list = malloc((s->n_tensors + 1) * sizeof *list);
    size_t i = 0, k = 0;
    int rc = 0;
    if (!list)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t j = 0; j < s->n_tensors; j++)
        list[j] = &s->tensors[j];
    qsort(map, n, sizeof *map, by_tensor);
    qsort(list, s->n_tensors, sizeof *list, compare_tensor_names);
    while (!rc && (i < n || k < s->n_tensors)) {
        int c = i == n ? 1 : k == s->n_tensors ? -1 : strcmp(map[i].tensor, list[k]->name);
        const char *file = c >= 0 ? io_base_name(s->files[list[k]->file].path) : map[i].file;
        if (c < 0)
            rc = error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the index puts a tensor in this shard that is not there");
        else if (c > 0 && is_scale(list[k]->name))
            s->note = "the index leaves out scales that the shards have";
        else if (c > 0)
            rc = error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the index does not list a tensor of this shard");
        else if (strcmp(map[i].file, file))
            rc = error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the index puts this tensor in '%s'", map[i].file);
        if (rc) {
            error_at_file(e, file);
            error_at_tensor(e, c <= 0 ? map[i].tensor : list[k]->name);
        }
        i += c <= 0;
        k += c >= 0;
    }
    free(list);
    return rc;
}

/* The releases' own totals are not always right, and nothing is read by them: a wrong one is a note, no error. */
static void note_total(struct source *s, const struct json *root)
{
    const struct json *v = json_get(json_get(root, "metadata"), "total_size");
    uint64_t total;
    if (!s->note && v && (json_u64(v, &total) || total != s->tensor_bytes))
        s->note = "the index's total_size is not the sum of the tensors' bytes";
}

static int open_index(struct source *s, struct error *e)
{
    char *path = io_join(s->path, index_name);
    struct json *root = path ? json_parse_file(path, MAX_INDEX, e) : NULL;
    struct entry *map = NULL;
    size_t n = 0;
    int rc = -1;

    if (!path)
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (root)
        rc = read_map(root, &map, &n, e) || open_shards(s, map, n, e) || check_both_ways(s, map, n, e) ? -1 : 0;
    if (rc)
        error_at_file(e, index_name);
    else
        note_total(s, root);
    free(map);
    json_free(root);
    free(path);
    return rc;
}

static int probe(const char *path, int is_folder, const uint8_t *head, size_t n)
{
    (void)head;
    (void)n;
    return is_folder && (is_there(path, index_name) || shard_is_there(path, single_name)) ? 100 : 0;
}

static int open_folder(struct source *s, struct error *e)
{
    s->is_folder = 1;
    if (is_there(s->path, index_name))
        return open_index(s, e);
    char *path = io_join(s->path, single_name);
    int file = path ? source_add_file(s, path, e) : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    free(path);
    return file < 0 ? -1 : safetensors_read_header(s, (uint32_t)file, e);
}

const struct format format_checkpoint = {.name = "checkpoint", .probe = probe, .open = open_folder};
