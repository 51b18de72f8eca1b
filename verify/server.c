/* SPDX-License-Identifier: MIT
 * Servers: asking, asking again, and holding what they tell against a base file. */
#include "verify/server.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/http.h"
#include "verify/closeups.h"
#include "verify/server_kinds.h"
#include "verify/told.h"
#include "verify/walk.h"

enum { TRIES = 6, MOST_ANSWER = 256 << 20, MOST_WORDS = 200 };

struct client {
    const struct server_options *o;
    const struct check_hooks *hooks;
    atomic_int *failed; /* another connection did */
    struct http_options http_options;
    struct http *http;
    const struct server_kind *kind;
    char *url, *model; /* url without a slash or /v1 at its end */
    char *shown;       /* the same for people */
    long status;       /* of the last refusal */
    size_t top;
    struct base_file *base;
    const int32_t *tokens;
    struct comparison *c;
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the server's answer");
}

static int interrupted(struct error *e)
{
    return error_set(e, ERR_INTERRUPTED, ERROR_NO_OFFSET, "interrupted");
}

static int stopped(void *client)
{
    const struct client *s = client;
    return atomic_load(s->failed) || (s->hooks->stop && s->hooks->stop(s->hooks->context));
}

/* ---- asking */

/* In short sleeps, so that Ctrl-C is heard. */
static void wait_seconds(struct client *s, double seconds)
{
    for (double left = seconds; left > 0 && !stopped(s); left -= 0.05)
        nanosleep(&(struct timespec){0, 50000000}, NULL);
}

static int may_pass(long status)
{
    return status == 429 || status == 408 || status >= 500;
}

/* A server may cite the key that it does not like. */
static void hide_key(const struct client *s, char *body)
{
    const size_t n = s->o->key ? strlen(s->o->key) : 0;
    for (char *at = body; n && (at = strstr(at, s->o->key)); at += n)
        memset(at, '*', n);
}

/* What the server says of a refusal, in one line, cut short. */
static int refused(struct client *s, const char *path, const struct http_reply *r, struct error *e)
{
    char words[MOST_WORDS + 1];
    size_t n = 0;
    s->status = r->status;
    hide_key(s, r->body);
    for (const char *c = r->body; *c && n < MOST_WORDS; c++)
        words[n++] = *c == '\n' || *c == '\t' ? ' ' : *c;
    words[n] = '\0';
    error_set(e, ERR_IO, ERROR_NO_OFFSET, "the server refuses with status %ld: %s", r->status, words);
    snprintf(e->file, sizeof e->file, "%s%s", s->shown, path);
    return -1;
}

/* The body of an answer with status 200; the caller frees. json NULL: GET, once. */
static int ask(struct client *s, const char *path, const char *json, struct http_reply *r, struct error *e)
{
    struct buffer url = {0};
    int rc = -1;
    buffer_printf(&url, "%s%s", s->url, path);
    if (url.failed)
        return no_memory(e);
    for (int i = 0; i < (json ? TRIES : 1); i++) {
        rc = http_call(s->http, url.data, json, r, e);
        if (!rc && r->status == 200)
            break;
        const double asked = rc ? 0 : r->retry_after;
        const int again = rc ? e->code == ERR_IO && !strstr(e->text, "larger than") : may_pass(r->status);
        rc = rc ? -1 : refused(s, path, r, e);
        free(r->body);
        r->body = NULL;
        if (!again || i + 1 == TRIES || !json)
            break;
        wait_seconds(s, asked > 0 ? (asked < 30 ? asked : 30) : 0.25 * (1 << i));
        if (stopped(s)) {
            rc = interrupted(e);
            break;
        }
    }
    buffer_clear(&url);
    return rc;
}

static struct json *ask_json(struct client *s, const char *path, const char *json, struct error *e)
{
    struct http_reply r;
    if (ask(s, path, json, &r, e))
        return NULL;
    struct json *answer = told_parse(r.body, r.size, e);
    free(r.body);
    if (!answer) {
        char why[sizeof e->text];
        memcpy(why, e->text, sizeof why);
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the server's answer is no JSON (%.200s)", why);
        error_at_file(e, s->shown);
    }
    return answer;
}

