/* SPDX-License-Identifier: MIT
 * Text inside XML and HTML. */
#ifndef PARE_CLI_MARKUP_H
#define PARE_CLI_MARKUP_H

#include "base/buffer.h"

/* Appends UTF-8 text as it may stand in an element or a quoted attribute: the five marks as entities, and control bytes, which XML does not
 * allow, as the pictures that Unicode has for them; bytes that are no UTF-8, and characters that neither may hold, as U+FFFD. */
void markup_text(struct buffer *b, const char *text);
/* The same of a token for people's eyes: blanks at its ends and line ends become visible marks. */
void markup_token(struct buffer *b, const char *text);
/* A name in HTML, which may be broken behind its dots, lines and slashes. */
void markup_name(struct buffer *b, const char *name);

#endif
