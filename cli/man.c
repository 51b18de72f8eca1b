/* SPDX-License-Identifier: MIT
 * pare man: manual pages in roff, made of the option tables. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/option_words.h"

static const struct option_row rows[] = {
    OPTION_END,
};
static const struct option_table table = {
    .command = "man",
    .operands = "[COMMAND]",
    .summary = "print the manual page of a command, or of pare itself",
    .min_operands = 0,
    .max_operands = 1,
    .rows = rows,
    .epilog = "The page is roff; 'pare man convert | man -l -' shows it. 'make install' puts\n"
              "all pages in place.",
};

/* Text of a table in one paragraph: lines joined, what roff would read taken away. */
static void add_text(struct buffer *b, const char *text)
{
    for (const char *c = text; *c; c++)
        if (*c == '\\')
            buffer_text(b, "\\e");
        else if (*c == '-')
            buffer_text(b, "\\-");
        else if (*c == '\'')
            buffer_text(b, "\\(aq");
        else if (*c == '.' && (c == text || c[-1] == '\n'))
            buffer_text(b, "\\&.");
        else
            buffer_add(b, c, 1);
}

static void add_section(struct buffer *b, const char *name)
{
    buffer_printf(b, ".SH %s\n", name);
}

static void add_header(struct buffer *b, const char *command)
{
    buffer_text(b, ".TH \"PARE");
    for (const char *c = command ? command : ""; *c; c++)
        buffer_printf(b, "%s%c", c == command ? "\\-" : "", *c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
    buffer_text(b, "\" \"1\" \"\" \"pare " PARE_VERSION "\" \"pare manual\"\n.nh\n.ad l\n");
    add_section(b, "NAME");
    buffer_text(b, "pare");
    if (command)
        buffer_printf(b, "\\-%s", command);
    buffer_text(b, " \\- ");
}

/* What the values of an option are, where its help does not say all. */
static void add_values(struct buffer *b, const struct option_row *r)
{
    struct buffer words = {0};
    if (r->value && option_words(r, &words)) {
        buffer_text(b, "\n.br\nOne of: ");
        add_text(b, words.data);
        buffer_text(b, names_file(r->arg) ? "; or a file." : ".");
    }
    buffer_clear(&words);
}

static void add_option(struct buffer *b, const struct option_table *t, const struct option_row *r)
{
    const struct option_row *teller;
    int told;
    buffer_text(b, ".TP\n");
    if (r->letter)
        buffer_printf(b, "\\fB\\-%c\\fR, ", r->letter);
    buffer_text(b, "\\fB\\-\\-");
    add_text(b, r->name);
    buffer_text(b, "\\fR");
    if (r->arg) {
        buffer_text(b, " \\fI");
        add_text(b, r->arg);
        buffer_text(b, "\\fR");
    }
    buffer_text(b, "\n");
    if (r->help[0]) {
        add_text(b, r->help);
    } else if ((teller = option_teller(t, r, &told)) || told) {
        buffer_text(b, "See ");
        add_text(b, teller ? "--" : "NOTES");
        add_text(b, teller ? teller->name : "");
        buffer_text(b, ".");
    }
    add_values(b, r);
    buffer_text(b, "\n");
}

static void add_exits(struct buffer *b)
{
    add_section(b, "EXIT STATUS");
    for (const struct exit_row *r = exits; r->meaning; r++)
        buffer_printf(b, ".TP\n%d\n%s\n", r->status, r->meaning);
}

static void command_page(struct buffer *b, const struct option_table *t)
{
    add_header(b, t->command);
    add_text(b, t->summary);
    buffer_text(b, "\n");
    add_section(b, "SYNOPSIS");
    buffer_printf(b, "\\fBpare %s\\fR [options] \\fI", t->command);
    add_text(b, t->operands);
    buffer_text(b, "\\fR\n");
    add_section(b, "OPTIONS");
    for (const struct option_row *r = t->rows; r->name; r++)
        add_option(b, t, r);
    for (const struct option_row *r = common_rows; r->name; r++)
        add_option(b, t, r);
    if (t->epilog) {
        add_section(b, "NOTES");
        add_text(b, t->epilog);
        buffer_text(b, "\n");
    }
    add_exits(b);
    add_section(b, "SEE ALSO");
    buffer_text(b, "\\fBpare\\fR(1)\n");
}

static void main_page(struct buffer *b)
{
    add_header(b, NULL);
    buffer_text(b, "converts and verifies DeepSeek\\-V3\\-family checkpoints\n");
    add_section(b, "SYNOPSIS");
    buffer_text(b, "\\fBpare\\fR \\fICOMMAND\\fR [options] ...\n.br\n\\fBpare\\fR \\fB\\-\\-version\\fR\n");
    add_section(b, "DESCRIPTION");
    add_text(b, pare_summary);
    buffer_text(b, "\n");
    add_section(b, "COMMANDS");
    for (const struct command_row *r = commands; r->command; r++) {
        if (r->title)
            buffer_printf(b, ".SS %s\n", r->title);
        buffer_printf(b, ".TP\n\\fBpare %s\\fR \\fI", r->command->table->command);
        add_text(b, r->command->table->operands);
        buffer_text(b, "\\fR\n");
        add_text(b, r->command->table->summary);
        buffer_text(b, "\n");
    }
    add_section(b, "ENVIRONMENT");
    buffer_text(b, ".TP\n\\fBPARE_CPU\\fR\nscalar, avx2 or avx512: no instructions beyond these. No byte of a result depends on it.\n"
                   ".TP\n\\fBTMPDIR\\fR\nwhere verify keeps activations that exceed the bound on memory (default /tmp)\n");
    add_exits(b);
    add_section(b, "SEE ALSO");
    for (const struct command_row *r = commands; r->command; r++)
        buffer_printf(b, "\\fBpare\\-%s\\fR(1)%s\n", r->command->table->command, r[1].command ? "," : "");
}

static int run(const struct options *o, struct error *e)
{
    const char *name = o->n_operands ? o->operands[0] : NULL;
    const struct command *c = name ? command_find(name) : NULL;
    struct buffer b = {0};
    if (name && !c)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "unknown command '%.40s' (see 'pare --help')", name);
    if (c)
        command_page(&b, c->table);
    else
        main_page(&b);
    return print_buffer(&b, e);
}

const struct command cmd_man = {&table, run};
