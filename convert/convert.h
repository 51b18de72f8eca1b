/* SPDX-License-Identifier: MIT
 * Conversion: a plan becomes a file and its manifest. */
#ifndef PARE_CONVERT_CONVERT_H
#define PARE_CONVERT_CONVERT_H

#include "convert/plan.h"
#include "convert/stream.h"

/* Refuses what must not be started: an output that is one of the source's files or lies where a folder is, an existing
 * output without `force`, too little free disk. Touches nothing. */
int convert_check_output(const struct plan *p, const char *path, int force, struct error *e);

/* Writes PATH (by PATH.partial) and PATH.manifest.json. On any error there is no PATH, or the old one. `tool` is the
 * program's name and version for the manifest. */
int convert_run(const struct plan *p, const char *path, const char *tool, const struct stream_hooks *hooks,
                struct error *e);

#endif
