/* SPDX-License-Identifier: MIT
 * Names of a split GGUF. */
#include "formats/gguf_split.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

static const char suffix[] = ".gguf";
static const char form[] = "-ddddd-of-ddddd.gguf";
enum { SUFFIX = sizeof suffix - 1, FORM = sizeof form - 1 };

/* Length of `path` before what makes it a part's name, or 0. */
static size_t stem_of_part(const char *path)
{
    size_t n = strlen(path);
    if (n <= FORM)
        return 0;
    for (size_t i = 0; i < FORM; i++) {
        char is = path[n - FORM + i];
        if (form[i] == 'd' ? is < '0' || is > '9' : is != form[i])
            return 0;
    }
    return n - FORM;
}

static size_t stem_of_whole(const char *path)
{
    size_t n = strlen(path);
    return n > SUFFIX && !strcmp(path + n - SUFFIX, suffix) ? n - SUFFIX : n;
}

char *gguf_split_whole(const char *path)
{
    size_t stem = stem_of_part(path);
    char *whole = stem ? strndup(path, stem + SUFFIX) : NULL;
    if (whole)
        memcpy(whole + stem, suffix, SUFFIX);
    return whole;
}

char *gguf_split_part(const char *whole, uint64_t no, uint64_t count)
{
    size_t stem = stem_of_whole(whole), room = stem + 64;
    char *name = malloc(room);
    if (name)
        snprintf(name, room, "%.*s-%05" PRIu64 "-of-%05" PRIu64 "%s", (int)stem, whole, no, count, suffix);
    return name;
}

/* How many parts the split has whose first part is there; 0 for none, -1 when there are several such splits. */
static long count_in(DIR *dir, const char *stem, size_t n)
{
    long count = 0;
    for (struct dirent *d; (d = readdir(dir));) {
        if (stem_of_part(d->d_name) != n || memcmp(d->d_name, stem, n) || strncmp(d->d_name + n, "-00001-of-", 10))
            continue;
        if (count)
            return -1;
        count = strtol(d->d_name + n + 10, NULL, 10);
    }
    return count;
}

int gguf_split_find(const char *whole, char **part, struct error *e)
{
    const char *name = io_base_name(whole);
    char *folder = io_folder(whole);
    DIR *dir = folder ? opendir(folder) : NULL;
    long count = dir ? count_in(dir, name, stem_of_whole(name)) : 0;
    int rc = 0;
    *part = NULL;
    if (count < 0) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "it does not exist, and first parts of several splits of this name do: name one");
        rc = error_at_file(e, whole);
    } else if (!folder || (count > 0 && !(*part = gguf_split_part(whole, 1, (uint64_t)count)))) {
        rc = error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    }
    if (dir)
        closedir(dir);
    free(folder);
    return rc;
}
