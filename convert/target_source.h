/* SPDX-License-Identifier: MIT
 * Target source: the checkpoint that a pack was made of with --recipe source: its shards byte for byte, and the files beside them. Such a pack
 * has the shards' headers as side files, SOURCE_SHARDS and a shard's name: names, order and places of the tensors are theirs. */
#ifndef PARE_CONVERT_TARGET_SOURCE_H
#define PARE_CONVERT_TARGET_SOURCE_H

#include "convert/plan.h"

#define SOURCE_SHARDS "source/"

/* ERR_USAGE for a source that is no such pack. */
int target_source_build(struct plan *p, struct error *e);

#endif
