/* SPDX-License-Identifier: MIT
 * Targets that are checkpoint folders: shards, their index, config.json and all that belongs to them. A matrix is stored in the parts of
 * a layout (quant/layouts.h); the configuration says which. */
#ifndef PARE_CONVERT_TARGET_CHECKPOINT_H
#define PARE_CONVERT_TARGET_CHECKPOINT_H

#include "base/json.h"
#include "convert/plan.h"

enum { FORM_LAYOUTS = 8 };

/* What tells one such target from another. */
struct checkpoint_form {
    const char *layouts[FORM_LAYOUTS]; /* that it may use, in the order of preference */
    const char *only;                  /* what names of its types begin with; NULL: anything */
    int f16_scales;                    /* scales of groups are F16 numbers */
    int one_type;                      /* all that is quantized has the same type */
    int bf16;                          /* nothing is quantized: all matrices become BF16 */
    int experts_only;                  /* the layers' routed experts and nothing else, no configuration: a folder beside a checkpoint */
    /* names of matrices, ending in ".weight"; NULL: those of a checkpoint */
    const char *(*name)(enum tensor_role role, int layer, int expert, char out[TENSOR_NAME]);
    const char *extra;                 /* a file that repeats the quantization_config, or NULL */
    /* fills the object quantization_config from the plan's tensors; NULL: there is none */
    int (*describe)(const struct plan *p, struct json *config, struct error *e);
};
extern const struct checkpoint_form form_compressed_tensors, form_gptq, form_gptq_v2, form_awq, form_fp8, form_int8_block, form_bf16, form_ktransformers;
extern const struct checkpoint_form form_source; /* of convert/target_source.h: nothing is made anew */

int target_checkpoint_build(struct plan *p, struct error *e);
/* Refuses options that only a GGUF can have, for targets that are no GGUF. ERR_USAGE. */
int target_check_options(const struct plan *p, struct error *e);
/* "model-00001-of-00003.safetensors" in the folder `path`; "model.safetensors" when it is the only one. */
char *target_checkpoint_file_name(const char *path, size_t i, size_t n);

/* Builds all side files of a plan whose tensors are placed: index, config.json, model card, copies of the source's (sides.c). */
int sides_make(struct plan *p, struct error *e);
/* Those of a pack. `as_released`: config.json and all the rest are the source's own; `keeps_quantization`: what it says of quantized weights
 * stays, since some are as they were. */
int sides_make_packed(struct plan *p, int as_released, int keeps_quantization, struct error *e);
/* Of convert/target_source.h: what a pack has beside its tensors and the headers of shards. */
int sides_make_source(struct plan *p, struct error *e);
/* Writes them into the folder, each complete or not at all. */
int sides_write(const struct plan *p, const char *folder, struct error *e);

/* Which roles of which layers have something in common, and a regular expression that matches the modules of all of them and no others
 * (module_rules.c). Expert roles stand for the modules of all experts. */
struct module_set {
    unsigned char *of; /* [roles][layers + 1], index 0: global */
    int layers;
};
int module_set_init(struct module_set *s, const struct plan *p);
void module_set_clear(struct module_set *s);
void module_set_add(struct module_set *s, enum tensor_role role, int layer);
int module_set_has(const struct module_set *s, enum tensor_role role, int layer);
/* What engines call the module into which they join a role and its partner, for the first of the two; others NULL. Some match rules with
 * that name alone. */
const char *module_joined_name(enum tensor_role role);
/* Appends one "re:..." (or plain name of a global) per rule to the JSON array. `all`: every module that the plan has. 0, or -1 without
 * memory. */
int module_set_rules(const struct module_set *s, const struct module_set *all, struct json *list);

#endif
