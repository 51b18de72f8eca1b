/* SPDX-License-Identifier: MIT
 * Runs a fuzz target without an engine: over its corpus (tests/fuzz/corpus/NAME for the program fuzz_NAME) or over the files
 * and folders given, then over a fixed sequence of mutations of them. Finds little that an engine would not, but runs with
 * every `make test`. The target runs in a child, so that whatever kills it, the input is reported and saved.
 * Usage: fuzz_NAME [-r MUTATIONS] [FILE|FOLDER]... */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tests/tap.h"

#if defined(__has_feature)
#define WITH_ASAN __has_feature(address_sanitizer)
#elif defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#else
#define WITH_ASAN 0
#endif

enum { LARGEST = 1 << 20, INPUT_SECONDS = WITH_ASAN ? 5 : 1, LOOP_SECONDS = 1, MEMORY_MIB = 64 };

struct seed {
    char *path, *data;
    size_t size;
};

/* What the child is at; shared with the parent. */
struct current {
    size_t size, seed;
    uint64_t mutation; /* 0: the seed itself */
    int finished;      /* all inputs are through: what fails now is a leak */
    uint8_t data[LARGEST];
};

static struct seed *seeds;
static size_t n_seeds;
static int unbounded; /* -r: all mutations, however long they take */
static struct current *now;

static void add_seed(const char *path)
{
    struct seed s = {.path = strdup(path)};
    if (!(seeds = realloc(seeds, (n_seeds + 1) * sizeof *seeds)) || !s.path || !(s.data = read_file(path, &s.size)))
        bail("cannot read %s", path);
    if (s.size > LARGEST)
        bail("%s is larger than %d bytes", path, LARGEST);
    seeds[n_seeds++] = s;
}

/* A file, or the files of a folder in the order of their names. */
static void add_path(const char *path)
{
    struct dirent **list;
    struct stat st;
    if (stat(path, &st))
        bail("%s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode)) {
        add_seed(path);
        return;
    }
    int n = scandir(path, &list, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, list[i]->d_name);
        if (list[i]->d_name[0] != '.')
            add_seed(name);
        free(list[i]);
    }
    free(list);
}

/* Runs what *now holds, on a copy of exactly its size, so that sanitizers see a read beyond it. */
static void run_once(void)
{
    struct itimerval limit = {.it_value = {.tv_sec = INPUT_SECONDS}};
    uint8_t *copy = malloc(now->size ? now->size : 1);
    memcpy(copy, now->data, now->size);
    setitimer(ITIMER_PROF, &limit, NULL); /* processor time: SIGPROF ends the child */
    LLVMFuzzerTestOneInput(copy, now->size);
    free(copy);
}

static void load(size_t seed)
{
    now->seed = seed;
    now->size = seeds[seed].size;
    memcpy(now->data, seeds[seed].data, now->size);
}

static size_t below(uint64_t *rng, size_t n)
{
    return n ? (size_t)(rng_next(rng) % n) : 0;
}

/* Replaces `old` bytes at `at` by n others. */
static void replace(size_t at, size_t old, const void *bytes, size_t n)
{
    if (now->size - old + n > LARGEST)
        return;
    memmove(now->data + at + n, now->data + at + old, now->size - at - old);
    memmove(now->data + at, bytes, n);
    now->size += n - old;
}

static void put_number(uint64_t *rng)
{
    static const uint64_t numbers[] = {0, 1, 31, 255, 65536, 0x7fffffff, 0x80000000, 0xffffffff, (uint64_t)1 << 32,
                                       (uint64_t)1 << 53, (uint64_t)1 << 62, INT64_MAX, (uint64_t)1 << 63, UINT64_MAX - 7,
                                       UINT64_MAX};
    uint64_t v = numbers[below(rng, sizeof numbers / sizeof *numbers)];
    size_t n = rng_next(rng) % 2 ? 8 : 4, at = below(rng, now->size);
    for (size_t i = 0; i < n && at + i < now->size; i++)
        now->data[at + i] = (uint8_t)(v >> (8 * i));
}

/* Replaces the next decimal digits. */
static void put_digits(uint64_t *rng)
{
    static const char *const texts[] = {"0", "-1", "0.5", "1e999", "513", "16777217", "2147483648", "4294967296",
                                        "9007199254740991", "9007199254740993", "18446744073709551615", "\"\"", "null", "[]"};
    const char *text = texts[below(rng, sizeof texts / sizeof *texts)];
    size_t at = below(rng, now->size), end;
    while (at < now->size && (now->data[at] < '0' || now->data[at] > '9'))
        at++;
    for (end = at; end < now->size && now->data[end] >= '0' && now->data[end] <= '9'; end++)
        ;
    replace(at, end - at, text, strlen(text));
}

