/* SPDX-License-Identifier: MIT
 * What the option tables tell beyond parsing: for manual pages and completions. */
#ifndef PARE_CLI_OPTION_WORDS_H
#define PARE_CLI_OPTION_WORDS_H

#include "base/buffer.h"
#include "base/options.h"

/* The rows of --help and --help-all, which every command has; ends with a row whose name is NULL. */
extern const struct option_row common_rows[];

/* The i-th word that the option takes, malloc'd, or NULL: from the row's own list, or from its argument's text ("on|off", "bf16"); words in
 * capitals stand for something else. */
char *option_word(const struct option_row *r, size_t i);
/* Appends all of them, separated by spaces; how many there are. */
size_t option_words(const struct option_row *r, struct buffer *b);

/* Whether what the argument of an option or an operand names is a file or a folder. */
int names_file(const char *arg);
int names_folder(const char *arg);

/* Where the table tells of an option without a text of its own: the row whose help names it, or NULL: the epilog does, or, with *told 0,
 * nothing. */
const struct option_row *option_teller(const struct option_table *t, const struct option_row *r, int *told);

#endif
