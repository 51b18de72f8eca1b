/* SPDX-License-Identifier: MIT
 * Options that plan and convert share: from the command line to a plan. */
#include "cli/plan_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/fold.h"
#include "convert/importance.h"
#include "convert/tensor_types.h"

enum { MAX_TEMPLATE = 16 << 20 };

const char *target_value(size_t i)
{
    return targets[i].name;
}

const char *recipe_value(size_t i)
{
    for (const struct preset *p = presets; p->name; p++)
        if (!i--)
            return p->name;
    return schemes[i].name;
}

static int bad_word(const char *option, const char *word, const char *choices, struct error *e)
{
    return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--%s: '%s' is none of %s", option, word, choices);
}

static int read_words(const struct options *o, struct plan_options *p, struct error *e)
{
    const char *mtp = options_get(o, "mtp"), *dialect = options_get(o, "dialect"), *fold = options_get(o, "fold");
    if (mtp && strcmp(mtp, "drop") && strcmp(mtp, "keep"))
        return bad_word("mtp", mtp, "drop, keep", e);
    if (dialect && strcmp(dialect, "llama.cpp") && strcmp(dialect, "ik"))
        return bad_word("dialect", dialect, "llama.cpp, ik", e);
    p->mtp = !mtp ? MTP_AS_TARGET : strcmp(mtp, "keep") ? MTP_DROP : MTP_KEEP;
    p->dialect = dialect && !strcmp(dialect, "ik") ? DIALECT_IK : DIALECT_LLAMA_CPP;
    return fold ? fold_parse(fold, &p->fold, e) : 0;
}

int read_recipe(const struct options *o, const struct target *t, const char *name, struct recipe *r, struct error *e)
{
    static const struct {
        const char *option;
        int (*add)(struct recipe *, const char *, struct error *);
    } givers[] = {{"type", recipe_override}, {"tensor-type", tensor_type_add}, {"tensor-type-file", tensor_type_file_add}};
    const char *via = options_get(o, "via");
    if (recipe_open(r, name ? name : t->default_recipe, t->recipes, e))
        return -1;
    const char *search = options_get(o, "search");
    if (search && strcmp(search, "best") && strcmp(search, "compat"))
        return bad_word("search", search, "best, compat", e);
    r->compat = search && !strcmp(search, "compat");
    r->pure |= options_get(o, "pure") != NULL;
    if (via && strcmp(via, "bf16"))
        return bad_word("via", via, "bf16", e);
    r->via_bf16 = via != NULL;
    r->no_fallback = options_get(o, "no-fallback") != NULL;
    for (size_t i = 0; i < o->n_values; i++) /* in the order of the command line */
        for (size_t k = 0; k < sizeof givers / sizeof *givers; k++)
            if (!strcmp(o->table->rows[o->values[i].row].name, givers[k].option) && givers[k].add(r, o->values[i].value, e))
                return -1;
    return 0;
}

/* Targets of checkpoints only. */
static int read_checkpoint_options(const struct options *o, const struct target *t, struct planned *p, struct plan_options *po, struct error *e)
{
    const char *scales = options_get(o, "scales-from");
    long group = 0;
    if (!t->form && (scales || options_get(o, "group-size")))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--group-size and --scales-from are for checkpoints, not GGUF");
    if (options_int(o, "group-size", -1, 128, &group, e) || (scales && open_model(scales, &p->scales, e)))
        return -1;
    p->recipe.group = group;
    po->scales_from = p->scales.model;
    return 0;
}

/* Packs only. */
static int read_pack_options(const struct options *o, const struct target *t, struct plan_options *po, struct error *e)
{
    static const char *const names[] = {"align", "layout", "experts", "experts-only", "compress", "profile", "coverage"};
    const char *layout = options_get(o, "layout");
    long align = 0;
    for (size_t i = 0; t->recipes != RECIPE_PACK && i < sizeof names / sizeof *names; i++)
        if (options_get(o, names[i]))
            return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--%s is for packs (--to pack)", names[i]);
    if (layout && strcmp(layout, "bundle") && strcmp(layout, "plain"))
        return bad_word("layout", layout, "bundle, plain", e);
    if (options_int(o, "align", 1, PACK_ALIGN_MOST, &align, e))
        return -1;
    po->pack = (struct pack_options){.align = (uint64_t)align, .plain = layout && !strcmp(layout, "plain"), .experts = options_get(o, "experts"),
                                     .experts_only = options_get(o, "experts-only") != NULL};
    po->compress = options_get(o, "compress") != NULL;
    po->requantize = options_get(o, "requantize") != NULL;
    return 0;
}

