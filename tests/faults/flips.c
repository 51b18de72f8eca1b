/* SPDX-License-Identifier: MIT
 * flips: turns single bits of a file over and runs a command that must find it. For each case the folder BASE is copied to WORK
 * and a bit of WORK/NAME is flipped; '@' in the command's words is WORK.
 *   check   the command must exit with 1 or 3
 *   resume  the command goes on with a run whose journal was hit: it must end with 0 and leave WORK/OUT as it is in the reference,
 *           or refuse with 3, in one line, and leave nothing by the name of OUT
 * The bits are random ones of bytes FROM .. TO (default: the whole file), or with -a all of them. Prints a line per case that
 * went unnoticed, and a summary. Exit: 0 all held, 1 not, 2 usage or a broken environment. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tap.h"

enum { MAX_FILES = 32, MAX_WORDS = 64, PATH = 4096, TIMEOUT_SECONDS = 60 };

static struct {
    const char *mode, *base, *work, *name, *reference, *out;
    unsigned long cases, seed, from, to;
    int all;
    char **command;
} opt = {.cases = 1, .seed = 1, .to = (unsigned long)-1};

static struct file {
    char name[256];
    char *bytes;
    size_t size;
    struct timespec times[2];
} files[MAX_FILES];
static size_t n_files;
static char said[PATH];
static unsigned long n_refused, n_bad;

static void give_up(const char *what)
{
    fprintf(stderr, "flips: %s: %s\n", what, strerror(errno));
    exit(2);
}

static const char *path_of(const char *folder, const char *name)
{
    static char paths[4][3 * PATH];
    static int turn;
    char *p = paths[turn++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", folder, name);
    return p;
}

static void read_base(void)
{
    struct stat st;
    DIR *d = opendir(opt.base);
    if (!d)
        give_up(opt.base);
    for (struct dirent *e; (e = readdir(d)) && n_files < MAX_FILES;) {
        struct file *f = &files[n_files];
        const char *path = path_of(opt.base, e->d_name);
        if (stat(path, &st) || !S_ISREG(st.st_mode))
            continue;
        snprintf(f->name, sizeof f->name, "%s", e->d_name);
        f->times[0] = st.st_atim, f->times[1] = st.st_mtim;
        if (!(f->bytes = read_file(path, &f->size)))
            give_up(path);
        n_files++;
    }
    closedir(d);
}

static void empty_work(void)
{
    DIR *d;
    if ((mkdir(opt.work, 0777) && errno != EEXIST) || !(d = opendir(opt.work)))
        give_up(opt.work);
    for (struct dirent *e; (e = readdir(d));)
        unlink(path_of(opt.work, e->d_name));
    closedir(d);
}

static void fill_work(void)
{
    empty_work();
    for (size_t i = 0; i < n_files; i++) {
        const char *path = path_of(opt.work, files[i].name);
        write_file(path, files[i].bytes, files[i].size);
        if (utimensat(AT_FDCWD, path, files[i].times, 0))
            give_up(path);
    }
}

static int run(void)
{
    char *words[MAX_WORDS];
    int status, n = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        for (; opt.command[n] && n < MAX_WORDS - 1; n++) {
            char *at = strchr(words[n] = opt.command[n], '@');
            if (at && asprintf(&words[n], "%.*s%s%s", (int)(at - opt.command[n]), opt.command[n], opt.work, at + 1) < 0)
                _exit(125);
        }
        words[n] = NULL;
        int fd = open(said, O_WRONLY | O_CREAT | O_TRUNC, 0666), null = open("/dev/null", O_WRONLY);
        if (fd < 0 || null < 0 || dup2(null, 1) < 0 || dup2(fd, 2) < 0)
            _exit(125);
        alarm(TIMEOUT_SECONDS);
        execv(words[0], words);
        _exit(125);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        give_up("command");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* "note:" lines aside. */
