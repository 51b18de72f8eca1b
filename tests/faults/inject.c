/* SPDX-License-Identifier: MIT
 * inject: makes the n-th system call or allocation of a program fail, stop short or be its last, counts them, or records
 * what the program does to its files. Two builds of this source: a shared object for LD_PRELOAD, and (-DINJECT_WRAP) an object
 * that is linked into a program with -Wl,--wrap=NAME, for sanitizers own malloc and cannot share it with a preloaded one.
 * Only calls on files below FAULT_ROOT count, and nothing before main. Variables, log format: tests/faults/README.md.
 * Nothing here allocates, and files are reached by syscall(), so that no call of ours can meet another of ours.
 * 64-bit Linux with glibc. */
#undef _FILE_OFFSET_BITS /* or open and open64 would be one name, and both must be defined */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifdef INJECT_WRAP
#define NAME(f) __wrap_##f
#define REAL(f) __real_##f
#else
#define NAME(f) f
#define REAL(f) __libc_##f /* glibc's own names of its allocator */
#endif

enum call { OPEN, READ, WRITE, SYNC, TRUNCATE, RENAME, UNLINK, CLOSE, STAT, LOCK, HINT, ALLOC, THREAD, N_CALLS };
static const char *const call_names[N_CALLS] = {"open",  "read", "write", "sync", "truncate", "rename", "unlink",
                                                "close", "stat", "lock",  "hint", "alloc",    "thread"};
enum action { PASS, FAIL, SHORT, FULL, TORN, KILL, KILL_AFTER, STOP };
static const struct {
    const char *name;
    enum action action;
    int code;
} actions[] = {
    {"EIO", FAIL, EIO},       {"ENOSPC", FAIL, ENOSPC}, {"EDQUOT", FAIL, EDQUOT}, {"EINTR", FAIL, EINTR},
    {"ENOMEM", FAIL, ENOMEM}, {"EAGAIN", FAIL, EAGAIN}, {"ENOLCK", FAIL, ENOLCK}, {"EACCES", FAIL, EACCES},
    {"EMFILE", FAIL, EMFILE}, {"short", SHORT, 0},      {"full", FULL, ENOSPC},   {"torn", TORN, 0},
    {"kill", KILL, 0},        {"kill-after", KILL_AFTER, 0},
    {"stop", STOP, 0},
};

enum { MAX_FD = 4096, OURS = 1, RECORDED = 2 };
static atomic_int active; /* main is running */
static atomic_ulong counts[N_CALLS], matched, struck;
static unsigned mask; /* classes that can be struck */
static unsigned long strike_at, strike_times;
static enum action strike_action;
static int strike_code;
static const char *roots; /* folder[:folder...]; the first is the one that is recorded */
static char cwd[PATH_MAX];
static int log_fd = -1;
static struct timespec sync_delay, write_delay;
static _Atomic unsigned char fds[MAX_FD];
static atomic_flag log_busy = ATOMIC_FLAG_INIT;
static atomic_ulong n_syncs;

/* ---- which files are the job's ---- */

/* The part of path below a root, in `full`; "" for the root itself; NULL when it is nowhere below. */
static const char *inside(const char *path, char full[2 * PATH_MAX], int *first)
{
    snprintf(full, 2 * PATH_MAX, "%s%s%s", *path == '/' ? "" : cwd, *path == '/' ? "" : "/", path);
    *first = 1;
    for (const char *r = roots; r && *r; *first = 0) {
        size_t n = strcspn(r, ":");
        if (n && !strncmp(full, r, n) && (full[n] == '/' || !full[n]))
            return full + n + (full[n] == '/');
        r += n + (r[n] == ':');
    }
    return NULL;
}

static int is_ours(const char *path)
{
    char full[2 * PATH_MAX];
    int first;
    return atomic_load(&active) && inside(path, full, &first) != NULL;
}

