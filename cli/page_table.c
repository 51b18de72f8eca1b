/* SPDX-License-Identifier: MIT
 * Tables of the report's page. HTML lets cells and rows end by themselves; browsers, not people, read them. */
#include "cli/page_table.h"

#include <math.h>
#include <stdio.h>

#include "cli/markup.h"

void table_open(const char *label, const char *const *heads, struct buffer *b)
{
    buffer_printf(b, "<div class=scroll tabindex=0 role=region aria-label=\"%s\"><table><thead><tr>", label);
    for (; *heads; heads++)
        buffer_printf(b, "<th scope=col>%s</th>", *heads);
    buffer_text(b, "</tr></thead><tbody>");
}

void table_unfolds(const char *summary, const char *label, const char *const *heads, struct buffer *b)
{
    buffer_printf(b, "<details class=table><summary>%s</summary>", summary);
    table_open(label, heads, b);
}

void table_row(struct buffer *b)
{
    buffer_text(b, "<tr>");
}

void table_number(const char *format, double v, struct buffer *b)
{
    char text[400] = "";
    if (isfinite(v))
        snprintf(text, sizeof text, format, v);
    buffer_printf(b, "<td>%s</td>", text);
}

void table_name(const char *name, struct buffer *b)
{
    buffer_text(b, "<td>");
    markup_name(b, name);
    buffer_text(b, "</td>");
}

void table_text(const char *text, struct buffer *b)
{
    buffer_text(b, "<td>");
    markup_text(b, text);
    buffer_text(b, "</td>");
}

void table_markup(const char *class, const char *markup, struct buffer *b)
{
    buffer_printf(b, class ? "<td class=%s>" : "<td>", class);
    buffer_printf(b, "%s</td>", markup);
}

void table_close(int unfolds, struct buffer *b)
{
    buffer_printf(b, "</tbody></table></div>%s", unfolds ? "</details>" : "");
}
