/* SPDX-License-Identifier: MIT
 * Hashing what exists: a whole source into a manifest. */
#ifndef PARE_VERIFY_HASHING_H
#define PARE_VERIFY_HASHING_H

#include "base/error.h"
#include "base/hash.h"
#include "base/io.h"
#include "formats/manifest.h"
#include "formats/source.h"
#include "verify/check.h"

/* Hashes every tensor and header of a source and, of a checkpoint folder, its side files. NULL on error. `tool` must
 * outlive the manifest. */
struct manifest *manifest_of_source(const struct source *s, const char *tool, int threads,
                                    const struct check_hooks *hooks, struct error *e);

#endif
