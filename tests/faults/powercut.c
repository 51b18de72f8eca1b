/* SPDX-License-Identifier: MIT
 * powercut: builds what a disk may hold after a power cut, from the log that inject recorded.
 *
 * The model is ALICE's (Pillai et al., OSDI 2014). A folder is a set of entries NAME -> inode. The run stops after a prefix of
 * the log. Of the operations before that point, each is certain when a sync of its inode began after it and has returned
 * before the point: writes, truncations and allocations by a sync of their file, creations, renames and unlinks by a sync of
 * the folder. Every other operation may or may not have reached the disk, in any combination; a write may have arrived in parts
 * of 512 or 4096 bytes, with zeros, old bytes or garbage in the rest. A rename is atomic. A sync of a file does not make its
 * name durable. One flat folder; no links. The log's format is in tests/faults/README.md. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/tap.h"

enum kind { CREATE, RENAME, UNLINK, WRITE, TRUNCATE, ALLOCATE, SYNC, SYNCED };
static const char *const kind_names[] = {"create", "rename", "unlink", "write", "truncate", "allocate", "sync", "synced"};
enum fate { DROP, KEEP, TEAR, SIZE_ONLY };
enum { FOLDER = -1, NONE = -2, MAX_FD = 4096, MAX_ENTRIES = 256 };

struct op {
    enum kind kind;
    int inode;            /* FOLDER: a sync of the folder */
    const char *name, *to; /* into the log */
    uint64_t at, n;       /* TRUNCATE: n is the new size; SYNC, SYNCED: n is the number that joins them */
    const unsigned char *bytes;
    size_t began;         /* SYNCED: its SYNC */
    enum fate fate;
    int certain;
};

struct inode {
    unsigned char *bytes; /* before the run */
    uint64_t size;
};

struct entry {
    const char *name;
    int inode;
};

struct folder {
    struct entry entries[MAX_ENTRIES];
    size_t n;
};

static struct op *ops;
static size_t n_ops;
static struct inode *inodes;
static int n_inodes;
static struct folder base;
static uint64_t rng;

