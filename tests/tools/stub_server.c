/* SPDX-License-Identifier: MIT
 * usage: stub_server KIND HOW [REQUESTS]
 * A server on a free port of the loopback, printed first, that answers as vllm, sglang or llama.cpp do, with made-up numbers, or misbehaves:
 *   good, busy (503 twice, then good), broken (always 500), refuse (400), html, cut, nan, sum, outside, twice, short, slow, endless, close,
 *   denied (401 to whatever is asked, citing the key), moved (302), chunked (good, in chunks), deep (100,000 brackets),
 *   together (answers two requests when both are there, the later one first), inf (1e999), least (-1e300 for all but the first), half (ids with fractions), null (a null among the lists)
 * The token that follows has ln p = -1; others that count up from it have -2, -3 and so on. Ends after so many requests, or when killed. */
#include <arpa/inet.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROOM = 1 << 20, MOST_IDS = 4096, TOP = 5, VOCAB = 4096 };

static const char *kind, *how;
static int asked; /* requests for log-probabilities */
static char request[ROOM], body[ROOM * 4], held_request[ROOM];
static int held = -1; /* a connection that waits for another */

static int is(const char *word)
{
    return !strcmp(how, word);
}

static int read_request(int fd)
{
    size_t n = 0, want = 0;
    char *end = NULL;
    while (n + 1 < sizeof request) {
        const ssize_t k = read(fd, request + n, sizeof request - 1 - n);
        if (k <= 0)
            return -1;
        n += (size_t)k;
        request[n] = '\0';
        if (!end && (end = strstr(request, "\r\n\r\n"))) {
            const char *length = strstr(request, "Content-Length: ");
            want = (size_t)(end - request) + 4 + (length ? strtoul(length + 16, NULL, 10) : 0);
        }
        if (end && n >= want)
            return 0;
    }
    return -1;
}

static int ids_of(const char *key, long ids[MOST_IDS])
{
    const char *at = strstr(request, key);
    int n = 0;
    if (!at)
        return 0;
    at = strchr(at, '[') + 1;
    while (n < MOST_IDS && *at && *at != ']') {
        char *end;
        ids[n++] = strtol(at, &end, 10);
        at = *end == ',' ? end + 1 : end;
    }
    return n;
}

static char *put(char *at, const char *format, long id, double log_p)
{
    return at + sprintf(at, format, id, log_p);
}

/* One position's list, whose first is the token itself. */
static char *list(char *at, const char *format, long id)
{
    for (int i = 0; i < TOP; i++) {
        double log_p = is("sum") ? -0.1 : is("nan") && i == 2 ? 3 : is("inf") && i == 2 ? -INFINITY : is("least") && i ? -1e300 : -1 - i;
        long token = (id + i) % VOCAB;
        token = is("outside") && i == 1 ? 1 << 30 : is("twice") && i == 3 ? id : token;
        at += sprintf(at, "%s", i ? "," : "");
        at = isinf(log_p) ? at + sprintf(at, "\"7\":{\"logprob\":-1e999}") : put(at, format, token, log_p);
    }
    return at;
}

static void answer_vllm(void)
{
    long ids[MOST_IDS];
    int n = ids_of("\"prompt\"", ids);
    char *at = body + sprintf(body, "{\"choices\":[{\"prompt_logprobs\":[null");
    for (int i = 1; i < (is("short") ? n / 2 : n); i++) {
        if (is("null") && i == n - 2) {
            at += sprintf(at, ",null");
            continue;
        }
        at += sprintf(at, ",{");
        at = list(at, "\"%ld\":{\"logprob\":%g,\"rank\":1}", ids[i]);
        at += sprintf(at, "}");
    }
    sprintf(at, "]}]}");
}

static void answer_sglang(void)
{
    long ids[MOST_IDS];
    int n = ids_of("\"input_ids\"", ids);
    char *at = body + sprintf(body, "{\"text\":\"\",\"meta_info\":{\"input_token_logprobs\":[[null,1,null]");
    for (int i = 1; i < n; i++)
        at += sprintf(at, ",[-1,%ld,null]", ids[i]);
    at += sprintf(at, "],\"input_top_logprobs\":[null");
    for (int i = 1; i < (is("short") ? n / 2 : n); i++) {
        at += sprintf(at, ",[");
        for (int k = 0; k < TOP; k++)
            at += sprintf(at, "%s[%d,%ld%s,null]", k ? "," : "", -1 - k, (ids[i] + k) % VOCAB, is("half") && k == 1 ? ".5" : "");
        at += sprintf(at, "]");
    }
    sprintf(at, "]}}");
}

