/* SPDX-License-Identifier: MIT
 * pare completion: scripts for shells, made of the option tables. They stand alone: bash's needs no package, zsh's and fish's what these
 * shells bring. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/option_words.h"

static const struct option_row rows[] = {
    OPTION_END,
};
static const struct option_table table = {
    .command = "completion",
    .operands = "bash|zsh|fish",
    .summary = "print a completion script for a shell",
    .min_operands = 1,
    .max_operands = 1,
    .rows = rows,
    .epilog = "'. <(pare completion bash)' completes in this shell, for a try. 'make install'\n"
              "puts the scripts where the shells look for them.",
};

/* The words that an operand can be: of commands that take no file. */
static size_t operand_words(const struct option_table *t, struct buffer *b)
{
    size_t n = 0;
    if (strstr(t->operands, "COMMAND"))
        for (const struct command_row *r = commands; r->command; r++)
            buffer_printf(b, "%s%s", n++ ? " " : "", r->command->table->command);
    else if (!names_file(t->operands))
        n = option_words(&(struct option_row){.arg = t->operands}, b);
    return n;
}

/* All rows of a table and then the common ones; NULL behind the last. */
static const struct option_row *row_at(const struct option_table *t, size_t i)
{
    size_t n = 0;
    while (t->rows[n].name)
        n++;
    const struct option_row *r = i < n ? &t->rows[i] : &common_rows[i - n];
    return r->name ? r : NULL;
}

/* A help in one line, without what a shell's quotes or zsh's specifications would read; at most up to the first semicolon or full stop. */
static void add_description(struct buffer *b, const char *help)
{
    for (const char *c = help; *c && *c != ';' && !(*c == '.' && (c[1] == ' ' || c[1] == '\n')); c++)
        if (*c == '\n' || *c == '-')
            buffer_add(b, *c == '\n' ? " " : "-", 1);
        else if (!strchr("'\"[]:\\`$", *c))
            buffer_add(b, c, 1);
}

static void add_option_description(struct buffer *b, const struct option_table *t, const struct option_row *r)
{
    int told;
    const struct option_row *teller = r->help[0] ? NULL : option_teller(t, r, &told);
    if (r->help[0])
        add_description(b, r->help);
    else if (teller)
        buffer_printf(b, "see --%s", teller->name);
    else
        buffer_printf(b, "see pare %s --help", t->command);
}

/* bash: "convert:-o|convert:--out" */
static void bash_pattern(struct buffer *b, const char *command, const struct option_row *r)
{
    buffer_text(b, "        ");
    if (r->letter)
        buffer_printf(b, "%s:-%c|", command, r->letter);
    buffer_printf(b, "%s:--%s) ", command, r->name);
}

static void bash_values(struct buffer *b, const struct option_table *t)
{
    for (const struct option_row *r = t->rows; r->name; r++) {
        struct buffer words = {0};
        if (!r->arg)
            continue;
        bash_pattern(b, t->command, r);
        if (option_words(r, &words))
            buffer_printf(b, "_pare_words '%s'; ", words.data);
        if (names_file(r->arg) || names_folder(r->arg))
            buffer_printf(b, "_pare_files %s; ", names_file(r->arg) ? "-f" : "-d");
        buffer_text(b, "return ;;\n");
        buffer_clear(&words);
    }
}

static void bash_command(struct buffer *b, const struct option_table *t)
{
    struct buffer words = {0};
    const struct option_row *r;
    buffer_printf(b, "        %s)\n            if [[ $cur == -* ]]; then\n                _pare_words '", t->command);
    for (size_t i = 0; (r = row_at(t, i)); i++) {
        buffer_printf(b, "%s--%s", i ? " " : "", r->name);
        if (r->letter)
            buffer_printf(b, " -%c", r->letter);
    }
    buffer_text(b, "'\n            else\n                ");
    if (operand_words(t, &words))
        buffer_printf(b, "_pare_words '%s'", words.data);
    else
        buffer_text(b, "_pare_files -f");
    buffer_text(b, "\n            fi ;;\n");
    buffer_clear(&words);
}

static void bash_script(struct buffer *b)
{
    buffer_text(b, "# bash completion for pare; made by 'pare completion bash'\n"
                   "_pare_words()\n{\n    local IFS=$' \\t\\n'\n    COMPREPLY+=($(compgen -W \"$1\" -- \"$cur\"))\n}\n"
                   "_pare_files()\n{\n    local IFS=$'\\n'\n    compopt -o filenames 2>/dev/null\n"
                   "    COMPREPLY+=($(compgen \"$1\" -- \"$cur\"))\n}\n"
                   "_pare()\n{\n    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
                   "    local command=${COMP_WORDS[1]}\n    COMPREPLY=()\n"
                   "    if [[ $cur == = ]]; then # --name=value comes as three words\n        cur=\n"
                   "    elif [[ $prev == = ]]; then\n        prev=${COMP_WORDS[COMP_CWORD-2]}\n    fi\n"
                   "    if ((COMP_CWORD == 1)); then\n        _pare_words '--help --version");
    for (const struct command_row *r = commands; r->command; r++)
        buffer_printf(b, " %s", r->command->table->command);
    buffer_text(b, "'\n        return\n    fi\n    case $command:$prev in\n");
    for (const struct command_row *r = commands; r->command; r++)
        bash_values(b, r->command->table);
    buffer_text(b, "    esac\n    case $command in\n");
    for (const struct command_row *r = commands; r->command; r++)
        bash_command(b, r->command->table);
    buffer_text(b, "    esac\n}\ncomplete -F _pare pare\n");
}

