/* SPDX-License-Identifier: MIT
 * Conversations as each chat template of the family writes them, on nano-v3's vocabulary; lines and templates that are refused.
 * tests/interop/t_conversations.py holds the same against Jinja and the released templates. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "model/chat_template.h"
#include "model/conversation.h"
#include "tests/tap.h"

#define B "<｜begin▁of▁sentence｜>"
#define E "<｜end▁of▁sentence｜>"
#define U "<｜User｜>"
#define A "<｜Assistant｜>"
#define TS "<｜tool▁outputs▁begin｜>"
#define TE "<｜tool▁outputs▁end｜>"
#define T1 "<｜tool▁output▁begin｜>"
#define T0 "<｜tool▁output▁end｜>"

/* Statements of released templates, as far as they tell one from another. */
#define JOINED "{{bos_token}}{% set ns.system_prompt = ns.system_prompt + message['content'] %}"
#define LAST "{{bos_token}}{% set ns.system_prompt = message['content'] %}"
#define USER "{{'" U "' + message['content']}}"
#define CUT "{% set content = content.split('</think>')[-1] %}"
#define TOOL_NEXT "{{'\\n" T1 "' + message['content'] + '" T0 "'}}"
#define TOOL_BARE "{{'" T1 "' + message['content'] + '" T0 "'}}"