static int fd_flags(int fd)
{
    return fd >= 0 && fd < MAX_FD && atomic_load(&active) ? fds[fd] : 0;
}

/* ---- striking ---- */

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Counts a call and says what is to happen to it. */
static enum action judge(enum call c)
{
    if (!atomic_load(&active))
        return PASS;
    atomic_fetch_add(&counts[c], 1);
    if (!(mask & 1u << c))
        return PASS;
    unsigned long n = atomic_fetch_add(&matched, 1) + 1;
    if (n < strike_at || (strike_times && n - strike_at >= strike_times))
        return PASS;
    atomic_fetch_add(&struck, 1);
    if (strike_action == FULL) /* a disk takes a part of what no longer fits, then nothing */
        return n == strike_at && c == WRITE ? SHORT : FAIL;
    if (strike_action == STOP) {
        kill(getpid(), SIGSTOP);
        return PASS;
    }
    return strike_action;
}

/* Whether the call is over before it has begun; errno is set then. */
static int refused(enum action a)
{
    if (a == KILL)
        die();
    if (a == FAIL)
        errno = strike_code;
    return a == FAIL;
}

static void after(enum action a)
{
    if (a == KILL_AFTER || a == TORN)
        die();
}

static size_t cut(enum action a, size_t n)
{
    return (a == SHORT || a == TORN) && n > 1 ? n / 2 : n;
}

/* ---- recording ---- */

/* One operation and its line in the log are one step, as seen from other threads. */
static void lock_log(void)
{
    while (log_fd >= 0 && atomic_flag_test_and_set(&log_busy))
        sched_yield();
}

static void unlock_log(void)
{
    if (log_fd >= 0)
        atomic_flag_clear(&log_busy);
}

static void put(const void *bytes, size_t n)
{
    for (const char *p = bytes; n;) {
        long put_n = syscall(SYS_write, log_fd, p, n);
        if (put_n <= 0)
            abort(); /* a log with a hole would prove nothing */
        p += put_n;
        n -= (size_t)put_n;
    }
}

static void record(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void record(const char *fmt, ...)
{
    char line[3 * PATH_MAX];
    va_list ap;
    if (log_fd < 0)
        return;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line - 1, fmt, ap);
    va_end(ap);
    line[n++] = '\n';
    put(line, (size_t)n);
}

static int recorded(int fd)
{
    return log_fd >= 0 && fd_flags(fd) & RECORDED;
}

/* Operations with names: logged when the (first) name is in the recorded folder. */
static void record_name(const char *operation, const char *a, const char *b)
{
    char full_a[2 * PATH_MAX], full_b[2 * PATH_MAX];
    int first = 0;
    const char *in_a = inside(a, full_a, &first), *in_b = b ? inside(b, full_b, &first) : "";
    if (in_a && in_b && first)
        record("%s %s%s%s", operation, in_a, b ? "\t" : "", in_b);
}

/* ---- files ---- */

static void opened(int fd, const char *path, int flags, int existed)
{
    char full[2 * PATH_MAX];
    int first;
    const char *name = inside(path, full, &first);
    if (fd < 0 || fd >= MAX_FD || !name)
        return;
    fds[fd] = first ? OURS | RECORDED : OURS;
    if (!first || log_fd < 0)
        return;
    record("open %d %s %s", fd, !*name ? "folder" : existed ? "old" : "new", name);
    if (flags & O_TRUNC && existed)
        record("truncate %d 0", fd);
}

static int do_open(int at, const char *path, int flags, mode_t mode)
{
    struct stat st;
    if (!is_ours(path))
        return (int)syscall(SYS_openat, at, path, flags, mode);
    enum action a = judge(OPEN);
    if (refused(a))
        return -1;
    lock_log();
    int existed = log_fd >= 0 && !syscall(SYS_newfstatat, at, path, &st, AT_SYMLINK_NOFOLLOW);
    int fd = (int)syscall(SYS_openat, at, path, flags, mode);
    opened(fd, path, flags, existed);
    unlock_log();
    after(a);
    return fd;
}

