/* SPDX-License-Identifier: MIT
 * drive: runs one job over and over, each time with another fault, kill or power cut, and judges what is left. A run with
 * a fault, then the same command without one, takes some milliseconds: thousands of cases are nothing, but for a shell.
 *
 * In the job's words '@' is the case's own folder. What a job may leave is judged by two folders: the reference, what an
 * undisturbed run makes, and the base, what lay there before (a finished output that --force may replace). At all times:
 *   - a file of the reference is missing, or whole and new, or whole and old; and not one new while another is old (unless -M
 *     says that the base is the job's source, which it uses up);
 *   - run again without a fault, the job ends with 0 and leaves the reference, byte for byte, and nothing else.
 * Prints a line per broken rule, and a summary. Exit: 0 all held, 1 not, 2 usage or a broken environment. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/tap.h"

enum { MAX_FILES = 64, MAX_ARGS = 64, PATH = 4096, TIMEOUT_SECONDS = 60 };
enum expectation { ANY, MUST_FAIL, MUST_PASS, MUST_KEEP };

struct file {
    char name[256];
    char *bytes;
    size_t size;
};

struct folder {
    struct file files[MAX_FILES];
    size_t n;
};

static struct {
    const char *mode, *work, *reference, *base, *preload, *source, *powercut;
    const char *classes, *action, *times;
    enum expectation expect;
    unsigned long first, step, cases, seed, workers;
    int mixed; /* new and old files may lie side by side */
    int twice; /* strike the second run too */
    char **job;
} opt = {.work = "", .times = "1", .first = 1, .step = 1, .cases = ULONG_MAX, .seed = 1, .workers = 1};

static struct folder reference, base;

/* one worker's */
static char home[PATH], case_name[256], counts_path[PATH + 16], output_path[PATH + 16], errors_path[PATH + 16];
static unsigned long n_run, n_struck, n_bad, n_reused, n_journaled, n_ended;

static void give_up(const char *what)
{
    fprintf(stderr, "drive: %s: %s\n", what, strerror(errno));
    exit(2);
}

static char *path_of(const char *folder, const char *name)
{
    static char paths[4][2 * PATH];
    static int turn;
    char *p = paths[turn++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", folder, name);
    return p;
}

static void broken(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void broken(const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    printf("%s: %s\n", case_name, line);
    n_bad++;
}

/* ---- folders ---- */

static int read_folder(const char *path, struct folder *f, int with_bytes)
{
    DIR *d = opendir(path);
    *f = (struct folder){.n = 0};
    if (!d)
        return -1;
    for (struct dirent *e; (e = readdir(d)) && f->n < MAX_FILES;) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        struct file *one = &f->files[f->n++];
        snprintf(one->name, sizeof one->name, "%s", e->d_name);
        if (with_bytes)
            one->bytes = read_file(path_of(path, e->d_name), &one->size);
    }
    closedir(d);
    return 0;
}

static const struct file *find(const struct folder *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (!strcmp(f->files[i].name, name))
            return &f->files[i];
    return NULL;
}

static void empty_folder(const char *path)
{
    struct folder f;
    if (mkdir(path, 0777) && errno != EEXIST)
        give_up(path);
    read_folder(path, &f, 0);
    for (size_t i = 0; i < f.n; i++)
        unlink(path_of(path, f.files[i].name));
}

/* A journal holds its source's files to their times: those of a folder that is made here are all the same. */
static void set_time(const char *path)
{
    const struct timespec times[2] = {{.tv_sec = 1600000000}, {.tv_sec = 1600000000}};
    if (utimensat(AT_FDCWD, path, times, 0))
        give_up(path);
}

static void fill_folder(const char *path, const struct folder *f)
{
    empty_folder(path);
    for (size_t i = 0; i < f->n; i++) {
        write_file(path_of(path, f->files[i].name), f->files[i].bytes, f->files[i].size);
        set_time(path_of(path, f->files[i].name));
    }
}

static int same_bytes(const char *path, const struct file *want)
{
    static char buffer[1 << 16];
    struct stat st;
    int fd = want ? open(path, O_RDONLY | O_CLOEXEC) : -1, same = fd >= 0 && !fstat(fd, &st) && (size_t)st.st_size == want->size;
    for (size_t at = 0; same && at < want->size;) {
        ssize_t n = read(fd, buffer, sizeof buffer);
        same = n > 0 && !memcmp(buffer, want->bytes + at, (size_t)n);
        at += n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0)
        close(fd);
    return same;
}

/* ---- runs ---- */

struct fault {
    const char *classes, *action, *times, *log;
    unsigned long at;
};

static void set_number(const char *name, unsigned long value)
{
    char text[32];
    snprintf(text, sizeof text, "%lu", value);
    setenv(name, text, 1);
}

static void set_environment(const struct fault *f)
{
    char roots[3 * PATH];
    snprintf(roots, sizeof roots, "%s:%s", home, opt.source ? opt.source : "");
    setenv("FAULT_ROOT", roots, 1);
    setenv("FAULT_COUNT", counts_path, 1);
    if (opt.preload)
        setenv("LD_PRELOAD", opt.preload, 1);
    if (f->classes)
        setenv("FAULT_CLASS", f->classes, 1);
    if (f->action)
        setenv("FAULT_DO", f->action, 1);
    if (f->times)
        setenv("FAULT_TIMES", f->times, 1);
    if (f->log)
        setenv("FAULT_LOG", f->log, 1);
    set_number("FAULT_AT", f->at);
}

/* The job's words with '@' replaced, then `extra`. */
static void make_words(char **words, const char *extra)
{
    int n = 0;
    for (; opt.job[n] && n < MAX_ARGS - 2; n++) {
        char *at = strchr(opt.job[n], '@');
        words[n] = opt.job[n];
        if (at && asprintf(&words[n], "%.*s%s%s", (int)(at - opt.job[n]), opt.job[n], home, at + 1) < 0)
            give_up("memory");
    }
    if (extra)
        words[n++] = (char *)extra;
    words[n] = NULL;
}

static void redirect(const char *path, int to)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0 || dup2(fd, to) < 0)
        _exit(125);
    close(fd);
}