static unsigned lines_said(void)
{
    size_t n;
    unsigned lines = 0;
    char *text = read_file(said, &n);
    for (char *line = text, *end; line && (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        lines += !strstr(line, " note: ");
    }
    free(text);
    return lines;
}

static int same_as_reference(void)
{
    size_t n, m;
    char *is = read_file(path_of(opt.work, opt.out), &n), *want = read_file(path_of(opt.reference, opt.out), &m);
    if (!want)
        give_up(opt.reference);
    int same = is && n == m && !memcmp(is, want, n);
    free(is);
    free(want);
    return same;
}

/* NULL when all is well. */
static const char *judge(int rc)
{
    if (!strcmp(opt.mode, "check"))
        return rc == 1 || rc == 3 ? NULL : "not found";
    if (rc == 0)
        return same_as_reference() ? NULL : "wrong bytes";
    if (rc != 3)
        return "neither done nor refused";
    n_refused++;
    return !access(path_of(opt.work, opt.out), F_OK) ? "refused, but the output is there" : lines_said() != 1 ? "not one line" : NULL;
}

static void one_case(struct file *f, unsigned long bit)
{
    f->bytes[bit / 8] = (char)((unsigned char)f->bytes[bit / 8] ^ 1u << bit % 8);
    fill_work();
    f->bytes[bit / 8] = (char)((unsigned char)f->bytes[bit / 8] ^ 1u << bit % 8);
    int rc = run();
    const char *wrong = judge(rc);
    if (wrong) {
        printf("%s, byte %lu, bit %lu: %s (%d)\n", f->name, bit / 8, bit % 8, wrong, rc);
        n_bad++;
    }
}

static int usage(void)
{
    fputs("usage: flips check|resume -b BASE -w WORK -f NAME [-n CASES] [-x SEED] [-a] [-r FROM:TO] [-R REFERENCE -o OUT]\n"
          "             -- PROGRAM WORD...\n", stderr);
    return 2;
}

static int read_options(int argc, char **argv)
{
    int c;
    opt.mode = argc > 1 ? argv[1] : "";
    optind = 2;
    while ((c = getopt(argc, argv, "b:w:f:n:x:r:R:o:a")) != -1)
        switch (c) {
        case 'b': opt.base = optarg; break;
        case 'w': opt.work = optarg; break;
        case 'f': opt.name = optarg; break;
        case 'n': opt.cases = strtoul(optarg, NULL, 10); break;
        case 'x': opt.seed = strtoul(optarg, NULL, 10); break;
        case 'r': if (sscanf(optarg, "%lu:%lu", &opt.from, &opt.to) != 2) return -1; break;
        case 'R': opt.reference = optarg; break;
        case 'o': opt.out = optarg; break;
        case 'a': opt.all = 1; break;
        default: return -1;
        }
    opt.command = argv + optind;
    int resume = !strcmp(opt.mode, "resume");
    return (resume || !strcmp(opt.mode, "check")) && opt.base && opt.work && opt.name && optind < argc &&
                   (!resume || (opt.reference && opt.out)) ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct file *f = NULL;
    alarm(0); /* the limit of tests/tap.c; each command has its own */
    if (read_options(argc, argv))
        return usage();
    read_base();
    for (size_t i = 0; i < n_files; i++)
        f = strcmp(files[i].name, opt.name) ? f : &files[i];
    if (!f)
        give_up(opt.name);
    snprintf(said, sizeof said, "%s.stderr", opt.work);
    opt.to = opt.to < f->size ? opt.to : f->size;
    if (opt.from >= opt.to)
        give_up("no byte in this range");
    fill_work();
    int rc = run();
    if (rc) {
        fprintf(stderr, "flips: without a flip the command ends with %d\n", rc);
        return 2;
    }
    unsigned long bits = 8 * (opt.to - opt.from), cases = opt.all ? bits : opt.cases;
    uint64_t state = opt.seed;
    for (unsigned long i = 0; i < cases; i++)
        one_case(f, 8 * opt.from + (opt.all ? i : (unsigned long)(rng_next(&state) % bits)));
    printf("%lu flips, %lu unnoticed; %lu refused\n", cases, n_bad, n_refused);
    return n_bad != 0;
}
