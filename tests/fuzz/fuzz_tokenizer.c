/* SPDX-License-Identifier: MIT
 * Fuzz target: tokenizer.json and, behind the first NUL, tokenizer_config.json and, behind the second, text to tokenize
 * (model/vocab.h, model/tokenizer.h). vocab_size is 512 unless a fourth part is a config.json that says otherwise. */
#include <string.h>

#include "model/tokenizer.h"
#include "model/unicode.h"
#include "tests/fuzz/fuzz.h"

enum { PARTS = 4, TEXT = 512 };

struct piece {
    const char *bytes;
    size_t n;
};

static void cut(const char *data, size_t size, struct piece parts[PARTS])
{
    for (int i = 0; i < PARTS; i++) {
        const char *end = size && i + 1 < PARTS ? memchr(data, 0, size) : NULL;
        size_t n = end ? (size_t)(end - data) : size;
        parts[i] = (struct piece){data, n};
        data += end ? n + 1 : n;
        size -= end ? n + 1 : n;
    }
}

/* Ids are tokens, not more than bytes; where no token is special, their pieces are the text. */
static void encode(const struct tokenizer *t, const char *text, size_t n, int parse_special)
{
    const struct vocab *v = tokenizer_vocab(t);
    struct token_ids ids = {0};
    struct buffer pieces = {0};
    char repaired[3 * TEXT];
    size_t m = utf8_repair(text, n, repaired);
    must(!tokenizer_encode(t, text, n, parse_special, &ids, NULL));
    must(ids.n <= m && (ids.n || !m));
    for (size_t i = 0; i < ids.n; i++) {
        must(ids.ids[i] >= 0 && (uint64_t)ids.ids[i] < v->n_tokens && v->types[ids.ids[i]] != TOKEN_UNUSED);
        tokenizer_piece(t, ids.ids[i], &pieces);
    }
    must(!pieces.failed && (v->n_added || (pieces.size == m && (!m || !memcmp(pieces.data, repaired, m)))));
    token_ids_clear(&ids);
    buffer_clear(&pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char config[] = "{\"vocab_size\":512}", index[] = "{\"weight_map\":{}}";
    struct piece p[PARTS];
    struct error e = {0};
    cut((const char *)data, size, p);
    const char *folder = fuzz_subfolder("model");
    fuzz_file("model/model.safetensors.index.json", index, sizeof index - 1);
    fuzz_file("model/config.json", p[3].n ? p[3].bytes : config, p[3].n ? p[3].n : sizeof config - 1);
    fuzz_file("model/tokenizer.json", p[0].bytes, p[0].n);
    fuzz_file("model/tokenizer_config.json", p[1].n ? p[1].bytes : "{}", p[1].n ? p[1].n : 2);
    struct source *s = source_open(folder, &e);
    must(s);
    struct tokenizer *t = tokenizer_open(s, NULL, &e);
    source_close(s);
    if (!t) {
        fuzz_must_say(&e);
        return 0;
    }
    for (int i = 0; i < SPECIAL_COUNT; i++)
        must(tokenizer_vocab(t)->special[i] >= -1 && tokenizer_vocab(t)->special[i] < (int64_t)tokenizer_vocab(t)->n_tokens);
    encode(t, p[2].bytes, p[2].n < TEXT ? p[2].n : TEXT, 0);
    encode(t, p[2].bytes, p[2].n < TEXT ? p[2].n : TEXT, 1);
    tokenizer_close(t);
    return 0;
}