/* Everything that templates treat differently: two system messages, the second not at the beginning; reasoning; tools. */
static const char everything[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"S1\"},{\"role\":\"user\",\"content\":\"q1\"},"
    "{\"role\":\"assistant\",\"content\":\"<think>r</think>x</think>a1\"},{\"role\":\"system\",\"content\":\"S2\"},"
    "{\"role\":\"user\",\"content\":\"q2\"},{\"role\":\"tool\",\"content\":\"t1\"},{\"role\":\"tool\",\"content\":\"t2\"},"
    "{\"role\":\"assistant\",\"content\":\"r</think>a2\"},{\"role\":\"assistant\",\"content\":\"a3\"},"
    "{\"role\":\"user\",\"content\":\"q3\"}]}\n";
static const char no_tools[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"S1\"},{\"role\":\"user\",\"content\":\"q1\"},"
    "{\"role\":\"assistant\",\"content\":\"r</think>a1\"},{\"role\":\"system\",\"content\":\"S2\"},"
    "{\"role\":\"user\",\"content\":\"q2\"}]}\n";

static const struct {
    const char *name, *template, *lines, *want;
} dialects[] = {
    {"V2",
     "{{ bos_token }}{{ 'User: ' + message['content'] + '\n\n' }}{{ 'Assistant: ' + message['content'] + eos_token }}"
     "{% elif message['role'] == 'system' %}{{ message['content'] + '\n\n' }}",
     no_tools, B "S1\n\nUser: q1\n\nAssistant: r</think>a1" E "S2\n\nUser: q2\n\n"},
    {"V2.5", LAST USER "{{'" A "' + message['content'] + '" E "'}}" TOOL_NEXT, everything,
     B "S2" U "q1" A "<think>r</think>x</think>a1" E U "q2" TS T1 "t1" T0 "\n" T1 "t2" T0 TE "r</think>a2" E A "a3" E U "q3"},
    {"V3", JOINED USER "{{'" A "' + message['content'] + '" E "'}}" TOOL_NEXT, everything,
     B "S1\n\nS2" U "q1" A "<think>r</think>x</think>a1" E U "q2" TS T1 "t1" T0 "\n" T1 "t2" T0 TE "r</think>a2" E A "a3" E U
       "q3"},
    {"V3-0324", JOINED "{{'" U "' + message['content'] + '" A "'}}{{content + '" E "'}}" TOOL_NEXT, everything,
     B "S1\n\nS2" U "q1" A "<think>r</think>x</think>a1" E U "q2" A TS T1 "t1" T0 "\n" T1 "t2" T0 TE "r</think>a2" E "a3" E U
       "q3" A},
    {"R1, first revision", LAST USER CUT "{{'" A "' + content + '" E "'}}" TOOL_NEXT, everything,
     B "S2" U "q1" A "a1" E U "q2" TS T1 "t1" T0 "\n" T1 "t2" T0 TE "r</think>a2" E A "a3" E U "q3"},
    {"R1", JOINED USER CUT "{{'" A "' + content + '" E "'}}" TOOL_BARE, everything,
     B "S1\n\nS2" U "q1" A "a1" E U "q2" TS T1 "t1" T0 T1 "t2" T0 TE "r</think>a2" E A "a3" E U "q3"},
    {"R1-0528", JOINED "{{'" U "' + content + '" A "'}}" CUT "{{content + '" E "'}}", everything,
     B "S1\n\nS2" U "q1" A "a1" E U "q2" A TS T1 "t1" T0 "\n" T1 "t2" T0 TE "a2" E "a3" E U "q3" A},
    {"V3.1", JOINED USER "{% if ns.is_last_user %}{% set content = content.split('</think>', 1)[1] %}", everything,
     B "S1\n\nS2" U "q1" A "</think>x</think>a1" E U "q2" T1 "t1" T0 T1 "t2" T0 "r</think>a2" E "a3" E U "q3"},
    {"V3.2", NULL, no_tools, B "S1" U "q1" A "</think>r</think>a1" E "S2" U "q2" A "</think>"},
    {"plain", NULL, everything, /* with the fixture's own template */
     B "S1" U "q1" A "<think>r</think>x</think>a1" E "S2" U "q2t1t2" A "r</think>a2" E A "a3" E U "q3"},
};
enum { DIALECTS = sizeof dialects / sizeof *dialects };

/* The tokenizer of a folder with nano-v3's vocabulary and another template (NULL: none). dsml: V3.2's token is added. */
static struct tokenizer *with_template(const char *template, int dsml, struct error *e)
{
    static const char index[] = "{\"weight_map\":{}}", config[] = "{\"vocab_size\":2100}";
    static const char list[] = "\"added_tokens\": [", token[] = "{\"id\":2099,\"content\":\"｜DSML｜\",\"special\":false},";
    static const char *folder;
    size_t n;
    char *text = read_file("tests/data/nano-v3/tokenizer.json", &n), *at = strstr(text, list);
    struct buffer b = {0};
    if (!folder)
        folder = tmp_subfolder("model");
    if (!at)
        bail("nano-v3's tokenizer.json has no added_tokens");
    at += sizeof list - 1;
    buffer_add(&b, text, (size_t)(at - text));
    buffer_text(&b, dsml ? token : "");
    buffer_text(&b, at);
    write_file(tmp_path("model/tokenizer.json"), b.data, b.size);
    buffer_clear(&b);
    free(text);
    struct json *root = json_new_object();
    json_add_string(root, "bos_token", B);
    json_add_string(root, "eos_token", E);
    if (template)
        json_add_string(root, "chat_template", template);
    text = json_print(root);
    write_file(tmp_path("model/tokenizer_config.json"), text, strlen(text));
    free(text);
    json_free(root);
    write_file(tmp_path("model/model.safetensors.index.json"), index, sizeof index - 1);
    write_file(tmp_path("model/config.json"), config, sizeof config - 1);
    struct source *s = source_open(folder, e);
    struct tokenizer *t = s ? tokenizer_open(s, NULL, e) : NULL;
    source_close(s);
    return t;
}

static struct tokenizer *nano(void)
{
    struct error e = {0};
    struct source *s = source_open("tests/data/nano-v3", &e);
    struct tokenizer *t = s ? tokenizer_open(s, NULL, &e) : NULL;
    source_close(s);
    if (!t)
        bail("nano-v3: %s", e.text);
    return t;
}

/* The text that the ids of some lines stand for, or NULL; the caller frees. */
static char *render(const struct tokenizer *t, const char *lines, size_t n, struct error *e)
{
    struct token_ids ids = {0};
    struct buffer b = {0};
    if (!conversations_encode(t, "lines", lines, n, &ids, e))
        buffer_text(&b, "");
    for (size_t i = 0; b.data && i < ids.n; i++)
        tokenizer_piece(t, ids.ids[i], &b);
    token_ids_clear(&ids);
    return b.data;
}

static void check_dialects(void)
{
    for (int i = 0; i < DIALECTS; i++) {
        struct error e = {0};
        int fixture = !strcmp(dialects[i].name, "plain");
        struct tokenizer *t = fixture ? nano() : with_template(dialects[i].template, !dialects[i].template, &e);
        const struct chat_dialect *d = t ? chat_dialect_find(tokenizer_vocab(t), &e) : NULL;
        if (!ok(d && !strcmp(d->name, dialects[i].name), "the template of %s is recognised", dialects[i].name))
            note("%s: %s", d ? d->name : "none", e.text);
        char *got = t ? render(t, dialects[i].lines, strlen(dialects[i].lines), &e) : NULL;
        if (!ok(got && !strcmp(got, dialects[i].want), "%s: a conversation is written as by its template", dialects[i].name))
            note("got  %s%s\nwant %s", got ? got : "", got ? "" : e.text, dialects[i].want);
        free(got);
        tokenizer_close(t);
    }
}

/* ---- forms of a line ---- */

#define ONE "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}"
#define SHAREGPT "{\"conversations\":[{\"from\":\"system\",\"value\":\"S\"},{\"from\":\"human\",\"value\":\"q\"}," \
                 "{\"from\":\"gpt\",\"value\":\"a\"}]}"
#define CALLS(value) "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"tool_calls\":" value "}]}"

static const struct {
    const char *lines, *want, *what;
} forms[] = {
    {ONE, B U "q", "a line without a line feed"},
    {ONE "\n\n \t\r\n" ONE "\r\n", B U "q" B U "q", "blank lines and carriage returns"},
    {SHAREGPT "\n", B "S" U "q" A "a" E, "ShareGPT's form"},
    {"{\"messages\":[{\"content\":[{\"type\":\"text\",\"text\":\"x\"},{\"text\":\"y\",\"type\":\"text\"}],\"role\":\"user\"}],"
     "\"id\":7}", B U "x\ny", "parts of text, joined by line feeds; members that nobody asked for"},
    {"{\"messages\":[{\"role\":\"user\",\"content\":[]},{\"role\":\"assistant\",\"content\":\"\"}]}", B U A E, "empty texts"},
    {CALLS("null"), B A "a" E, "tool_calls that are null"},
    {CALLS("[]"), B A "a" E, "tool_calls that are empty"},
    {"{\"messages\":[{\"role\":\"user\",\"content\":\"" B "\\u00e9\\n\"}]}", B U B "é\n", "texts of special tokens, escapes"},
};

static void check_forms(const struct tokenizer *t)
{
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct error e = {0};
        char *got = render(t, forms[i].lines, strlen(forms[i].lines), &e);
        if (!ok(got && !strcmp(got, forms[i].want), "a file may have: %s", forms[i].what))
            note("got %s", got ? got : e.text);
        free(got);
    }
    static const char user_twice[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"" U "\"}]}";
    struct token_ids ids = {0};
    ok(!conversations_encode(t, "x", user_twice, sizeof user_twice - 1, &ids, NULL) && ids.n == 3 && ids.ids[1] == ids.ids[2],
       "the text of a special token inside a message is the token, as in transformers");
    token_ids_clear(&ids);
}

/* ---- refusals ---- */

static const struct {
    const char *lines;
    enum error_code code;
    const char *text;
} refused[] = {
    {"", ERR_FORMAT, "there is no conversation in it"},
    {"\n \n", ERR_FORMAT, "there is no conversation in it"},
    {ONE "\n\n{\n", ERR_FORMAT, "line 3: "},
    {ONE "\n" ONE ONE "\n", ERR_FORMAT, "line 2: "},
    {"[]", ERR_FORMAT, "line 1: no conversation"},
    {"{\"messages\":{}}", ERR_FORMAT, "line 1: no conversation"},
    {"{\"messages\":[]}", ERR_FORMAT, "line 1: the conversation has no messages"},
    {"{\"messages\":[1]}", ERR_FORMAT, "line 1: a message has no 'role'"},
    {"{\"messages\":[{\"role\":\"king\",\"content\":\"\"}]}", ERR_FORMAT, "line 1: a message has the unknown role 'king'"},
    {"{\"messages\":[{\"role\":\"human\",\"content\":\"\"}]}", ERR_FORMAT, "line 1: a message has the unknown role 'human'"},
    {"{\"messages\":[{\"role\":\"user\"}]}", ERR_FORMAT, "line 1: a message's 'content' is missing or no text"},
    {"{\"messages\":[{\"role\":\"user\",\"content\":null}]}", ERR_FORMAT, "line 1: a message's 'content' is missing or no text"},
    {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]}", ERR_FORMAT,
     "line 1: a part of a message's 'content' is no text"},
    {"{\"conversations\":[{\"from\":\"gpt\",\"content\":\"\"}]}", ERR_FORMAT, "line 1: a message's 'value' is missing or no text"},
    {ONE "\n" CALLS("[{}]"), ERR_UNSUPPORTED, "line 2: a message has tool_calls"},
    {"{\"messages\":[{\"role\":\"user\",\"content\":\"\\u0000\"}]}", ERR_FORMAT, "line 1: "},
};