#define MODE_OF(flags, mode)                                                                                           \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE) {                                                     \
        va_list ap;                                                                                                    \
        va_start(ap, flags);                                                                                           \
        mode = va_arg(ap, mode_t);                                                                                     \
        va_end(ap);                                                                                                    \
    }
int NAME(open)(const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return do_open(AT_FDCWD, path, flags, mode);
}
int NAME(open64)(const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return do_open(AT_FDCWD, path, flags, mode);
}
int NAME(openat)(int at, const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return do_open(at, path, flags, mode);
}
int NAME(openat64)(int at, const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return do_open(at, path, flags, mode);
}
int NAME(__open_2)(const char *path, int flags) { return do_open(AT_FDCWD, path, flags, 0); }
int NAME(__open64_2)(const char *path, int flags) { return do_open(AT_FDCWD, path, flags, 0); }

int NAME(close)(int fd)
{
    int flags = fd_flags(fd);
    enum action a = flags ? judge(CLOSE) : PASS;
    if (a == KILL)
        die();
    lock_log();
    if (recorded(fd))
        record("close %d", fd);
    if (flags)
        fds[fd] = 0;
    int rc = (int)syscall(SYS_close, fd); /* Linux closes whatever close() then returns */
    unlock_log();
    after(a);
    if (a == FAIL) {
        errno = strike_code;
        return -1;
    }
    return rc;
}

static ssize_t do_read(int fd, void *buf, size_t n, off_t at, int positional)
{
    enum action a = fd_flags(fd) ? judge(READ) : PASS;
    if (refused(a))
        return -1;
    n = cut(a, n);
    ssize_t got = positional ? syscall(SYS_pread64, fd, buf, n, at) : syscall(SYS_read, fd, buf, n);
    after(a);
    return got;
}
ssize_t NAME(read)(int fd, void *buf, size_t n) { return do_read(fd, buf, n, 0, 0); }
ssize_t NAME(pread)(int fd, void *buf, size_t n, off_t at) { return do_read(fd, buf, n, at, 1); }
ssize_t NAME(pread64)(int fd, void *buf, size_t n, off_t at) { return do_read(fd, buf, n, at, 1); }

/* Where a write without a position goes: the end for O_APPEND, else the descriptor's position. */
static off_t place_of(int fd)
{
    int appends = (int)syscall(SYS_fcntl, fd, F_GETFL, 0) & O_APPEND;
    return recorded(fd) ? syscall(SYS_lseek, fd, 0, appends ? SEEK_END : SEEK_CUR) : 0;
}

static ssize_t do_write(int fd, const void *buf, size_t n, off_t at, int positional)
{
    enum action a = fd_flags(fd) ? judge(WRITE) : PASS;
    if (refused(a))
        return -1;
    n = cut(a, n);
    if (!recorded(fd)) {
        ssize_t plain = positional ? syscall(SYS_pwrite64, fd, buf, n, at) : syscall(SYS_write, fd, buf, n);
        after(a);
        return plain;
    }
    if (write_delay.tv_nsec)
        nanosleep(&write_delay, NULL);
    lock_log();
    if (!positional)
        at = place_of(fd);
    ssize_t done = positional ? syscall(SYS_pwrite64, fd, buf, n, at) : syscall(SYS_write, fd, buf, n);
    if (done > 0) {
        record("write %d %lld %zd", fd, (long long)at, done);
        put(buf, (size_t)done);
        put("\n", 1);
    }
    unlock_log();
    after(a);
    return done;
}
ssize_t NAME(write)(int fd, const void *buf, size_t n) { return do_write(fd, buf, n, 0, 0); }
ssize_t NAME(pwrite)(int fd, const void *buf, size_t n, off_t at) { return do_write(fd, buf, n, at, 1); }
ssize_t NAME(pwrite64)(int fd, const void *buf, size_t n, off_t at) { return do_write(fd, buf, n, at, 1); }