static void mutate(uint64_t *rng)
{
    static const uint8_t bytes[] = {0, 0x7f, 0x80, 0xff, '"', '\\', '{', '}', '[', ']', ',', ':', '-', '.', '/', '0', 'e', ' '};
    size_t at = below(rng, now->size), n = below(rng, now->size - at < 64 ? now->size - at : 64);
    const struct seed *other = &seeds[below(rng, n_seeds)];
    uint8_t range[64];
    switch (now->size ? rng_next(rng) % 8 : 6) {
    case 0: now->data[at] ^= (uint8_t)(1 << below(rng, 8)); break;
    case 1: now->data[at] = bytes[below(rng, sizeof bytes)]; break;
    case 2: now->size = at; break;
    case 3: replace(at, n, "", 0); break;
    case 4:
        memcpy(range, now->data + at, n);
        replace(below(rng, now->size), 0, range, n);
        break;
    case 5: put_number(rng); break;
    case 6: /* the beginning of this, the end of another */
        n = below(rng, other->size);
        replace(at, now->size - at, other->data + n, other->size - n);
        break;
    default: put_digits(rng);
    }
}

static void run_seeds(uint64_t unused)
{
    (void)unused;
    for (size_t i = 0; i < n_seeds; i++) {
        load(i);
        run_once();
    }
}

static void run_mutations(uint64_t runs)
{
    uint64_t rng = 1;
    clock_t end = clock() + LOOP_SECONDS * CLOCKS_PER_SEC;
    while (now->mutation < runs && (unbounded || clock() < end)) {
        load((size_t)(now->mutation++ % n_seeds));
        for (size_t i = below(&rng, 4) + 1; i; i--)
            mutate(&rng);
        run_once();
    }
}

/* Runs it in a child. 1 when the child ends well; otherwise says what it was at, and saves that beside the program. */
static int survives(void (*run)(uint64_t), uint64_t runs, const char *program, long *kib)
{
    struct rusage usage;
    char saved[4096];
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        bail("cannot fork: %s", strerror(errno));
    if (!child) {
        now->finished = 0;
        run(runs);
        now->finished = 1;
        exit(0); /* where leaks are looked for */
    }
    while (wait4(child, &status, 0, &usage) < 0)
        if (errno != EINTR)
            bail("cannot wait: %s", strerror(errno));
    *kib = usage.ru_maxrss;
    if (!status)
        return 1;
    if (now->finished) {
        note("memory was leaked by some input: see above for where");
        return 0;
    }
    snprintf(saved, sizeof saved, "%s.crash", program);
    write_file(saved, now->data, now->size);
    note("%s %d at mutation %" PRIu64 " (0: none) of %s; the input is in %s",
         WIFSIGNALED(status) ? WTERMSIG(status) == SIGPROF ? "hangs: signal" : "died by signal" : "exit status",
         WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), now->mutation, seeds[now->seed].path, saved);
    return 0;
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/'), *base = slash ? slash + 1 : argv[0];
    const char *name = strncmp(base, "fuzz_", 5) ? base : base + 5;
    char corpus[256];
    uint64_t runs = 10000;
    long kib, more;
    int at = 1;
    if (argc > 2 && !strcmp(argv[1], "-r")) {
        runs = strtoull(argv[2], NULL, 10);
        at = 3;
        unbounded = 1;
        alarm(0); /* of tap.h */
    }
    snprintf(corpus, sizeof corpus, "tests/fuzz/corpus/%s", name);
    if (at == argc)
        add_path(corpus);
    while (at < argc)
        add_path(argv[at++]);
    now = mmap(NULL, sizeof *now, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (now == MAP_FAILED)
        bail("out of memory");
    fuzz_folder(); /* belongs to this process, which lives on */
    ok(n_seeds && survives(run_seeds, 0, argv[0], &kib), "%s: %zu inputs of the corpus are handled", name, n_seeds);
    ok(n_seeds && survives(run_mutations, runs, argv[0], &more), "%s: their mutations are handled", name);
    note("%" PRIu64 " mutations", now->mutation);
    if (WITH_ASAN)
        skip("AddressSanitizer needs more memory itself", "%s: under %d MiB", name, MEMORY_MIB);
    else
        ok(n_seeds && kib < MEMORY_MIB << 10 && more < MEMORY_MIB << 10, "%s: under %d MiB", name, MEMORY_MIB);
    for (size_t i = 0; i < n_seeds; i++) {
        free(seeds[i].path);
        free(seeds[i].data);
    }
    free(seeds);
    return done();
}
