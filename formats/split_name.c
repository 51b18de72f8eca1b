/* SPDX-License-Identifier: MIT
 * Names of a split file. */
#include "formats/split_name.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

static const char *const suffixes[] = {".gguf", ".tar", NULL};
static const char form[] = "-ddddd-of-ddddd";
enum { FORM = sizeof form - 1 };

/* Length of `path` before its suffix, and that; all of it and NULL where it has none that splits have. */
static size_t stem_of_whole(const char *path, const char **suffix)
{
    size_t n = strlen(path);
    for (int i = 0; suffixes[i]; i++) {
        size_t k = strlen(suffixes[i]);
        if (n > k && !strcmp(path + n - k, suffixes[i])) {
            *suffix = suffixes[i];
            return n - k;
        }
    }
    *suffix = NULL;
    return n;
}

/* Length of `path` before what makes it a part's name, or 0. */
static size_t stem_of_part(const char *path, const char **suffix)
{
    size_t n = stem_of_whole(path, suffix);
    if (!*suffix || n <= FORM)
        return 0;
    for (size_t i = 0; i < FORM; i++) {
        char is = path[n - FORM + i];
        if (form[i] == 'd' ? is < '0' || is > '9' : is != form[i])
            return 0;
    }
    return n - FORM;
}

char *split_whole(const char *path)
{
    const char *suffix;
    size_t stem = stem_of_part(path, &suffix);
    char *whole = stem ? strndup(path, stem + strlen(suffix)) : NULL;
    if (whole)
        memcpy(whole + stem, suffix, strlen(suffix));
    return whole;
}

char *split_part(const char *whole, uint64_t no, uint64_t count, const char *suffix)
{
    const char *has;
    size_t stem = stem_of_whole(whole, &has), room = strlen(whole) + 64;
    char *name = malloc(room);
    if (has && strcmp(has, suffix))
        stem = strlen(whole);
    if (name)
        snprintf(name, room, "%.*s-%05" PRIu64 "-of-%05" PRIu64 "%s", (int)stem, whole, no, count, suffix);
    return name;
}

/* How many parts the split has whose first part is there, and its suffix; 0 for none, -1 when there are several such splits. */
static long count_in(DIR *dir, const char *stem, size_t n, const char *wanted, const char **suffix)
{
    const char *is;
    long count = 0;
    for (struct dirent *d; (d = readdir(dir));) {
        if (stem_of_part(d->d_name, &is) != n || memcmp(d->d_name, stem, n) || strncmp(d->d_name + n, "-00001-of-", 10) ||
            (wanted && strcmp(wanted, is)))
            continue;
        if (count)
            return -1;
        count = strtol(d->d_name + n + 10, NULL, 10);
        *suffix = is;
    }
    return count;
}

int split_find(const char *whole, char **part, struct error *e)
{
    const char *name = io_base_name(whole), *wanted, *suffix = NULL;
    size_t stem = stem_of_whole(name, &wanted);
    char *folder = io_folder(whole);
    DIR *dir = folder ? opendir(folder) : NULL;
    long count = dir ? count_in(dir, name, stem, wanted, &suffix) : 0;
    int rc = 0;
    *part = NULL;
    if (count < 0) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "it does not exist, and first parts of several splits of this name do: name one");
        rc = error_at_file(e, whole);
    } else if (!folder || (count > 0 && !(*part = split_part(whole, 1, (uint64_t)count, suffix)))) {
        rc = error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    }
    if (dir)
        closedir(dir);
    free(folder);
    return rc;
}
