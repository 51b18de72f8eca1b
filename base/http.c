/* SPDX-License-Identifier: MIT
 * HTTP by libcurl. */
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
#include <stdio.h>

#include "base/buffer.h"

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
    struct curl_slist *more = curl_slist_append(h->headers, line);
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
    curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, h->headers);
    curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, h);
    curl_easy_setopt(h->curl, CURLOPT_XFERINFOFUNCTION, look_up);
    curl_easy_setopt(h->curl, CURLOPT_XFERINFODATA, h);
    curl_easy_setopt(h->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(h->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h->curl, CURLOPT_TIMEOUT_MS, (long)(h->o.timeout * 1000));
    curl_easy_setopt(h->curl, CURLOPT_CONNECTTIMEOUT_MS, 10000L);
    curl_easy_setopt(h->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    return 0;
}

struct http *http_new(const struct http_options *o, struct error *e)
{
    struct http *h;
    if (o->key && !key_fits(o->key)) {
        error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "the server's key is too long, or has blanks or line breaks");
        return NULL;
    }
    if ((h = calloc(1, sizeof *h)))
        h->o = *o;
    if (!h || curl_global_init(CURL_GLOBAL_DEFAULT) || !(h->curl = curl_easy_init()) || set_up(h)) {
        http_free(h);
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the connection");
        return NULL;
    }
    return h;
}

void http_free(struct http *h)
{
    if (!h)
        return;
    curl_slist_free_all(h->headers);
    curl_easy_cleanup(h->curl);
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
        error_set(e, ERR_IO, ERROR_NO_OFFSET, "the server does not answer: %s", curl_easy_strerror(why));
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
    curl_easy_setopt(h->curl, CURLOPT_URL, url);
    if (json) {
        curl_easy_setopt(h->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(json));
        curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, json);
        curl_easy_setopt(h->curl, CURLOPT_POST, 1L);
    } else {
        curl_easy_setopt(h->curl, CURLOPT_HTTPGET, 1L);
    }
    const CURLcode rc = curl_easy_perform(h->curl);
    if (rc)
        return failed(h, rc, url, e);
    buffer_add(&h->body, "", 0); /* terminated, also when empty */
    if (h->body.failed)
        return failed(h, rc, url, e);
    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &reply->status);
    curl_easy_getinfo(h->curl, CURLINFO_RETRY_AFTER, &wait);
    reply->retry_after = (double)wait;
    reply->body = h->body.data;
    reply->size = h->body.size;
    h->body = (struct buffer){0};
    return 0;
}

#endif