static void answer_llama(void)
{
    long ids[MOST_IDS];
    int n = ids_of("\"prompt\"", ids);
    char *at = body + sprintf(body, "{\"completion_probabilities\":[{\"token\":\"\\u0000\",\"top_logprobs\":[");
    if (!is("short"))
        at = list(at, "{\"id\":%ld,\"token\":\"\\u0000\",\"logprob\":%g}", n ? ids[n - 1] : 0);
    sprintf(at, "]}]}");
}

/* The key as it was sent, with the words of a server that cites it. */
static int deny(void)
{
    const char *key = strstr(request, "Authorization: Bearer ");
    return sprintf(body, "{\"error\":\"wrong key %.*s\"}", key ? (int)strcspn(key + 22, "\r") : 0, key ? key + 22 : ""), 401;
}

static int make_body(void)
{
    if (is("denied"))
        return deny();
    if (strstr(request, "GET /props ") == request)
        return sprintf(body, "{%s}", !strcmp(kind, "llama.cpp") ? "\"default_generation_settings\":{}" : ""), 200;
    if (strstr(request, "GET /get_model_info ") == request)
        return sprintf(body, "{%s}", !strcmp(kind, "sglang") ? "\"model_path\":\"m\"" : ""), !strcmp(kind, "sglang") ? 200 : 404;
    if (strstr(request, "GET /v1/models ") == request)
        return sprintf(body, "{\"data\":[{\"id\":\"stub \\\"model\\\"\"}]}"), 200;
    asked++;
    if (is("broken") || (is("busy") && asked <= 2))
        return sprintf(body, "{\"error\":\"overloaded\"}"), is("broken") ? 500 : 503;
    if (is("refuse"))
        return sprintf(body, "{\"error\":\"prompt_logprobs is\nnot allowed\"}"), 400;
    if (is("moved"))
        return sprintf(body, "elsewhere"), 302;
    if (is("deep"))
        return memset(body, '[', 100000), body[100000] = '\0', 200;
    if (is("html"))
        return sprintf(body, "<html>hello</html>"), 200;
    if (!strcmp(kind, "vllm"))
        answer_vllm();
    else if (!strcmp(kind, "sglang"))
        answer_sglang();
    else
        answer_llama();
    return 200;
}

static void send_all(int fd, const char *bytes, size_t n)
{
    while (n) {
        const ssize_t k = write(fd, bytes, n);
        if (k <= 0)
            return;
        bytes += k;
        n -= (size_t)k;
    }
}

static void answer(int fd)
{
    char head[256];
    const int status = make_body(), judged = strstr(request, "POST") == request;
    size_t n = strlen(body), told = n + (judged && is("cut") ? 1000 : 0);
    if (judged && is("close"))
        return;
    if (judged && is("slow"))
        sleep(30);
    if (judged && is("chunked")) {
        sprintf(head, "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\n%c\r\n%zx\r\n", body[0], n - 1);
        send_all(fd, head, strlen(head));
        send_all(fd, body + 1, n - 1);
        send_all(fd, "\r\n0\r\n\r\n", 7);
        return;
    }
    sprintf(head, "HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\nConnection: close\r\n\r\n", status,
            is("moved") ? "Location: http://127.0.0.1:1/\r\n" : "", judged && is("endless") ? (size_t)1 << 40 : told);
    send_all(fd, head, strlen(head));
    send_all(fd, body, n);
    memset(body, ' ', sizeof body);
    for (int i = 0; judged && is("endless") && i < 100; i++)
        send_all(fd, body, sizeof body);
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0), left = argc > 3 ? atoi(argv[3]) : -1;
    if (argc < 3 || fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 8) || getsockname(fd, (struct sockaddr *)&at, &size))
        return 2;
    kind = argv[1];
    how = argv[2];
    signal(SIGPIPE, SIG_IGN);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    while (left--) {
        const int client = accept(fd, NULL, NULL);
        if (client < 0)
            return 1;
        if (!read_request(client)) {
            if (is("together") && strstr(request, "POST") == request && held < 0) {
                held = client;
                memcpy(held_request, request, sizeof request);
                continue;
            }
            answer(client);
        }
        close(client);
        if (held >= 0) {
            memcpy(request, held_request, sizeof request);
            answer(held);
            close(held);
            held = -1;
        }
    }
    return 0;
}
