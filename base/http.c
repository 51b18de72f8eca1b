/* SPDX-License-Identifier: MIT
 * HTTP by libcurl, which is loaded when it is needed. */
#include "base/http.h"

#include <stdlib.h>
#include <string.h>

/* The last '@' counts, wherever it is: a password with a '/' makes a wrong address, which is shown too. */
char *http_shown(const char *url)
{
    const char *scheme = strstr(url, "://"), *at = strrchr(url, '@');
    const size_t keep = scheme && scheme < at ? (size_t)(scheme + 3 - url) : 0;
    char *shown = strdup(url);
    if (shown && at)
        memmove(shown + keep, at + 1, strlen(at + 1) + 1);
    return shown;
}

#ifdef PARE_NO_CURL

struct http *http_new(const struct http_options *o, struct error *e)
{
    (void)o;
    error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "this program was built without libcurl and cannot ask servers");
    return NULL;
}

void http_free(struct http *h)
{
    (void)h;
}

int http_call(struct http *h, const char *url, const char *json, struct http_reply *reply, struct error *e)
{
    (void)h, (void)url, (void)json, (void)reply;
    return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "this program was built without libcurl and cannot ask servers");
}

#else

#include <curl/curl.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

#include "base/buffer.h"

/* libcurl brings 27 libraries, whose loading takes longer than most commands run: it is loaded by those that ask a server. */
static struct {
    __typeof__(curl_global_init) *global_init;
    __typeof__(curl_easy_init) *easy_init;
    __typeof__(curl_easy_setopt) *setopt;
    __typeof__(curl_easy_perform) *perform;
    __typeof__(curl_easy_getinfo) *getinfo;
    __typeof__(curl_easy_strerror) *text_of;
    __typeof__(curl_easy_cleanup) *cleanup;
    __typeof__(curl_slist_append) *append;
    __typeof__(curl_slist_free_all) *free_all;
    char failure[200]; /* why it is not there; "": it is */
} lib;

/* Its functions; -1: one is missing. */
static int find_calls(void *found)
{
    const struct {
        const char *name;
        void *to; /* a pointer to a function */
    } calls[] = {{"curl_global_init", &lib.global_init}, {"curl_easy_init", &lib.easy_init}, {"curl_easy_setopt", &lib.setopt},
                 {"curl_easy_perform", &lib.perform},    {"curl_easy_getinfo", &lib.getinfo}, {"curl_easy_strerror", &lib.text_of},
                 {"curl_easy_cleanup", &lib.cleanup},    {"curl_slist_append", &lib.append},  {"curl_slist_free_all", &lib.free_all}};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        void *call = dlsym(found, calls[i].name);
        if (!call)
            return -1;
        memcpy(calls[i].to, &call, sizeof call);
    }
    return 0;
}

static void load_library(void)
{
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl.4.dylib"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *found = dlopen(names[i], RTLD_NOW);
        if (found && !find_calls(found)) {
            snprintf(lib.failure, sizeof lib.failure, "%s", lib.global_init(CURL_GLOBAL_DEFAULT) ? "it does not start" : "");
            return;
        }
        const char *why = dlerror();
        if (!i)
            snprintf(lib.failure, sizeof lib.failure, "%s", why ? why : "?");
    }
}

struct http {
    struct http_options o;
    CURL *curl;
    struct curl_slist *headers;
    struct buffer body; /* of the answer that is coming */
    int too_large, stopped;
};

static size_t take(char *bytes, size_t one, size_t n, void *context)
{
    struct http *h = context;
    (void)one; /* 1, by libcurl's promise */
    h->too_large |= n > h->o.most - h->body.size;
    if (h->too_large)
        return 0;
    buffer_add(&h->body, bytes, n);
    return h->body.failed ? 0 : n;
}

static int look_up(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct http *h = context;
    (void)a, (void)b, (void)c, (void)d;
    h->stopped |= h->o.stop && h->o.stop(h->o.context);
    return h->stopped;
}

static int add_header(struct http *h, const char *line)
{
    struct curl_slist *more = lib.append(h->headers, line);
    h->headers = more ? more : h->headers;
    return more ? 0 : -1;
}

enum { HEADER_MOST = 4096 };

/* A line break would begin another header. */
static int key_fits(const char *key)
{
    size_t n = 0;
    for (; key[n]; n++)
        if ((unsigned char)key[n] <= ' ' || key[n] == 0x7f)
            return 0;
    return n < HEADER_MOST - 32;
}