/* What was written before a sync began is durable when it has returned; the log says both, for other threads write on
 * meanwhile. FAULT_SYNC_DELAY widens that gap. */
static int do_sync(int fd, long number)
{
    enum action a = fd_flags(fd) ? judge(SYNC) : PASS;
    unsigned long id = 0;
    if (refused(a))
        return -1;
    if (recorded(fd)) {
        lock_log();
        id = atomic_fetch_add(&n_syncs, 1) + 1;
        record("sync %d %lu", fd, id);
        unlock_log();
        if (sync_delay.tv_nsec)
            nanosleep(&sync_delay, NULL);
    }
    int rc = (int)syscall(number, fd);
    if (id && !rc) {
        lock_log();
        record("synced %lu", id);
        unlock_log();
    }
    after(a);
    return rc;
}
int NAME(fsync)(int fd) { return do_sync(fd, SYS_fsync); }
int NAME(fdatasync)(int fd) { return do_sync(fd, SYS_fdatasync); }

/* Promises nothing about a power cut (its manual page says so), hence never in the log. */
int NAME(sync_file_range)(int fd, off_t at, off_t n, unsigned flags)
{
    enum action a = fd_flags(fd) ? judge(HINT) : PASS;
    if (refused(a))
        return -1;
    int rc = (int)syscall(SYS_sync_file_range, fd, at, n, flags);
    after(a);
    return rc;
}

static int do_advise(int fd, off_t at, off_t n, int advice)
{
    enum action a = fd_flags(fd) ? judge(HINT) : PASS;
    if (refused(a))
        return strike_code;
    int rc = syscall(SYS_fadvise64, fd, at, n, advice) ? errno : 0;
    after(a);
    return rc;
}
int NAME(posix_fadvise)(int fd, off_t at, off_t n, int advice) { return do_advise(fd, at, n, advice); }
int NAME(posix_fadvise64)(int fd, off_t at, off_t n, int advice) { return do_advise(fd, at, n, advice); }

static int do_truncate(int fd, off_t size)
{
    enum action a = fd_flags(fd) ? judge(TRUNCATE) : PASS;
    if (refused(a))
        return -1;
    lock_log();
    int rc = (int)syscall(SYS_ftruncate, fd, size);
    if (!rc && recorded(fd))
        record("truncate %d %lld", fd, (long long)size);
    unlock_log();
    after(a);
    return rc;
}
int NAME(ftruncate)(int fd, off_t size) { return do_truncate(fd, size); }
int NAME(ftruncate64)(int fd, off_t size) { return do_truncate(fd, size); }

static int do_allocate(int fd, int mode, off_t at, off_t n)
{
    enum action a = fd_flags(fd) ? judge(TRUNCATE) : PASS;
    if (refused(a))
        return -1;
    lock_log();
    int rc = (int)syscall(SYS_fallocate, fd, mode, at, n);
    if (!rc && recorded(fd) && !(mode & FALLOC_FL_KEEP_SIZE))
        record("allocate %d %lld %lld", fd, (long long)at, (long long)n);
    unlock_log();
    after(a);
    return rc;
}
int NAME(fallocate)(int fd, int mode, off_t at, off_t n) { return do_allocate(fd, mode, at, n); }
int NAME(fallocate64)(int fd, int mode, off_t at, off_t n) { return do_allocate(fd, mode, at, n); }

int NAME(rename)(const char *from, const char *to)
{
    enum action a = is_ours(from) || is_ours(to) ? judge(RENAME) : PASS;
    if (refused(a))
        return -1;
    lock_log();
    int rc = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (!rc && log_fd >= 0)
        record_name("rename", from, to);
    unlock_log();
    after(a);
    return rc;
}

int NAME(unlink)(const char *path)
{
    enum action a = is_ours(path) ? judge(UNLINK) : PASS;
    if (refused(a))
        return -1;
    lock_log();
    int rc = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (!rc && log_fd >= 0)
        record_name("unlink", path, NULL);
    unlock_log();
    after(a);
    return rc;
}

