/* SPDX-License-Identifier: MIT
 * base/options: one table feeds parsing and the help. */
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "tests/tap.h"

static const struct option_row rows[] = {
    {'o', "out", "PATH", "write to PATH (a temporary name until complete)"},
    {'t', "type", "T", "Q8_0, Q4_0, BF16, F16, F32"},
    {0, "recipe", "FILE", "which type each role gets\n(default: all Q8_0)"},
    {'j', "threads", "N", "threads (default: cores)"},
    {0, "memory", "SIZE", "bound on memory"},
    {0, "override", "NAME=TYPE", "the type of one tensor; may be repeated"},
    {0, "a-rather-long-option", "ARGUMENT", "its help begins on a line of its own"},
    {'f', "force", NULL, "overwrite the output"},
    {'q', "quiet", NULL, "no progress"},
    {0},
};
static const struct option_table table = {
    .command = "convert", .operands = "SOURCE", .summary = "Writes a checkpoint in another format.", .min_operands = 1,
    .max_operands = 2, .rows = rows, .epilog = "Exit: 0 done, 1 a check failed, 2 usage, 3 bad input, 4 I/O or memory.",
};

/* Splits a line at spaces and parses it; the words live as long as the program. */
static int parse(struct options *o, const char *line, struct error *e)
{
    static char text[512];
    static char *argv[32];
    int argc = 0;
    strcpy(text, line);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    argv[argc] = NULL;
    return options_parse(o, &table, argc, argv, e);
}

static int value_is(const struct options *o, const char *name, const char *want)
{
    const char *v = options_get(o, name);
    return v && !strcmp(v, want);
}

static void accepted(void)
{
    struct options o;
    struct error e = {0};
    ok(!parse(&o, "convert in", &e) && o.n_operands == 1 && !strcmp(o.operands[0], "in") && !o.help, "one operand");
    ok(!options_get(&o, "out") && !options_get(&o, "force"), "what was not given is NULL");
    options_clear(&o);
    ok(!parse(&o, "convert -o x --type=Q8_0 in -f", &e) && value_is(&o, "out", "x") && value_is(&o, "type", "Q8_0") &&
           value_is(&o, "force", "") && o.n_operands == 1,
       "short, long with =, a flag behind the operand");
    options_clear(&o);
    ok(!parse(&o, "convert -fqj8 in", &e) && value_is(&o, "force", "") && value_is(&o, "quiet", "") &&
           value_is(&o, "threads", "8"),
       "letters in one word, a value at its end");
    options_clear(&o);
    ok(!parse(&o, "convert --mem 1G in", &e) && value_is(&o, "memory", "1G"), "a long name may be shortened");
    options_clear(&o);
    ok(!parse(&o, "convert --override a=F32 --override b=F16 -o 1 -o 2 in", &e) &&
           !strcmp(options_each(&o, "override", 0), "a=F32") && !strcmp(options_each(&o, "override", 1), "b=F16") &&
           !options_each(&o, "override", 2),
       "a repeated option keeps its values in order");
    ok(value_is(&o, "out", "2") && value_is(&o, "override", "b=F16"), "the last value counts otherwise");
    ok(!options_get(&o, "no-such-row") && !options_each(&o, "no-such-row", 0),
       "a name that the table lacks reads as not given");
    options_clear(&o);
    ok(!parse(&o, "convert -- -o -f", &e) && o.n_operands == 2 && !strcmp(o.operands[0], "-o"),
       "behind -- all are operands");
    options_clear(&o);
    ok(!parse(&o, "convert - out", &e) && o.n_operands == 2 && !strcmp(o.operands[0], "-"), "a lone - is an operand");
    options_clear(&o);
    ok(!parse(&o, "convert --help", &e) && o.help, "--help needs no operand");
    options_clear(&o);
    ok(!parse(&o, "convert -h --no-such", &e) && o.help, "-h: nothing behind it is checked");
    options_clear(&o);
    options_clear(&o);
}