/* Starts the job; fault NULL: undisturbed. */
static pid_t start(const struct fault *f, const char *extra)
{
    char *words[MAX_ARGS];
    fflush(stdout);
    pid_t pid = fork();
    if (pid)
        return pid;
    redirect(output_path, 1);
    redirect(errors_path, 2);
    make_words(words, extra);
    if (f)
        set_environment(f);
    alarm(TIMEOUT_SECONDS); /* survives exec: a job that hangs dies by SIGALRM */
    execv(words[0], words);
    _exit(125);
}

/* Exit status, or 1000 + signal. */
static int finish(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            give_up("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int run(const struct fault *f, const char *extra)
{
    unlink(counts_path);
    return finish(start(f, extra));
}

/* "NAME NUMBER" in the counts, or "NAME": NUMBER in JSON; -1: not there. */
static long number_in(const char *path, const char *name, const char *after)
{
    size_t n;
    char *text = read_file(path, &n), *at = text ? strstr(text, name) : NULL;
    long value = at && !strncmp(at + strlen(name), after, strlen(after)) ? strtol(at + strlen(name) + strlen(after), NULL, 10) : -1;
    free(text);
    return value;
}

static long struck(void)
{
    return number_in(counts_path, "struck", " ");
}

static unsigned long calls_of(const char *classes)
{
    static const char *const names[] = {"open",  "read", "write", "sync", "truncate", "rename", "unlink",
                                        "close", "stat", "lock",  "hint", "alloc",    "thread"};
    unsigned long n = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *at = strstr(classes, names[i]);
        long calls = at || (!strcmp(classes, "any") && i < 11) ? number_in(counts_path, names[i], " ") : 0;
        n += calls > 0 ? (unsigned long)calls : 0;
    }
    return n;
}

/* ---- judging ---- */

/* Every final name: missing, new or old, never both kinds. Returns whether all are new. */
static int judge_names(const char *when)
{
    size_t n_new = 0, n_old = 0;
    for (size_t i = 0; i < reference.n; i++) {
        const char *name = reference.files[i].name, *path = path_of(home, name);
        struct stat st;
        if (lstat(path, &st))
            continue;
        int is_new = same_bytes(path, &reference.files[i]), is_old = !is_new && same_bytes(path, find(&base, name));
        n_new += (size_t)is_new;
        n_old += (size_t)is_old;
        if (!is_new && !is_old)
            broken("%s: '%s' is neither old nor new", when, name);
    }
    if (n_new && n_old && !opt.mixed)
        broken("%s: new files beside old ones", when);
    return n_new == reference.n;
}

/* Files that are no final ones. */
static int strangers(char *names, size_t size)
{
    struct folder f;
    int n = 0;
    names[0] = '\0';
    read_folder(home, &f, 0);
    for (size_t i = 0; i < f.n; i++)
        if (!find(&reference, f.files[i].name)) {
            snprintf(names + strlen(names), size - strlen(names), " %.64s", f.files[i].name);
            n++;
        }
    return n;
}

static void first_line(char *line, size_t size)
{
    size_t n;
    char *text = read_file(errors_path, &n);
    snprintf(line, size, "%.*s", text ? (int)strcspn(text, "\n") : 0, text ? text : "");
    free(text);
}

/* Whether the job is done, to the last unlink. Of a source that was used up a kill may leave stand-ins, not after the end. */
static int is_over(const char *when)
{
    char names[1024];
    if (!judge_names(when))
        return 0;
    return !strangers(names, sizeof names) || (opt.mixed && !strstr(names, ".journal") && !strstr(names, ".partial"));
}

/* The same command without a fault must end the job. */
static void settle(const char *when)
{
    char names[1024], line[512];
    if (is_over(when))
        return;
    int rc = run(NULL, NULL);
    first_line(line, sizeof line);
    if (rc)
        broken("%s: run again without a fault it ends with %d: %s", when, rc, line);
    if (!judge_names("run again") && !rc)
        broken("%s: run again without a fault it does not leave the reference", when);
    if (!rc && strangers(names, sizeof names))
        broken("%s: run again without a fault it leaves%s", when, names);
}

static const char *code_text(void)
{
    static const struct {
        const char *name;
        int code;
    } codes[] = {{"EIO", EIO},       {"ENOSPC", ENOSPC}, {"full", ENOSPC},   {"EDQUOT", EDQUOT}, {"ENOMEM", ENOMEM},
                 {"EAGAIN", EAGAIN}, {"ENOLCK", ENOLCK}, {"EACCES", EACCES}, {"EMFILE", EMFILE}, {"EINTR", EINTR}};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (!strcmp(opt.action, codes[i].name))
            return strerror(codes[i].code);
    return "";
}

/* The ways to say ENOMEM; of a thread's memory the system says EAGAIN. */
static int is_memory(const char *text)
{
    return !strcmp(opt.action, "ENOMEM") &&
           (strstr(text, "out of memory") || (strstr(text, "thread") && strstr(text, strerror(EAGAIN))));
}

/* One line on stderr that names the errno. */
static void judge_message(void)
{
    size_t n, lines = 0;
    char *text = read_file(errors_path, &n);
    for (size_t i = 0; text && i < n; i++)
        lines += text[i] == '\n';
    if (lines != 1)
        broken("%zu lines on stderr: %.200s", lines, text ? text : "");
    else if (text[n - 1] = '\0', !strstr(text, code_text()) && !is_memory(text))
        broken("no '%s' in: %.200s", code_text(), text);
    free(text);
}

/* ---- faults ---- */

/* Without --force an output that is there stays, whatever fails. */
static void kept_case(int rc)
{
    char names[1024];
    if (rc != 2 && rc != 4)
        broken("ends with %d, although the output is there", rc);
    for (size_t i = 0; i < base.n; i++)
        if (!same_bytes(path_of(home, base.files[i].name), &base.files[i]))
            broken("'%s' is no longer what it was", base.files[i].name);
    if (strangers(names, sizeof names))
        broken("leaves%s", names);
}


static void fault_case(unsigned long n)
{
    struct fault f = {opt.classes, opt.action, opt.times, NULL, n};
    char names[1024], line[512];
    fill_folder(home, &base);
    int rc = run(&f, NULL);
    n_run++;
    if (rc == 0 && struck() == 0)
        return; /* fewer calls than in the counting run: threads */
    n_struck++;
    if (opt.expect == MUST_KEEP) {
        kept_case(rc);
        return;
    }
    first_line(line, sizeof line);
    /* libarchive ends the process itself when a short text of its own finds no memory; what must hold of files holds then, too */
    if (rc != 0 && rc != 4 && !(rc == 1 && !strcmp(opt.action, "ENOMEM") && strstr(line, "Fatal Internal Error in libarchive")))
        broken("ends with %d: %s", rc, line);
    if (rc == 0 && opt.expect == MUST_FAIL)
        broken("ends with 0, as if nothing had happened");
    if (rc != 0 && opt.expect == MUST_PASS)
        broken("ends with %d: %s", rc, line);
    if (rc == 4)
        judge_message();
    int complete = judge_names("after the fault");
    if (rc == 0 && !complete)
        broken("ends with 0, but its files differ from the reference");
    if (rc == 0 && strangers(names, sizeof names))
        broken("leaves%s", names);
    settle("after the fault");
}

/* ---- kills ---- */

static char *job_output(void)
{
    static char path[2 * PATH];
    char *words[MAX_ARGS];
    make_words(words, NULL);
    for (int i = 0; words[i]; i++)
        if (!strcmp(words[i], "-o") && words[i + 1])
            snprintf(path, sizeof path, "%s", words[i + 1]);
    return path;
}

/* "PROGRAM status OUT --json": a number of its report, or -1. */
static long status_number(const char *key)
{
    char quoted[64];
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        redirect(output_path, 1);
        redirect(errors_path, 2);
        execl(opt.job[0], opt.job[0], "status", job_output(), "--json", (char *)NULL);
        _exit(125);
    }
    int rc = finish(pid);
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    return rc ? -1 : number_in(output_path, quoted, ": ");
}