static int do_stat(int fd, const char *path, void *st, int flags)
{
    enum action a = (path[0] ? is_ours(path) : fd_flags(fd)) ? judge(STAT) : PASS;
    if (refused(a))
        return -1;
    int rc = (int)syscall(SYS_newfstatat, fd, path, st, flags);
    after(a);
    return rc;
}
int NAME(stat)(const char *path, struct stat *st) { return do_stat(AT_FDCWD, path, st, 0); }
int NAME(stat64)(const char *path, struct stat64 *st) { return do_stat(AT_FDCWD, path, st, 0); }
int NAME(lstat)(const char *path, struct stat *st) { return do_stat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW); }
int NAME(lstat64)(const char *path, struct stat64 *st) { return do_stat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW); }
int NAME(fstat)(int fd, struct stat *st) { return do_stat(fd, "", st, AT_EMPTY_PATH); }
int NAME(fstat64)(int fd, struct stat64 *st) { return do_stat(fd, "", st, AT_EMPTY_PATH); }

int NAME(flock)(int fd, int operation)
{
    enum action a = fd_flags(fd) ? judge(LOCK) : PASS;
    if (refused(a))
        return -1;
    int rc = (int)syscall(SYS_flock, fd, operation);
    after(a);
    return rc;
}

/* ---- memory and threads ---- */

#ifdef INJECT_WRAP
void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
int __real_posix_memalign(void **, size_t, size_t);
void *__real_aligned_alloc(size_t, size_t);
char *__real_strdup(const char *);
char *__real_strndup(const char *, size_t);
int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __real_main(int, char **, char **);
#define CALLER ALLOC
#else
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

/* The OpenMP runtime ends the process when its own memory or threads fail. Its calls are a class of their own. */
static uintptr_t omp_begin, omp_end;

static int find_omp(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size, (void)unused;
    if (!strstr(info->dlpi_name, "/libgomp.") && !strstr(info->dlpi_name, "/libomp."))
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X) {
            omp_begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            omp_end = omp_begin + info->dlpi_phdr[i].p_memsz;
        }
    return 1;
}

static enum call caller(const void *address)
{
    uintptr_t a = (uintptr_t)address;
    return a >= omp_begin && a < omp_end ? THREAD : ALLOC;
}
#define CALLER caller(__builtin_return_address(0))
#endif

void *NAME(malloc)(size_t n) { return refused(judge(CALLER)) ? NULL : REAL(malloc)(n); }
void *NAME(calloc)(size_t n, size_t size) { return refused(judge(CALLER)) ? NULL : REAL(calloc)(n, size); }
void *NAME(realloc)(void *p, size_t n) { return refused(judge(CALLER)) ? NULL : REAL(realloc)(p, n); }

#ifdef INJECT_WRAP
int NAME(posix_memalign)(void **p, size_t align, size_t n)
{
    return refused(judge(ALLOC)) ? ENOMEM : REAL(posix_memalign)(p, align, n);
}
void *NAME(aligned_alloc)(size_t align, size_t n)
{
    return refused(judge(ALLOC)) ? NULL : REAL(aligned_alloc)(align, n);
}
char *NAME(strdup)(const char *s) { return refused(judge(ALLOC)) ? NULL : REAL(strdup)(s); }
char *NAME(strndup)(const char *s, size_t n) { return refused(judge(ALLOC)) ? NULL : REAL(strndup)(s, n); }
#else /* strdup and its like call our malloc */
int posix_memalign(void **p, size_t align, size_t n)
{
    void *got = refused(judge(CALLER)) ? NULL : __libc_memalign(align, n);
    if (got)
        *p = got;
    return got ? 0 : ENOMEM;
}
void *aligned_alloc(size_t align, size_t n) { return refused(judge(CALLER)) ? NULL : __libc_memalign(align, n); }
#endif

