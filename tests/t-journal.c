/* SPDX-License-Identifier: MIT
 * The journal of a conversion: what was recorded is read back, and nothing that was torn, damaged, moved or is of another run
 * ever counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "convert/journal.h"
#include "tests/tap.h"

static const char identity[] = "{\"tool\": \"t\"}";
enum { HEADER = 40 + sizeof identity - 1, RECORD = 48 };

struct seen {
    size_t n;
    struct journal_record last;
    uint64_t sum; /* of the units' numbers */
};

static void see(void *context, const struct journal_record *r)
{
    struct seen *s = context;
    s->n++;
    s->last = *r;
    s->sum += r->kind == JOURNAL_UNIT ? r->a : 0;
}

/* A journal with n unit records, closed. */
static void make(const char *path, uint64_t n)
{
    struct journal j;
    struct error e = {0};
    unlink(path);
    if (journal_open(&j, path, &e) || journal_begin(&j, identity, 100, 1000, &e))
        bail("%s", e.text);
    for (uint64_t i = 1; i <= n; i++) {
        struct journal_record r = {JOURNAL_UNIT, i, 10 * i, 0x123456789abcdef0 + i, 7};
        if (journal_append(&j, &r, 1, &e))
            bail("%s", e.text);
    }
    journal_close(&j);
}

/* Opens and reads; closes. Returns what journal_open did. */
static int load(const char *path, struct seen *s, struct journal *j, struct error *e)
{
    *s = (struct seen){0};
    *e = (struct error){0};
    int rc = journal_open(j, path, e);
    if (rc == 1 && journal_each(j, see, s, e))
        rc = -1;
    return rc;
}

static void change(const char *path, long at, int xor)
{
    FILE *f = fopen(path, "r+b");
    if (!f || fseek(f, at, SEEK_SET))
        bail("cannot change %s", path);
    int c = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(c ^ xor, f);
    fclose(f);
}

static void round_trip(void)
{
    const char *path = tmp_path("a.journal");
    struct journal j;
    struct error e;
    struct seen s;
    make(path, 5);
    ok(load(path, &s, &j, &e) == 1 && j.units == 100 && j.bytes == 1000, "a header keeps units and bytes");
    ok(!strcmp(json_string(json_get(j.identity, "tool")), "t"), "and the identity");
    ok(s.n == 5 && s.sum == 15 && s.last.b == 50 && s.last.c == 0x123456789abcdef5 && s.last.d == 7 && j.damaged == 0,
       "5 records are read back in order, with all their fields");
    struct journal_record more[2] = {{JOURNAL_OUTPUT, 1, 2, 3, 0}, {JOURNAL_UNIT, 6, 0, 0, 0}};
    ok(!journal_append(&j, more, 2, &e), "two more are appended after reading");
    journal_close(&j);
    ok(load(path, &s, &j, &e) == 1 && s.n == 7 && s.sum == 21, "a later reading has 7");
    ok(!journal_remove(&j, &e) && access(path, F_OK), "removed, it is gone");
    struct journal none = {.fd = -1};
    ok(!journal_remove(&none, &e), "removing none is no error");
}

static void torn(void)
{
    const char *path = tmp_path("t.journal");
    struct journal j;
    struct error e;
    struct seen s;
    int good = 0, n = 0;
    for (long size = HEADER; size <= HEADER + 3 * RECORD; size++, n++) {
        make(path, 3);
        if (truncate(path, size))
            bail("truncate");
        size_t whole = (size_t)(size - HEADER) / RECORD;
        int right = load(path, &s, &j, &e) == 1 && s.n == whole && j.damaged == 0;
        struct journal_record r = {JOURNAL_UNIT, 9, 0, 0, 0};
        right &= !journal_append(&j, &r, 1, &e);
        journal_close(&j);
        right &= load(path, &s, &j, &e) == 1 && s.n == whole + 1 && s.last.a == 9;
        journal_close(&j);
        good += right;
    }
    ok(good == n, "cut at any of %d lengths, whole records count, and appending goes on behind them", n);
    good = n = 0;
    for (long size = 1; size < HEADER; size++, n++) {
        make(path, 3);
        if (truncate(path, size))
            bail("truncate");
        good += load(path, &s, &j, &e) < 0 && e.code == ERR_FORMAT && j.fd >= 0;
        journal_close(&j);
    }
    ok(good == n, "cut within the header at any of %d lengths: bad, but locked", n);
    make(path, 0);
    ok(!truncate(path, 0) && load(path, &s, &j, &e) == 0, "an empty file is a new journal");
    journal_close(&j);
}

