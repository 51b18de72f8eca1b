/* SPDX-License-Identifier: MIT
 * Requests and answers of llama.cpp's server, vLLM and SGLang. */
#include "verify/server_kinds.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void told_clear(struct told *t)
{
    free(t->ids);
    free(t->log_p);
    *t = (struct told){0};
}

static int tell(struct told *t, int64_t id, double log_p)
{
    if (t->n == t->room) {
        const size_t room = t->room ? 2 * t->room : 64;
        int64_t *ids = realloc(t->ids, room * sizeof *ids);
        t->ids = ids ? ids : t->ids;
        double *more = ids ? realloc(t->log_p, room * sizeof *more) : NULL;
        if (!more)
            return -1;
        t->log_p = more;
        t->room = room;
    }
    t->ids[t->n] = id;
    t->log_p[t->n++] = log_p;
    return 0;
}

static void add_ids(struct buffer *b, const int32_t *tokens, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buffer_printf(b, "%s%" PRId32, i ? "," : "[", tokens[i]);
    buffer_text(b, "]");
}

/* A string in JSON's quotes. */
static void add_quoted(struct buffer *b, const char *text)
{
    struct json *o = json_new_object();
    json_add_string(o, "model", text);
    char *line = json_print_line(o), *at = line ? strchr(line, ':') : NULL;
    if (at) {
        at[strlen(at) - 1] = '\0'; /* the object's end */
        buffer_text(b, at + 1);
    } else {
        b->failed = 1;
    }
    free(line);
    json_free(o);
}

static int whole(const struct json *v, int64_t *out)
{
    double x;
    if (json_f64(v, &x) || x != floor(x) || !(fabs(x) < 1e15))
        return -1;
    *out = (int64_t)x;
    return 0;
}

/* ---- llama.cpp */

static void ask_llama(struct buffer *b, const int32_t *tokens, size_t n, size_t top, const char *model)
{
    (void)model;
    buffer_text(b, "{\"prompt\":");
    add_ids(b, tokens, n);
    buffer_printf(b, ",\"n_predict\":1,\"n_probs\":%zu,\"temperature\":0,\"cache_prompt\":true,\"stream\":false}", top);
}

static int read_llama(const struct json *answer, size_t i, struct told *to)
{
    const struct json *list = json_get(json_child(json_get(answer, "completion_probabilities")), "top_logprobs");
    (void)i;
    for (const struct json *v = json_child(list); v; v = json_next(v)) {
        int64_t id;
        double log_p;
        /* -infinity is null in JSON: a token that cannot come */
        if (whole(json_get(v, "id"), &id) || (json_f64(json_get(v, "logprob"), &log_p) && json_type(json_get(v, "logprob")) != JSON_NULL))
            return -1;
        if (json_type(json_get(v, "logprob")) != JSON_NULL && tell(to, id, log_p))
            return -1;
    }
    return to->n ? 0 : -1;
}

/* ---- vLLM */

static void ask_vllm(struct buffer *b, const int32_t *tokens, size_t n, size_t top, const char *model)
{
    buffer_text(b, "{\"model\":");
    add_quoted(b, model ? model : "");
    buffer_text(b, ",\"prompt\":");
    add_ids(b, tokens, n);
    buffer_printf(b, ",\"max_tokens\":1,\"temperature\":0,\"prompt_logprobs\":%zu,\"stream\":false}", top);
}

static const struct json *entry(const struct json *list, size_t i)
{
    const struct json *v = json_child(list);
    while (v && i--)
        v = json_next(v);
    return v;
}

static int read_vllm(const struct json *answer, size_t i, struct told *to)
{
    const struct json *o = entry(json_get(json_child(json_get(answer, "choices")), "prompt_logprobs"), i);
    for (const struct json *v = json_child(o); v; v = json_next(v)) {
        char *end;
        double log_p;
        const int64_t id = json_key(v) ? strtoll(json_key(v), &end, 10) : -1;
        if (!json_key(v) || end == json_key(v) || *end || json_f64(json_get(v, "logprob"), &log_p) || tell(to, id, log_p))
            return -1;
    }
    return to->n ? 0 : -1;
}

/* ---- SGLang */

static void ask_sglang(struct buffer *b, const int32_t *tokens, size_t n, size_t top, const char *model)
{
    (void)model;
    buffer_text(b, "{\"input_ids\":");
    add_ids(b, tokens, n);
    buffer_printf(b, ",\"sampling_params\":{\"max_new_tokens\":1,\"temperature\":0},\"return_logprob\":true,\"logprob_start_len\":0,"
                     "\"top_logprobs_num\":%zu,\"stream\":false}",
                  top);
}

/* [logprob, id, text] */
static int tell_triple(const struct json *v, struct told *to)
{
    int64_t id;
    double log_p;
    const struct json *first = json_child(v);
    return !first || json_f64(first, &log_p) || whole(json_next(first), &id) ? -1 : tell(to, id, log_p);
}

/* The token itself comes beside the list, and again when it is among the best. */
static void leave_out_last(struct told *to)
{
    for (size_t i = 0; i + 1 < to->n; i++)
        if (to->ids[i] == to->ids[to->n - 1]) {
            to->n--;
            return;
        }
}

static int read_sglang(const struct json *answer, size_t i, struct told *to)
{
    const struct json *meta = json_get(answer, "meta_info"), *list = entry(json_get(meta, "input_top_logprobs"), i);
    for (const struct json *v = json_child(list); v; v = json_next(v))
        if (tell_triple(v, to))
            return -1;
    if (!to->n || tell_triple(entry(json_get(meta, "input_token_logprobs"), i), to))
        return -1;
    leave_out_last(to);
    return 0;
}

const struct server_kind server_kinds[] = {
    {"llama.cpp", "/props", "default_generation_settings", "/completion", 200, 1, ask_llama, read_llama},
    {"sglang", "/get_model_info", "model_path", "/generate", 20, 0, ask_sglang, read_sglang},
    {"vllm", "/v1/models", "data", "/v1/completions", 20, 0, ask_vllm, read_vllm},
    {0},
};