/* Resumes by the same command and holds what it reused against what was journaled. */
static void resume(void)
{
    if (is_over("after the kill"))
        return;
    long journaled = status_number("units_done");
    int rc = run(NULL, "--json");
    long reused = number_in(output_path, "\"units_reused\"", ": ");
    if (rc == 0 && journaled > 0) {
        n_journaled += (unsigned long)journaled;
        n_reused += reused > 0 ? (unsigned long)reused : 0;
        if (reused * 100 < journaled * 95)
            broken("%ld units were journaled, %ld reused", journaled, reused);
    }
    if (rc)
        broken("the resumed run ends with %d", rc);
    settle("after the resume");
}

static void kill_again(unsigned long n)
{
    uint64_t state = opt.seed ^ n << 20;
    struct fault f = {opt.classes, opt.action, "1", NULL, rng_next(&state) % 64 + 1};
    int rc = run(&f, NULL);
    if (rc && rc != 1000 + SIGKILL)
        broken("the second run ends with %d", rc);
}

static void kill_case(unsigned long n)
{
    struct fault f = {opt.classes, opt.action, "1", NULL, n};
    fill_folder(home, &base);
    int rc = run(&f, NULL);
    n_run++;
    if (rc == 0)
        return;
    n_struck++;
    if (rc != 1000 + SIGKILL)
        broken("ends with %d instead of by SIGKILL", rc);
    if (opt.twice && !is_over("after the kill"))
        kill_again(n);
    resume();
}