static void check_refused(const struct tokenizer *t)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct error e = {0};
        char *got = render(t, refused[i].lines, strlen(refused[i].lines), &e);
        if (!ok(!got && e.code == refused[i].code && !strncmp(e.text, refused[i].text, strlen(refused[i].text)) &&
                    !strcmp(e.file, "lines"), "refused: %.60s", refused[i].lines[0] ? refused[i].lines : "an empty file"))
            note("%s: %s", e.file, e.text);
        free(got);
    }
    struct error e = {0};
    free(render(t, ONE "\n" ONE "x", 2 * sizeof ONE, &e));
    ok(e.offset == sizeof ONE + sizeof ONE - 1, "the offset of a fault is the file's: %d", (int)e.offset);
}

static void check_templates(void)
{
    static const char *const templates[] = {"{{ bos_token }}{{ messages }}", "", JOINED USER,
                                            JOINED USER "{{'" A "' + message['content'] + '" E "'}} </think>"};
    struct error e = {0};
    struct tokenizer *t = with_template(NULL, 0, &e);
    ok(t && !render(t, ONE, sizeof ONE - 1, &e) && e.code == ERR_UNSUPPORTED && strstr(e.text, "no chat template"),
       "a model without a chat template takes no conversations");
    tokenizer_close(t);
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) {
        t = with_template(templates[i], 0, &e);
        ok(t && !render(t, ONE, sizeof ONE - 1, &e) && e.code == ERR_UNSUPPORTED && strstr(e.text, "none that is known"),
           "nor does one with a template of its own: %.40s", templates[i]);
        tokenizer_close(t);
    }
    t = with_template(dialects[0].template, 0, &e);
    ok(t && !render(t, everything, strlen(everything), &e) && e.code == ERR_UNSUPPORTED && strstr(e.text, "no role 'tool'"),
       "V2's template has no tools: %s", e.text);
    tokenizer_close(t);
}

static void check_probe(void)
{
    static const struct {
        const char *text;
        int want;
    } texts[] = {{ONE, 1}, {"\n " SHAREGPT "\nrest", 1}, {"", 0}, {"{}", 0}, {"A text.", 0}, {"{\"messages\":1}\n", 0}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        ok(conversations_probe(texts[i].text, strlen(texts[i].text)) == texts[i].want, "%s: %.30s",
           texts[i].want ? "conversations" : "no conversations", texts[i].text);
}

int main(void)
{
    check_dialects();
    struct tokenizer *t = nano();
    check_forms(t);
    check_refused(t);
    tokenizer_close(t);
    check_templates();
    check_probe();
    return done();
}
