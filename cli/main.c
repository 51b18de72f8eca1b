/* SPDX-License-Identifier: MIT
 * pare: the table of commands. */
#include <stdio.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "cli/cli.h"

const struct command_row commands[] = {
    {"Look", &cmd_inspect},
    {NULL, &cmd_check},
    {NULL, &cmd_diff},
    {NULL, &cmd_manifest},
    {NULL, &cmd_tokenize},
    {"Judge", &cmd_verify},
    {NULL, &cmd_merge},
    {NULL, &cmd_report},
    {"Convert", &cmd_plan},
    {NULL, &cmd_convert},
    {NULL, &cmd_status},
    {NULL, &cmd_calibrate},
    {NULL, &cmd_imatrix},
    {"Help", &cmd_man},
    {NULL, &cmd_completion},
    {0},
};

const char pare_summary[] = "Reads DeepSeek-V3-family checkpoints, rewrites their weights, checks the result.";

const struct exit_row exits[] = {
    {0, "done"}, {1, "a check failed or a difference was found"}, {2, "usage"}, {3, "bad or unsupported input"},
    {4, "I/O, disk or memory"}, {130, "interrupted"}, {0},
};

const struct command *command_find(const char *name)
{
    const struct command_row *r = commands;
    while (r->command && strcmp(name, r->command->table->command))
        r++;
    return r->command;
}

static void add_usage(struct buffer *b)
{
    buffer_printf(b, "Usage: pare COMMAND [options] ...\n%s\n", pare_summary);
    for (const struct command_row *r = commands; r->command; r++) {
        if (r->title)
            buffer_printf(b, "\n%s\n", r->title);
        buffer_printf(b, "  %-10s %s\n", r->command->table->command, r->command->table->summary);
    }
    buffer_text(b, "\n'pare COMMAND --help' tells a command's options; 'pare --version' the version.\nExit:");
    for (const struct exit_row *r = exits; r->meaning; r++)
        buffer_printf(b, "%s%s%d %s", r == exits ? "" : ",", r->status == 3 ? "\n" : " ", r->status, r->meaning);
    buffer_text(b, ".\n");
}

static int finish(const char *command, const struct error *e)
{
    char line[1200];
    if (e->text[0]) {
        error_line(e, line, sizeof line);
        fprintf(stderr, "pare%s%s: error: %s\n", command ? " " : "", command ? command : "", line);
    }
    return error_exit_status(e->code);
}

static int run_command(const struct command *c, int argc, char **argv)
{
    struct error e = {0};
    struct options o;
    int rc = options_parse(&o, c->table, argc, argv, &e);
    if (!rc && o.help) {
        struct buffer b = {0};
        options_help(c->table, o.help == 2, &b);
        rc = print_buffer(&b, &e);
    } else if (!rc) {
        rc = c->run(&o, &e);
    }
    options_clear(&o);
    if (rc && !e.code) /* whoever forgot to say why: a failure never looks like success */
        error_set(&e, ERR_IO, ERROR_NO_OFFSET, "failed without giving a reason");
    return rc ? finish(c->table->command, &e) : 0;
}

int main(int argc, char **argv)
{
#ifdef M_ARENA_MAX
    mallopt(M_ARENA_MAX, 1); /* an arena per thread reserves 64 MB of address space each, under whatever ulimit -v */
#endif
    const char *name = argc > 1 ? argv[1] : "--help";
    struct error e = {0};
    struct buffer b = {0};
    if (command_find(name))
        return run_command(command_find(name), argc - 1, argv + 1);
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help"))
        add_usage(&b);
    else if (!strcmp(name, "--version"))
        buffer_text(&b, "pare " PARE_VERSION "\n");
    else
        error_set(&e, ERR_USAGE, ERROR_NO_OFFSET, "unknown command '%s' (see 'pare --help')", name);
    if (!e.code)
        print_buffer(&b, &e);
    if (!e.code && argc == 1)
        return error_exit_status(ERR_USAGE);
    return e.code ? finish(NULL, &e) : 0;
}
