/* SPDX-License-Identifier: MIT
 * Ladders: several outputs of one source, from one read, one decode and one calibration. */
#ifndef PARE_CLI_LADDER_H
#define PARE_CLI_LADDER_H

#include "cli/plan_options.h"

/* `pare convert --ladder A,B,..`: a rung for each recipe (a name or a file) or number of bits per weight (for which types are chosen as
 * `pare plan --bpw` does, recipe in m-3.5bpw.gguf.json), written beside one another: of -o m.gguf m-Q4_K_M.gguf, m-Q3_K_M.gguf.
 * Rungs that are finished already are left alone, unless --force is given. Prints a table of names and sizes, as Markdown for model cards,
 * or JSON. */
int ladder_run(const struct options *o, const char *out, struct error *e);

#endif
