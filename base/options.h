/* SPDX-License-Identifier: MIT
 * Options: one table per command feeds parsing and --help (getopt_long does the parsing). */
#ifndef PARE_BASE_OPTIONS_H
#define PARE_BASE_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

struct option_row {
    char letter;       /* short form, or 0 */
    const char *name;  /* long form, without the dashes */
    const char *arg;   /* name of its value in the help; NULL: a flag */
    const char *help;  /* one or more lines, separated by \n; "": the table's epilog tells of it */
    int rare;          /* told by --help-all; --help gives its name only */
    const char *(*value)(size_t i); /* the i-th of the words that it takes, NULL behind the last; or NULL: what `arg` tells ("on|off") */
};

enum { OPTIONS_MAX = 64 };

struct option_table {
    const char *command;            /* "convert" */
    const char *operands;           /* "SOURCE" */
    const char *summary;            /* one line: what it does */
    int min_operands, max_operands; /* max -1: any number */
    const struct option_row *rows;  /* ends with a row whose name is NULL; at most OPTIONS_MAX */
    const char *epilog;             /* exit status, examples; may be NULL */
};

struct options {
    const struct option_table *table;
    struct option_value {
        int row;
        const char *value; /* "" for a flag; borrowed from argv */
    } *values;             /* in the order of the command line; owned */
    size_t n_values;
    char **operands; /* borrowed from argv */
    int n_operands;
    int help; /* 1 --help, 2 --help-all was given; nothing else was checked */
};

/* Parses argv[1..]; argv[0] is the command's name. Returns 0, or -1 with ERR_USAGE. Clear in either case. */
int options_parse(struct options *o, const struct option_table *t, int argc, char **argv, struct error *e);
void options_clear(struct options *o);

/* The last value given, or NULL when the option was not given. A name that the table lacks is a programming error
 * and reads as not given. */
const char *options_get(const struct options *o, const char *name);
/* The i-th value given, in order, or NULL. For options that may be repeated. */
const char *options_each(const struct options *o, const char *name, size_t i);

/* "1500M", "2G", "380GB", "4096": decimal suffixes k M G T, binary with i (MiB); 0 or -1 with ERR_USAGE. */
int options_size(const struct options *o, const char *name, uint64_t *bytes, struct error *e);
/* Whole number in lo..hi. Leaves *v alone when the option was not given. */
int options_int(const struct options *o, const char *name, long lo, long hi, long *v, struct error *e);

/* Appends the help text: usage line, summary, options (with `all` the rare ones too), epilog; at most 80 columns. */
void options_help(const struct option_table *t, int all, struct buffer *out);

#endif
