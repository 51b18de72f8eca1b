/* SPDX-License-Identifier: MIT
 * The tar around a pack. Headers are libarchive's, made in memory; so is the list of members in reading. Sizes of 8 GiB and more, for which
 * a header has no room, stand in the pax record (size=), where POSIX readers look for them. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/pack.h"

enum { MAX_MANIFEST = 512 << 20, WINDOW = 1 << 16, MAX_RECORD = 1 << 19, TYPE_AT = 156, SUM_AT = 148, SUM_SIZE = 8 };
static const uint64_t header_size_end = UINT64_C(1) << 33; /* eleven octal digits */

uint64_t pack_round(uint64_t n, uint64_t align)
{
    return (n + align - 1) / align * align;
}

static int is_large(uint64_t size)
{
    return size >= header_size_end;
}

uint64_t pack_place(uint64_t at, uint64_t size, uint64_t align)
{
    if (!is_large(size) && (at + PACK_BLOCK) % align == 0)
        return at + PACK_BLOCK;
    return pack_round(at + 3 * PACK_BLOCK, align); /* a record has a header and a block at least */
}

uint64_t pack_after(uint64_t data, uint64_t size)
{
    return pack_round(data + size, PACK_BLOCK);
}

/* Takes the header, and then refuses: the data, which closing would fill up with zeros, are not libarchive's business. */
struct taken {
    char *header;
    size_t n;
};

static la_ssize_t take(struct archive *a, void *taken, const void *bytes, size_t n)
{
    struct taken *t = taken;
    if (t->n || n > PACK_BLOCK) {
        archive_set_error(a, EIO, "no more than a header is wanted");
        return -1;
    }
    memcpy(t->header, bytes, n);
    t->n = n;
    return (la_ssize_t)n;
}

/* libarchive's header of a regular file. */
static int file_header(const char *name, uint64_t size, char out[PACK_BLOCK], struct error *e)
{
    struct taken t = {.header = out};
    struct archive *a = archive_write_new();
    struct archive_entry *entry = archive_entry_new();
    int rc = a && entry ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc) {
        archive_entry_set_pathname(entry, name);
        archive_entry_set_filetype(entry, AE_IFREG);
        archive_entry_set_perm(entry, 0644);
        archive_entry_set_size(entry, is_large(size) ? 0 : (int64_t)size);
        archive_entry_set_mtime(entry, 0, 0);
        if (archive_write_set_format_ustar(a) || archive_write_set_bytes_per_block(a, 0) ||
            archive_write_open(a, &t, NULL, take, NULL) || archive_write_header(a, entry) || t.n != PACK_BLOCK)
            /* without a reason an entry's field could not be set, which only memory can cause */
            rc = archive_errno(a) == ENOMEM || !archive_error_string(a)
                     ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for a tar header")
                     : error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "no tar header for '%.120s': %.200s", name, archive_error_string(a));
    }
    archive_entry_free(entry);
    archive_write_free(a);
    return rc;
}

/* Turns a regular file's header into that of a pax record. */
static void make_record_header(char h[PACK_BLOCK])
{
    unsigned sum = 0;
    h[TYPE_AT] = 'x';
    memset(h + SUM_AT, ' ', SUM_SIZE);
    for (int i = 0; i < PACK_BLOCK; i++)
        sum += (unsigned char)h[i];
    snprintf(h + SUM_AT, SUM_SIZE, "%06o", sum);
}

/* "LEN comment=   \n" of exactly n bytes; of two such where one would be longer than libarchive takes. */
static void add_comment(struct buffer *b, uint64_t n)
{
    char head[48];
    if (n > MAX_RECORD) {
        add_comment(b, MAX_RECORD);
        n -= MAX_RECORD;
    }
    uint64_t used = (uint64_t)snprintf(head, sizeof head, "%" PRIu64 " comment=", n);
    buffer_add(b, head, (size_t)used);
    buffer_printf(b, "%*s\n", (int)(n - used - 1), "");
}

/* LEN counts its own digits. */
static uint64_t add_size(struct buffer *b, uint64_t size)
{
    char value[32];
    int n = snprintf(value, sizeof value, " size=%" PRIu64 "\n", size) + 2;
    buffer_printf(b, "%d%s", n, value);
    return (uint64_t)n;
}

int pack_headers(struct buffer *b, const char *name, uint64_t at, uint64_t size, uint64_t align, struct error *e)
{
    char header[PACK_BLOCK];
    const uint64_t data = pack_place(at, size, align), record = data - at - PACK_BLOCK;
    if (record) {
        if (file_header("PaxHeaders/pad", record - PACK_BLOCK, header, e))
            return -1;
        make_record_header(header);
        buffer_add(b, header, sizeof header);
        add_comment(b, record - PACK_BLOCK - (is_large(size) ? add_size(b, size) : 0));
    }
    if (file_header(name, size, header, e))
        return -1;
    buffer_add(b, header, sizeof header);
    return b->failed ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory") : 0;
}

