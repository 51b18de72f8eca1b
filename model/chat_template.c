/* SPDX-License-Identifier: MIT
 * The family's chat templates as a table. */
#include "model/chat_template.h"

#include <string.h>

#define EOS "<｜end▁of▁sentence｜>"
#define USER "<｜User｜>"
#define ANSWER "<｜Assistant｜>"
/* parts of rows: tool results one after another between a beginning and an end */
#define TOOLS_LISTED(separator)                                                                                  \
    .tool = "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>", .next_tool = separator "<｜tool▁output▁begin｜>", \
    .after_tool = "<｜tool▁output▁end｜>", .after_tools = "<｜tool▁outputs▁end｜>"
/* statements of the templates */
#define MARK_USER "'" USER "' + message['content']}}"
#define MARK_SYSTEM_JOINED "set ns.system_prompt = ns.system_prompt + message['content']"
#define MARK_CUT_LAST "content.split('</think>')[-1]"

static const struct chat_dialect dialects[] = {
    {.name = "V2",
     .marks = {"'User: ' + message['content'] + '", "'Assistant: ' + message['content'] + eos_token",
               "message['role'] == 'system' %}{{ message['content'] + '"},
     .after_system = "\n\n", .user = "User: ", .after_user = "\n\n", .answer = "Assistant: ", .after_answer = NULL},
    {.name = "V2.5",
     .marks = {"set ns.system_prompt = message['content']", MARK_USER, "'" ANSWER "' + message['content'] + '" EOS "'"},
     .without = "</think>",
     .system = SYSTEM_FIRST_LAST, .user = USER, .after_user = "", .answer = ANSWER, .after_answer = EOS,
     TOOLS_LISTED("\n")},
    {.name = "V3",
     .marks = {MARK_SYSTEM_JOINED, MARK_USER, "'" ANSWER "' + message['content'] + '" EOS "'"},
     .without = "</think>",
     .system = SYSTEM_FIRST_JOINED, .user = USER, .after_user = "", .answer = ANSWER, .after_answer = EOS,
     TOOLS_LISTED("\n")},
    {.name = "V3-0324",
     .marks = {MARK_SYSTEM_JOINED, "'" USER "' + message['content'] + '" ANSWER "'}}", "{{content + '" EOS "'}}"},
     .without = "</think>",
     .system = SYSTEM_FIRST_JOINED, .user = USER, .after_user = ANSWER, .answer = "", .after_answer = EOS,
     TOOLS_LISTED("\n")},
    {.name = "R1, first revision",
     .marks = {"set ns.system_prompt = message['content']", MARK_USER, MARK_CUT_LAST, "'" ANSWER "' + content + '" EOS "'"},
     .system = SYSTEM_FIRST_LAST, .user = USER, .after_user = "", .answer = ANSWER, .after_answer = EOS,
     .cut = CUT_THROUGH_LAST, TOOLS_LISTED("\n")},
    {.name = "R1",
     .marks = {MARK_SYSTEM_JOINED, MARK_USER, MARK_CUT_LAST, "'" ANSWER "' + content + '" EOS "'",
               "{{'<｜tool▁output▁begin｜>' + message['content']"},
     .system = SYSTEM_FIRST_JOINED, .user = USER, .after_user = "", .answer = ANSWER, .after_answer = EOS,
     .cut = CUT_THROUGH_LAST, TOOLS_LISTED("")},
    {.name = "R1-0528",
     .marks = {MARK_SYSTEM_JOINED, "'" USER "' + content + '" ANSWER "'}}", MARK_CUT_LAST, "{{content + '" EOS "'}}"},
     .system = SYSTEM_FIRST_JOINED, .user = USER, .after_user = ANSWER, .answer = "", .after_answer = EOS,
     .cut = CUT_THROUGH_LAST, .cuts_after_tools = 1, TOOLS_LISTED("\n")},
    {.name = "V3.1", /* and Terminus, whose template differs in what it asks for only */
     .marks = {MARK_SYSTEM_JOINED, MARK_USER, "content.split('</think>', 1)[1]", "if ns.is_last_user"},
     .system = SYSTEM_FIRST_JOINED, .user = USER, .after_user = "", .answer = ANSWER "</think>", .answers_user_only = 1,
     .after_answer = EOS, .cut = CUT_THROUGH_FIRST, .tool = "<｜tool▁output▁begin｜>", .next_tool = "<｜tool▁output▁begin｜>",
     .after_tool = "<｜tool▁output▁end｜>", .after_tools = ""},
    {.name = "V3.2",
     .token = "｜DSML｜",
     .after_system = "", .user = USER, .after_user = ANSWER "</think>", .answer = "", .after_answer = EOS},
    {.name = "plain", /* the tests' checkpoints: each message where it stands */
     .marks = {"'" USER "'+m['content']", "'" ANSWER "'+m['content']+'" EOS "'", "{% else %}{{m['content']}}"},
     .after_system = "", .user = USER, .after_user = "", .answer = ANSWER, .after_answer = EOS,
     .tool = "", .next_tool = "", .after_tool = ""},
};

static int has_added(const struct vocab *v, const char *text)
{
    for (size_t i = 0; i < v->n_added; i++)
        if (!strcmp(v->added[i].text, text))
            return 1;
    return 0;
}

static int fits(const struct chat_dialect *d, const struct vocab *v)
{
    if (!v->chat_template)
        return d->token && has_added(v, d->token);
    if (!strstr(v->chat_template, "bos_token"))
        return 0; /* every row begins with it */
    for (int i = 0; i < CHAT_MARKS && d->marks[i]; i++)
        if (!strstr(v->chat_template, d->marks[i]))
            return 0;
    return d->marks[0] && !(d->without && strstr(v->chat_template, d->without));
}

const struct chat_dialect *chat_dialect_find(const struct vocab *v, struct error *e)
{
    for (size_t i = 0; i < sizeof dialects / sizeof *dialects; i++)
        if (fits(&dialects[i], v))
            return &dialects[i];
    error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "%s",
              v->chat_template ? "the chat template is none that is known (DeepSeek-V2 to V3.2, as released)"
                               : "the model has no chat template, which conversations need");
    return NULL;
}