static void damaged(void)
{
    const char *path = tmp_path("d.journal");
    struct journal j;
    struct error e;
    struct seen s;
    int good = 0, n = 0;
    make(path, 5);
    for (long bit = 0; bit < 8 * HEADER; bit++, n++) {
        change(path, bit / 8, 1 << bit % 8);
        int rc = load(path, &s, &j, &e);
        good += rc < 0 && (e.code == ERR_FORMAT || e.code == ERR_UNSUPPORTED);
        journal_close(&j);
        change(path, bit / 8, 1 << bit % 8);
    }
    ok(good == n, "each of the header's %d bits, flipped, is found", n);
    good = n = 0;
    for (long bit = 0; bit < 8 * 5 * RECORD; bit++, n++) {
        change(path, HEADER + bit / 8, 1 << bit % 8);
        uint64_t lost = (uint64_t)(bit / 8 / RECORD) + 1;
        /* a damaged last record is a torn tail; before it, the others still count */
        good += load(path, &s, &j, &e) == 1 && s.n == 4 && s.sum == 15 - lost && j.damaged == (lost < 5);
        journal_close(&j);
        change(path, HEADER + bit / 8, 1 << bit % 8);
    }
    ok(good == n, "each of the records' %d bits, flipped, costs that record alone", n);
}

static void strange(void)
{
    const char *path = tmp_path("s.journal"), *other = tmp_path("o.journal");
    struct journal j;
    struct error e;
    struct seen s;
    size_t size;
    make(path, 3);
    char *bytes = read_file(path, &size);
    if (!bytes || size != HEADER + 3 * RECORD)
        bail("the journal has %zu bytes", size);
    char swapped[HEADER + 3 * RECORD];
    memcpy(swapped, bytes, size);
    memcpy(swapped + HEADER, bytes + HEADER + RECORD, RECORD);
    memcpy(swapped + HEADER + RECORD, bytes + HEADER, RECORD);
    write_file(other, swapped, size);
    ok(load(other, &s, &j, &e) == 1 && s.n == 1 && s.sum == 3, "records out of their places do not count");
    journal_close(&j);
    make(other, 0);
    FILE *f = fopen(other, "ab");
    fwrite(bytes + HEADER, 1, 3 * RECORD, f);
    fclose(f);
    ok(load(other, &s, &j, &e) == 1 && s.n == 3, "records of the same run count");
    journal_close(&j);
    if (journal_open(&j, other, &e) < 0 || journal_begin(&j, "{\"tool\": \"u\"}", 100, 1000, &e))
        bail("%s", e.text);
    journal_close(&j);
    f = fopen(other, "ab");
    fwrite(bytes + HEADER, 1, 3 * RECORD, f);
    fclose(f);
    ok(load(other, &s, &j, &e) == 1 && s.n == 0, "records of another run do not");
    journal_close(&j);
    change(path, 8, 3);
    ok(load(path, &s, &j, &e) < 0 && e.code == ERR_UNSUPPORTED && strstr(e.text, "version 2"), "version 2 is not supported");
    journal_close(&j);
    free(bytes);
}

static void locked(void)
{
    const char *path = tmp_path("l.journal");
    struct journal j, k;
    struct error e = {0};
    int running = 0;
    if (journal_open(&j, path, &e) || journal_begin(&j, identity, 1, 1, &e))
        bail("%s", e.text);
    struct journal_record r = journal_start_record();
    ok(!journal_append(&j, &r, 1, &e) && r.a == (uint64_t)getpid(), "a start is recorded with the process");
    char want[64];
    snprintf(want, sizeof want, "process %ld on ", (long)getpid());
    ok(journal_open(&k, path, &e) < 0 && e.code == ERR_IO && strstr(e.text, "another run") && strstr(e.text, want) && k.fd < 0,
       "a second process is refused and told who holds it: %s", want);
    ok(!journal_look(&k, path, &running, &e) && running, "looking needs no lock, and tells that it is held");
    journal_close(&k);
    journal_close(&j);
    ok(!journal_look(&k, path, &running, &e) && !running, "and that it is not, afterwards");
    journal_close(&k);
    ok(journal_look(&k, tmp_path("none"), &running, &e) && e.code == ERR_IO, "looking at nothing is an error");
    ok(journal_look(&k, tmp_folder(), &running, &e) && e.code == ERR_FORMAT, "and at a folder");
}

int main(void)
{
    round_trip();
    torn();
    damaged();
    strange();
    locked();
    return done();
}