/* ---- kills at random moments ---- */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void wait_for(double s)
{
    struct timespec t = {(time_t)s, (long)((s - (double)(time_t)s) * 1e9)};
    nanosleep(&t, NULL);
}

/* After a kill, `journaled` units were durable before it. Returns how many are now. */
static long judge_progress(long journaled)
{
    long now = status_number("units_done");
    if (now >= 0 && now < journaled)
        broken("%ld units were journaled, now %ld are", journaled, now);
    return now > journaled ? now : journaled;
}

/* A chain of kills: run, kill, run again, kill, until the job has ended; then from the beginning. What was journaled may
 * never become less. */
static void random_kills(void)
{
    uint64_t state = opt.seed;
    double begin = seconds();
    fill_folder(home, &base);
    if (run(NULL, NULL))
        give_up("the job fails undisturbed");
    double whole = seconds() - begin;
    fill_folder(home, &base);
    for (long journaled = 0; n_struck < opt.cases; n_run++) {
        snprintf(case_name, sizeof case_name, "kill %lu", n_struck + 1);
        pid_t pid = start(NULL, NULL);
        wait_for(whole * rng_uniform(&state) * 0.5);
        kill(pid, SIGKILL);
        int rc = finish(pid);
        n_struck += rc == 1000 + SIGKILL;
        if (rc && rc != 1000 + SIGKILL)
            broken("ends with %d", rc);
        if (!is_over("after the kill")) {
            journaled = judge_progress(journaled);
            continue;
        }
        n_ended++;
        fill_folder(home, &base);
        journaled = 0;
    }
    resume();
}

/* ---- power cuts ---- */

/* At the end of the log, with nothing kept that no sync made certain; or at a random point. */
enum cut { AT_END, ANYWHERE };

