/* SPDX-License-Identifier: MIT
 * Conversations: JSON lines -> text by the dialect's row -> ids. */
#include "model/conversation.h"

#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/json.h"
#include "model/chat_template.h"

enum chat_role { CHAT_SYSTEM, CHAT_USER, CHAT_ANSWER, CHAT_TOOL };

struct role_name {
    const char *name;
    enum chat_role role;
};

/* The two forms of a conversation. */
static const struct form {
    const char *list, *role, *content; /* keys */
    struct role_name names[4];
} forms[] = {
    {"messages", "role", "content",
     {{"system", CHAT_SYSTEM}, {"user", CHAT_USER}, {"assistant", CHAT_ANSWER}, {"tool", CHAT_TOOL}}},
    {"conversations", "from", "value", {{"system", CHAT_SYSTEM}, {"human", CHAT_USER}, {"gpt", CHAT_ANSWER}}},
};
enum { FORMS = sizeof forms / sizeof *forms, ROLE_NAMES = sizeof forms->names / sizeof *forms->names };

struct writer {
    const struct chat_dialect *dialect;
    struct buffer bos, eos; /* their texts */
    struct buffer text;     /* of the conversation */
    /* state of the conversation, as the templates keep it */
    int after_user, after_tool, had_tool;
};

static int bad(struct error *e, const char *what)
{
    return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%s", what);
}

static const struct form *find_form(const struct json *root)
{
    for (int i = 0; i < FORMS; i++) {
        const struct json *list = json_get(root, forms[i].list);
        if (list && json_type(list) == JSON_ARRAY)
            return &forms[i];
    }
    return NULL;
}

static int find_role(const struct form *f, const struct json *message, enum chat_role *role, struct error *e)
{
    const char *name = json_string(json_get(message, f->role));
    for (int i = 0; name && i < ROLE_NAMES && f->names[i].name; i++)
        if (!strcmp(name, f->names[i].name)) {
            *role = f->names[i].role;
            return 0;
        }
    return name ? error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "a message has the unknown role '%.40s'", name)
                : error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "a message has no '%s'", f->role);
}

/* Appends a message's text. */
static int read_content(const struct form *f, const struct json *message, struct buffer *out, struct error *e)
{
    const struct json *content = json_get(message, f->content), *part = json_child(content);
    if (json_string(content)) {
        buffer_text(out, json_string(content));
        return 0;
    }
    if (!content || json_type(content) != JSON_ARRAY)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "a message's '%s' is missing or no text", f->content);
    for (; part; part = json_next(part)) {
        const char *type = json_string(json_get(part, "type")), *text = json_string(json_get(part, "text"));
        if (!type || strcmp(type, "text") || !text)
            return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "a part of a message's '%s' is no text", f->content);
        buffer_text(out, text);
        if (json_next(part))
            buffer_text(out, "\n");
    }
    return 0;
}

static int refuse_calls(const struct json *message, struct error *e)
{
    const struct json *calls = json_get(message, "tool_calls");
    if (!calls || json_type(calls) == JSON_NULL || (json_type(calls) == JSON_ARRAY && !json_child(calls)))
        return 0;
    return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "a message has tool_calls, which are not written");
}

/* What comes before everything else: BOS and the system messages, unless they stay in place. */
static int write_beginning(struct writer *w, const struct form *f, const struct json *list, struct error *e)
{
    enum chat_role role;
    int some = 0;
    size_t start = w->bos.size;
    buffer_add(&w->text, w->bos.data, w->bos.size);
    for (const struct json *m = json_child(list); m && w->dialect->system != SYSTEM_IN_PLACE; m = json_next(m)) {
        if (find_role(f, m, &role, e))
            return -1;
        if (role != CHAT_SYSTEM)
            continue;
        if (some && w->dialect->system == SYSTEM_FIRST_JOINED)
            buffer_text(&w->text, "\n\n");
        else if (!w->text.failed)
            w->text.size = start;
        some = 1;
        if (read_content(f, m, &w->text, e))
            return -1;
    }
    return 0;
}

static void write_system(struct writer *w, const char *content)
{
    if (w->dialect->system != SYSTEM_IN_PLACE)
        return;
    buffer_text(&w->text, content);
    buffer_text(&w->text, w->dialect->after_system);
}

static void write_user(struct writer *w, const char *content)
{
    buffer_text(&w->text, w->dialect->user);
    buffer_text(&w->text, content);
    buffer_text(&w->text, w->dialect->after_user);
    w->after_user = 1;
    w->after_tool = 0;
}

/* An answer's text without its reasoning. */
static const char *cut_reasoning(const struct writer *w, const char *content)
{
    static const char end[] = "</think>";
    const char *at, *rest = content;
    if (w->dialect->cut == CUT_NOTHING || (w->after_tool && !w->dialect->cuts_after_tools))
        return content;
    while ((at = strstr(rest, end))) {
        rest = at + sizeof end - 1;
        if (w->dialect->cut == CUT_THROUGH_FIRST)
            break;
    }
    return rest;
}

static void write_answer(struct writer *w, const char *content)
{
    const struct chat_dialect *d = w->dialect;
    if (w->after_tool && d->after_tools)
        buffer_text(&w->text, d->after_tools);
    else if (w->after_user || !d->answers_user_only)
        buffer_text(&w->text, d->answer);
    buffer_text(&w->text, cut_reasoning(w, content));
    if (d->after_answer)
        buffer_text(&w->text, d->after_answer);
    else
        buffer_add(&w->text, w->eos.data, w->eos.size);
    w->after_user = w->after_tool = 0;
}

