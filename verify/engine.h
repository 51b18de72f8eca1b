/* SPDX-License-Identifier: MIT
 * Engines: whether vLLM, SGLang, transformers or llama.cpp will load a model, without running them. Judged are names, shapes, types and the
 * configuration; of data only scales are read (check_scales). model_open has proved already that every tensor is there, in the shape that
 * the configuration says; here its words are read as the engine reads them: with the engine's own names of modules, several of which hold
 * two or three matrices, its own rules of matching, and its own limits.
 *
 * An engine is a row of the table: its modules and methods are data, its limits a function. What versions they describe: docs/engines.md.
 * Sources: vllm-project/vllm models/deepseek_v2.py, layers/quantization/; sgl-project/sglang models/deepseek_v2.py,
 * models/deepseek_common/deepseek_weight_loader.py, layers/quantization/; huggingface/transformers quantizers/; vllm-project/compressed-tensors
 * utils/match.py; ggml-org/llama.cpp src/llama-model.cpp. */
#ifndef PARE_VERIFY_ENGINE_H
#define PARE_VERIFY_ENGINE_H

#include "base/json.h"
#include "verify/check.h"

/* How entries of a list name modules: whole names (and "re:" patterns), any part of a name, whole steps of a path, or as transformers does. */
enum matching { MATCH_EXACT, MATCH_PART, MATCH_PATH, MATCH_BOUNDARY };
enum { SPLIT_EXACT = 1 << MATCH_EXACT, SPLIT_PART = 1 << MATCH_PART, SPLIT_PATH = 1 << MATCH_PATH };

/* A module as an engine builds it: one matrix, or several that it joins. */
struct engine_module {
    const char *name;           /* behind "model.layers.N.", or whole for a global */
    const char *class;          /* its class, which targets may name; NULL: the engine never quantizes it; "": it takes either */
    enum tensor_role part[3];   /* what it holds, as many as there are */
    int n_parts;
    unsigned split;             /* bits 1 << matching: there rules are looked up by the names of its parts, not by its own */
    enum tensor_role unless;    /* not there in layers that have this role; ROLE_COUNT: always */
};


struct engine_method;
struct engine_run;

struct engine {
    const char *name, *title;            /* "vllm", "vLLM" */
    int gguf;                            /* loads GGUF files, no folders */
    const char *const *architectures;    /* that it knows; ends with NULL */
    const char *const *model_types;      /* in their place, of an engine that chooses by these */
    const struct engine_module *modules; /* ends with a row without name; NULL: of GGUF */
    const struct engine_method *methods; /* ends with a row without name */
    const char *mtp;                     /* what its MTP layer's modules are called in place of "model.layers.N."; NULL: the same */
    int ignores_parts;                   /* an ignored name may be any part of a module's */
    int needs_target;                    /* a module that no target names is an error, not plain */
    int parallel;                        /* divides matrices among devices */
    int passes_mtp;                      /* takes no notice of MTP layers */
    /* why it cannot run a module that is stored so, or NULL; may be NULL */
    const char *(*limit)(const struct engine_run *r, const struct engine_module *m, const struct stored *s);
};
extern const struct engine *const engines[]; /* ends with NULL */
extern const struct engine engine_vllm, engine_sglang, engine_transformers, engine_llama_cpp;

const struct engine *engine_find(const char *name); /* or NULL */

/* Adds what is wrong to the report, what is worth knowing to its notes, and the tensor-parallel sizes. 0 also when there are findings; -1
 * when the check could not be done. */
int engine_check(const struct engine *g, const struct model *m, struct check_report *report, struct error *e);

/* ---- for the files of engines */

struct rules; /* a list of names or patterns, engine_rules.c */

struct engine_run {
    const struct engine *engine;
    const struct model *model;
    struct json *config;            /* config.json; NULL: a GGUF */
    const struct json *quant;       /* its quantization; NULL: none */
    const struct engine_method *method;
    struct rules *left_out, *targets; /* modules that are not quantized; compressed-tensors' targets, in their order */
    struct check_report *report;
    struct error *e;
};

/* A decision about a module. */
struct verdict {
    int quantized;
    const struct scheme *scheme; /* NULL: of the method, which has one */
    char why[160];               /* the rule */
    int conflict;                /* why says what the engine stops with */
};

/* A method of quantization: what its configuration needs and how its rules are asked. */
struct engine_method {
    const char *name;
    const char *needs[5];        /* keys */
    const char *lists[2];        /* keys of the list of modules that are left out: the first that is there counts */
    enum matching how;
    int (*judge)(struct engine_run *r, const struct engine_module *m, int layer, struct verdict *v);
};

/* Judges: by a list of modules; by compressed-tensors' ignore and targets as engines match them, and as the package itself does; by GPTQ's
 * dynamic. -1: r->e says why. */
int judge_by_list(struct engine_run *r, const struct engine_module *m, int layer, struct verdict *v);
int judge_by_targets(struct engine_run *r, const struct engine_module *m, int layer, struct verdict *v);
int judge_by_package(struct engine_run *r, const struct engine_module *m, int layer, struct verdict *v);
int judge_by_dynamic(struct engine_run *r, const struct engine_module *m, int layer, struct verdict *v);

/* Reads the configuration's rules. 0, or -1: a pattern is none, out of memory. */
int rules_read(struct engine_run *r);
void rules_free(struct rules *rules); /* NULL is allowed */

/* Adds a finding or a note about the tensor or file `name`. They return 0, or -1 when out of memory. */
int engine_finding(struct engine_run *r, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int engine_note(struct engine_run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What a stored matrix is, for people: "INT4-G128 in pack-quantized", "plain BF16". */
enum { STORED_TEXT = 80 };
const char *stored_text(const struct stored *s, char out[STORED_TEXT]);
/* Whether a layout's name is this; whether its type has zeros. */
int has_layout(const struct stored *s, const char *layout);
int is_asymmetric(const struct stored *s);

int engine_check_files(struct engine_run *r);  /* engine_files.c: what lies beside the weights, and the index */
int engine_check_config(struct engine_run *r); /* engine_config.c: keys of the configuration */
int engine_check_gguf(struct engine_run *r);   /* engine_llama.c */

#endif
