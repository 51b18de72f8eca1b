/* SPDX-License-Identifier: MIT
 * Base files of pare verify: options held against what a file says of itself. */
#include "cli/base_option.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "model/tokenizer.h"
#include "verify/part.h"

void base_settings(const struct compare_options *co, char *out, size_t size)
{
    int n = snprintf(out, size, "scored %s, group routing %s, local %s", co->all_positions ? "all" : "half", co->group_routing ? "on" : "off",
                     co->local ? "on" : "off");
    const struct pass_rounding *of[] = {&co->base, &co->cand};
    for (int i = 0; i < 2 && n >= 0 && (size_t)n < size; i++)
        if (of[i]->act || of[i]->cache)
            n += snprintf(out + n, size - (size_t)n, ", %s%s%s%s%s", i ? "candidate" : "base", of[i]->act ? " act " : "",
                          of[i]->act ? of[i]->act->name : "", of[i]->cache ? " kv " : "", of[i]->cache ? of[i]->cache->name : "");
}

static int form_of(const struct options *o, enum base_form *form, struct error *e)
{
    const char *text = options_get(o, "base-form");
    *form = BASE_SAMPLED;
    for (int i = 0; text && i < BASE_FORMS; i++)
        if (!strcmp(text, base_form_names[i])) {
            *form = (enum base_form)i;
            return 0;
        }
    return text ? error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--base-form: '%s' is none of exact, sampled, llama", text) : 0;
}

static int same_file(const struct io_file *a, const struct io_file *b)
{
    return a->dev == b->dev && a->ino == b->ino;
}

/* Whether a path leads to a file of the models or to the text: 1, 0, or -1 if one cannot be opened, then nobody knows. */
static int is_input(const struct options *o, const char *path, const struct opened *const models[2], struct error *e)
{
    const char *texts[] = {options_get(o, "text"), options_get(o, "tokens")};
    struct io_file f, text;
    int found = 0, failed = 0;
    if (io_kind(path) != 1)
        return 0;
    if (io_open(&f, path, e))
        return -1;
    for (int m = 0; m < 2; m++)
        for (size_t i = 0; models[m]->source && i < models[m]->source->n_files; i++)
            found |= same_file(&f, &models[m]->source->files[i]);
    for (int i = 0; i < 2 && !failed; i++)
        if (texts[i] && io_kind(texts[i]) == 1 && !(failed = io_open(&text, texts[i], e))) {
            found |= same_file(&f, &text);
            io_close(&text);
        }
    io_close(&f);
    return failed ? -1 : found;
}

/* The name is free, or --force was given and nothing that is read is lost. */
static int may_replace(const struct options *o, const char *path, const struct opened *base, const struct opened *cand, struct error *e)
{
    if (!io_kind(path))
        return 0;
    if (!options_get(o, "force")) {
        error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "the base file exists (--force replaces it)");
        return error_at_file(e, path);
    }
    int read = is_input(o, path, (const struct opened *const[]){base, cand}, e);
    if (read > 0) {
        error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--save-base would replace a file that is read");
        return error_at_file(e, path);
    }
    return read;
}

int base_start(const struct options *o, const struct opened *base, const struct opened *cand, const struct compare_options *co,
               const struct tokens *in, struct base_writer **writer, struct error *e)
{
    const struct arch_params *p = &base->model->params;
    const char *path = options_get(o, "save-base");
    char settings[128];
    struct base_about a = {.name = io_base_name(o->operands[0]), .settings = settings, .bytes = base->source->tensor_bytes, .ctx = co->ctx, .chunks = in->chunks,
                           .first_scored = co->all_positions ? 0 : co->ctx / 2, .vocab = (size_t)p->vocab_size,
                           .n_layers = (size_t)p->num_hidden_layers, .n_dense = (size_t)p->first_k_dense_replace,
                           .n_experts = (size_t)p->n_routed_experts, .experts_used = (size_t)p->num_experts_per_tok};
    a.scored = co->ctx - 1 - a.first_scored;
    base_settings(co, settings, sizeof settings);
    if (form_of(o, &a.form, e))
        return -1;
    if (a.form == BASE_SAMPLED)
        base_share(&a);
    if (a.form == BASE_LLAMA && co->all_positions)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "llama-perplexity's file has no room for --all-positions");
    if (co->base.act || co->base.cache)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--save-base keeps an exact base, not one that is rounded");
    if (may_replace(o, path, base, cand, e) || part_hash_tokens(in->ids, in->chunks * co->ctx, a.tokens_hash, e) || part_hash_models(base->model, NULL, a.models_hash, e))
        return -1;
    return (*writer = base_create(path, &a, in->ids, e)) ? 0 : -1;
}

