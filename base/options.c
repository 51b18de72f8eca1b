/* SPDX-License-Identifier: MIT
 * Options: getopt_long driven by our tables. */
#include "base/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HELP_ALL = 255, LONG_BASE, HELP_COLUMN = 24, HELP_WIDTH = 80 };

static int usage_error(struct error *e, const struct option_table *t, const char *what, const char *arg)
{
    return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "%s%s%s%s (see 'pare %s --help')", what, arg ? " '" : "",
                     arg ? arg : "", arg ? "'" : "", t->command);
}

/* Fills getopt's two tables; returns the number of rows. A long option's code is LONG_BASE + row. */
static int make_getopt_tables(const struct option_table *t, struct option *longs, char *shorts)
{
    int n = 0;
    *shorts++ = ':'; /* tell a missing value from an unknown option */
    for (; t->rows[n].name; n++) {
        const struct option_row *r = &t->rows[n];
        longs[n] = (struct option){r->name, r->arg ? required_argument : no_argument, NULL, LONG_BASE + n};
        if (r->letter) {
            *shorts++ = r->letter;
            if (r->arg)
                *shorts++ = ':';
        }
    }
    longs[n] = (struct option){"help", no_argument, NULL, 'h'};
    longs[n + 1] = (struct option){"help-all", no_argument, NULL, HELP_ALL};
    longs[n + 2] = (struct option){0};
    *shorts++ = 'h';
    *shorts = '\0';
    return n;
}

static int row_of(const struct option_table *t, int code)
{
    if (code >= LONG_BASE)
        return code - LONG_BASE;
    int i = 0;
    while (t->rows[i].letter != code)
        i++;
    return i;
}

/* The option that getopt refused: a letter, which may stand among others in one word, or the word before optind. */
static int refused(struct error *e, const struct option_table *t, int code, char **argv)
{
    char letter[3] = {'-', (char)optopt, '\0'};
    const char *word = optopt > 0 && optopt < LONG_BASE ? letter : argv[optind - 1];
    const char *what = code == ':'           ? "this option needs a value:"
                       : optopt >= LONG_BASE ? "this option takes no value:"
                                             : "unknown or ambiguous option";
    return usage_error(e, t, what, word);
}

int options_parse(struct options *o, const struct option_table *t, int argc, char **argv, struct error *e)
{
    struct option longs[OPTIONS_MAX + 3];
    char shorts[2 * OPTIONS_MAX + 4];
    int code;

    *o = (struct options){.table = t};
    make_getopt_tables(t, longs, shorts);
    if (!(o->values = calloc((size_t)argc + 1, sizeof *o->values)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    opterr = 0;
    optind = 0;
    while ((code = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (code == 'h' || code == HELP_ALL) {
            o->help = code == 'h' ? 1 : 2;
            return 0;
        }
        if (code == '?' || code == ':')
            return refused(e, t, code, argv);
        o->values[o->n_values++] =
            (struct option_value){.row = row_of(t, code), .value = optarg ? optarg : ""};
    }
    o->operands = argv + optind;
    o->n_operands = argc - optind;
    if (o->n_operands < t->min_operands)
        return usage_error(e, t, "missing operand:", t->operands);
    if (t->max_operands >= 0 && o->n_operands > t->max_operands)
        return usage_error(e, t, "unexpected operand", o->operands[t->max_operands]);
    return 0;
}

void options_clear(struct options *o)
{
    free(o->values);
    *o = (struct options){0};
}

const char *options_get(const struct options *o, const char *name)
{
    const char *last = NULL, *v;
    for (size_t i = 0; (v = options_each(o, name, i)); i++)
        last = v;
    return last;
}

const char *options_each(const struct options *o, const char *name, size_t i)
{
    for (size_t k = 0; k < o->n_values; k++)
        if (!strcmp(o->table->rows[o->values[k].row].name, name) && i-- == 0)
            return o->values[k].value;
    return NULL;
}

int options_size(const struct options *o, const char *name, uint64_t *bytes, struct error *e)
{
    static const char letters[] = "kMGT";
    const char *s = options_get(o, name), *p;
    char *end;
    if (!s)
        return 0;
    errno = 0;
    double v = strtod(s, &end);
    if (end == s || errno || !(v >= 0))
        goto bad;
    if (*end && (p = strchr(letters, *end == 'K' ? 'k' : *end))) {
        int binary = end[1] == 'i';
        for (long i = 0; i <= p - letters; i++)
            v *= binary ? 1024 : 1000;
        end += 1 + binary;
    }
    if (*end == 'B')
        end++;
    if (*end || v >= 9.2e18)
        goto bad;
    *bytes = (uint64_t)v;
    return 0;
bad:
    return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--%s: '%s' is no size (try 1500M or 2GiB)", name, s);
}

int options_int(const struct options *o, const char *name, long lo, long hi, long *v, struct error *e)
{
    const char *s = options_get(o, name);
    char *end;
    if (!s)
        return 0;
    errno = 0;
    long n = strtol(s, &end, 10);
    if (end == s || *end || errno || n < lo || n > hi)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--%s: '%s' is no whole number from %ld to %ld", name, s,
                         lo, hi);
    *v = n;
    return 0;
}

static void help_row(const struct option_row *r, struct buffer *out)
{
    char left[80];
    char letter[8] = "    ";
    if (r->letter)
        snprintf(letter, sizeof letter, "-%c, ", r->letter);
    snprintf(left, sizeof left, "  %s--%s%s%s", letter, r->name, r->arg ? " " : "", r->arg ? r->arg : "");
    if (strlen(left) > HELP_COLUMN && strlen(left) + strlen(r->help) + 2 <= HELP_WIDTH && !strchr(r->help, '\n'))
        buffer_printf(out, "%s  ", left);
    else if (strlen(left) > HELP_COLUMN)
        buffer_printf(out, "%s\n%*s", left, HELP_COLUMN + 2, "");
    else
        buffer_printf(out, "%-*s", HELP_COLUMN + 2, left);
    for (const char *line = r->help; line;) {
        const char *end = strchr(line, '\n');
        int n = end ? (int)(end - line) : (int)strlen(line);
        buffer_printf(out, "%*s%.*s\n", line == r->help ? 0 : HELP_COLUMN + 2, "", n, line);
        line = end ? end + 1 : NULL;
    }
}

/* "More (--help-all): --name, --part, ...", wrapped. */
static void help_rare(const struct option_table *t, struct buffer *out)
{
    size_t column = 0;
    for (const struct option_row *r = t->rows; r->name; r++) {
        size_t n = strlen(r->name) + 4;
        if (!r->rare || !r->help[0])
            continue;
        if (!column) {
            buffer_text(out, "  more (--help-all):");
            column = 19;
        } else if (column + n > HELP_WIDTH - 1) {
            buffer_text(out, ",\n   ");
            column = 3;
        } else {
            buffer_text(out, ",");
        }
        buffer_printf(out, " --%s", r->name);
        column += n;
    }
    if (column)
        buffer_text(out, "\n");
}

void options_help(const struct option_table *t, int all, struct buffer *out)
{
    buffer_printf(out, "Usage: pare %s [options] %s\n%s\n\n", t->command, t->operands, t->summary);
    for (const struct option_row *r = t->rows; r->name; r++)
        if (r->help[0] && (all || !r->rare))
            help_row(r, out);
    help_row(&(struct option_row){.letter = 'h', .name = "help", .help = "show this help"}, out);
    if (!all)
        help_rare(t, out);
    if (t->epilog)
        buffer_printf(out, "\n%s\n", t->epilog);
}
