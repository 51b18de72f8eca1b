/* SPDX-License-Identifier: MIT
 * Identity: what the bytes of a conversion depend on, as named texts: tool, recipe, layout, and the source's files by size,
 * time of modification and hash of their headers. A run may go on with another's work only when all of them are equal. */
#ifndef PARE_CONVERT_IDENTITY_H
#define PARE_CONVERT_IDENTITY_H

#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "convert/plan.h"

struct identity {
    struct arena arena;
    struct identity_pair {
        const char *key, *value;
    } *pairs;
    size_t n, room;
};

/* Fills a zeroed *id. Reads the headers of all source files. Holds no path. Clear it in either case. */
int identity_make(struct identity *id, const struct plan *p, const char *tool, struct error *e);
void identity_clear(struct identity *id);

/* One hash of all headers, tensors' places and units: parts of one conversion have it in common. -1 when out of memory. */
int identity_plan_hash(const struct plan *p, char out[HASH_TEXT]);

/* malloc'd JSON object of the pairs, or NULL when out of memory. */
char *identity_text(const struct identity *id);

/* 0 when a stored identity (an object of strings) equals this one; else -1 with ERR_USAGE that tells the first difference,
 * both values, and how many more there are. */
int identity_compare(const struct identity *now, const struct json *then, struct error *e);

#endif
