/* SPDX-License-Identifier: MIT
 * Check of an expert pack against its own manifest: every byte of its files. */
#ifndef PARE_VERIFY_CHECK_PACK_H
#define PARE_VERIFY_CHECK_PACK_H

#include "formats/source.h"
#include "verify/check.h"

/* Adds a finding for each member whose XXH3-128 or CRC-32 differs, for tar headers that are not what they must be, for bytes between members
 * that are not zero, and where libarchive does not list the members that the manifest does. 0 also when there are findings. */
int check_pack(const struct source *s, int threads, const struct check_hooks *hooks, struct check_report *r, struct error *e);

#endif
