/* SPDX-License-Identifier: MIT
 * TAP producer and the helpers of all tests. Shares no code with pare. */
#include "tests/tap.h"

#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TIMEOUT_SECONDS = 300 };

static int planned = -1, count, failed;

__attribute__((constructor)) static void start(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0); /* what is printed survives a crash */
    alarm(TIMEOUT_SECONDS);
}

void plan(int n)
{
    printf("1..%d\n", n);
    planned = n;
}

/* Titles hold no newline and no '#', which would begin a directive. */
static void print_title(const char *fmt, va_list ap)
{
    char title[1024];
    vsnprintf(title, sizeof title, fmt, ap);
    for (char *c = title; *c; c++)
        if (*c == '\n' || *c == '#')
            *c = ' ';
    printf(" %d - %s", count, title);
}

int tap_ok(int passed, const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    count++;
    failed += !passed;
    printf(passed ? "ok" : "not ok");
    va_start(ap, fmt);
    print_title(fmt, ap);
    va_end(ap);
    putchar('\n');
    if (!passed)
        printf("#   failed at %s:%d\n", file, line);
    return passed;
}

void skip(const char *reason, const char *fmt, ...)
{
    va_list ap;
    count++;
    printf("ok");
    va_start(ap, fmt);
    print_title(fmt, ap);
    va_end(ap);
    printf(" # SKIP %s\n", reason);
}

void note(const char *fmt, ...)
{
    va_list ap;
    printf("#   ");
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

void bail(const char *fmt, ...)
{
    va_list ap;
    printf("Bail out! ");
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    exit(1);
}

int done(void)
{
    if (planned < 0)
        printf("1..%d\n", count);
    else if (planned != count)
        printf("#   planned %d tests, ran %d\n", planned, count);
    if (fflush(stdout) || ferror(stdout))
        return 1;
    return failed || count == 0 || (planned >= 0 && planned != count);
}

static char folder[512];
static pid_t folder_owner;

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_folder(void)
{
    if (getpid() == folder_owner) /* not in a forked child */
        nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *tmp_folder(void)
{
    const char *base = getenv("TMPDIR");
    if (folder[0])
        return folder;
    snprintf(folder, sizeof folder, "%s/pare-test.XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(folder))
        bail("cannot make %s: %s", folder, strerror(errno));
    folder_owner = getpid();
    atexit(remove_folder);
    return folder;
}

const char *tmp_path(const char *name)
{
    static struct kept { /* reachable to the end, so that leak checkers see no leak */
        struct kept *next;
        char path[];
    } *all;
    size_t n = strlen(tmp_folder()) + strlen(name) + 2;
    struct kept *k = malloc(sizeof *k + n);
    if (!k)
        bail("out of memory");
    snprintf(k->path, n, "%s/%s", folder, name);
    k->next = all;
    all = k;
    return k->path;
}

const char *tmp_subfolder(const char *name)
{
    const char *path = tmp_path(name);
    if (mkdir(path, 0777))
        bail("cannot make %s: %s", path, strerror(errno));
    return path;
}

void write_file(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || (n && fwrite(bytes, 1, n, f) != n) || fclose(f))
        bail("cannot write %s: %s", path, strerror(errno));
}

char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    struct stat st;
    char *text = NULL;
    if (!f)
        return NULL;
    if (fstat(fileno(f), &st) || !(text = malloc((size_t)st.st_size + 1)) ||
        (*n = fread(text, 1, (size_t)st.st_size, f)) != (size_t)st.st_size)
        bail("cannot read %s", path);
    text[*n] = '\0';
    fclose(f);
    return text;
}

uint64_t rng_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

double rng_uniform(uint64_t *state)
{
    return (double)(rng_next(state) >> 11) * 0x1p-53;
}

float rng_gauss(uint64_t *state)
{
    double sum = -6;
    for (int i = 0; i < 12; i++)
        sum += rng_uniform(state);
    return (float)sum;
}