static void build_state(enum cut cut, const char *log, const char *from, unsigned long seed)
{
    char number[32];
    snprintf(number, sizeof number, "%lu", seed);
    empty_folder(home);
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        if (cut == AT_END)
            execl(opt.powercut, opt.powercut, "-p", "999999999", "-d", "0", "-n", "0", log, from, home, number, (char *)NULL);
        else
            execl(opt.powercut, opt.powercut, log, from, home, number, (char *)NULL);
        _exit(125);
    }
    if (finish(pid))
        give_up("powercut");
    struct folder f;
    read_folder(home, &f, 0);
    for (size_t i = 0; i < f.n; i++)
        set_time(path_of(home, f.files[i].name));
}

/* What a job that ended with 0 has made survives any power cut after it. */
static void judge_end(const char *log)
{
    build_state(AT_END, log, opt.base ? opt.base : "-", 0);
    if (!is_over("after a power cut at the end"))
        broken("a power cut after the end undoes the job");
}

/* The resumed run is recorded too, and the power fails again. */
static void cut_again(unsigned long seed)
{
    char before[PATH + 16], log[PATH + 16];
    struct folder state;
    struct fault f = {NULL, NULL, NULL, log, 1};
    snprintf(before, sizeof before, "%s.before", home);
    snprintf(log, sizeof log, "%s.log", home);
    read_folder(home, &state, 1);
    fill_folder(before, &state);
    for (size_t i = 0; i < state.n; i++)
        free(state.files[i].bytes);
    if (run(&f, NULL))
        broken("the recorded run after the power cut fails");
    build_state(ANYWHERE, log, before, seed + 1000000);
    judge_names("after the second power cut");
}

static void state_case(unsigned long n)
{
    char log[PATH + 16];
    snprintf(log, sizeof log, "%s/log", opt.work);
    build_state(ANYWHERE, log, opt.base ? opt.base : "-", opt.seed + n);
    n_run++;
    n_struck++;
    judge_names("after the power cut");
    if (opt.twice && n % 3 == 0 && !is_over("after the power cut"))
        cut_again(opt.seed + n);
    settle("after the power cut");
}

/* ---- all cases ---- */

static void enter(unsigned long worker)
{
    snprintf(home, sizeof home, "%s/%lu", opt.work, worker);
    mkdir(home, 0777);
    /* the same name for all workers: the job may tell it in its output */
    if (snprintf(home, sizeof home, "%s/%lu/job", opt.work, worker) >= (int)sizeof home - 32)
        give_up(opt.work);
    snprintf(counts_path, sizeof counts_path, "%s.counts", home);
    snprintf(output_path, sizeof output_path, "%s.stdout", home);
    snprintf(errors_path, sizeof errors_path, "%s.stderr", home);
    fill_folder(home, &base);
}

/* Counts the job's calls, or records it. Returns the number of cases. */
static unsigned long measure(void)
{
    char log[PATH + 16];
    struct fault f = {.log = NULL, .at = 1};
    int states = !strcmp(opt.mode, "states");
    snprintf(log, sizeof log, "%s/log", opt.work);
    f.log = states ? log : NULL;
    enter(0);
    int rc = run(&f, NULL);
    if (rc != (opt.expect == MUST_KEEP ? 2 : 0) || struck() < 0) {
        char line[512];
        first_line(line, sizeof line);
        fprintf(stderr, "drive: the job undisturbed ends with %d: %s\n", rc, line);
        exit(2);
    }
    snprintf(case_name, sizeof case_name, "undisturbed");
    if (opt.expect != MUST_KEEP)
        settle("at the end");
    if (states)
        judge_end(log);
    return states ? opt.cases : calls_of(opt.classes);
}

static void work(unsigned long worker, unsigned long calls)
{
    unsigned long i = 0;
    n_bad = 0; /* the parent's */
    enter(worker);
    for (unsigned long n = opt.first; n <= calls && i < opt.cases; n += opt.step, i++) {
        if (i % opt.workers != worker)
            continue;
        snprintf(case_name, sizeof case_name, "%s %s %lu", opt.classes ? opt.classes : "seed",
                 opt.action ? opt.action : "", opt.classes ? n : n + opt.seed);
        if (!strcmp(opt.mode, "faults"))
            fault_case(n);
        else if (!strcmp(opt.mode, "kills"))
            kill_case(n);
        else
            state_case(n);
    }
}

