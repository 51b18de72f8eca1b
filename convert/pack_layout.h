/* SPDX-License-Identifier: MIT
 * What a planned pack consists of: the members of its files, one after the other. The plan's tensors are in the order of the members; an
 * expert's lie together in a bundle. */
#ifndef PARE_CONVERT_PACK_LAYOUT_H
#define PARE_CONVERT_PACK_LAYOUT_H

#include "convert/plan.h"
#include "convert/places.h"
#include "convert/stream.h"
#include "formats/pack.h"

/* A walk over the members of one file, from behind its manifest. */
struct pack_cursor {
    const struct plan *plan;
    size_t file, side, sides, tensor, end;
    uint64_t at;
    const struct placed *placed; /* of plans that compress, when all is stored: where the tensors lie; NULL: the most that they can take */
};

struct pack_item {
    char name[PACK_NAME];
    uint64_t at, offset, size, align; /* headers, data */
    const struct side_file *side;     /* NULL: tensors */
    size_t first, n;                  /* of the plan's tensors */
    int bundle;
};

/* The file's header (plan_file.reserved) must be known, and of plans that compress the sizes of units. */
struct pack_cursor pack_begin(const struct plan *p, size_t file);
/* 1 and the next member, or 0 at the end: then the cursor's `at` is where the two zero blocks go. */
int pack_next(struct pack_cursor *c, struct pack_item *m);

/* How many tensors from `first` on are in one member. */
size_t pack_together(const struct plan *p, size_t first);
/* Where the tensors of a member lie in it; returns its size. `inner` may be NULL. */
uint64_t pack_inner(const struct plan *p, const struct placed *placed, size_t first, size_t n, uint64_t *inner);

/* For struct target: place. */
uint64_t pack_place_of_tensor(const struct plan *p, size_t tensor, uint64_t end);

/* Of a coded tensor whose units have their sizes: entries [first, first + n) of the table before its chunks. */
void pack_table(const struct plan_tensor *t, const struct stream_state *state, uint64_t first, uint64_t n, uint8_t *out);

/* Appends the file's manifest. state NULL: as long as it can get, before places and hashes are known. 0, or -1 without memory. */
int pack_manifest(const struct plan *p, size_t file, const char *tool, const struct stream_state *state, const struct placed *placed,
                  struct buffer *out);
/* Bytes that one tensor, one side file or one bundle beside its tensors take in a manifest at most; a manifest without any. */
enum { PACK_ENTRY = 512, PACK_HEAD = 8192 };

#endif
