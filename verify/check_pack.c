/* SPDX-License-Identifier: MIT
 * Check of a pack: sums of what members hold, in parallel; then the tar around them, whose bytes follow from the manifest. */
#include "verify/check_pack.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/coded.h"
#include "formats/pack.h"

enum { CHUNK = 1 << 20 };

/* Bytes with sums: a tensor or a side file. */
struct range {
    const char *name;
    uint32_t file;
    uint64_t offset, size;
    const struct packed *sum;
    const struct tensor *coded; /* the hash is of what it stands for, the CRC of what is stored */
    int bad;
};

/* ---- sums */

/* CRC-32 of the stored bytes, with their hash in h unless that is NULL. */
static int sum_stored(const struct source *s, const struct range *r, struct hash *h, uint32_t *crc, struct error *e)
{
    uint8_t *bytes = malloc(CHUNK);
    int rc = bytes ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    *crc = 0;
    for (uint64_t at = 0; !rc && at < r->size;) {
        const size_t n = r->size - at < CHUNK ? (size_t)(r->size - at) : CHUNK;
        if ((rc = io_read(&s->files[r->file], r->offset + at, bytes, n, e)))
            break;
        if (h)
            hash_add(h, bytes, n);
        *crc = hash_crc32(*crc, bytes, n);
        at += n;
    }
    free(bytes);
    return rc;
}

static int sums_differ(const struct source *s, const struct range *r, int *differ, struct error *e)
{
    struct hash *h = r->coded ? NULL : hash_new();
    struct error why = {0};
    uint32_t crc = 0;
    char hash[HASH_TEXT] = "";
    int rc = r->coded || h ? sum_stored(s, r, h, &crc, e) : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (h)
        hash_finish(h, hash);
    if (!rc && r->coded && (rc = source_hash(s, r->coded, hash, &why)) && why.code == ERR_FORMAT)
        rc = 0; /* damaged: it has no hash */
    else if (rc && r->coded && e && why.code)
        *e = why;
    *differ = !rc && (strcmp(hash, r->sum->hash) || crc != r->sum->crc);
    return rc;
}

static struct range *list_ranges(const struct source *s, size_t *n)
{
    const struct pack *k = s->pack;
    struct range *list = calloc(s->n_tensors + k->n_sides + 1, sizeof *list);
    *n = 0;
    for (size_t i = 0; list && i < k->n_sides; i++)
        list[(*n)++] = (struct range){k->sides[i].name, k->sides[i].file, k->sides[i].offset, k->sides[i].size, &k->sides[i].sum, NULL, 0};
    for (size_t i = 0; list && i < s->n_tensors; i++) {
        const struct tensor *t = &s->tensors[i];
        list[(*n)++] = (struct range){t->name, t->file, t->offset, t->coded ? coded_stored(t) : t->bytes, t->packed, t->coded ? t : NULL, 0};
    }
    return list;
}

static int check_sums(const struct source *s, int threads, const struct check_hooks *hooks, struct check_report *r, struct error *e)
{
    size_t n;
    struct range *list = list_ranges(s, &n);
    uint64_t done = 0;
    int failed = list ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (size_t i = 0; i < (list ? n : 0); i++) {
        struct error why = {0};
        int rc = 0, skip;
#pragma omp critical(check_pack)
        skip = failed;
        if (!skip)
            rc = sums_differ(s, &list[i], &list[i].bad, &why);
#pragma omp critical(check_pack)
        {
            done += list[i].size;
            if (!rc && hooks->stop && hooks->stop(hooks->context))
                rc = error_set(&why, ERR_INTERRUPTED, ERROR_NO_OFFSET, "interrupted");
            if (rc && !failed && e)
                *e = why;
            failed |= rc;
            if (hooks->progress)
                hooks->progress(hooks->context, done, s->tensor_bytes);
        }
    }
    for (size_t i = 0; !failed && i < n; i++)
        if (list[i].bad)
            failed = check_add_finding(r, list[i].name, "its bytes differ from the XXH3-128 or CRC-32 in the pack's manifest", e);
    free(list);
    return failed;
}

/* ---- the tar */