static int read_part(const struct options *o, const struct target *target, struct plan_options *p, struct error *e)
{
    const char *text = options_get(o, "part");
    char end;
    if (!text)
        return 0;
    if (sscanf(text, "%d/%d%c", &p->part, &p->parts, &end) != 2 || p->part < 1 || p->parts > 4096 || p->part > p->parts)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--part '%s' is no I/N with I in 1..N and N at most 4096", text);
    if (!p->split_max && !target->form)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--part divides output files: it needs --split-max-size");
    return 0;
}

static int read_imatrix(const struct options *o, struct planned *p, struct plan_options *po, struct error *e)
{
    const char *path = options_get(o, "imatrix"), *how = options_get(o, "imatrix-missing");
    for (int i = 0; how && i < IMATRIX_MISSING_COUNT; i++)
        if (!strcmp(how, imatrix_missing_names[i])) {
            po->imatrix_missing = (enum imatrix_missing)i;
            how = NULL;
        }
    if (how)
        return bad_word("imatrix-missing", how, "uniform, layer, fail", e);
    if (!path)
        return options_get(o, "imatrix-missing") ? error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--imatrix-missing without --imatrix") : 0;
    po->imatrix = p->imatrix = imatrix_open(path, e);
    return p->imatrix ? 0 : -1;
}

static int read_number(const struct options *o, const char *name, double most, double *v, struct error *e)
{
    const char *text = options_get(o, name);
    char *end;
    if (!text)
        return 0;
    *v = strtod(text, &end);
    return end != text && !*end && *v >= 0 && *v <= most ? 0 : error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--%s: '%s' is no number in 0..%g", name, text, most);
}

enum { SEQUENTIAL_CTX = 512 };

/* The calibration of a sequential conversion comes as it goes. */
static int read_sequential(const struct options *o, struct planned *p, struct plan_options *po, struct error *e)
{
    struct tokens_from from = {.text = options_get(o, "calib-text")};
    const char *out = options_get(o, "out");
    struct hash *h = hash_new();
    int rc = h ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc && (!from.text || !options_get(o, "sequential") || options_get(o, "calib")))
        rc = error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--sequential and --calib-text go together, and without --calib");
    if (!rc && po->split_max)
        rc = error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--sequential writes one file: it cannot be split");
    rc = rc || options_int(o, "calib-chunks", 1, 1L << 40, &from.most, e) || read_tokens(&from, &p->in, SEQUENTIAL_CTX, &p->tokens, e);
    if (!rc && !(p->folder = io_append(out ? out : "output", ".calib")))
        rc = error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc && !(po->calib = p->calib = calibration_new(p->folder, p->in.model, p->tokens.chunks, SEQUENTIAL_CTX, 1, e)))
        rc = -1;
    if (!rc) {
        po->sequential = (struct sequential_options){{p->tokens.ids, p->tokens.chunks, SEQUENTIAL_CTX}, io_base_name(from.text), p->folder};
        hash_add(h, p->tokens.ids, p->tokens.chunks * SEQUENTIAL_CTX * sizeof *p->tokens.ids);
        hash_finish(h, p->calib->hash);
        return 0;
    }
    hash_free(h);
    return -1;
}

static int read_order(const struct options *o, enum column_order *order, struct error *e)
{
    const char *name = options_get(o, "calib-order");
    for (int i = 0; name && i < ORDER_COUNT; i++)
        if (!strcmp(name, column_order_names[i])) {
            *order = (enum column_order)i;
            name = NULL;
        }
    return name ? bad_word("calib-order", name, "importance, natural", e) : 0;
}

