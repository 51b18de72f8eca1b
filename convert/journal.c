/* SPDX-License-Identifier: MIT
 * Journal: reading it back is as careful as writing it, since a power cut can leave anything. */
#include "convert/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"

static const char magic[8] = {'P', 'A', 'R', 'E', 'J', 'R', 'N', 'L'};
enum { VERSION = 1, FIXED = 40, RECORD = 48, MAX_IDENTITY = 1 << 24, BATCH = 1024 };

static void put(uint8_t *to, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get(const uint8_t *from, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++)
        v |= (uint64_t)from[i] << 8 * i;
    return v;
}

/* Reads up to n bytes at `at`; returns how many there were, or -1. */
static ssize_t read_at(const struct journal *j, uint64_t at, void *buf, size_t n, struct error *e)
{
    size_t done = 0;
    while (done < n) {
        ssize_t got = pread(j->fd, (char *)buf + done, n - done, (off_t)(at + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return io_error(e, "read", j->path, at + done);
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

static int write_at(const struct journal *j, uint64_t at, const void *buf, size_t n, struct error *e)
{
    struct io_out o = {.fd = j->fd, .partial = j->path};
    return io_out_write(&o, at, buf, n, e) || io_out_sync(&o, e) ? -1 : 0;
}

static int cut(const struct journal *j, uint64_t size, struct error *e)
{
    int rc;
    while ((rc = ftruncate(j->fd, (off_t)size)) && errno == EINTR)
        ;
    return rc ? io_error(e, "shorten", j->path, size) : 0;
}

static int bad_header(const struct journal *j, const char *what, struct error *e)
{
    error_set(e, ERR_FORMAT, 0, "%s", what);
    return error_at_file(e, j->path);
}

static uint64_t header_hash(const uint8_t *fixed, const char *identity, size_t n)
{
    return hash_64(identity, n, hash_64(fixed, FIXED - 8, 0));
}

/* 1 a valid header was read, 0 an empty file, -1 anything else. */
static int read_header(struct journal *j, struct error *e)
{
    uint8_t fixed[FIXED];
    ssize_t n = read_at(j, 0, fixed, FIXED, e);
    if (n <= 0)
        return (int)n;
    if (n < FIXED || memcmp(fixed, magic, sizeof magic))
        return bad_header(j, "this is no journal of pare, or its header is damaged", e);
    if (get(fixed + 8, 4) != VERSION) {
        error_set(e, ERR_UNSUPPORTED, 8, "a journal of version %" PRIu64 ", which is not known", get(fixed + 8, 4));
        return error_at_file(e, j->path);
    }
    size_t size = (size_t)get(fixed + 12, 4);
    char *text = size <= MAX_IDENTITY ? malloc(size + 1) : NULL;
    if (!text)
        return size <= MAX_IDENTITY ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory")
                                    : bad_header(j, "the journal's header is damaged", e);
    int rc = -1;
    n = read_at(j, FIXED, text, size, e);
    if (n >= 0 && ((size_t)n < size || header_hash(fixed, text, size) != get(fixed + 32, 8)))
        bad_header(j, "the journal's header is damaged", e);
    else if (n >= 0 && (j->identity = json_parse(text, size, e)))
        rc = 1;
    free(text);
    j->units = get(fixed + 16, 8);
    j->bytes = get(fixed + 24, 8);
    j->seed = get(fixed + 32, 8);
    j->header = FIXED + size;
    return rc < 0 ? error_at_file(e, j->path) : rc;
}

static void pack(const struct journal *j, uint64_t number, const struct journal_record *r, uint8_t out[RECORD])
{
    put(out, r->kind, 4);
    put(out + 4, 0, 4);
    put(out + 8, r->a, 8);
    put(out + 16, r->b, 8);
    put(out + 24, r->c, 8);
    put(out + 32, r->d, 8);
    put(out + 40, hash_64(out, 40, j->seed + number), 8);
}

static int unpack(const struct journal *j, uint64_t number, const uint8_t in[RECORD], struct journal_record *r)
{
    if (hash_64(in, 40, j->seed + number) != get(in + 40, 8) || get(in + 4, 4))
        return -1;
    *r = (struct journal_record){(uint32_t)get(in, 4), get(in + 8, 8), get(in + 16, 8), get(in + 24, 8), get(in + 32, 8)};
    return 0;
}

int journal_each(struct journal *j, void (*each)(void *context, const struct journal_record *r), void *context,
                 struct error *e)
{
    uint8_t *raw = malloc(BATCH * RECORD);
    uint64_t number = 0, bad = 0;
    ssize_t n = RECORD;
    if (!raw)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    j->records = j->damaged = 0;
    while (n >= RECORD) {
        n = read_at(j, j->header + number * RECORD, raw, BATCH * RECORD, e);
        for (ssize_t at = 0; at + RECORD <= n; at += RECORD, number++) {
            struct journal_record r;
            if (unpack(j, number, raw + at, &r)) {
                bad++;
                continue;
            }
            each(context, &r);
            j->records = number + 1;
            j->damaged = bad; /* those behind the last good one are a torn tail */
        }
    }
    free(raw);
    return n < 0 ? -1 : 0;
}

static void note_start(void *last, const struct journal_record *r)
{
    if (r->kind == JOURNAL_START)
        *(struct journal_record *)last = *r;
}

/* Another process has the lock: says which. */
static int refuse_busy(struct journal *j, const char *path, struct error *e)
{
    struct journal_record start = {.a = 0};
    struct error ignored;
    int running;
    char host[17] = "", when[64] = "";
    if (!journal_look(j, path, &running, &ignored))
        journal_each(j, note_start, &start, &ignored);
    journal_close(j);
    time_t t = (time_t)start.b;
    struct tm tm;
    put((uint8_t *)host, start.c, 8);
    put((uint8_t *)host + 8, start.d, 8);
    if (gmtime_r(&t, &tm))
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", &tm);
    if (start.a)
        error_set(e, ERR_IO, ERROR_NO_OFFSET, "another run is writing this output: process %" PRIu64 " on %s, since %s",
                  start.a, host, when);
    else
        error_set(e, ERR_IO, ERROR_NO_OFFSET, "another run is writing this output");
    return error_at_file(e, path);
}

int journal_open(struct journal *j, const char *path, struct error *e)
{
    *j = (struct journal){.fd = -1, .path = strdup(path)};
    if (!j->path)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    int rc = io_open_locked(path, &j->fd, e);
    if (rc > 0) {
        journal_close(j);
        return refuse_busy(j, path, e);
    }
    return rc ? rc : read_header(j, e);
}

int journal_look(struct journal *j, const char *path, int *running, struct error *e)
{
    struct io_file f;
    *j = (struct journal){.fd = -1, .path = strdup(path)};
    *running = 0;
    if (!j->path)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (io_open(&f, path, e)) {
        journal_close(j);
        return -1;
    }
    io_close(&f);
    if ((j->fd = open(path, O_RDONLY | O_CLOEXEC)) < 0) {
        io_error(e, "open", path, ERROR_NO_OFFSET);
        journal_close(j);
        return -1;
    }
    if (flock(j->fd, LOCK_SH | LOCK_NB))
        *running = errno == EWOULDBLOCK;
    else
        flock(j->fd, LOCK_UN);
    int rc = read_header(j, e);
    if (rc == 0)
        bad_header(j, "the journal is empty", e);
    if (rc <= 0)
        journal_close(j);
    return rc <= 0 ? -1 : 0;
}

int journal_begin(struct journal *j, const char *identity, uint64_t units, uint64_t bytes, struct error *e)
{
    size_t n = strlen(identity);
    uint8_t *header = malloc(FIXED + n);
    if (!header)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    memcpy(header, magic, sizeof magic);
    put(header + 8, VERSION, 4);
    put(header + 12, n, 4);
    put(header + 16, units, 8);
    put(header + 24, bytes, 8);
    j->seed = header_hash(header, identity, n);
    put(header + 32, j->seed, 8);
    memcpy(header + FIXED, identity, n);
    j->units = units;
    j->bytes = bytes;
    j->header = FIXED + n;
    j->records = j->damaged = 0;
    int rc = cut(j, 0, e) || write_at(j, 0, header, FIXED + n, e) || io_sync_folder(j->path, e) ? -1 : 0;
    free(header);
    return rc;
}

int journal_append(struct journal *j, const struct journal_record *r, size_t n, struct error *e)
{
    uint8_t *raw = malloc(n * RECORD + 1);
    int rc = raw ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t i = 0; !rc && i < n; i++)
        pack(j, j->records + i, &r[i], raw + i * RECORD);
    if (!rc)
        rc = write_at(j, j->header + j->records * RECORD, raw, n * RECORD, e);
    if (!rc) {
        j->records += n;
        j->written += n;
    }
    free(raw);
    return rc;
}

struct journal_record journal_start_record(void)
{
    uint8_t host[17] = "";
    struct journal_record r = {.kind = JOURNAL_START, .a = (uint64_t)getpid(), .b = (uint64_t)time(NULL)};
    gethostname((char *)host, 16);
    r.c = get(host, 8);
    r.d = get(host + 8, 8);
    return r;
}

int journal_remove(struct journal *j, struct error *e)
{
    int rc = 0;
    if (j->fd >= 0) {
        while ((rc = unlink(j->path)) && errno == EINTR)
            ;
        rc = rc ? io_error(e, "remove", j->path, ERROR_NO_OFFSET) : io_sync_folder(j->path, e);
    }
    journal_close(j);
    return rc;
}

void journal_close(struct journal *j)
{
    if (j->fd >= 0)
        close(j->fd);
    free(j->path);
    json_free(j->identity);
    *j = (struct journal){.fd = -1};
}