static int in_workers(unsigned long calls)
{
    unsigned long sums[5] = {0}, part[5];
    int pipes[2];
    if (pipe(pipes))
        give_up("pipe");
    fflush(stdout);
    for (unsigned long w = 0; w < opt.workers; w++)
        if (!fork()) {
            work(w, calls);
            unsigned long mine[5] = {n_run, n_struck, n_bad, n_reused, n_journaled};
            fflush(stdout);
            _exit(write(pipes[1], mine, sizeof mine) != (ssize_t)sizeof mine);
        }
    close(pipes[1]);
    unsigned long back = 0;
    for (; read(pipes[0], part, sizeof part) == (ssize_t)sizeof part; back++)
        for (int i = 0; i < 5; i++)
            sums[i] += part[i];
    while (wait(NULL) > 0)
        ;
    n_run += sums[0], n_struck += sums[1], n_bad += sums[2], n_reused += sums[3], n_journaled += sums[4];
    return back == opt.workers ? 0 : -1;
}

static int usage(void)
{
    fputs("usage: drive faults|kills|moments|states -w WORK -r REFERENCE [options] -- PROGRAM ARG...\n"
          "  -b DIR  the folder's content before the run    -S DIR  the source; faults hit its files too\n"
          "  -p LIB  inject.so, for LD_PRELOAD              -P PROG powercut\n"
          "  -c CLASSES -d ACTION -t TIMES                  what strikes (tests/faults/README.md)\n"
          "  -e fail|pass|any|keep                          how the run must end; keep: it refuses to replace the base\n"
          "  -f FIRST -s STEP -n CASES -x SEED -j WORKERS   which cases\n"
          "  -M  new and old files may lie side by side     -2  strike the second run too\n", stderr);
    return 2;
}

static int read_options(int argc, char **argv)
{
    int c;
    opt.mode = argc > 1 ? argv[1] : "";
    optind = 2;
    while ((c = getopt(argc, argv, "w:r:b:S:p:P:c:d:t:e:f:s:n:x:j:M2")) != -1)
        switch (c) {
        case 'w': opt.work = optarg; break;
        case 'r': opt.reference = optarg; break;
        case 'b': opt.base = optarg; break;
        case 'S': opt.source = optarg; break;
        case 'p': opt.preload = optarg; break;
        case 'P': opt.powercut = optarg; break;
        case 'c': opt.classes = optarg; break;
        case 'd': opt.action = optarg; break;
        case 't': opt.times = optarg; break;
        case 'e': opt.expect = *optarg == 'f' ? MUST_FAIL : *optarg == 'p' ? MUST_PASS : *optarg == 'k' ? MUST_KEEP : ANY; break;
        case 'f': opt.first = strtoul(optarg, NULL, 10); break;
        case 's': opt.step = strtoul(optarg, NULL, 10); break;
        case 'n': opt.cases = strtoul(optarg, NULL, 10); break;
        case 'x': opt.seed = strtoul(optarg, NULL, 10); break;
        case 'j': opt.workers = strtoul(optarg, NULL, 10); break;
        case 'M': opt.mixed = 1; break;
        case '2': opt.twice = 1; break;
        default: return -1;
        }
    opt.job = argv + optind;
    return *opt.work && opt.reference && optind < argc && opt.step && opt.workers ? 0 : -1;
}

int main(int argc, char **argv)
{
    alarm(0); /* the limit of tests/tap.c; each job has its own */
    if (read_options(argc, argv))
        return usage();
    mkdir(opt.work, 0777);
    if (read_folder(opt.reference, &reference, 1) || (opt.base && read_folder(opt.base, &base, 1)))
        give_up("reference or base");
    unsigned long calls = 0;
    int rc = 0;
    if (!strcmp(opt.mode, "moments")) {
        enter(0);
        random_kills();
    } else {
        calls = measure();
        rc = in_workers(calls);
    }
    printf("%lu calls, %lu runs, %lu struck, %lu rules broken", calls, n_run, n_struck, n_bad);
    if (n_ended)
        printf("; the job ended %lu times", n_ended);
    if (n_journaled)
        printf("; %lu of %lu journaled units reused", n_reused, n_journaled);
    printf("\n");
    if (rc || !n_struck)
        fprintf(stderr, "drive: %s\n", rc ? "a worker died" : "nothing was struck");
    return rc || n_bad || !n_struck;
}