typedef int create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
static create_fn *real_create;
int NAME(pthread_create)(pthread_t *t, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
    if (refused(judge(THREAD)))
        return EAGAIN;
    return real_create(t, attr, start, arg);
}

/* ---- beginning and end ---- */

static void refuse_setting(const char *name, const char *value)
{
    fprintf(stderr, "inject: %s=%s: not known\n", name, value);
    _exit(125);
}

static void read_classes(const char *list)
{
    for (const char *p = list; p && *p;) {
        size_t n = strcspn(p, ",");
        unsigned bits = n == 3 && !strncmp(p, "any", 3) ? (1u << ALLOC) - 1 : 0;
        for (int c = 0; c < N_CALLS; c++)
            if (strlen(call_names[c]) == n && !strncmp(call_names[c], p, n))
                bits |= 1u << c;
        if (!bits)
            refuse_setting("FAULT_CLASS", list);
        mask |= bits;
        p += n + (p[n] == ',');
    }
}

static void read_action(const char *name)
{
    for (size_t i = 0; name && i < sizeof actions / sizeof *actions; i++)
        if (!strcmp(name, actions[i].name)) {
            strike_action = actions[i].action;
            strike_code = actions[i].code;
            return;
        }
    if (name)
        refuse_setting("FAULT_DO", name);
}

static unsigned long number(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);
    return text ? strtoul(text, NULL, 10) : otherwise;
}

static void begin(void)
{
    const char *log = getenv("FAULT_LOG");
    roots = getenv("FAULT_ROOT");
    read_classes(getenv("FAULT_CLASS"));
    read_action(getenv("FAULT_DO"));
    strike_at = number("FAULT_AT", 1);
    strike_times = number("FAULT_TIMES", 1);
    sync_delay.tv_nsec = (long)number("FAULT_SYNC_DELAY", 0) * 1000000;
    write_delay.tv_nsec = (long)number("FAULT_WRITE_DELAY", 0) * 1000000;
    if (syscall(SYS_getcwd, cwd, sizeof cwd) < 0)
        cwd[0] = '\0';
    if (log && (log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) < 0)
        refuse_setting("FAULT_LOG", log);
#ifdef INJECT_WRAP
    real_create = __real_pthread_create;
#else
    real_create = (create_fn *)dlsym(RTLD_NEXT, "pthread_create");
    dl_iterate_phdr(find_omp, NULL);
#endif
    atomic_store(&active, roots != NULL);
}

/* "CLASS CALLS" per line, then "struck CALLS". */
static void end(void)
{
    const char *path = getenv("FAULT_COUNT");
    if (!atomic_exchange(&active, 0) || !path)
        return;
    char text[1024];
    int n = 0, fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    for (int c = 0; c < N_CALLS; c++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s %lu\n", call_names[c], atomic_load(&counts[c]));
    n += snprintf(text + n, sizeof text - (size_t)n, "struck %lu\n", atomic_load(&struck));
    if (fd < 0 || syscall(SYS_write, fd, text, (size_t)n) != n)
        _exit(125);
    syscall(SYS_close, fd);
}

#ifdef INJECT_WRAP
int __wrap_main(int argc, char **argv, char **env)
{
    begin();
    int rc = __real_main(argc, argv, env);
    end();
    return rc;
}
#else
typedef int main_fn(int, char **, char **);
static main_fn *real_main;

static int our_main(int argc, char **argv, char **env)
{
    begin();
    int rc = real_main(argc, argv, env);
    end();
    return rc;
}

typedef int start_fn(main_fn *, int, char **, void (*)(void), void (*)(void), void (*)(void), void *);
int __libc_start_main(main_fn *program, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*ld_fini)(void), void *stack)
{
    start_fn *start = (start_fn *)dlsym(RTLD_NEXT, "__libc_start_main");
    real_main = program;
    return start(our_main, argc, argv, init, fini, ld_fini, stack);
}
#endif