int text_input(const struct options *o, const struct opened *base, size_t ctx, struct tokens *in, struct error *e)
{
    struct tokens_from from;
    return tokens_from_options(o, &from, e) || read_tokens(&from, base, ctx, in, e) ? -1 : 0;
}

/* A text that was given must be the file's. */
static int same_text(const struct options *o, const struct base_file *b, const struct opened *cand, struct error *e)
{
    struct tokens in = {0};
    const size_t ctx = base_about(b)->ctx;
    int rc = text_input(o, cand, ctx, &in, e);
    for (size_t i = 0; !rc && i < in.chunks * ctx; i++)
        if (i % ctx && (i / ctx >= base_about(b)->chunks || in.ids[i] != base_tokens(b)[i]))
            rc = error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "the text's tokens are not those of the base file, which needs no --text");
    free(in.ids);
    return rc;
}

/* Experts' groups were chosen in the base's run; llama-perplexity's file says nothing of them. */
static int routing_agrees(const struct base_about *a, const struct compare_options *co, struct error *e)
{
    const char *word = strstr(a->settings, "group routing o"), *other = co->group_routing ? "group routing off" : "group routing on";
    if (word && !strncmp(word, other, strlen(other)))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "the base ran with --group-routing %s: say the same here", co->group_routing ? "off" : "on");
    return 0;
}

static int scoring_agrees(const struct options *o, const struct base_about *a, const struct compare_options *co, struct error *e)
{
    if (options_get(o, "ctx") && co->ctx != a->ctx)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--ctx %zu, but the base file has chunks of %zu tokens", co->ctx, a->ctx);
    if (co->all_positions && a->first_scored)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--all-positions, but the base file has the second half of each chunk");
    if (a->first_scored && (a->first_scored != a->ctx / 2 || a->scored != a->ctx - 1 - a->ctx / 2))
        return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "the base file scores other positions than all or the second half");
    if (!a->first_scored && a->scored != a->ctx - 1)
        return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "the base file scores a part of the positions only");
    return 0;
}

int base_input(const struct options *o, const struct base_file *b, const struct opened *cand, struct compare_options *co, struct tokens *in,
               struct error *e)
{
    const struct base_about *a = base_about(b);
    struct error none;
    long most = 0;
    if (!cand->model && (options_get(o, "text") || options_get(o, "tokens")))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--server takes its text from the base file");
    if (scoring_agrees(o, a, co, e) || (cand->model && routing_agrees(a, co, e)) || options_int(o, "chunks", 1, 1L << 40, &most, e) ||
        ((options_get(o, "text") || options_get(o, "tokens")) && same_text(o, b, cand, e)))
        return -1;
    co->ctx = a->ctx;
    co->all_positions = !a->first_scored;
    co->local = 0;
    in->chunks = most && (size_t)most < a->chunks ? (size_t)most : a->chunks;
    if (!(in->ids = malloc(in->chunks * a->ctx * sizeof *in->ids)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    memcpy(in->ids, base_tokens(b), in->chunks * a->ctx * sizeof *in->ids);
    struct tokenizer *t = a->form == BASE_LLAMA && cand->model ? tokenizer_open(cand->source, &cand->model->params, &none) : NULL;
    for (size_t i = 0; t && i < in->chunks; i++)
        if (tokenizer_vocab(t)->special[SPECIAL_BOS] >= 0)
            in->ids[i * a->ctx] = (int32_t)tokenizer_vocab(t)->special[SPECIAL_BOS];
    tokenizer_close(t);
    return 0;
}

const char *text_name(const struct options *o, const struct base_file *b)
{
    const char *text = options_get(o, "text"), *raw = options_get(o, "tokens");
    return b ? "the base file's text" : io_base_name(text ? text : raw);
}
