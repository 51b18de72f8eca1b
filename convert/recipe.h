/* SPDX-License-Identifier: MIT
 * Recipe: which type each tensor role is to get. */
#ifndef PARE_CONVERT_RECIPE_H
#define PARE_CONVERT_RECIPE_H

#include "base/error.h"
#include "model/roles.h"
#include "quant/types.h"

struct recipe {
    const char *name;              /* as given: "Q8_0" */
    const struct quant_type *base; /* of everything that can take it */
    const struct quant_type *by_role[ROLE_COUNT]; /* overrides; NULL: base */
    uint32_t file_type;            /* general.file_type of GGUF */
};

/* The recipe of a name (see recipe_names), in any case of letters. ERR_USAGE for an unknown one. */
int recipe_from_name(struct recipe *r, const char *name, struct error *e);
/* Adds an override "ROLE=TYPE" or "ROLE,ROLE=TYPE". ERR_USAGE for unknown words and for roles that are always F32. */
int recipe_override(struct recipe *r, const char *text, struct error *e);
/* "Q4_0 output=Q8_0": the name and all overrides. */
enum { RECIPE_TEXT = 2048 };
const char *recipe_text(const struct recipe *r, char out[RECIPE_TEXT]);
/* The i-th name that recipe_from_name knows, or NULL. */
const char *recipe_name(size_t i);

#endif
