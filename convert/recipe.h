/* SPDX-License-Identifier: MIT
 * Recipe: which type each tensor role is to get. */
#ifndef PARE_CONVERT_RECIPE_H
#define PARE_CONVERT_RECIPE_H

#include "base/error.h"
#include "convert/presets.h"
#include "model/roles.h"
#include "quant/types.h"

struct recipe {
    const struct preset *preset;
    int pure;        /* the preset's base type everywhere */
    int compat;      /* --search compat: llama.cpp's bytes; else smaller errors where a type can (quant/types.h: improve) */
    int no_fallback; /* a row that is no multiple of the block is an error */
    const struct quant_type *by_role[ROLE_COUNT]; /* overrides; NULL: as the preset says */
};

/* The recipe of a preset's name, in any case of letters. ERR_USAGE for an unknown one. */
int recipe_from_name(struct recipe *r, const char *name, struct error *e);
/* Adds an override "ROLE=TYPE" or "ROLE,ROLE=TYPE". ERR_USAGE for unknown words and for roles that are always F32. */
int recipe_override(struct recipe *r, const char *text, struct error *e);
/* What a tensor gets, before it is known whether its rows fit; some presets choose differently with an imatrix. */
const struct quant_type *recipe_type(const struct recipe *r, enum tensor_role role, int layer, int layers, int experts,
                                    int has_imatrix);
/* "Q4_0 pure output=Q8_0": the name and what differs from it. */
enum { RECIPE_TEXT = 2048 };
const char *recipe_text(const struct recipe *r, char out[RECIPE_TEXT]);

#endif
