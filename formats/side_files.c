/* SPDX-License-Identifier: MIT
 * Side files: what a model has beside its weights, as files of a folder or as members of a pack. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "formats/pack.h"
#include "formats/source.h"

enum { MAX_SIDES = 4096 };

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

/* A pack's: its bytes must be those of their hash, since nothing else would tell. */
static int from_pack(const struct source *s, const struct pack_side *side, uint64_t max, char **text, size_t *size, struct error *e)
{
    uint64_t high, low;
    char is[HASH_TEXT];
    struct hash *h;
    if (side->size > max) {
        error_set(e, ERR_FORMAT, side->offset, "'%.120s' of more than %llu bytes", side->name, (unsigned long long)max);
        return error_at_file(e, s->files[side->file].path);
    }
    char *bytes = malloc((size_t)side->size + 1);
    if (!bytes || !(h = hash_new())) {
        free(bytes);
        return no_memory(e);
    }
    *size = (size_t)side->size;
    bytes[*size] = '\0';
    int rc = io_read(&s->files[side->file], side->offset, bytes, *size, e);
    hash_add(h, bytes, rc ? 0 : *size);
    hash_finish_128(h, &high, &low);
    hash_text(high, low, is);
    if (!rc && strcmp(is, side->sum.hash)) {
        rc = error_set(e, ERR_FORMAT, side->offset, "the bytes of '%.120s' are not those of their hash", side->name);
        error_at_file(e, s->files[side->file].path);
    }
    if (rc)
        free(bytes);
    else
        *text = bytes;
    return rc ? -1 : 1;
}

int source_side_file(const struct source *s, const char *name, uint64_t max, char **text, size_t *size, struct error *e)
{
    for (size_t i = 0; s->pack && i < s->pack->n_sides; i++)
        if (!strcmp(s->pack->sides[i].name, name))
            return from_pack(s, &s->pack->sides[i], max, text, size, e);
    if (!s->is_folder)
        return 0;
    char *path = io_join(s->path, name);
    if (!path)
        return no_memory(e);
    int kind, rc = io_look(path, &kind, e);
    if (!rc && kind)
        rc = io_read_all(path, max, text, size, e) ? -1 : 1;
    free(path);
    return rc;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* 1, 0 or -1: one that cannot be looked at is not left out in silence. */
static int is_file_in(const char *folder, const char *name, struct error *e)
{
    char *path = io_join(folder, name);
    int kind, rc = path ? io_look(path, &kind, e) : no_memory(e);
    free(path);
    return rc ? -1 : kind == 1;
}

static int of_folder(const struct source *s, struct arena *a, const char **names, size_t *n, struct error *e)
{
    DIR *d = opendir(s->path);
    int rc = 0;
    if (!d)
        return io_error(e, "list", s->path, ERROR_NO_OFFSET);
    for (const struct dirent *entry; !rc && (entry = readdir(d));) {
        int is = is_file_in(s->path, entry->d_name, e);
        if (is <= 0) {
            rc = is;
            continue;
        }
        if (*n == MAX_SIDES)
            rc = error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "more than %d files in the folder", MAX_SIDES);
        else if (!(names[(*n)++] = arena_copy(a, entry->d_name, strlen(entry->d_name))))
            rc = no_memory(e);
    }
    closedir(d);
    return rc;
}

int source_side_names(const struct source *s, struct arena *a, const char ***names, size_t *n, struct error *e)
{
    *n = 0;
    if (!(*names = arena_array(a, (s->pack ? s->pack->n_sides : MAX_SIDES) + 1, sizeof **names)))
        return no_memory(e);
    for (size_t i = 0; s->pack && i < s->pack->n_sides; i++)
        (*names)[(*n)++] = s->pack->sides[i].name;
    if (s->is_folder && of_folder(s, a, *names, n, e))
        return -1;
    qsort(*names, *n, sizeof **names, compare); /* the system's order is no order */
    return 0;
}
