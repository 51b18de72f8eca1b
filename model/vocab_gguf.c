/* SPDX-License-Identifier: MIT
 * Vocabulary from a GGUF's tokenizer keys. Nothing is guessed: what contradicts itself is refused.
 * Source: ggml-org/ggml, docs/gguf.md; llama.cpp src/llama-vocab.cpp. */
#include "model/vocab.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "formats/gguf_meta.h"

/* By enum special_token; the fourth is so spelled by the format. */
static const char *const special_keys[SPECIAL_COUNT] = {"bos_token_id", "eos_token_id", "unknown_token_id",
                                                        "seperator_token_id", "padding_token_id", "cls_token_id",
                                                        "mask_token_id"};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

static int bad_key(struct error *e, const char *key, const char *what)
{
    return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "tokenizer.ggml.%s %s", key, what);
}

static const struct gguf_kv *find(const struct gguf_meta *m, const char *key)
{
    char full[64];
    snprintf(full, sizeof full, "tokenizer.ggml.%s", key);
    return gguf_find(m, full);
}

static uint64_t read_le(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | p[n];
    return v;
}

/* A key's list of strings as terminated texts in the arena. */
static int read_texts(struct arena *a, const struct gguf_meta *m, const char *key, const char ***list, uint64_t *n,
                      struct error *e)
{
    enum gguf_type type;
    const uint8_t *p;
    if (gguf_get_array(find(m, key), &type, n, &p) || type != GGUF_STRING)
        return bad_key(e, key, "is missing or no list of strings");
    if (!(*list = arena_array(a, *n + 1, sizeof **list)))
        return no_memory(e);
    for (uint64_t i = 0; i < *n; i++) { /* the container's reader held all lengths against the file */
        size_t size = (size_t)read_le(p, 8);
        const char *text = (const char *)p + 8;
        if (!size || memchr(text, 0, size) || !utf8_is_valid(text, size))
            return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "tokenizer.ggml.%s[%" PRIu64 "] is no text", key, i);
        if (!((*list)[i] = arena_copy(a, text, size)))
            return no_memory(e);
        p += 8 + size;
    }
    return 0;
}

static int read_types(struct vocab *v, const struct gguf_meta *m, struct error *e)
{
    enum gguf_type type;
    uint64_t n;
    const uint8_t *p;
    if (!(v->types = arena_array(&v->arena, v->n_tokens + 1, sizeof *v->types)))
        return no_memory(e);
    if (gguf_get_array(find(m, "token_type"), &type, &n, &p) || (type != GGUF_I32 && type != GGUF_U32))
        return bad_key(e, "token_type", "is missing or no list of 32-bit integers");
    if (n != v->n_tokens)
        return bad_key(e, "token_type", "is not as long as the list of tokens");
    for (uint64_t i = 0; i < n; i++) {
        uint64_t t = read_le(p + 4 * i, 4);
        if (t < TOKEN_NORMAL || t > TOKEN_BYTE)
            return bad_key(e, "token_type", "has an unknown type");
        v->types[i] = (int32_t)t;
        v->n_added += t == TOKEN_CONTROL || t == TOKEN_USER_DEFINED;
    }
    return 0;
}

static int list_added(struct vocab *v, struct error *e)
{
    if (!(v->added = arena_array(&v->arena, v->n_added + 1, sizeof *v->added)))
        return no_memory(e);
    struct added_token *a = v->added;
    for (uint64_t i = 0; i < v->n_tokens; i++)
        if (v->types[i] == TOKEN_CONTROL || v->types[i] == TOKEN_USER_DEFINED)
            *a++ = (struct added_token){.text = v->tokens[i], .id = (int32_t)i};
    return 0;
}

static int read_tokens(struct vocab *v, const struct gguf_meta *m, struct error *e)
{
    if (read_texts(&v->arena, m, "tokens", &v->tokens, &v->n_tokens, e))
        return -1;
    if (!v->n_tokens || v->n_tokens > INT32_MAX)
        return bad_key(e, "tokens", "has no token, or 2^31");
    return read_types(v, m, e) || list_added(v, e) || read_texts(&v->arena, m, "merges", &v->merges, &v->n_merges, e);
}

/* 1 when the keys describe a vocabulary that we know, 0 when there is none. */
static int check_kind(struct vocab *v, const struct gguf_meta *m, struct error *e)
{
    const struct gguf_kv *kv = find(m, "model");
    const char *s;
    size_t n;
    if (!kv)
        return 0;
    if (gguf_get_string(kv, &s, &n))
        return bad_key(e, "model", "is no string");
    if (n == 4 && !memcmp(s, "none", 4))
        return 0;
    if (n != 4 || memcmp(s, "gpt2", 4))
        return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "the tokenizer is not byte-level BPE");
    if (gguf_get_string(find(m, "pre"), &s, &n))
        return bad_key(e, "pre", "is missing or no string");
    for (const struct pretokenizer *p = pretokenizers; p->name && !v->pre; p++)
        if (strlen(p->name) == n && !memcmp(p->name, s, n))
            v->pre = p;
    return v->pre ? 1 : error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "the pre-tokenizer '%.*s' is not known",
                                  n < 60 ? (int)n : 60, s);
}

static int read_special(struct vocab *v, const struct gguf_meta *m, struct error *e)
{
    for (int i = 0; i < SPECIAL_COUNT; i++) {
        const struct gguf_kv *kv = find(m, special_keys[i]);
        uint64_t id;
        v->special[i] = -1;
        if (!kv)
            continue;
        if (gguf_get_u64(kv, &id) || id >= v->n_tokens)
            return bad_key(e, special_keys[i], "is no token's id");
        v->special[i] = (int64_t)id;
    }
    return 0;
}

/* 0, 1, or -1: not said. */
static int read_flag(const struct gguf_meta *m, const char *key, int *out, struct error *e)
{
    const struct gguf_kv *kv = find(m, key);
    *out = -1;
    return kv && gguf_get_bool(kv, out) ? bad_key(e, key, "is no truth value") : 0;
}

static int read_template(struct vocab *v, const struct gguf_meta *m, struct error *e)
{
    const struct gguf_kv *kv = gguf_find(m, "tokenizer.chat_template");
    const char *s;
    size_t n;
    if (!kv)
        return 0;
    if (gguf_get_string(kv, &s, &n) || memchr(s, 0, n))
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "tokenizer.chat_template is no text");
    return (v->chat_template = arena_copy(&v->arena, s, n)) ? 0 : no_memory(e);
}

int vocab_from_gguf(const struct source *s, struct vocab **out, struct error *e)
{
    struct vocab *v = calloc(1, sizeof *v);
    int rc = v ? check_kind(v, s->meta, e) : no_memory(e);
    if (rc == 1 && (read_tokens(v, s->meta, e) || read_special(v, s->meta, e) ||
                    read_flag(s->meta, "add_bos_token", &v->add_bos, e) ||
                    read_flag(s->meta, "add_eos_token", &v->add_eos, e) ||
                    read_flag(s->meta, "add_sep_token", &v->add_sep, e) || read_template(v, s->meta, e)))
        rc = -1;
    if (rc == 1) {
        *out = v;
        return 1;
    }
    vocab_free(v);
    return rc;
}
