/* SPDX-License-Identifier: MIT
 * What a server told of a position (server_kinds.h): checked, and held against what the base knows. */
#ifndef PARE_VERIFY_TOLD_H
#define PARE_VERIFY_TOLD_H

#include "model/forward/positions.h"
#include "verify/base.h"
#include "verify/server_kinds.h"

struct told_entry {
    int32_t id;
    double log_p; /* -745 .. 0 */
};

/* An answer, terminated and changed in place, as JSON. */
struct json *told_parse(char *body, size_t size, struct error *e);
/* The list sorted by id, malloc'd; NULL with what is wrong with it, or *what NULL: out of memory. Tokens are of the vocabulary, none comes
 * twice, and probabilities add up to no more than 1, but for rounding. */
struct told_entry *told_check(const struct told *t, size_t vocab, const char **what);
/* The bound of server.h; left: P and Q. */
double told_bound(const struct base_list *b, const struct told_entry *list, size_t n, double left[2]);
/* The best of the list into the candidate's side of a position; equal ones by id. */
void told_best(const struct told_entry *list, size_t n, struct position *p);
/* ln q of a token; when it was not told, which *untold counts, the most that it can be. */
double told_target(const struct told_entry *list, size_t n, int32_t target, size_t *untold);

#endif