/* ---- getting to know it */

static int find_kind(struct client *s, struct error *e)
{
    const struct server_kind *k = server_kinds;
    if (s->o->kind) {
        while (k->name && strcmp(k->name, s->o->kind))
            k++;
        s->kind = k;
        return k->name ? 0 : error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "no kind of server is called '%s' (llama.cpp, vllm, sglang)", s->o->kind);
    }
    struct error locked = {0}; /* the first that wanted another key */
    for (; k->name && !s->kind; k++) {
        struct error why = {0};
        s->status = 0;
        struct json *answer = ask_json(s, k->probe, NULL, &why);
        if (answer && json_get(answer, k->mark))
            s->kind = k;
        json_free(answer);
        if (!locked.code && (s->status == 401 || s->status == 403))
            locked = why;
        if (why.code == ERR_INTERRUPTED || why.code == ERR_UNSUPPORTED || why.code == ERR_MEMORY || (why.code == ERR_IO && strstr(why.text, "does not answer"))) {
            *e = why;
            return -1;
        }
    }
    if (s->kind)
        return 0;
    if (locked.code) {
        *e = locked;
        return -1;
    }
    error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "this is none of the servers that are known (llama.cpp, vllm, sglang); --server-kind says which to take it for");
    return error_at_file(e, s->shown);
}

/* The first model of /v1/models; a server without that list needs no name. */
static int find_model(struct client *s, struct error *e)
{
    struct error none = {0};
    struct json *answer = s->o->model ? NULL : ask_json(s, "/v1/models", NULL, &none);
    const char *name = s->o->model ? s->o->model : json_string(json_get(json_child(json_get(answer, "data")), "id"));
    s->model = name ? strdup(name) : NULL;
    int rc = name && !s->model ? no_memory(e) : 0;
    json_free(answer);
    return rc;
}

static int connect_to(struct client *s, struct error *e)
{
    s->http_options = (struct http_options){s->o->key, s->o->timeout, MOST_ANSWER, stopped, s};
    size_t n = strlen(s->o->url);
    while (n && s->o->url[n - 1] == '/')
        n--;
    if (n > 3 && !memcmp(s->o->url + n - 3, "/v1", 3))
        n -= 3;
    if (!(s->url = strndup(s->o->url, n)) || !(s->shown = http_shown(s->url)))
        return no_memory(e);
    if (!(s->http = http_new(&s->http_options, e)) || find_kind(s, e) || find_model(s, e))
        return -1;
    s->top = s->o->top ? s->o->top : s->kind->top;
    return 0;
}

/* ---- one position */

static int bad_answer(const struct client *s, size_t chunk, size_t position, const char *what, struct error *e)
{
    error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the server's answer for chunk %zu, position %zu: %s", chunk, position, what);
    return error_at_file(e, s->shown);
}

/* What is kept of a position until its chunk's turn. */
struct outcome {
    struct score score;
    struct position position;
    double left[2]; /* untold probability, of the base and of the candidate */
    size_t untold;
};

/* The base's file is read by one connection at a time. */
static int score(struct client *s, size_t chunk, size_t i, const struct told *t, struct outcome *to, struct error *e)
{
    const struct base_about *a = base_about(s->base);
    const size_t position = a->first_scored + i, all = chunk * a->scored + i;
    const char *what;
    struct told_entry *list = told_check(t, a->vocab, &what);
    struct base_list known = {0};
    struct position *p = &to->position;
    double unused;
    int rc = list ? 0 : what ? bad_answer(s, chunk, position, what, e) : no_memory(e);
#pragma omp critical(server_base)
    if (!rc)
        rc = base_list(s->base, all, &known, e) || base_score(s->base, all, 1, NULL, 1, p, &unused, e) ? -1 : 0;
    if (!rc) {
        told_best(list, t->n, p);
        p->cand_target = (float)told_target(list, t->n, p->target, &to->untold);
        to->score = (struct score){.chunk = (uint32_t)chunk, .position = (uint32_t)position};
        score_position(p, 1, told_bound(&known, list, t->n, to->left), &to->score);
    }
    base_list_clear(&known);
    free(list);
    return rc;
}

