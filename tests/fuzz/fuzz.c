/* SPDX-License-Identifier: MIT
 * Files and common rules of the fuzz targets. */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES = 16 }; /* a target uses a handful of names */

static char folder[512];
static pid_t owner;

void fuzz_broken(const char *file, int line, const char *rule)
{
    fprintf(stderr, "%s:%d: broken: %s\n", file, line, rule);
    abort();
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_folder(void)
{
    if (getpid() == owner) /* not in a forked child */
        nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_folder(void)
{
    const char *tmp = getenv("TMPDIR"), *bases[] = {"/dev/shm", tmp && *tmp ? tmp : "/tmp"};
    for (int i = 0; i < 2 && !owner; i++) {
        snprintf(folder, sizeof folder, "%s/pare-fuzz.XXXXXX", bases[i]);
        if (mkdtemp(folder)) {
            owner = getpid();
            atexit(remove_folder);
        }
    }
    must(owner);
    return folder;
}

const char *fuzz_path(const char *name)
{
    static char *paths[FILES];
    size_t i = 0, at = strlen(fuzz_folder()) + 1;
    while (i < FILES && paths[i] && strcmp(paths[i] + at, name))
        i++;
    must(i < FILES);
    if (!paths[i]) {
        must(paths[i] = malloc(at + strlen(name) + 1));
        sprintf(paths[i], "%s/%s", folder, name);
    }
    return paths[i];
}

const char *fuzz_subfolder(const char *name)
{
    const char *path = fuzz_path(name);
    mkdir(path, 0700);
    return path;
}

const char *fuzz_file(const char *name, const void *bytes, size_t n)
{
    const char *path = fuzz_path(name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0);
    must(!n || write(fd, bytes, n) == (ssize_t)n);
    close(fd);
    return path;
}

void fuzz_must_say(const struct error *e)
{
    char line[1024];
    must(e->code == ERR_FORMAT || e->code == ERR_UNSUPPORTED);
    must(e->text[0]);
    must(memchr(e->text, 0, sizeof e->text) && memchr(e->file, 0, sizeof e->file) && memchr(e->tensor, 0, sizeof e->tensor));
    error_line(e, line, sizeof line);
    for (const unsigned char *c = (const unsigned char *)line; *c; c++)
        must(*c >= 0x20 && *c != 0x7f);
}

static void tensor_must_hold(const struct source *s, const struct tensor *t)
{
    uint64_t bytes;
    must(t->name && t->type && t->n_dims <= TENSOR_MAX_DIMS && t->file < s->n_files);
    must(!tensor_size(t, &bytes, NULL) && bytes == t->bytes);
    must(t->offset <= s->files[t->file].size && t->bytes <= s->files[t->file].size - t->offset);
    must(source_find(s, t->name) == t);
}

void fuzz_must_hold(const struct source *s)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < s->n_tensors; i++) {
        uint8_t byte;
        const struct tensor *t = &s->tensors[i];
        tensor_must_hold(s, t);
        must(!i || strcmp(t[-1].name, t->name) < 0);
        must(!t->bytes || !source_read(s, t, t->bytes - 1, &byte, 1, NULL));
        sum += t->bytes;
    }
    must(sum == s->tensor_bytes);
}
