/* SPDX-License-Identifier: MIT
 * Escaping for XML and HTML. */
#include "cli/markup.h"

#include <string.h>

#include "model/unicode.h"

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

/* What XML does not know, or what changes how text around it is read: C1 controls, non-characters, marks that turn the direction of writing
 * beyond their element's end. */
static int is_unfit(uint32_t cp)
{
    return cp == UINT32_MAX || (cp >= 0x80 && cp < 0xa0) || (cp & 0xfffe) == 0xfffe || (cp >= 0xfdd0 && cp <= 0xfdef) || (cp >= 0x202a && cp <= 0x202e) ||
           (cp >= 0x2066 && cp <= 0x2069);
}

/* The character at text, of n bytes left; returns its length. */
static size_t add(struct buffer *b, const char *text, size_t n)
{
    const char *e = entity(*text);
    const unsigned char u = (unsigned char)*text;
    uint32_t cp;
    const size_t length = utf8_read(text, n, &cp);
    if (e)
        buffer_text(b, e);
    else if ((u < 0x20 && u != '\n' && u != '\t') || u == 0x7f)
        picture(b, u);
    else if (is_unfit(cp))
        buffer_text(b, "\ufffd");
    else
        buffer_add(b, text, length);
    return length;
}

void markup_text(struct buffer *b, const char *text)
{
    const size_t n = strlen(text);
    for (size_t i = 0; i < n;)
        i += add(b, text + i, n - i);
}

void markup_token(struct buffer *b, const char *text)
{
    const size_t n = strlen(text);
    for (size_t i = 0; i < n;) {
        const int edge = strspn(text + i, " ") + i == n || strspn(text, " ") > i;
        if (text[i] == '\n' || text[i] == '\r' || text[i] == '\t')
            buffer_text(b, text[i] == '\t' ? "\u21e5" : "\u23ce");
        else if (text[i] == ' ' && edge)
            buffer_text(b, "\u2423");
        else {
            i += add(b, text + i, n - i);
            continue;
        }
        i++;
    }
}

void markup_name(struct buffer *b, const char *name)
{
    const size_t n = strlen(name);
    for (size_t i = 0; i < n;) {
        const char c = name[i];
        i += add(b, name + i, n - i);
        if (strchr("._/", c) && i < n)
            buffer_text(b, "<wbr>");
    }
}
