/* SPDX-License-Identifier: MIT
 * Chat templates: how the family's releases write a conversation as text. A release's template is a program in Jinja; its
 * dialect, a row here, is recognised by the statements that decide what is written. No Jinja is run.
 * Source: chat_template in the tokenizer_config.json of DeepSeek-V2-Chat, V2.5, V3, V3-0324, R1 (both of its revisions),
 * R1-0528, V3.1 and V3.1-Terminus; encoding/encoding_dsv32.py of V3.2, which has no template. */
#ifndef PARE_MODEL_CHAT_TEMPLATE_H
#define PARE_MODEL_CHAT_TEMPLATE_H

#include "base/error.h"
#include "model/vocab.h"

enum chat_system {
    SYSTEM_IN_PLACE,     /* written where it stands */
    SYSTEM_FIRST_JOINED, /* all before everything else, with an empty line between */
    SYSTEM_FIRST_LAST,   /* the last of them before everything else */
};

enum chat_cut { /* what an answer loses of its reasoning */
    CUT_NOTHING,
    CUT_THROUGH_FIRST, /* all up to and with the first </think> */
    CUT_THROUGH_LAST,
};

enum { CHAT_MARKS = 5 };

/* A text without BOS, which comes first. */
struct chat_dialect {
    const char *name;
    const char *marks[CHAT_MARKS]; /* texts that the template holds, all of them; none: there is no template, but ... */
    const char *token;             /* ... this added token */
    const char *without;           /* a text that it does not hold; NULL: none */
    enum chat_system system;
    const char *after_system;      /* in place only */
    const char *user, *after_user;
    const char *answer;            /* before an assistant's content */
    int answers_user_only;         /* only where a user's message came last, tool results and answers counting */
    const char *after_answer;      /* NULL: EOS of the tokenizer */
    enum chat_cut cut;
    int cuts_after_tools;          /* also from an answer to tool results */
    const char *tool, *next_tool, *after_tool; /* tool NULL: the template has no such role; next_tool: from the second of a
                                                * conversation on */
    const char *after_tools;       /* instead of `answer` after tool results, and at the end; NULL: neither */
};

/* The row of a vocabulary's template: the first that fits. NULL with ERR_UNSUPPORTED (no template; none of the family's). */
const struct chat_dialect *chat_dialect_find(const struct vocab *v, struct error *e);

#endif
