/* SPDX-License-Identifier: MIT
 * Target pack: expert packs (formats/pack.h, docs/pack-format.md). A tensor for each matrix, by its checkpoint name: blocks of any type, or
 * what the source has, byte for byte. */
#ifndef PARE_CONVERT_TARGET_PACK_H
#define PARE_CONVERT_TARGET_PACK_H

#include "convert/plan.h"
#include "convert/stream.h"

int target_pack_build(struct plan *p, struct error *e);
/* "m.tar" becomes "m-00001-of-00003.tar". */
char *target_pack_file_name(const char *path, size_t i, size_t n);
/* Tar headers, side files and manifests of this part's files. */
int target_pack_finish(const struct plan *p, const char *tool, const struct stream_state *state, struct outputs *o, struct error *e);

#endif
