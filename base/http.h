/* SPDX-License-Identifier: MIT
 * HTTP: JSON to and from a server, by libcurl, which is loaded at the first http_new. Without it on the machine, or built
 * without it (CURL=0), a program says so when it is asked to. */
#ifndef PARE_BASE_HTTP_H
#define PARE_BASE_HTTP_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct http; /* keeps its connections; used by one thread */

struct http_options {
    const char *key;  /* sent as a bearer token; NULL: none. Borrowed */
    double timeout;   /* seconds for one answer */
    size_t most;      /* bytes of one answer */
    int (*stop)(void *); /* asked while waiting: not 0 ends the call with ERR_INTERRUPTED; NULL: never */
    void *context;
};

struct http_reply {
    long status;        /* 200 */
    char *body;         /* malloc'd, terminated; the caller frees */
    size_t size;
    double retry_after; /* seconds, as the server asks; 0: it does not */
};

/* malloc'd: an address as it may be shown, without the user and the password before its '@'; NULL: out of memory. */
char *http_shown(const char *url);

/* NULL with ERR_MEMORY, ERR_USAGE (a key that no header can hold), or ERR_UNSUPPORTED: no libcurl. */
struct http *http_new(const struct http_options *o, struct error *e);
void http_free(struct http *h); /* NULL is allowed */

/* Sends a text as JSON (NULL: asks with GET). 0 with a reply of any status; -1 with ERR_IO (no connection, no answer in time, an answer cut short
 * or larger than allowed), ERR_INTERRUPTED, ERR_MEMORY. The URL is named as it may be shown. */
int http_call(struct http *h, const char *url, const char *json, struct http_reply *reply, struct error *e);

#endif