/* ---- chunks */

/* Asks for a chunk's first n tokens, and scores positions [first, first + count). */
static int one_request(struct client *s, size_t chunk, size_t n, size_t first, size_t count, struct outcome *to, struct error *e)
{
    const struct base_about *a = base_about(s->base);
    struct buffer request = {0};
    s->kind->ask(&request, s->tokens + chunk * a->ctx, n, s->top, s->model);
    if (request.failed)
        return no_memory(e);
    struct json *answer = ask_json(s, s->kind->path, request.data, e);
    int rc = answer ? 0 : -1;
    for (size_t i = first; !rc && i < first + count; i++) {
        struct told t = {0};
        rc = s->kind->read(answer, a->first_scored + i + 1, &t) ? bad_answer(s, chunk, a->first_scored + i, "no log-probabilities where they are expected", e)
                                                                : score(s, chunk, i, &t, &to[i], e);
        told_clear(&t);
    }
    json_free(answer);
    buffer_clear(&request);
    return rc;
}

/* to [scored] */
static int one_chunk(struct client *s, size_t chunk, struct outcome *to, struct error *e)
{
    const struct base_about *a = base_about(s->base);
    if (stopped(s))
        return interrupted(e);
    if (!s->kind->by_position)
        return one_request(s, chunk, a->ctx, 0, a->scored, to, e);
    for (size_t i = 0; i < a->scored; i++)
        if (one_request(s, chunk, a->first_scored + i + 1, i, 1, to, e))
            return -1;
    return 0;
}

static void add_chunk(const struct client *s, const struct outcome *o)
{
    struct comparison *c = s->c;
    for (size_t i = 0; i < base_about(s->base)->scored; i++, o++) {
        c->scores[c->n_scores++] = o->score;
        c->tail_base += o->left[0];
        c->tail_cand += o->left[1];
        c->untold_targets += o->untold;
        closeup_offer(c, &o->score, &o->position);
    }
}

/* Chunks are asked for by several connections and added in their order, so that the sums do not depend on how many there are. The error is
 * that of the first chunk that has one; then all others stop. */
static int all_chunks(const struct client *s, size_t chunks, struct error *e)
{
    const size_t scored = base_about(s->base)->scored;
#pragma omp parallel num_threads((int)s->o->parallel)
    {
        struct client mine = *s;
        struct error why = {0};
        mine.http_options.context = &mine;
        mine.http = http_new(&mine.http_options, &why);
#pragma omp for ordered schedule(dynamic, 1)
        for (size_t i = 0; i < chunks; i++) {
            struct outcome *to = calloc(scored + 1, sizeof *to);
            const int rc = !mine.http ? -1 : !to ? no_memory(&why) : one_chunk(&mine, i, to, &why);
#pragma omp ordered
            if (!atomic_load(s->failed)) {
                if (rc) {
                    *e = why;
                    atomic_store(s->failed, 1);
                } else {
                    add_chunk(s, to);
                    if (s->hooks->progress)
                        s->hooks->progress(s->hooks->context, i + 1, chunks);
                }
            }
            free(to);
        }
        http_free(mine.http);
    }
    return atomic_load(s->failed) ? -1 : 0;
}

int server_compare(struct base_file *b, const int32_t *tokens, size_t chunks, const struct server_options *o, const struct check_hooks *hooks,
                   struct comparison *c, char **model, struct error *e)
{
    atomic_int failed = 0;
    struct client s = {.o = o, .hooks = hooks, .failed = &failed, .base = b, .tokens = tokens, .c = c};
    *c = (struct comparison){.has_candidate = 1, .is_bound = 1, .chunks = chunks, .ctx = base_about(b)->ctx, .total_chunks = chunks, .experts_used = 1};
    *model = NULL;
    int rc = connect_to(&s, e) || comparison_init(c, e) || all_chunks(&s, chunks, e) ? -1 : 0;
    if (!rc)
        comparison_finish(c);
    *model = s.model ? s.model : s.shown;
    if (s.model)
        free(s.shown);
    free(s.url);
    http_free(s.http);
    return rc;
}
