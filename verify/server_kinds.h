/* SPDX-License-Identifier: MIT
 * Kinds of servers: how each is asked and how its answer is read (server.h). A kind is a row of server_kinds.c. */
#ifndef PARE_VERIFY_SERVER_KINDS_H
#define PARE_VERIFY_SERVER_KINDS_H

#include "base/buffer.h"
#include "base/json.h"

/* Most likely tokens of one position, as a server tells them: no order, nothing checked. */
struct told {
    size_t n, room;
    int64_t *ids;
    double *log_p;
};

struct server_kind {
    const char *name;
    const char *probe, *mark;   /* GET this path: its JSON has this member. The last kind is taken when no other is */
    const char *path;           /* POST */
    size_t top;                 /* asked for by default */
    int by_position;            /* a request for each scored position, else for each chunk */
    /* Appends the request for n tokens. */
    void (*ask)(struct buffer *b, const int32_t *tokens, size_t n, size_t top, const char *model);
    /* The answer's list for token i of the prompt (by_position: for the one that follows it): 0, or -1: not there. */
    int (*read)(const struct json *answer, size_t i, struct told *to);
};
extern const struct server_kind server_kinds[]; /* ends with a row without a name */

void told_clear(struct told *t);

#endif
