/* SPDX-License-Identifier: MIT
 * Journal: what of a conversion is on the disk already. OUT.journal stands beside OUT.partial while a run is on its way.
 *
 *    0  8  "PAREJRNL"
 *    8  4  version, 1
 *   12  4  bytes of the identity, N
 *   16  8  units of the run
 *   24  8  bytes that the run writes
 *   32  8  XXH3-64 of bytes 0..31 and the identity
 *   40  N  identity: a JSON object of strings
 *   then records of 48 bytes:
 *    0  4  kind       4  4  zero
 *    8 32  a, b, c, d
 *   40  8  XXH3-64 of bytes 0..39, seeded with the header's hash plus the record's number
 *
 *   kind         a               b            c                  d
 *   1 start      process id      time, s      host name, 16 bytes in c and d
 *   2 unit       number          bytes        XXH3-64 of its output
 *   3 output     tensor          XXH3-128 of the whole: high, low half; CRC-32 where the target has one
 *   4 source     tensor          XXH3-128 of the whole: high, low half
 *   5 progress   time, s         bytes durable, units durable   bytes durable when this process started
 *
 * All little-endian. A unit is recorded after its bytes are on the disk. A record that is torn, damaged or out of its place does
 * not count, which at worst repeats work. Records of an unknown version are refused. */
#ifndef PARE_CONVERT_JOURNAL_H
#define PARE_CONVERT_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/json.h"

enum journal_kind { JOURNAL_START = 1, JOURNAL_UNIT, JOURNAL_OUTPUT, JOURNAL_SOURCE, JOURNAL_PROGRESS };

struct journal_record {
    uint32_t kind;
    uint64_t a, b, c, d;
};

struct journal {
    int fd; /* -1: none; locked while open for writing */
    char *path;
    uint64_t units, bytes;  /* of the run */
    struct json *identity;
    uint64_t seed;
    uint64_t header;        /* bytes */
    uint64_t records;       /* where the next one goes */
    uint64_t damaged;       /* records that do not count, a torn tail aside */
    uint64_t written;       /* records of this process */
};

/* Opens and locks `path`. Returns 1 when it holds a run (header read, records not yet), 0 when it is new and empty, or -1:
 * ERR_IO naming the process that holds it, ERR_UNSUPPORTED for another version, ERR_FORMAT for a header that is damaged (the
 * lock is then held, so that the caller may begin anew). Close it in any case. */
int journal_open(struct journal *j, const char *path, struct error *e);
/* The same for reading only, without a lock. ERR_FORMAT when there is no valid header. *running tells whether a process holds
 * the lock. */
int journal_look(struct journal *j, const char *path, int *running, struct error *e);

/* Begins anew: empties it, writes a header, makes it durable. `identity` is JSON text. */
int journal_begin(struct journal *j, const char *identity, uint64_t units, uint64_t bytes, struct error *e);

/* Calls `each` for every record that counts, in order, then stands behind the last of them. */
int journal_each(struct journal *j, void (*each)(void *context, const struct journal_record *r), void *context,
                 struct error *e);

/* Appends n records and waits until they are on the disk. */
int journal_append(struct journal *j, const struct journal_record *r, size_t n, struct error *e);

/* The record that says who is at work. */
struct journal_record journal_start_record(void);

/* Removes the file (durably) and closes; or just closes. Both are safe on a zeroed journal with fd -1. */
int journal_remove(struct journal *j, struct error *e);
void journal_close(struct journal *j);

#endif
