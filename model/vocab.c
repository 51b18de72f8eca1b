/* SPDX-License-Identifier: MIT
 * Vocabulary of a checkpoint folder. Does not tokenize. */
#include "model/vocab.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

enum { MAX_TOKENIZER = 256 << 20, MAX_SIDE = 16 << 20, MAX_UNUSED = 1 << 19 };

static const char *const special_names[SPECIAL_COUNT] = {"bos", "eos", "unk", "sep", "pad", "cls", "mask"};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

static int unsupported(struct error *e, const char *what)
{
    return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "%s", what);
}

/* A side file as JSON: 1, 0 when absent, -1. */
static int side_json(const struct source *s, const char *name, uint64_t max, struct json **root, struct error *e)
{
    char *text;
    size_t n;
    int rc = source_side_file(s, name, max, &text, &n, e);
    if (rc == 1) {
        if (!(*root = json_parse(text, n, e)))
            rc = error_at_file(e, name);
        free(text);
    }
    return rc;
}

/* Sets the text of an id; a second text for the same id is refused. */
static int set_token(struct vocab *v, const char *text, const struct json *id_value, enum token_type type,
                     struct error *e)
{
    uint64_t id;
    if (json_u64(id_value, &id) || id >= v->n_tokens)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the id of token '%.60s' is not below vocab_size %" PRIu64, text,
                         v->n_tokens);
    if (v->tokens[id] && strcmp(v->tokens[id], text))
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "token id %" PRIu64 " stands for '%.60s' and '%.60s'", id,
                         v->tokens[id], text);
    if (!v->tokens[id] && !(v->tokens[id] = arena_copy(&v->arena, text, strlen(text))))
        return no_memory(e);
    v->types[id] = (int32_t)type;
    return 0;
}

static int starts_and_ends(const char *s, const char *start, const char *end)
{
    size_t n = strlen(s), a = strlen(start), b = strlen(end);
    return n >= a + b && !memcmp(s, start, a) && !memcmp(s + n - b, end, b);
}

/* Texts that are control tokens whatever their flags say; llama.cpp's converter has the same list. */
static int looks_special(const char *s)
{
    return starts_and_ends(s, "<|", "|>") || starts_and_ends(s, "<\xef\xbd\x9c", "\xef\xbd\x9c>") ||
           !strcmp(s, "<pad>") || !strcmp(s, "<mask>") || starts_and_ends(s, "<unused", ">");
}

/* GGUF wants user-defined tokens with real spaces for U+2581. In place. */
static void restore_spaces(char *s)
{
    char *to = s;
    while (*s) {
        if (!strncmp(s, "\xe2\x96\x81", 3)) {
            *to++ = ' ';
            s += 3;
        } else {
            *to++ = *s++;
        }
    }
    *to = '\0';
}

static int flag(const struct json *object, const char *key)
{
    int v = 0;
    json_bool(json_get(object, key), &v);
    return v;
}

static int read_added_token(struct vocab *v, const struct json *t, struct error *e)
{
    const char *text = json_string(json_get(t, "content"));
    struct added_token *a = &v->added[v->n_added];
    uint64_t id;
    if (!text)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "an added token has no content");
    enum token_type type = flag(t, "special") || looks_special(text) ? TOKEN_CONTROL : TOKEN_USER_DEFINED;
    if (set_token(v, text, json_get(t, "id"), type, e) || json_u64(json_get(t, "id"), &id))
        return -1;
    *a = (struct added_token){arena_copy(&v->arena, text, strlen(text)), (int32_t)id, flag(t, "normalized"),
                              flag(t, "lstrip") || flag(t, "rstrip") || flag(t, "single_word")};
    if (!a->text)
        return no_memory(e);
    v->n_added++;
    if (type == TOKEN_USER_DEFINED)
        restore_spaces((char *)v->tokens[id]);
    return 0;
}

static int read_added(struct vocab *v, const struct json *added, struct error *e)
{
    if (!(v->added = arena_array(&v->arena, (added ? json_count(added) : 0) + 1, sizeof *v->added)))
        return no_memory(e);
    for (const struct json *t = json_child(added); t; t = json_next(t))
        if (read_added_token(v, t, e))
            return -1;
    return 0;
}

static int fill_unused(struct vocab *v, struct error *e)
{
    for (uint64_t i = 0; i < v->n_tokens; i++) {
        char text[32];
        if (v->tokens[i])
            continue;
        int n = snprintf(text, sizeof text, "[PAD%" PRIu64 "]", i);
        if (!(v->tokens[i] = arena_copy(&v->arena, text, (size_t)n)))
            return no_memory(e);
        v->types[i] = TOKEN_UNUSED;
    }
    return 0;
}

