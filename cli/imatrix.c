/* SPDX-License-Identifier: MIT
 * pare imatrix: importance matrices into the other form, or several into one. */
#include <stdlib.h>
#include <string.h>

#include "cli/imatrix_text.h"
#include "cli/cli.h"

static const struct option_row rows[] = {
    {'o', "out", "PATH", "write to PATH: the sum of all FILEs"},
    {'t', "to", "gguf|dat", "its form (default: by PATH's end, else gguf)"},
    {'f', "force", NULL, "replace an existing output"},
    {'a', "entries", NULL, "list every entry of the result"},
    OPTION_JSON,
    OPTION_END,
};
static const struct option_table table = {
    .command = "imatrix",
    .operands = "FILE...",
    .summary = "convert importance matrices, or add several up",
    .min_operands = 1,
    .max_operands = -1,
    .rows = rows,
    .epilog = "FILEs are of llama-imatrix, in GGUF or its older form (.dat, also of\n"
              "ik_llama.cpp); 'pare inspect FILE' shows one. Sums and counts add up\n"
              "exactly as if the texts had been run as one; a dat file has no counts of\n"
              "tokens, so the two forms are not added to each other.",
};

static int choose_form(const struct options *o, const char *out, enum imatrix_form *form, struct error *e)
{
    const char *to = options_get(o, "to");
    size_t n = strlen(out);
    *form = n > 4 && !strcmp(out + n - 4, ".dat") ? IMATRIX_DAT : IMATRIX_GGUF;
    for (int i = 0; to && i < IMATRIX_FORMS; i++)
        if (!strcmp(to, imatrix_form_names[i])) {
            *form = (enum imatrix_form)i;
            to = NULL;
        }
    return to ? error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--to: '%s' is none of gguf, dat", to) : 0;
}

static int check_output(const struct options *o, const char *out, struct error *e)
{
    int kind;
    if (io_look(out, &kind, e))
        return -1;
    if (!kind || (kind == 1 && options_get(o, "force")))
        return 0;
    error_set(e, ERR_USAGE, ERROR_NO_OFFSET, kind == 1 ? "the output exists (--force replaces it)"
                                                       : "the output exists and is no regular file");
    return error_at_file(e, out);
}

static int show(const struct options *o, const char *out, struct error *e)
{
    struct imatrix *m = imatrix_open(out, e);
    int rc = m ? print_imatrix(m, options_get(o, "entries") != NULL, options_get(o, "json") != NULL, e) : -1;
    imatrix_close(m);
    return rc;
}

static int run(const struct options *o, struct error *e)
{
    const char *out = options_get(o, "out");
    size_t n = (size_t)o->n_operands;
    enum imatrix_form form;
    if (!out || !*out)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "-o PATH is needed (see 'pare imatrix --help')");
    if (choose_form(o, out, &form, e) || check_output(o, out, e))
        return -1;
    struct imatrix **in = calloc(n, sizeof *in);
    int rc = in ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t i = 0; !rc && i < n; i++)
        rc = (in[i] = imatrix_open(o->operands[i], e)) ? 0 : -1;
    if (!rc)
        rc = imatrix_merge(in, n, form, out, e);
    for (size_t i = 0; in && i < n; i++)
        imatrix_close(in[i]);
    free(in);
    return rc ? -1 : show(o, out, e);
}

const struct command cmd_imatrix = {&table, run};
