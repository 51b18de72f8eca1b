/* SPDX-License-Identifier: MIT
 * Escaping for XML and HTML. */
#include "cli/markup.h"

#include <string.h>

static const char *entity(char c)
{
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    default: return NULL;
    }
}

/* A control picture: U+2400 and the byte's value; U+2421 for DEL. */
static void picture(struct buffer *b, unsigned char c)
{
    const unsigned char last = c == 0x7f ? 0xa1 : (unsigned char)(0x80 + c);
    buffer_add(b, (const unsigned char[]){0xe2, 0x90, last}, 3);
}

static void add(struct buffer *b, char c)
{
    const char *e = entity(c);
    const unsigned char u = (unsigned char)c;
    if (e)
        buffer_text(b, e);
    else if ((u < 0x20 && c != '\n' && c != '\t') || u == 0x7f)
        picture(b, u);
    else
        buffer_add(b, &c, 1);
}

void markup_text(struct buffer *b, const char *text)
{
    for (; *text; text++)
        add(b, *text);
}

void markup_token(struct buffer *b, const char *text)
{
    const size_t n = strlen(text);
    for (size_t i = 0; i < n; i++) {
        const int edge = strspn(text + i, " ") + i == n || strspn(text, " ") > i;
        if (text[i] == '\n' || text[i] == '\r' || text[i] == '\t')
            buffer_text(b, text[i] == '\t' ? "\u21e5" : "\u23ce");
        else if (text[i] == ' ' && edge)
            buffer_text(b, "\u2423");
        else
            add(b, text[i]);
    }
}