/* zsh: what completes a value: "(on off)", "_files", or nothing. */
static void zsh_value(struct buffer *b, const char *arg, const struct buffer *words)
{
    int files = names_file(arg) || names_folder(arg);
    buffer_text(b, ":value:");
    if (words->size && files)
        buffer_printf(b, "{ compadd -- %s; _files }", words->data);
    else if (words->size)
        buffer_printf(b, "(%s)", words->data);
    else
        buffer_text(b, !files ? "" : names_folder(arg) ? "_files -/" : "_files");
}

static void zsh_command(struct buffer *b, const struct option_table *t)
{
    const struct option_row *r;
    struct buffer words = {0};
    buffer_printf(b, "        %s)\n            _arguments -S -s", t->command);
    for (size_t i = 0; (r = row_at(t, i)); i++) {
        buffer_text(b, " \\\n                ");
        if (r->letter)
            buffer_printf(b, "%s{-%c,--%s}'[", r->arg ? "'*'" : "", r->letter, r->name);
        else
            buffer_printf(b, "'%s--%s[", r->arg ? "*" : "", r->name);
        add_option_description(b, t, r);
        buffer_text(b, "]");
        if (r->arg) {
            option_words(r, &words);
            zsh_value(b, r->arg, &words);
            buffer_clear(&words);
        }
        buffer_text(b, "'");
    }
    buffer_text(b, " \\\n                '*:operand:");
    if (operand_words(t, &words))
        buffer_printf(b, "(%s)' ;;\n", words.data);
    else
        buffer_text(b, "_files' ;;\n");
    buffer_clear(&words);
}

static void zsh_script(struct buffer *b)
{
    buffer_text(b, "#compdef pare\n# zsh completion for pare; made by 'pare completion zsh'\n_pare()\n{\n"
                   "    if ((CURRENT == 2)); then\n        local -a list\n        list=(\n            '--version:print the version'\n");
    for (const struct command_row *r = commands; r->command; r++) {
        buffer_printf(b, "            '%s:", r->command->table->command);
        add_description(b, r->command->table->summary);
        buffer_text(b, "'\n");
    }
    buffer_text(b, "        )\n        _describe command list\n        return\n    fi\n"
                   "    local command=$words[2]\n    shift words\n    ((CURRENT--))\n    case $command in\n");
    for (const struct command_row *r = commands; r->command; r++)
        zsh_command(b, r->command->table);
    /* autoloaded from $fpath the file is the function's body; read by source it registers itself */
    buffer_text(b, "    esac\n}\nif [[ ${funcstack[1]} == _pare ]]; then\n    _pare \"$@\"\nelse\n    compdef _pare pare\nfi\n");
}

static void fish_command(struct buffer *b, const struct option_table *t)
{
    const struct option_row *r;
    struct buffer words = {0};
    if (operand_words(t, &words))
        buffer_printf(b, "complete -c pare -n '__pare_is %s' -f -a '%s'\n", t->command, words.data);
    buffer_clear(&words);
    for (size_t i = 0; (r = row_at(t, i)); i++) {
        buffer_printf(b, "complete -c pare -n '__pare_is %s' -l %s", t->command, r->name);
        if (r->letter)
            buffer_printf(b, " -s %c", r->letter);
        if (r->arg) {
            buffer_text(b, names_file(r->arg) || names_folder(r->arg) ? " -r -F" : " -x");
            if (option_words(r, &words))
                buffer_printf(b, " -a '%s'", words.data);
            buffer_clear(&words);
        }
        buffer_text(b, " -d '");
        add_option_description(b, t, r);
        buffer_text(b, "'\n");
    }
}

static void fish_script(struct buffer *b)
{
    buffer_text(b, "# fish completion for pare; made by 'pare completion fish'\n"
                   "function __pare_is # the command is this one; without an argument: there is none yet\n"
                   "    set -l words (commandline -opc)\n"
                   "    if test (count $argv) -eq 0\n        test (count $words) -eq 1\n    else\n"
                   "        test (count $words) -gt 1; and test $words[2] = $argv[1]\n    end\nend\n"
                   "complete -c pare -n '__pare_is' -f -l version -d 'print the version'\n"
                   "complete -c pare -n '__pare_is' -f -l help -d 'list the commands'\n");
    for (const struct command_row *r = commands; r->command; r++) {
        buffer_printf(b, "complete -c pare -n '__pare_is' -f -a %s -d '", r->command->table->command);
        add_description(b, r->command->table->summary);
        buffer_text(b, "'\n");
    }
    for (const struct command_row *r = commands; r->command; r++)
        fish_command(b, r->command->table);
}

static int run(const struct options *o, struct error *e)
{
    static const struct {
        const char *name;
        void (*print)(struct buffer *b);
    } shells[] = {{"bash", bash_script}, {"zsh", zsh_script}, {"fish", fish_script}};
    struct buffer b = {0};
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
        if (!strcmp(o->operands[0], shells[i].name)) {
            shells[i].print(&b);
            return print_buffer(&b, e);
        }
    return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "there is no completion for '%.40s', only for bash, zsh and fish", o->operands[0]);
}

const struct command cmd_completion = {&table, run};
