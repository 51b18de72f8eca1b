/* SPDX-License-Identifier: MIT
 * Options that plan and convert share. */
#ifndef PARE_CLI_PLAN_OPTIONS_H
#define PARE_CLI_PLAN_OPTIONS_H

#include "cli/cli.h"
#include "cli/tokens.h"
#include "convert/plan.h"

/* The words of --to and --recipe, for option tables. */
const char *target_value(size_t i);
const char *recipe_value(size_t i);

#define PLAN_OPTION_ROWS                                                                                               \
    {'t', "to", "TARGET", "gguf (default), compressed-tensors, gptq, fp8, pack ..", 0, target_value},   \
        {'r', "recipe", "R|FILE", "a mixture (Q8_0), scheme (W4A16, W8A8, FP8) or file", 0, recipe_value},            \
        {0, "group-size", "N", "of INT4 and INT8 schemes: 32, 64, 128 (default), or\n-1, a scale per row", 1}, \
        {0, "scales-from", "SRC", "FP8 scales are those of this checkpoint, so that what\nwas cast from it comes back byte for byte", 1}, \
        {0, "type", "ROLE=TYPE", "another type for a role, as output=Q8_0"},     \
        {'m', "imatrix", "FILE", "importance matrix of llama-imatrix, in either form"},                                  \
        {0, "imatrix-missing", "uniform|layer|fail", "what experts without data weigh: the same (default, as\nllama-quantize), or the mean of the others", 1}, \
        {0, "search", "best|compat", "scales and codes with the least error (default), or\nbyte for byte llama.cpp's", 1}, \
        {0, "fold", "LIST", "exact symmetries used to lessen errors: all, none, or\nof up-down, permute, v-o, norms", 1}, \
        {0, "tensor-type", "PATTERN=TYPE", "another type for tensors by name, as\nllama-quantize has it; repeatable", 1}, \
        {0, "tensor-type-file", "F", "a file of such, separated by white space", 1}, \
        {0, "calib", "DIR", "round with error feedback, by 'pare calibrate'"}, \
        {0, "sequential", NULL, "calibrate and convert layer by layer, behind what\nis quantized already; needs --calib-text", 1}, \
        {0, "calib-text", "FILE", "text for --sequential (--calib-chunks N: the first\nN chunks of 512 tokens)", 1}, \
        {0, "calib-chunks", "N", "", 1}, \
        {0, "calib-pull", "X", "how far --sequential moves its target towards the\noriginal outputs, 0..1 (default 0.5)", 1}, \
        {0, "calib-damping", "X", "added to the second moments' diagonal, in units\nof its mean (default 0.03); --calib-blend X: tokens\nper column at which a matrix's own second moments\nweigh as much as what is known without (default 1)", 1}, \
        {0, "calib-blend", "X", "", 1}, \
        {0, "calib-passes", "N", "", 1}, \
        {0, "calib-order", "importance|natural", "how the sweep takes columns (default: the one that\nthe type gains by);\n--calib-passes N lower the loss after it (2)", 1}, \
        {0, "pure", NULL, "the recipe's base type for everything", 1},                                                 \
        {0, "via", "bf16", "round weights to BF16 first: the file is then what\nllama-quantize makes of a BF16 file, not of an F32 file", 1},  \
        {0, "no-fallback", NULL, "fail where a row is no multiple of a type's block\n(else a larger type is taken, shown by plan)", 1}, \
        {0, "mtp", "drop|keep", "the MTP layer (default: as llama.cpp's converter:\nkeep for V3.2, drop for others)", 1}, \
        {0, "dialect", "llama.cpp|ik", "where files differ (default: llama.cpp)", 1},                                       \
        {0, "name", "TEXT", "general.name (default: from the folder's name)", 1},                                         \
        {0, "chat-template-file", "F", "use this chat template", 1},                                                      \
        {0, "no-vocab", NULL, "write a GGUF without a vocabulary", 1},                                                    \
        {0, "align", "N", "of packs: where tensors and experts begin, a power of\ntwo from 512 to 1048576 (default 4096); --layout\nplain: no bundles of an expert's matrices", 1}, \
        {0, "layout", "bundle|plain", "", 1}, \
        {0, "experts", "LIST", "packs with these experts only: \"3-5:0-15,17;7\", or\n@FILE, JSON; hot:N or hot:P%, the hottest by --profile\nDIR of 'pare calibrate', cold:, the others; --coverage\nDIR: what they cover of another text", 1}, \
        {0, "profile", "DIR", "", 1}, \
        {0, "coverage", "DIR", "", 1}, \
        {0, "experts-only", NULL, "no tensors but experts", 1}, \
        {0, "compress", NULL, "packs: entropy coded, without loss; with -r source the\nrelease in fewer bytes", 1}, \
        {0, "requantize", NULL, "make one tensor of experts that a pack holds in\nseveral types", 1}, \
        {0, "split-max-size", "SIZE", "size of output files (default one; checkpoints 5G)"},                               \
        {0, "part", "I/N", "only the I-th N-th of the output files\n('pare merge' joins the manifests)", 1},               \
        {0, "consume", NULL, "remove each source shard when it is used up", 1},                                           \
        {0, "sync-every", "SIZE", "output that is made durable and recorded together\n(default 1Gi; 10 seconds do it too)", 1}, \
        {0, "memory", "SIZE", "bound on memory (default 2G, with --calib 8G)"}, OPTION_THREADS

/* A plan and what it stands on. */
struct planned {
    struct opened in;
    struct opened scales; /* of --scales-from */
    const struct target *target;
    struct plan_options options; /* with `recipe` */
    struct recipe recipe;
    struct plan *plan;
    char *chat_template;
    struct imatrix *imatrix;
    struct calibration *calib, *profile;
    struct tokens tokens; /* of a sequential conversion */
    char *folder;
};

/* Opens operand 0 and what else the options name. Clear it in either case, as after make_plan. */
int open_planned(const struct options *o, struct planned *p, struct error *e);
/* The recipe of this name (NULL: the target's default) with all the options that change one; clear it in either case. */
int read_recipe(const struct options *o, const struct target *t, const char *name, struct recipe *r, struct error *e);

/* The same, and plans its conversion. */
int make_plan(const struct options *o, struct planned *p, struct error *e);
void clear_plan(struct planned *p); /* safe on a zeroed one */

#endif