static void write_tool(struct writer *w, const char *content)
{
    buffer_text(&w->text, w->had_tool ? w->dialect->next_tool : w->dialect->tool);
    buffer_text(&w->text, content);
    buffer_text(&w->text, w->dialect->after_tool);
    w->after_user = 0;
    w->after_tool = w->had_tool = 1;
}

static void (*const write_role[])(struct writer *, const char *) = {
    [CHAT_SYSTEM] = write_system, [CHAT_USER] = write_user, [CHAT_ANSWER] = write_answer, [CHAT_TOOL] = write_tool,
};

static int write_message(struct writer *w, const struct form *f, const struct json *message, struct error *e)
{
    struct buffer content = {0};
    enum chat_role role;
    int rc = find_role(f, message, &role, e) || refuse_calls(message, e) || read_content(f, message, &content, e);
    if (!rc && role == CHAT_TOOL && !w->dialect->tool)
        rc = error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "the chat template (%s) has no role 'tool'", w->dialect->name);
    if (!rc)
        write_role[role](w, content.data ? content.data : "");
    w->text.failed |= content.failed;
    buffer_clear(&content);
    return rc ? -1 : 0;
}

static int write_conversation(struct writer *w, const struct json *root, struct error *e)
{
    const struct form *f = find_form(root);
    const struct json *list = f ? json_get(root, f->list) : NULL;
    if (!list)
        return bad(e, "no conversation: an object with a list 'messages' (or 'conversations') is needed");
    if (!json_child(list))
        return bad(e, "the conversation has no messages");
    w->text.size = 0;
    w->after_user = w->after_tool = w->had_tool = 0;
    if (write_beginning(w, f, list, e))
        return -1;
    for (const struct json *m = json_child(list); m; m = json_next(m))
        if (write_message(w, f, m, e))
            return -1;
    if (w->after_tool && w->dialect->after_tools)
        buffer_text(&w->text, w->dialect->after_tools);
    return w->text.failed ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory") : 0;
}

static int encode_line(struct writer *w, const struct tokenizer *t, const char *line, size_t n, struct token_ids *out,
                       struct error *e)
{
    struct json *root = json_parse(line, n, e);
    int rc = !root || write_conversation(w, root, e) || tokenizer_encode(t, w->text.data, w->text.size, 1, out, e) ? -1 : 0;
    json_free(root);
    return rc;
}

/* What is wrong with a line, as a place in the file. */
static int error_at_line(struct error *e, const char *name, size_t number, uint64_t at)
{
    if (e && e->code != ERR_MEMORY) {
        struct error inner = *e;
        error_set(e, inner.code, at + (inner.offset == ERROR_NO_OFFSET ? 0 : inner.offset), "line %zu: %.480s", number, inner.text);
    }
    return error_at_file(e, name);
}

/* The next line that is not blank, without its end: 1, or 0. *at moves behind it, *number is its number. */
static int next_line(const char *text, size_t n, size_t *at, size_t *number, const char **line, size_t *size)
{
    while (*at < n) {
        const char *start = text + *at, *end = memchr(start, '\n', n - *at);
        *size = end ? (size_t)(end - start) : n - *at;
        *line = start;
        *at += *size + (end != NULL);
        ++*number;
        for (size_t i = 0; i < *size; i++)
            if (!memchr(" \t\r", start[i], 3))
                return 1;
    }
    return 0;
}

static int open_writer(struct writer *w, const struct tokenizer *t, struct error *e)
{
    const struct vocab *v = tokenizer_vocab(t);
    if (!(w->dialect = chat_dialect_find(v, e)))
        return -1;
    if (v->special[SPECIAL_BOS] < 0)
        return bad(e, "the tokenizer has no BOS token, with which a conversation begins");
    if (v->special[SPECIAL_EOS] < 0 && !w->dialect->after_answer)
        return bad(e, "the tokenizer has no EOS token, with which an answer ends");
    tokenizer_piece(t, (int32_t)v->special[SPECIAL_BOS], &w->bos);
    if (!w->dialect->after_answer)
        tokenizer_piece(t, (int32_t)v->special[SPECIAL_EOS], &w->eos);
    return w->bos.failed || w->eos.failed ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory") : 0;
}

int conversations_probe(const char *text, size_t n)
{
    size_t at = 0, number = 0, size;
    const char *line;
    struct json *root = next_line(text, n, &at, &number, &line, &size) ? json_parse(line, size, NULL) : NULL;
    int yes = root && find_form(root);
    json_free(root);
    return yes;
}

int conversations_encode(const struct tokenizer *t, const char *name, const char *text, size_t n, struct token_ids *out,
                         struct error *e)
{
    struct writer w = {0};
    size_t at = 0, number = 0, size, lines = 0;
    const char *line;
    int rc = open_writer(&w, t, e);
    while (!rc && next_line(text, n, &at, &number, &line, &size)) {
        lines++;
        if (encode_line(&w, t, line, size, out, e))
            rc = error_at_line(e, name, number, (uint64_t)(line - text));
    }
    if (!rc && !lines) {
        bad(e, "there is no conversation in it");
        rc = error_at_file(e, name);
    }
    buffer_clear(&w.bos);
    buffer_clear(&w.eos);
    buffer_clear(&w.text);
    return rc;
}
