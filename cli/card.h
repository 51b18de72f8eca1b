/* SPDX-License-Identifier: MIT
 * The line of a model card that tells what was measured. */
#ifndef PARE_CLI_CARD_H
#define PARE_CLI_CARD_H

#include "base/error.h"
#include "cli/report.h"

/* Puts the report's numbers in place of the line of FOLDER/README.md that begins with "Quality:", which `convert` writes. `text`: what was
 * scored. ERR_USAGE when there is no such line; the file is replaced as a whole or stays. */
int card_write(const char *folder, const struct report *r, const char *text, struct error *e);

#endif