static int read_tokens(struct vocab *v, const struct json *root, struct error *e)
{
    const struct json *list = json_get(json_get(root, "model"), "vocab");
    if (!list || json_type(list) != JSON_OBJECT)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "model.vocab is missing or no object");
    uint64_t listed = json_count(list) + json_count(json_get(root, "added_tokens"));
    if (v->n_tokens > listed + MAX_UNUSED) /* what is allocated now must be bounded by what was read */
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "vocab_size %" PRIu64 " is far above the %" PRIu64 " tokens",
                         v->n_tokens, listed);
    v->tokens = arena_array(&v->arena, v->n_tokens, sizeof *v->tokens);
    v->types = arena_array(&v->arena, v->n_tokens, sizeof *v->types);
    if (!v->tokens || !v->types)
        return no_memory(e);
    for (const struct json *t = json_child(list); t; t = json_next(t))
        if (set_token(v, json_key(t), t, TOKEN_NORMAL, e))
            return -1;
    return read_added(v, json_get(root, "added_tokens"), e) || fill_unused(v, e);
}

/* A merge as "left right"; spaces inside a part become U+0120, as the byte-level alphabet writes them. */
static char *merge_text(struct arena *a, const char *left, const char *right)
{
    size_t n = 0;
    char *out = arena_alloc(a, 2 * (strlen(left) + strlen(right)) + 2);
    const char *parts[] = {left, right};
    for (int i = 0; out && i < 2; i++) {
        for (const char *c = parts[i]; *c; c++) {
            if (*c == ' ') {
                out[n++] = '\xc4';
                out[n++] = '\xa0';
            } else {
                out[n++] = *c;
            }
        }
        if (i == 0)
            out[n++] = ' ';
    }
    return out;
}

static int read_merges(struct vocab *v, const struct json *root, struct error *e)
{
    const struct json *list = json_get(json_get(root, "model"), "merges");
    if (!list || json_type(list) != JSON_ARRAY)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "model.merges is missing or no list");
    if (!(v->merges = arena_array(&v->arena, json_count(list) + 1, sizeof *v->merges)))
        return no_memory(e);
    for (const struct json *m = json_child(list); m; m = json_next(m)) {
        const char *whole = json_string(m), *left = json_string(json_child(m));
        const char *right = left ? json_string(json_next(json_child(m))) : NULL;
        if (!whole && (!right || json_count(m) != 2))
            return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "merge %" PRIu64 " is no pair", v->n_merges);
        const char *text = whole ? arena_copy(&v->arena, whole, strlen(whole)) : merge_text(&v->arena, left, right);
        if (!text)
            return no_memory(e);
        v->merges[v->n_merges++] = text;
    }
    return 0;
}

static int is_null(const struct json *v)
{
    return !v || json_type(v) == JSON_NULL;
}

static int read_step(const struct json *step, struct pretokenizer_step *out, struct error *e)
{
    const char *type = json_string(json_get(step, "type")), *behavior = json_string(json_get(step, "behavior"));
    int invert = 0, individual = 0;
    if (type && !strcmp(type, "Split")) {
        out->kind = STEP_SPLIT;
        out->pattern = json_string(json_get(json_get(step, "pattern"), "Regex"));
        json_bool(json_get(step, "invert"), &invert);
        if (out->pattern && behavior && !strcmp(behavior, "Isolated") && !invert)
            return 0;
    } else if (type && !strcmp(type, "Digits")) {
        out->kind = STEP_DIGITS;
        json_bool(json_get(step, "individual_digits"), &individual);
        if (individual)
            return 0;
    }
    return unsupported(e, "the pre-tokenizer has a step of an unknown kind");
}

/* The pre-tokenizer's steps, then ByteLevel without prefix space and without its own pattern. */
static int read_pretokenizer(struct vocab *v, const struct json *root, struct error *e)
{
    const struct json *pre = json_get(root, "pre_tokenizer");
    struct pretokenizer_step steps[PRETOKENIZER_STEPS] = {{STEP_END, NULL}};
    size_t n = 0;
    int byte_level = 0;
    for (const struct json *s = json_child(json_get(pre, "pretokenizers")); s; s = json_next(s)) {
        const char *type = json_string(json_get(s, "type"));
        int prefix = 0, regex = 0;
        if (byte_level || n == PRETOKENIZER_STEPS)
            return unsupported(e, "the pre-tokenizer has more steps than any that is known");
        if (!type || strcmp(type, "ByteLevel")) {
            if (read_step(s, &steps[n++], e))
                return -1;
            continue;
        }
        json_bool(json_get(s, "add_prefix_space"), &prefix);
        json_bool(json_get(s, "use_regex"), &regex);
        byte_level = !prefix && !regex;
    }
    if (!byte_level || !(v->pre = pretokenizer_find(steps, n)))
        return unsupported(e, "the pre-tokenizer is none that is known (deepseek-v3, deepseek-llm)");
    return 0;
}

