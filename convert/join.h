/* SPDX-License-Identifier: MIT
 * Join: the manifests of all parts of a conversion become the manifest of the whole. */
#ifndef PARE_CONVERT_JOIN_H
#define PARE_CONVERT_JOIN_H

#include <stddef.h>

#include "base/error.h"

struct join_result {
    char *path; /* malloc'd: the manifest that was written */
    size_t files, tensors;
    uint64_t bytes;
};

/* Checks that the n manifests are all parts of one conversion, each once, with the same tool, recipe and source, that every
 * output file lies beside its manifest with its size and header, and writes OUT.manifest.json beside them. The parts' manifests
 * stay. ERR_FORMAT says what does not fit. */
int join_manifests(const char *const *paths, size_t n, struct join_result *r, struct error *e);

#endif