/* Behind the model: a calibration must fit it. */
static int read_calib(const struct options *o, struct planned *p, struct plan_options *po, struct error *e)
{
    const char *folder = options_get(o, "calib");
    long passes = 2;
    po->feedback = (struct feedback_options){.hessian = {.damping = 0.03, .blend = 1, .order = ORDER_BY_TYPE}};
    if (read_number(o, "calib-damping", 1e3, &po->feedback.hessian.damping, e) ||
        read_number(o, "calib-blend", 1e6, &po->feedback.hessian.blend, e) || options_int(o, "calib-passes", 0, 100, &passes, e) ||
        read_order(o, &po->feedback.hessian.order, e))
        return -1;
    po->feedback.sweep.passes = (int)passes;
    po->feedback.sweep.pull = 0.5;
    if (read_number(o, "calib-pull", 1, &po->feedback.sweep.pull, e))
        return -1;
    if (options_get(o, "sequential") || options_get(o, "calib-text"))
        return read_sequential(o, p, po, e);
    if (!folder)
        return 0;
    po->calib = p->calib = calibration_open(folder, p->in.model, e);
    return p->calib ? 0 : -1;
}

static int read_template(const struct options *o, struct planned *p, struct error *e)
{
    const char *path = options_get(o, "chat-template-file");
    size_t n;
    if (!path)
        return 0;
    if (io_read_all(path, MAX_TEMPLATE, &p->chat_template, &n, e))
        return -1;
    if (!memchr(p->chat_template, 0, n))
        return 0;
    error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the chat template holds a NUL byte");
    return error_at_file(e, path);
}

static int unknown_target(const char *name, struct error *e)
{
    char known[200];
    size_t n = 0;
    for (const struct target *t = targets; t->name && n < sizeof known; t++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", t->name);
    return bad_word("to", name, known, e);
}

int open_planned(const struct options *o, struct planned *p, struct error *e)
{
    const char *to = options_get(o, "to");
    const struct target *t = target_find(to ? to : targets[0].name);
    struct plan_options *po = &p->options;
    *p = (struct planned){.target = t, .options = {.no_vocab = options_get(o, "no-vocab") != NULL, .model_name = options_get(o, "name"),
                          .memory = 2000000000, .part = 1, .parts = 1, .sync_every = 1 << 30, .consume = options_get(o, "consume") != NULL}};
    if (!t)
        return unknown_target(to, e);
    if (options_get(o, "calib") || options_get(o, "sequential")) /* two matrices of 18432 x 18432 in V3 */
        po->memory = 8000000000u;
    if (read_words(o, po, e) || read_recipe(o, t, options_get(o, "recipe"), &p->recipe, e) || read_checkpoint_options(o, t, p, po, e) || read_pack_options(o, t, po, e) ||
        options_size(o, "memory", &po->memory, e) || options_size(o, "split-max-size", &po->split_max, e) ||
        options_size(o, "sync-every", &po->sync_every, e) || read_part(o, t, po, e) || threads_option(o, &po->threads, e) ||
        read_template(o, p, e) || read_imatrix(o, p, po, e) || open_model(o->operands[0], &p->in, e) || read_calib(o, p, po, e))
        return -1;
    if (options_get(o, "profile") && !(po->pack.profile = p->profile = calibration_open(options_get(o, "profile"), p->in.model, e)))
        return -1;
    po->chat_template = p->chat_template;
    po->recipe = p->recipe;
    return 0;
}

int make_plan(const struct options *o, struct planned *p, struct error *e)
{
    if (open_planned(o, p, e))
        return -1;
    p->plan = plan_new(p->in.model, p->target, &p->options, e);
    return p->plan ? 0 : -1;
}

void clear_plan(struct planned *p)
{
    plan_free(p->plan);
    calibration_close(p->calib);
    calibration_close(p->profile);
    free(p->tokens.ids);
    free(p->folder);
    close_model(&p->in);
    close_model(&p->scales);
    imatrix_close(p->imatrix);
    recipe_clear(&p->recipe);
    free(p->chat_template);
}