/* ---- reading */

struct reader {
    const struct io_file *file;
    uint64_t at;
    struct error *e;
    int failed;
    uint8_t window[WINDOW];
};

static la_ssize_t read_window(struct archive *a, void *reader, const void **bytes)
{
    struct reader *r = reader;
    const uint64_t left = r->file->size - r->at;
    const size_t n = left < WINDOW ? (size_t)left : WINDOW;
    (void)a;
    *bytes = r->window;
    if (n && io_read(r->file, r->at, r->window, n, r->e)) {
        r->failed = 1;
        return -1;
    }
    r->at += n;
    return (la_ssize_t)n;
}

static la_int64_t skip(struct archive *a, void *reader, la_int64_t n)
{
    struct reader *r = reader;
    const uint64_t left = r->file->size - r->at, step = (uint64_t)n < left ? (uint64_t)n : left;
    (void)a;
    r->at += step;
    return (la_int64_t)step;
}

/* What libarchive says of the file, unless reading it has failed. */
static int bad(const struct reader *r, struct archive *a, struct error *e)
{
    if (!a || (!r->failed && archive_errno(a) == ENOMEM))
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    else if (!r->failed)
        error_set(e, ERR_FORMAT, (uint64_t)archive_read_header_position(a), "no tar that can be read: %.300s",
                  archive_error_string(a) ? archive_error_string(a) : "libarchive does not say why");
    return error_at_file(e, r->file->path);
}

static struct archive *open_tar(struct reader *r, struct error *e)
{
    struct archive *a = archive_read_new();
    if (a && !archive_read_support_format_tar(a) && !archive_read_set_callback_data(a, r) &&
        !archive_read_set_read_callback(a, read_window) &&
        !archive_read_set_skip_callback(a, skip) && !archive_read_open1(a))
        return a;
    bad(r, a, e);
    archive_read_free(a);
    return NULL;
}

static struct reader *new_reader(const struct io_file *f, struct error *e)
{
    struct reader *r = calloc(1, sizeof *r);
    if (r)
        *r = (struct reader){.file = f, .e = e};
    else
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    return r;
}

int pack_walk(const struct io_file *f, int (*each)(void *context, const char *name, uint64_t size, struct error *e), void *context,
              struct error *e)
{
    struct reader *r = new_reader(f, e);
    struct archive *a = r ? open_tar(r, e) : NULL;
    struct archive_entry *entry;
    int rc = a ? 0 : -1, found = ARCHIVE_OK;
    while (!rc && (found = archive_read_next_header(a, &entry)) == ARCHIVE_OK) {
        const char *name = archive_entry_pathname(entry);
        rc = each(context, name ? name : "", (uint64_t)archive_entry_size(entry), e);
    }
    if (!rc && found != ARCHIVE_EOF)
        rc = bad(r, a, e);
    archive_read_free(a);
    free(r);
    return rc;
}

/* The first member's text: its size is held against the file before memory is asked for. */
static int read_text(struct reader *r, struct archive *a, char **text, size_t *size, struct error *e)
{
    struct archive_entry *entry;
    if (archive_read_next_header(a, &entry) != ARCHIVE_OK)
        return bad(r, a, e);
    const char *name = archive_entry_pathname(entry);
    const int64_t n = archive_entry_size(entry);
    if (!name || strcmp(name, PACK_MANIFEST))
        error_set(e, ERR_FORMAT, 0, "a tar whose first member is not " PACK_MANIFEST);
    else if (n < 2 || n > MAX_MANIFEST || (uint64_t)n > r->file->size)
        error_set(e, ERR_FORMAT, 0, PACK_MANIFEST " of %" PRId64 " bytes", n);
    else if (!(*text = malloc((size_t)n + 1)))
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    else if (archive_read_data(a, *text, (size_t)n) != n)
        return bad(r, a, e);
    else {
        (*text)[n] = '\0';
        *size = (size_t)n;
        return 0;
    }
    return error_at_file(e, r->file->path);
}

int pack_manifest_text(const struct io_file *f, char **text, size_t *size, struct error *e)
{
    struct reader *r = new_reader(f, e);
    struct archive *a = r ? open_tar(r, e) : NULL;
    *text = NULL;
    int rc = a ? read_text(r, a, text, size, e) : -1;
    if (rc) {
        free(*text);
        *text = NULL;
    }
    archive_read_free(a);
    free(r);
    return rc;
}
