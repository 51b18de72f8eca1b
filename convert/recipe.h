/* SPDX-License-Identifier: MIT
 * Recipe: which type each tensor is to get: rules, the first that matches wins, and for all others a preset or one type.
 * Rules come from a recipe file (convert/recipe_file.c), from --type, and from what llama-quantize takes
 * (convert/tensor_types.c); those of the command line go before the file's. The struct error of these functions is not NULL. */
#ifndef PARE_CONVERT_RECIPE_H
#define PARE_CONVERT_RECIPE_H

#include "base/arena.h"
#include "base/error.h"
#include "base/pattern.h"
#include "convert/presets.h"
#include "convert/schemes.h"
#include "model/roles.h"
#include "quant/types.h"

_Static_assert(ROLE_COUNT <= 64, "a rule's roles are bits of 64");

/* The recipe of packs that leaves everything as it is. */
#define RECIPE_SOURCE "source"

struct range {
    uint32_t from, to; /* both included */
};
struct ranges {
    struct range *list; /* ascending, without overlaps */
    size_t n; /* 0: no condition */
};

/* A tensor matches when all conditions that are given hold. */
struct recipe_rule {
    const char *text;      /* as the user wrote it */
    const char *option;    /* of the command line: which; NULL: of the recipe file */
    size_t number;         /* of the file's rules, from 1 */
    uint64_t roles;        /* bits; 0: no condition */
    struct ranges layers;  /* a tensor outside the layers matches none */
    struct ranges experts; /* only routed experts match */
    struct pattern *name;  /* somewhere in the output tensor's name; NULL: no condition */
    const struct quant_type *type;
    int may_miss;          /* it may match nothing: that is told, but no error */
};

struct recipe {
    const char *name;
    uint32_t file_type;           /* general.file_type of GGUF */
    const struct preset *preset;  /* of what no rule matches; NULL: it gets `all` */
    const struct quant_type *all; /* NULL: see preset */
    int of_schemes;               /* for checkpoints and packs: a scheme in place of a preset */
    int of_packs;                 /* for packs: presets and single types as well, and any type that is blocks */
    const struct preset_scheme *scheme;  /* of what no rule matches; NULL: see preset */
    long group;                   /* its groups' size, or 0 */
    int pure;                     /* the preset's base type in place of its mixture */
    int via_bf16;                 /* weights are rounded to BF16 before they are encoded, as if from a BF16 file */
    int compat;                   /* --search compat: llama.cpp's bytes; else smaller errors where a type can */
    int no_fallback;              /* a row that is no multiple of the block is an error */
    struct recipe_rule *rules;    /* in the order of their trial */
    size_t n_rules, n_given;      /* n_given: of the command line, the first ones */
    const char *file;             /* where the other rules are from, or NULL */
    int is_planned;               /* by 'pare plan' (convert/planner.h) */
    double predicted_kl;          /* then: what it expects */
    struct arena arena;
};

/* What a recipe is for. */
enum recipe_kind { RECIPE_GGUF, RECIPE_CHECKPOINT, RECIPE_PACK };

/* The recipe of a preset's name (of checkpoints a scheme's; of packs either, "source" or "TYPE_EXPERTS", which leave all the rest as it
 * is), in any case of letters, or of a JSON file (schemas/recipe.json): ERR_USAGE
 * for what is neither, ERR_FORMAT with file and rule for what a recipe file must not say. Clear it in either case; copies share its memory. */
int recipe_open(struct recipe *r, const char *name, enum recipe_kind kind, struct error *e);
void recipe_clear(struct recipe *r); /* safe on a zeroed one */

/* Adds "ROLE=TYPE" or "ROLE,ROLE=TYPE" before all other rules. ERR_USAGE for unknown words and roles that are always F32. */
int recipe_override(struct recipe *r, const char *text, struct error *e);

/* A tensor of the output, for which a type is wanted. */
struct recipe_tensor {
    const char *name;
    enum tensor_role role;
    enum tensor_role preset_role; /* the same, but output for a token_embd that is the output, too */
    int layer, layers;      /* layer -1: a global one */
    uint32_t experts;       /* that the model has */
    int has_imatrix;        /* some presets choose differently with one */
    struct range held;      /* of routed experts: which are in this tensor and share its type */
};

struct rule_hits {
    uint64_t tensors;    /* that have the rule's type */
    uint64_t overridden; /* that would have it but for rules of the command line */
};

/* What a tensor gets (NULL, of schemes only: it stays as it is), before it is known whether its rows fit, and the number of the rule in r->rules (n_rules: none matched);
 * counts in hits[n_rules]. ERR_USAGE when a rule's experts are some of those that the tensor holds: others would get its type too. */
int recipe_type(const struct recipe *r, const struct recipe_tensor *t, struct rule_hits *hits, const struct quant_type **type,
                size_t *rule, struct error *e);

/* A rule for messages: "rule 2 of 'x.json' ({...})", "--type output=Q8_0". */
enum { RULE_TEXT = 256 };
const char *recipe_rule_text(const struct recipe *r, const struct recipe_rule *rule, char out[RULE_TEXT]);

/* "Q4_0 pure via bf16 output=Q8_0": the name and what differs from it; long rules by number and hash. Recipes with different contents
 * have different texts. NULL when out of memory. */
enum { RECIPE_TEXT = 2048 };
const char *recipe_text(const struct recipe *r, char out[RECIPE_TEXT]);

/* For the readers of rules and bases. */

/* 0, or -1 when there is no preset (or scheme) of that name. */
int recipe_set_base(struct recipe *r, const char *name);
/* Of the preset, the scheme, or the one type. */
const char *recipe_base_name(const struct recipe *r);

/* Adds a zeroed rule as the at-th (0 .. n_rules), or NULL with ERR_MEMORY or, for too many or control bytes, ERR_FORMAT. */
struct recipe_rule *recipe_add_rule(struct recipe *r, size_t at, const char *text, struct error *e);
/* A type that we write: one of GGUF, with schemes any, of packs those that are rows of blocks. NULL with ERR_USAGE. */
const struct quant_type *recipe_find_type(const struct recipe *r, const char *name, struct error *e);
/* Adds a role that may have another type than F32. ERR_USAGE. */
int recipe_add_role(const struct recipe *r, struct recipe_rule *rule, const char *name, struct error *e);

/* Whether a text that will be printed holds bytes that a terminal would obey. */
int recipe_has_controls(const char *text);

/* Reads a file's rules and base into a zeroed *r. */
int recipe_file_read(struct recipe *r, const char *path, struct error *e);

#endif