/* -1: out of memory; -2: it cannot be kept from other protocols. */
static int set_up(struct http *h)
{
    char line[HEADER_MOST];
    if (add_header(h, "Content-Type: application/json") || add_header(h, "Expect:"))
        return -1;
    if (h->o.key) {
        snprintf(line, sizeof line, "Authorization: Bearer %s", h->o.key);
        if (add_header(h, line))
            return -1;
    }
    lib.setopt(h->curl, CURLOPT_HTTPHEADER, h->headers);
    lib.setopt(h->curl, CURLOPT_WRITEFUNCTION, take);
    lib.setopt(h->curl, CURLOPT_WRITEDATA, h);
    lib.setopt(h->curl, CURLOPT_XFERINFOFUNCTION, look_up);
    lib.setopt(h->curl, CURLOPT_XFERINFODATA, h);
    lib.setopt(h->curl, CURLOPT_NOPROGRESS, 0L);
    lib.setopt(h->curl, CURLOPT_NOSIGNAL, 1L);
    lib.setopt(h->curl, CURLOPT_TIMEOUT_MS, (long)(h->o.timeout * 1000));
    lib.setopt(h->curl, CURLOPT_CONNECTTIMEOUT_MS, 10000L);
    return lib.setopt(h->curl, CURLOPT_PROTOCOLS_STR, "http,https") ? -2 : 0;
}

struct http *http_new(const struct http_options *o, struct error *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct http *h;
    if (o->key && !key_fits(o->key)) {
        error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "the server's key is too long, or has blanks or line breaks");
        return NULL;
    }
    pthread_once(&once, load_library);
    if (lib.failure[0]) {
        error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "servers are asked through libcurl, which cannot be loaded (%s): install libcurl4", lib.failure);
        return NULL;
    }
    if ((h = calloc(1, sizeof *h)))
        h->o = *o;
    const int rc = !h || !(h->curl = lib.easy_init()) ? -1 : set_up(h);
    if (rc) {
        http_free(h);
        error_set(e, rc == -2 ? ERR_UNSUPPORTED : ERR_MEMORY, ERROR_NO_OFFSET,
                  rc == -2 ? "servers are asked through libcurl, and this one is older than 7.85" : "out of memory for the connection");
        return NULL;
    }
    return h;
}

void http_free(struct http *h)
{
    if (!h)
        return;
    lib.free_all(h->headers);
    lib.cleanup(h->curl);
    buffer_clear(&h->body);
    free(h);
}

static int failed(const struct http *h, CURLcode why, const char *url, struct error *e)
{
    if (h->stopped)
        return error_set(e, ERR_INTERRUPTED, ERROR_NO_OFFSET, "interrupted");
    if (h->body.failed)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the server's answer");
    if (h->too_large)
        error_set(e, ERR_IO, ERROR_NO_OFFSET, "the server's answer is larger than %zu bytes", h->o.most);
    else
        error_set(e, ERR_IO, ERROR_NO_OFFSET, "the server does not answer: %s", lib.text_of(why));
    char *shown = http_shown(url);
    error_at_file(e, shown);
    free(shown);
    return -1;
}

int http_call(struct http *h, const char *url, const char *json, struct http_reply *reply, struct error *e)
{
    curl_off_t wait = 0;
    buffer_clear(&h->body);
    h->too_large = 0;
    *reply = (struct http_reply){0};
    lib.setopt(h->curl, CURLOPT_URL, url);
    if (json) {
        lib.setopt(h->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(json));
        lib.setopt(h->curl, CURLOPT_POSTFIELDS, json);
        lib.setopt(h->curl, CURLOPT_POST, 1L);
    } else {
        lib.setopt(h->curl, CURLOPT_HTTPGET, 1L);
    }
    const CURLcode rc = lib.perform(h->curl);
    if (rc)
        return failed(h, rc, url, e);
    buffer_add(&h->body, "", 0); /* terminated, also when empty */
    if (h->body.failed)
        return failed(h, rc, url, e);
    lib.getinfo(h->curl, CURLINFO_RESPONSE_CODE, &reply->status);
    lib.getinfo(h->curl, CURLINFO_RETRY_AFTER, &wait);
    reply->retry_after = (double)wait;
    reply->body = h->body.data;
    reply->size = h->body.size;
    h->body = (struct buffer){0};
    return 0;
}

#endif
