/* SPDX-License-Identifier: MIT
 * What the option tables tell beyond parsing. */
#include "cli/option_words.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct option_row common_rows[] = {
    {'h', "help", NULL, "show the options that are used most"},
    {0, "help-all", NULL, "show all options"},
    {0},
};

/* "on", "llama.cpp", "bf16"; not "FILE", "I/N", "ROLE=TYPE", "R,R,..". */
static int is_word(const char *text, size_t n)
{
    if (!n || !islower((unsigned char)text[0]))
        return 0;
    for (size_t i = 0; i < n; i++)
        if (!islower((unsigned char)text[i]) && !isdigit((unsigned char)text[i]) && !strchr(".-_", text[i]))
            return 0;
    return 1;
}

char *option_word(const struct option_row *r, size_t i)
{
    if (r->value)
        return r->value(i) ? strdup(r->value(i)) : NULL;
    for (const char *at = r->arg; at && *at; at += strcspn(at, "|"), at += *at == '|')
        if (is_word(at, strcspn(at, "|")) && i-- == 0)
            return strndup(at, strcspn(at, "|"));
    return NULL;
}

size_t option_words(const struct option_row *r, struct buffer *b)
{
    size_t n = 0;
    for (char *word; (word = option_word(r, n)); n++) {
        buffer_printf(b, "%s%s", n ? " " : "", word);
        free(word);
    }
    return n;
}

int names_file(const char *arg)
{
    static const char *const words[] = {"PATH", "F", "SRC", "SOURCE", "OUT", "A", "BASE", "MODEL", "PART", "REPORT"};
    size_t n = strcspn(arg, " .");
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i]) == n && !strncmp(arg, words[i], n))
            return 1;
    return strstr(arg, "FILE") != NULL;
}

int names_folder(const char *arg)
{
    return !strcmp(arg, "DIR");
}

/* Whether a text has "--name" as a whole word, or "-x ". */
static int tells(const char *text, const struct option_row *r)
{
    char name[64];
    const char *letter = text;
    snprintf(name, sizeof name, "--%s", r->name);
    for (const char *at = text; (at = strstr(at, name)); at++)
        if (!isalnum((unsigned char)at[strlen(name)]) && at[strlen(name)] != '-')
            return 1;
    while (r->letter && (letter = strchr(letter, '-')))
        if (*++letter == r->letter && letter[1] == ' ')
            return 1;
    return 0;
}

const struct option_row *option_teller(const struct option_table *t, const struct option_row *r, int *told)
{
    *told = 1;
    for (const struct option_row *other = t->rows; other->name; other++)
        if (tells(other->help, r))
            return other;
    *told = t->epilog && tells(t->epilog, r);
    return NULL;
}