static int say(struct check_report *r, const char *name, const char *what, uint64_t at, struct error *e)
{
    char text[120];
    snprintf(text, sizeof text, "%s, offset %" PRIu64, what, at);
    return check_add_finding(r, name, text, e);
}

/* Bytes from .. to are zeros, or that is a finding about what lies before them. */
static int check_zeros(const struct source *s, const struct pack_member *m, uint64_t from, uint64_t to, struct check_report *r, struct error *e)
{
    uint8_t bytes[4096];
    while (from < to) {
        const size_t n = to - from < sizeof bytes ? (size_t)(to - from) : sizeof bytes;
        if (io_read(&s->files[m->file], from, bytes, n, e))
            return -1;
        for (size_t i = 0; i < n; i++)
            if (bytes[i])
                return say(r, m->name, "a byte behind its data is not zero", from + i, e);
        from += n;
    }
    return 0;
}

/* Between the tensors of a bundle, and behind the data up to the next member or the end. */
static int check_gaps(const struct source *s, size_t i, struct check_report *r, struct error *e)
{
    const struct pack *k = s->pack;
    const struct pack_member *m = &k->members[i];
    const int last = i + 1 == k->n_members || k->members[i + 1].file != m->file;
    for (size_t x = m->first; x + 1 < m->first + m->n; x++)
        if (check_zeros(s, m, k->extents[x].offset + k->extents[x].size, k->extents[x + 1].offset, r, e))
            return -1;
    return check_zeros(s, m, m->offset + m->size, last ? s->files[m->file].size : k->members[i + 1].at, r, e);
}

static int check_headers(const struct source *s, const struct pack_member *m, struct check_report *r, struct error *e)
{
    struct buffer must = {0};
    const size_t n = (size_t)(m->offset - m->at);
    char *is = malloc(n);
    int rc = is ? pack_headers(&must, m->name, m->at, m->size, m->align, e) || io_read(&s->files[m->file], m->at, is, n, e)
                : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc && (must.size != n || memcmp(must.data, is, n)))
        rc = say(r, m->name, "its tar header is not what it must be", m->at, e);
    buffer_clear(&must);
    free(is);
    return rc;
}

/* What libarchive lists, held against the members of one file. */
struct listing {
    const struct pack *pack;
    size_t next, end;
    const char *wrong; /* the first member that is not as it must be */
};

static int compare_listed(void *context, const char *name, uint64_t size, struct error *e)
{
    struct listing *l = context;
    const struct pack_member *m = l->next < l->end ? &l->pack->members[l->next] : NULL;
    (void)e;
    if (!l->wrong && (!m || strcmp(m->name, name) || m->size != size))
        l->wrong = m ? m->name : "a member behind the last";
    l->next += m != NULL;
    return 0;
}

static int check_listing(const struct source *s, size_t first, size_t end, struct check_report *r, struct error *e)
{
    const struct pack *k = s->pack;
    struct listing l = {.pack = k, .next = first, .end = end};
    struct error why = {0};
    if (pack_walk(&s->files[k->members[first].file], compare_listed, &l, &why)) {
        if (why.code == ERR_FORMAT)
            return check_add_finding(r, io_base_name(s->files[k->members[first].file].path), why.text, e);
        if (e)
            *e = why;
        return -1;
    }
    if (!l.wrong && l.next == end)
        return 0;
    return check_add_finding(r, l.wrong ? l.wrong : k->members[l.next].name, "tar lists another member here, or none", e);
}

int check_pack(const struct source *s, int threads, const struct check_hooks *hooks, struct check_report *r, struct error *e)
{
    const struct pack *k = s->pack;
    if (check_sums(s, threads, hooks, r, e))
        return -1;
    for (size_t i = 0; i < k->n_members; i++)
        if (check_headers(s, &k->members[i], r, e) || check_gaps(s, i, r, e))
            return -1;
    for (size_t i = 0, end; i < k->n_members; i = end) {
        for (end = i; end < k->n_members && k->members[end].file == k->members[i].file; end++)
            ;
        if (check_listing(s, i, end, r, e))
            return -1;
    }
    return 0;
}