static void give_up(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void give_up(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("powercut: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(2);
}

/* ---- folders ---- */

static struct entry *find(struct folder *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (!strcmp(f->entries[i].name, name))
            return &f->entries[i];
    return NULL;
}

static void set(struct folder *f, const char *name, int inode)
{
    struct entry *e = find(f, name);
    if (!e && f->n == MAX_ENTRIES)
        give_up("more than %d files", MAX_ENTRIES);
    if (!e)
        e = &f->entries[f->n++];
    *e = (struct entry){name, inode};
}

static void drop(struct folder *f, const char *name)
{
    struct entry *e = find(f, name);
    if (e)
        *e = f->entries[--f->n];
}

static int new_inode(unsigned char *bytes, uint64_t size)
{
    if (!(inodes = realloc(inodes, (size_t)(n_inodes + 1) * sizeof *inodes)))
        give_up("out of memory");
    inodes[n_inodes] = (struct inode){bytes, size};
    return n_inodes++;
}

static void read_base(const char *path)
{
    char file[8192];
    struct stat st;
    DIR *d = opendir(path);
    if (!d)
        give_up("%s: %s", path, strerror(errno));
    for (struct dirent *e; (e = readdir(d));) {
        size_t n;
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        if (lstat(file, &st) || !S_ISREG(st.st_mode))
            continue;
        unsigned char *bytes = (unsigned char *)read_file(file, &n);
        set(&base, strdup(e->d_name), new_inode(bytes, n));
    }
    closedir(d);
}

/* A name's operation, on the folder as it was in the running system. */
static void apply_name(struct folder *f, const struct op *o)
{
    struct entry *from;
    if (o->kind == CREATE)
        set(f, o->name, o->inode);
    if (o->kind == UNLINK)
        drop(f, o->name);
    if (o->kind != RENAME)
        return;
    if ((from = find(f, o->name)) && from->inode == o->inode)
        drop(f, o->name);
    set(f, o->to, o->inode);
}

/* ---- the log ---- */

struct reader {
    char *p, *end;
    int fds[MAX_FD]; /* inode, FOLDER or NONE */
    struct folder live;
};

static struct op *add_op(enum kind kind, int inode)
{
    if (n_ops % 1024 == 0 && !(ops = realloc(ops, (n_ops + 1024) * sizeof *ops)))
        give_up("out of memory");
    ops[n_ops] = (struct op){.kind = kind, .inode = inode};
    return &ops[n_ops++];
}

static void read_open(struct reader *r, int fd, const char *how, char *name)
{
    if (strchr(name, '/'))
        give_up("'%s': folders within the folder are not modelled", name);
    if (!strcmp(how, "folder")) {
        r->fds[fd] = FOLDER;
        return;
    }
    struct entry *e = find(&r->live, name);
    if (!strcmp(how, "new") == (e != NULL))
        give_up("'%s' is opened as %s, which it is not", name, how);
    if (e) {
        r->fds[fd] = e->inode;
        return;
    }
    struct op *o = add_op(CREATE, r->fds[fd] = new_inode(NULL, 0));
    o->name = name;
    apply_name(&r->live, o);
}

static void read_name_op(struct reader *r, enum kind kind, char *name)
{
    char *tab = kind == RENAME ? strchr(name, '\t') : NULL;
    if (tab)
        *tab = '\0';
    struct entry *e = find(&r->live, name);
    if (!e || (kind == RENAME && !tab))
        give_up("%s of '%s', which is not there", kind_names[kind], name);
    struct op *o = add_op(kind, e->inode);
    o->name = name;
    o->to = tab ? tab + 1 : NULL;
    apply_name(&r->live, o);
}

static void read_synced(uint64_t id)
{
    for (size_t i = n_ops; i-- > 0;)
        if (ops[i].kind == SYNC && ops[i].n == id) {
            struct op *o = add_op(SYNCED, ops[i].inode);
            o->n = id;
            o->began = i;
            return;
        }
    give_up("synced %" PRIu64 " without a sync", id);
}

static void read_write(struct reader *r, int inode, uint64_t at, uint64_t n)
{
    if ((uint64_t)(r->end - r->p) <= n)
        give_up("the log ends within a write");
    struct op *o = add_op(WRITE, inode);
    o->at = at;
    o->n = n;
    o->bytes = (unsigned char *)r->p;
    r->p += n + 1;
}

static int inode_of(const struct reader *r, int fd, int folder_too)
{
    int inode = fd >= 0 && fd < MAX_FD ? r->fds[fd] : NONE;
    if (inode == NONE || (inode == FOLDER && !folder_too))
        give_up("descriptor %d is not open for this", fd);
    return inode;
}

static void read_line(struct reader *r, char *line)
{
    uint64_t a = 0, b = 0;
    int fd = -1, at = 0;
    char how[8];
    if (sscanf(line, "open %d %7s %n", &fd, how, &at) == 2 && at && fd >= 0 && fd < MAX_FD) {
        read_open(r, fd, how, line + at);
    } else if (sscanf(line, "write %d %" SCNu64 " %" SCNu64, &fd, &a, &b) == 3) {
        read_write(r, inode_of(r, fd, 0), a, b);
    } else if (sscanf(line, "truncate %d %" SCNu64, &fd, &a) == 2) {
        add_op(TRUNCATE, inode_of(r, fd, 0))->n = a;
    } else if (sscanf(line, "allocate %d %" SCNu64 " %" SCNu64, &fd, &a, &b) == 3) {
        struct op *o = add_op(ALLOCATE, inode_of(r, fd, 0));
        o->at = a;
        o->n = b;
    } else if (sscanf(line, "sync %d %" SCNu64, &fd, &a) == 2) {
        add_op(SYNC, inode_of(r, fd, 1))->n = a;
    } else if (sscanf(line, "synced %" SCNu64, &a) == 1) {
        read_synced(a);
    } else if (sscanf(line, "close %d", &fd) == 1) {
        inode_of(r, fd, 1);
        r->fds[fd] = NONE;
    } else if (!strncmp(line, "rename ", 7)) {
        read_name_op(r, RENAME, line + 7);
    } else if (!strncmp(line, "unlink ", 7)) {
        read_name_op(r, UNLINK, line + 7);
    } else {
        give_up("log: what is '%.60s'?", line);
    }
}

static void read_log(const char *path)
{
    static struct reader r;
    size_t n;
    r.live = base;
    for (int i = 0; i < MAX_FD; i++)
        r.fds[i] = NONE;
    if (!(r.p = read_file(path, &n)))
        give_up("%s: cannot be read", path);
    for (r.end = r.p + n; r.p < r.end;) {
        char *line = r.p, *newline = memchr(line, '\n', (size_t)(r.end - line));
        if (!newline)
            give_up("the log ends within a line");
        *newline = '\0';
        r.p = newline + 1;
        read_line(&r, line);
    }
}

/* ---- what reached the disk ---- */

static int is_name_op(const struct op *o)
{
    return o->kind <= UNLINK;
}

static int is_data_op(const struct op *o)
{
    return o->kind >= WRITE && o->kind <= ALLOCATE;
}

static void mark_certain(size_t point)
{
    for (size_t s = 0; s < point; s++)
        for (size_t i = 0; ops[s].kind == SYNCED && i < ops[s].began; i++)
            if (ops[s].inode == FOLDER ? is_name_op(&ops[i]) : is_data_op(&ops[i]) && ops[i].inode == ops[s].inode)
                ops[i].certain = 1;
}

static unsigned below(unsigned n)
{
    return (unsigned)(rng_next(&rng) % n);
}

struct policy {
    size_t point;
    unsigned data, names; /* percent of the uncertain operations that are kept */
    int tear, garbage;    /* writes may arrive in parts; what is missing may be anything */
    int in_order;         /* after the first name operation that is lost, all later ones are */
};

/* Most operations are writes, but what goes wrong goes wrong around the others: three quarters of the points are there,
 * visited in turn. */
static size_t random_point(uint64_t seed)
{
    size_t turning = 0, chosen;
    for (size_t i = 0; i < n_ops; i++)
        turning += ops[i].kind != WRITE;
    if (!turning || seed % 4 == 0)
        return below((unsigned)n_ops + 1);
    chosen = (seed - seed / 4) % turning;
    for (size_t i = 0; i < n_ops; i++)
        if (ops[i].kind != WRITE && chosen-- == 0)
            return i + below(2);
    return n_ops;
}

static struct policy random_policy(uint64_t seed)
{
    static const unsigned data[] = {0, 0, 20, 50, 80, 100, 100}, names[] = {0, 50, 50, 50, 100};
    return (struct policy){
        .point = random_point(seed), .data = data[below(7)], .names = names[below(5)],
        .tear = below(2) != 0, .garbage = below(4) == 0, .in_order = below(4) == 0,
    };
}

static void decide(const struct policy *p)
{
    int lost_name = 0;
    mark_certain(p->point);
    for (size_t i = 0; i < p->point; i++) {
        struct op *o = &ops[i];
        o->fate = o->certain || below(100) < (is_name_op(o) ? p->names : p->data) ? KEEP : DROP;
        if (is_name_op(o) && !o->certain && p->in_order && lost_name)
            o->fate = DROP;
        lost_name |= is_name_op(o) && o->fate == DROP;
        if (o->kind == WRITE && !o->certain && p->tear && below(3) == 0)
            o->fate = o->fate == KEEP ? TEAR : SIZE_ONLY;
    }
}

static void grow(struct inode *f, uint64_t size)
{
    if (size <= f->size)
        return;
    if (!(f->bytes = realloc(f->bytes, size)))
        give_up("out of memory for a file of %" PRIu64 " bytes", size);
    memset(f->bytes + f->size, 0, size - f->size);
    f->size = size;
}

/* Some blocks of a write, on the file's grid of blocks. */
static void tear(struct inode *f, const struct op *o, int garbage)
{
    uint64_t block = below(2) ? 512 : 4096, end = o->at + o->n;
    unsigned keep = below(101);
    for (uint64_t at = o->at; at < end;) {
        uint64_t next = (at / block + 1) * block < end ? (at / block + 1) * block : end;
        if (below(100) < keep) {
            grow(f, next);
            memcpy(f->bytes + at, o->bytes + (at - o->at), next - at);
        } else if (garbage && below(2)) {
            grow(f, next);
            memset(f->bytes + at, (int)below(256), next - at);
        }
        at = next;
    }
}

static struct inode content(int inode, const struct policy *p)
{
    struct inode f = {NULL, 0};
    grow(&f, inodes[inode].size);
    if (f.size)
        memcpy(f.bytes, inodes[inode].bytes, f.size);
    for (size_t i = 0; i < p->point; i++) {
        const struct op *o = &ops[i];
        if (o->inode != inode || !is_data_op(o) || o->fate == DROP)
            continue;
        if (o->kind == TRUNCATE && o->n < f.size)
            f.size = o->n;
        grow(&f, o->kind == TRUNCATE ? o->n : o->fate == TEAR ? 0 : o->at + o->n);
        if (o->fate == TEAR)
            tear(&f, o, p->garbage);
        else if (o->kind == WRITE && o->fate == KEEP)
            memcpy(f.bytes + o->at, o->bytes, o->n);
    }
    return f;
}

static void build(const char *out, const struct policy *p)
{
    static struct folder f;
    f = base;
    for (size_t i = 0; i < p->point; i++)
        if (is_name_op(&ops[i]) && ops[i].fate != DROP)
            apply_name(&f, &ops[i]);
    if (mkdir(out, 0777) && errno != EEXIST)
        give_up("%s: %s", out, strerror(errno));
    for (size_t i = 0; i < f.n; i++) {
        char path[8192];
        struct inode c = content(f.entries[i].inode, p);
        snprintf(path, sizeof path, "%s/%s", out, f.entries[i].name);
        write_file(path, c.bytes, c.size);
        free(c.bytes);
    }
}

/* ---- room ---- */

/* The most by which the folder's files exceeded those of the beginning, counting bytes that were written and space that was
 * reserved, not holes. */
static uint64_t most_used(void)
{
    static struct folder f;
    uint64_t *held = calloc((size_t)n_inodes + 1, sizeof *held), now = 0, begin = 0, most = 0;
    if (!held)
        give_up("out of memory");
    f = base;
    for (size_t i = 0; i < base.n; i++)
        begin += held[base.entries[i].inode] = inodes[base.entries[i].inode].size;
    for (size_t i = 0; i < n_ops; i++) {
        const struct op *o = &ops[i];
        if (o->kind == WRITE || o->kind == ALLOCATE)
            held[o->inode] += o->n;
        if (is_name_op(o))
            apply_name(&f, o);
        now = 0;
        for (size_t k = 0; k < f.n; k++)
            now += held[f.entries[k].inode];
        most = now > begin && now - begin > most ? now - begin : most;
    }
    free(held);
    return most;
}

/* ---- words ---- */

static void print_op(size_t i)
{
    static const char *const fates[] = {"lost", "kept", "torn", "size only"};
    const struct op *o = &ops[i];
    printf("%5zu  %-9s  %-8s inode %d", i, o->certain ? "certain" : fates[o->fate], kind_names[o->kind], o->inode);
    if (is_data_op(o))
        printf("  offset %" PRIu64 ", %" PRIu64, o->at, o->n);
    printf("%s%s%s%s\n", o->name ? "  " : "", o->name ? o->name : "", o->to ? " -> " : "", o->to ? o->to : "");
}

static void print_state(const struct policy *p)
{
    printf("cut after %zu of %zu operations; of the uncertain, %u %% of data and %u %% of names kept%s%s%s\n", p->point,
           n_ops, p->data, p->names, p->tear ? ", torn" : "", p->garbage ? ", garbage" : "", p->in_order ? ", in order" : "");
    for (size_t i = 0; i < p->point; i++)
        if (ops[i].fate != KEEP || !is_data_op(&ops[i]))
            print_op(i);
}

static int usage(void)
{
    fputs("usage: powercut [-v] [-p POINT] [-d PERCENT] [-n PERCENT] LOG BASE_DIR OUT_DIR SEED\n"
          "       powercut -u LOG BASE_DIR\n"
          "Writes one state of the disk to OUT_DIR. BASE_DIR: the folder before the run, '-' for an empty one.\n"
          "  -p  cut after POINT operations of the log instead of a random number ('powercut -v' counts them)\n"
          "  -d  keep PERCENT of the data operations that were not synced; with -n nothing is torn\n"
          "  -n  keep PERCENT of the creations, renames and unlinks that were not synced\n"
          "  -v  say what was kept and what was lost\n"
          "  -u  only say how many bytes the folder had more than at the beginning, at most\n", stderr);
    return 2;
}

int main(int argc, char **argv)
{
    const char *point = NULL, *data = NULL, *names = NULL;
    int verbose = 0, usage_only = 0, c;
    while ((c = getopt(argc, argv, "uvp:d:n:")) != -1) {
        if (c == 'v' || c == 'u')
            *(c == 'v' ? &verbose : &usage_only) = 1;
        else if (c == '?')
            return usage();
        else
            *(c == 'p' ? &point : c == 'd' ? &data : &names) = optarg;
    }
    if (argc - optind != (usage_only ? 2 : 4))
        return usage();
    if (strcmp(argv[optind + 1], "-"))
        read_base(argv[optind + 1]);
    read_log(argv[optind]);
    if (usage_only) {
        printf("%" PRIu64 "\n", most_used());
        return 0;
    }
    uint64_t seed = rng = strtoull(argv[optind + 3], NULL, 10);
    struct policy p = random_policy(seed);
    if (point && (p.point = strtoull(point, NULL, 10)) > n_ops)
        p.point = n_ops;
    if (data)
        p.data = (unsigned)strtoul(data, NULL, 10);
    if (names)
        p.names = (unsigned)strtoul(names, NULL, 10);
    if (data && names)
        p.tear = p.garbage = p.in_order = 0;
    decide(&p);
    build(argv[optind + 2], &p);
    if (verbose)
        print_state(&p);
    return 0;
}
