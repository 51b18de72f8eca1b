/* SPDX-License-Identifier: MIT
 * What inspect tells of expert packs beside what it tells of all models: the experts, layer by layer. */
#ifndef PARE_CLI_INSPECT_PACK_H
#define PARE_CLI_INSPECT_PACK_H

#include "base/buffer.h"
#include "base/json.h"
#include "model/model.h"

/* Both do nothing for a model that is no pack. */
void print_pack(const struct model *m, struct buffer *b);
void json_pack(struct json *root, const struct model *m);

#endif
