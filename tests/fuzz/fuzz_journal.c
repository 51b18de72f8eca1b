/* SPDX-License-Identifier: MIT
 * Fuzz target: convert/journal.h. The input is a journal, read as it is and once more with all its hashes put right. Looking
 * and opening tell the same; records that count keep their order and values when more are appended. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "convert/journal.h"
#include "tests/fuzz/fuzz.h"

enum { FIXED = 40, RECORD = 48, KEPT = 64 };

struct seen {
    struct journal_record records[KEPT];
    uint64_t n;
};

static void see(void *context, const struct journal_record *r)
{
    struct seen *s = context;
    if (s->n < KEPT)
        s->records[s->n] = *r;
    s->n++;
}

static void must_equal(const struct seen *a, const struct seen *b)
{
    for (uint64_t i = 0; i < a->n && i < KEPT; i++) {
        const struct journal_record *r = &a->records[i], *q = &b->records[i];
        must(r->kind == q->kind && r->a == q->a && r->b == q->b && r->c == q->c && r->d == q->d);
    }
}

/* The records of a journal that is open, and that it keeps its promises. */
static struct seen read_all(struct journal *j, size_t size)
{
    struct seen s = {.n = 0};
    struct error e = {0};
    must(j->identity && j->header >= FIXED && j->header <= size);
    must(!journal_each(j, see, &s, &e));
    must(s.n <= j->records && j->records <= (size - j->header) / RECORD && j->damaged == j->records - s.n);
    return s;
}

static void append(const char *path, struct journal *j, const struct seen *before, size_t size)
{
    struct journal_record r[2] = {{JOURNAL_UNIT, 1, 2, 3, UINT64_MAX}, journal_start_record()};
    struct journal again;
    struct error e = {0};
    uint64_t damaged = j->damaged;
    must(!journal_append(j, r, 2, &e));
    journal_close(j);
    must(journal_open(&again, path, &e) == 1);
    struct seen after = read_all(&again, size + 2 * RECORD);
    must(after.n >= before->n + 2 && again.damaged <= damaged);
    must_equal(before, &after);
    if (after.n == before->n + 2 && after.n <= KEPT)
        must(after.records[after.n - 2].d == UINT64_MAX && after.records[after.n - 1].kind == JOURNAL_START);
    journal_close(&again);
}

static void try(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file("x.journal", data, size);
    struct journal look, j;
    struct error e = {0}, f = {0};
    struct seen seen = {.n = 0}, looked;
    int running, there = journal_look(&look, path, &running, &e);
    must(!running);
    if (!there)
        seen = read_all(&look, size);
    else
        fuzz_must_say(&e);
    journal_close(&look);
    int rc = journal_open(&j, path, &f);
    if (rc < 0) {
        must(there && f.code == e.code && j.fd >= 0);
        fuzz_must_say(&f);
    } else if (rc == 0) {
        must(!size && !journal_begin(&j, "{\"a\":\"b\"}", 7, 8, &f));
        append(path, &j, &seen, j.header);
        return;
    } else {
        must(!there);
        looked = read_all(&j, size);
        must(looked.n == seen.n);
        must_equal(&seen, &looked);
        append(path, &j, &seen, size);
        return;
    }
    journal_close(&j);
}

static void put(uint8_t *to, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        to[i] = (uint8_t)(v >> 8 * i);
}

/* As far as the input is long enough. */
static void put_hashes_right(uint8_t *b, size_t size)
{
    size_t n = size < FIXED ? 0 : (size_t)b[12] | (size_t)b[13] << 8 | (size_t)b[14] << 16 | (size_t)b[15] << 24;
    if (size < FIXED || n > size - FIXED)
        return;
    uint64_t seed = hash_64(b + FIXED, n, hash_64(b, FIXED - 8, 0)), number = 0;
    put(b + FIXED - 8, seed);
    for (size_t at = FIXED + n; size - at >= RECORD; at += RECORD, number++)
        if (b[at] != 0xff) /* some stay wrong */
            put(b + at + RECORD - 8, hash_64(b + at, RECORD - 8, seed + number));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    must(copy);
    try(data, size);
    memcpy(copy, data, size);
    put_hashes_right(copy, size);
    try(copy, size);
    free(copy);
    return 0;
}