static int check_kind(const struct json *root, struct error *e)
{
    const struct json *model = json_get(root, "model"), *norm = json_get(root, "normalizer");
    const char *type = json_string(json_get(model, "type"));
    int fallback = 0;
    json_bool(json_get(model, "byte_fallback"), &fallback);
    if (!type || strcmp(type, "BPE") || fallback)
        return unsupported(e, "the tokenizer is not byte-level BPE");
    if (!is_null(norm) && json_child(json_get(norm, "normalizers")))
        return unsupported(e, "the tokenizer has a normalizer");
    if (!is_null(norm) && !json_get(norm, "normalizers"))
        return unsupported(e, "the tokenizer has a normalizer");
    return 0;
}

/* Id of an added token by its text, or -1. */
static int64_t added_id(const struct json *root, const char *text)
{
    for (const struct json *t = json_child(json_get(root, "added_tokens")); t; t = json_next(t)) {
        const char *content = json_string(json_get(t, "content"));
        uint64_t id;
        if (content && !strcmp(content, text) && !json_u64(json_get(t, "id"), &id))
            return (int64_t)id;
    }
    return -1;
}

/* tokenizer_config.json names special tokens by text ("bos_token": "x" or {"content": "x"}). */
static void read_special_texts(struct vocab *v, const struct json *root, const struct json *config)
{
    for (int i = 0; i < SPECIAL_COUNT; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s_token", special_names[i]);
        const struct json *entry = json_get(config, key);
        const char *text = json_string(entry);
        if (!text)
            text = json_string(json_get(entry, "content"));
        if (text)
            v->special[i] = added_id(root, text);
    }
    json_bool(json_get(config, "add_bos_token"), &v->add_bos);
    json_bool(json_get(config, "add_eos_token"), &v->add_eos);
    json_bool(json_get(config, "add_sep_token"), &v->add_sep);
}

/* config.json names them by id; used for those that the tokenizer's own files leave open. */
static void read_special_ids(struct vocab *v, const struct json *model_config)
{
    for (int i = 0; i < SPECIAL_COUNT; i++) {
        char key[32];
        uint64_t id;
        snprintf(key, sizeof key, "%s_token_id", special_names[i]);
        if (v->special[i] < 0 && !json_u64(json_get(model_config, key), &id) && id < v->n_tokens)
            v->special[i] = (int64_t)id;
    }
}

/* The template is code for somebody else's interpreter: copied as bytes. model/chat_template.h knows the family's. */
static int read_template(struct vocab *v, const struct source *s, const struct json *config, struct error *e)
{
    const struct json *entry = json_get(config, "chat_template");
    const char *text = json_string(entry);
    char *file = NULL;
    size_t n = 0;
    for (const struct json *t = json_child(entry); !text && t; t = json_next(t)) {
        const char *name = json_string(json_get(t, "name"));
        if (name && !strcmp(name, "default"))
            text = json_string(json_get(t, "template"));
    }
    if (text)
        n = strlen(text);
    else if (source_side_file(s, "chat_template.jinja", MAX_SIDE, &file, &n, e) < 0)
        return -1;
    if (file && memchr(file, 0, n)) {
        free(file);
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the chat template holds a NUL byte");
        return error_at_file(e, "chat_template.jinja");
    }
    if ((text || file) && !(v->chat_template = arena_copy(&v->arena, text ? text : file, n))) {
        free(file);
        return no_memory(e);
    }
    free(file);
    return 0;
}

static int read_side_files(struct vocab *v, const struct source *s, const struct json *root, struct error *e)
{
    struct json *config = NULL, *model_config = NULL;
    int rc = -1;
    if (side_json(s, "tokenizer_config.json", MAX_SIDE, &config, e) < 0 ||
        side_json(s, "config.json", MAX_SIDE, &model_config, e) < 0)
        goto out;
    read_special_texts(v, root, config);
    read_special_ids(v, model_config);
    rc = read_template(v, s, config, e);
out:
    json_free(config);
    json_free(model_config);
    return rc;
}

int vocab_load(const struct source *s, uint64_t vocab_size, struct vocab **out, struct error *e)
{
    struct json *root = NULL;
    int rc = side_json(s, "tokenizer.json", MAX_TOKENIZER, &root, e);
    if (rc != 1)
        return rc;
    struct vocab *v = calloc(1, sizeof *v);
    rc = v ? 0 : no_memory(e);
    if (v) {
        v->n_tokens = vocab_size;
        v->add_bos = v->add_eos = v->add_sep = -1;
        for (int i = 0; i < SPECIAL_COUNT; i++)
            v->special[i] = -1;
        rc = check_kind(root, e) || read_pretokenizer(v, root, e) || read_tokens(v, root, e) ||
                     read_merges(v, root, e)
                 ? error_at_file(e, "tokenizer.json")
                 : read_side_files(v, s, root, e);
    }
    json_free(root);
    if (rc) {
        vocab_free(v);
        return -1;
    }
    *out = v;
    return 1;
}

void vocab_free(struct vocab *v)
{
    if (!v)
        return;
    arena_clear(&v->arena);
    free(v);
}