static void refused(void)
{
    static const struct {
        const char *line, *text;
    } lines[] = {
        {"convert", "missing operand: 'SOURCE'"},
        {"convert a b c", "unexpected operand 'c'"},
        {"convert --no-such in", "'--no-such'"},
        {"convert -z in", "'-z'"},
        {"convert -fz in", "'-z'"},
        {"convert -fzq in", "'-z'"},
        {"convert in -o", "needs a value: '-o'"},
        {"convert in --out", "needs a value: '--out'"},
        {"convert --force=yes in", "takes no value: '--force=yes'"},
        {"convert --", "missing operand"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct options o;
        struct error e = {0};
        int rc = parse(&o, lines[i].line, &e);
        if (!ok(rc && e.code == ERR_USAGE && strstr(e.text, lines[i].text) && strstr(e.text, "pare convert --help"),
                "'%s': refused, %s", lines[i].line, lines[i].text))
            note("%s", e.text);
        options_clear(&o);
    }
}

static void sizes(void)
{
    static const struct {
        const char *text;
        uint64_t bytes; /* 1: refused */
    } values[] = {
        {"4096", 4096}, {"0", 0}, {"1k", 1000}, {"1K", 1000}, {"1500M", 1500000000}, {"2G", 2000000000},
        {"2GB", 2000000000}, {"380GB", 380000000000}, {"1T", 1000000000000}, {"1.5G", 1500000000},
        {"4.35k", 4350}, {"1ki", 1024}, {"1Ki", 1024}, {"2GiB", 2147483648}, {"1.5Mi", 1572864}, {"100B", 100},
        {"8TiB", 8796093022208}, {"x", 1}, {"12x", 1}, {"-1", 1}, {"1GG", 1}, {"1GiBx", 1}, {"nan", 1},
        {"inf", 1}, {"1e30", 1}, {"20000000T", 1}, {"i", 1}, {"5i", 1},
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct options o;
        struct error e = {0};
        char line[64] = "convert in --memory ";
        uint64_t bytes = 1;
        if (parse(&o, strcat(line, values[i].text), &e))
            bail("%s", e.text);
        int rc = options_size(&o, "memory", &bytes, &e);
        if (!ok(bytes == values[i].bytes && rc == (values[i].bytes == 1 ? -1 : 0), "the size %s: %s%llu",
                values[i].text, rc ? "refused, so it stays " : "", (unsigned long long)values[i].bytes))
            note("%llu", (unsigned long long)bytes);
        options_clear(&o);
    }
    struct options o;
    struct error e = {0};
    uint64_t bytes = 7;
    ok(!parse(&o, "convert in", &e) && !options_size(&o, "memory", &bytes, &e) && bytes == 7,
       "a size not given stays as it is");
    options_clear(&o);
    ok(!parse(&o, "convert in --memory x", &e) && options_size(&o, "memory", &bytes, &e) && e.code == ERR_USAGE &&
           strstr(e.text, "--memory: 'x'"),
       "a bad size is misuse, named with its option");
    options_clear(&o);
}

static void integers(void)
{
    static const struct {
        const char *text;
        long v; /* -1: refused */
    } values[] = {
        {"1", 1}, {"64", 64}, {"0", -1}, {"65", -1}, {"-3", -1}, {"8.0", -1}, {"8x", -1}, {"x", -1}, {"0x8", -1},
        {"99999999999999999999", -1},
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct options o;
        struct error e = {0};
        char line[64] = "convert in -j ";
        long v = -1;
        if (parse(&o, strcat(line, values[i].text), &e))
            bail("%s", e.text);
        int rc = options_int(&o, "threads", 1, 64, &v, &e);
        ok(v == values[i].v && rc == (v < 0 ? -1 : 0) && (!rc || e.code == ERR_USAGE), "-j %s of 1 to 64: %s",
           values[i].text, rc ? "refused" : "taken");
        options_clear(&o);
    }
}

static void help(void)
{
    struct buffer b = {0};
    size_t lines = 0, widest = 0;
    options_help(&table, 0, &b);
    for (const char *p = b.data, *end; *p; p = end + 1, lines++) {
        end = strchr(p, '\n');
        widest = (size_t)(end - p) > widest ? (size_t)(end - p) : widest;
    }
    ok(lines <= 24, "the help of 9 options has %zu lines, at most 24", lines);
    ok(widest <= 80, "its widest line has %zu columns, at most 80", widest);
    ok(!strncmp(b.data, "Usage: pare convert [options] SOURCE\n", 37), "it begins with the usage");
    int named = 1;
    for (const struct option_row *r = rows; r->name; r++) {
        struct buffer word = {0};
        buffer_printf(&word, "--%s%s%s", r->name, r->arg ? " " : "", r->arg ? r->arg : "");
        named &= strstr(b.data, word.data) != NULL;
        buffer_clear(&word);
    }
    ok(named, "every option is in it, with its value's name");
    ok(strstr(b.data, "  -o, --out PATH          write to PATH") && strstr(b.data, "\n  -h, --help "),
       "options are aligned at column 26");
    ok(strstr(b.data, "\n                          (default: all Q8_0)\n"), "a second line of help is indented");
    ok(strstr(b.data, "\nExit: 0 done"), "the epilog closes it");
    buffer_clear(&b);
}

int main(void)
{
    accepted();
    refused();
    sizes();
    integers();
    help();
    return done();
}
