/* SPDX-License-Identifier: MIT
 * Part: a comparison of some chunks of a text as a JSON file, and parts added up to exactly the whole's numbers. */
#ifndef PARE_VERIFY_PART_H
#define PARE_VERIFY_PART_H

#include "base/error.h"
#include "base/hash.h"
#include "verify/compare.h"

/* What must agree between parts, beside the comparison's own counts. Strings are borrowed when saving. */
struct part_info {
    const char *base_name, *cand_name; /* cand NULL: one model */
    const char *settings;              /* scoring and routing, as text */
    uint64_t base_bytes, cand_bytes;   /* of their tensors; 0: not known */
    char tokens_hash[HASH_TEXT];       /* of all chunks' ids */
    char models_hash[HASH_TEXT];       /* of both models' tensor lists */
};

int part_save(const struct comparison *c, const struct part_info *info, const char *path, struct error *e);

/* Reads parts, in any order, checks that they belong together and cover the text once, and fills *c as the whole run
 * would have. names: malloc'd copies for info (free base_name, cand_name, settings). ERR_FORMAT names the file at fault. */
int part_merge(const char *const *paths, size_t n, struct comparison *c, struct part_info *info, struct error *e);
void part_info_clear(struct part_info *info); /* of a merged one */

/* Hash of a model's tensor list (names, types, shapes), for models_hash. */
int part_hash_models(const struct model *base, const struct model *cand, char out[HASH_TEXT], struct error *e);
int part_hash_tokens(const int32_t *ids, size_t n, char out[HASH_TEXT], struct error *e);

#endif
