/* SPDX-License-Identifier: MIT
 * Fuzz target: model/conversation.h, model/chat_template.h. A chat template (empty: none) and, behind the first NUL, conversations as
 * JSON lines; the vocabulary is the bytes and the tokens that templates write. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "model/conversation.h"
#include "model/pretokenizer.h"
#include "tests/fuzz/fuzz.h"

static const char *const tokens[] = {"<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "</think>", "｜DSML｜"};
enum { TOKENS = sizeof tokens / sizeof *tokens, BYTES = 256, TEMPLATE = 2000 };

static void write_json(const char *name, struct json *root)
{
    char *text = json_print(root);
    must(text);
    fuzz_file(name, text, strlen(text));
    free(text);
    json_free(root);
}

/* The bytes in the byte-level alphabet: printable ones are themselves, the others follow from U+0100 on. */
static void add_bytes(struct json *vocab)
{
    for (unsigned b = 0, others = 0; b < BYTES; b++) {
        int shown = (b > 32 && b < 127) || (b > 160 && b != 173);
        unsigned cp = shown ? b : BYTES + others++;
        char text[3] = {(char)(cp < 128 ? cp : 0xc0 | cp >> 6), (char)(cp < 128 ? 0 : 0x80 | (cp & 63)), 0};
        json_add_u64(vocab, text, b);
    }
}

static void write_tokenizer(void)
{
    struct json *root = json_new_object(), *pre = json_add_object(root, "pre_tokenizer"), *list, *entry;
    list = json_add_array(pre, "pretokenizers");
    for (const struct pretokenizer_step *s = pretokenizers[0].steps; s->kind == STEP_SPLIT; s++) {
        entry = json_add_object(list, NULL);
        json_add_string(entry, "type", "Split");
        json_add_string(entry, "behavior", "Isolated");
        json_add_string(json_add_object(entry, "pattern"), "Regex", s->pattern);
    }
    entry = json_add_object(list, NULL);
    json_add_string(entry, "type", "ByteLevel");
    list = json_add_array(root, "added_tokens");
    for (unsigned i = 0; i < TOKENS; i++) {
        entry = json_add_object(list, NULL);
        json_add_u64(entry, "id", BYTES + i);
        json_add_string(entry, "content", tokens[i]);
    }
    entry = json_add_object(root, "model");
    json_add_string(entry, "type", "BPE");
    add_bytes(json_add_object(entry, "vocab"));
    json_add_array(entry, "merges");
    write_json("model/tokenizer.json", root);
}

static struct tokenizer *open_tokenizer(const char *template)
{
    static const char config[] = "{\"vocab_size\":262}", index[] = "{\"weight_map\":{}}";
    static const char *folder;
    struct json *root = json_new_object();
    struct error e = {0};
    if (!folder) {
        folder = fuzz_subfolder("model");
        fuzz_file("model/model.safetensors.index.json", index, sizeof index - 1);
        fuzz_file("model/config.json", config, sizeof config - 1);
        write_tokenizer();
    }
    json_add_string(root, "bos_token", tokens[0]);
    json_add_string(root, "eos_token", tokens[1]);
    if (template[0])
        json_add_string(root, "chat_template", template);
    write_json("model/tokenizer_config.json", root);
    struct source *s = source_open(folder, &e);
    struct tokenizer *t = s ? tokenizer_open(s, NULL, &e) : NULL;
    source_close(s);
    must(t);
    return t;
}

/* Of the template; the last one is kept, for mutations mostly leave it. */
static const struct tokenizer *tokenizer_of(const char *template)
{
    static char last[TEMPLATE];
    static struct tokenizer *t;
    if (!t || strcmp(last, template)) {
        tokenizer_close(t);
        t = open_tokenizer(template);
        strcpy(last, template);
    }
    return t;
}

/* What every success promises: tokens of the vocabulary, BOS first; the same lines once more give the same ids once more. */
static void ids_must_hold(const struct tokenizer *t, const char *lines, size_t n, const struct token_ids *ids)
{
    struct token_ids twice = {0};
    struct buffer b = {0};
    must(ids->n && ids->ids[0] == BYTES && conversations_probe(lines, n));
    for (size_t i = 0; i < ids->n; i++)
        must(ids->ids[i] >= 0 && ids->ids[i] < BYTES + TOKENS);
    buffer_add(&b, lines, n);
    buffer_text(&b, "\n");
    buffer_add(&b, lines, n);
    must(!b.failed && !conversations_encode(t, "lines", b.data, b.size, &twice, NULL) && twice.n == 2 * ids->n);
    must(!memcmp(twice.ids, ids->ids, ids->n * sizeof *ids->ids) && !memcmp(twice.ids + ids->n, ids->ids, ids->n * sizeof *ids->ids));
    token_ids_clear(&twice);
    buffer_clear(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char template[TEMPLATE] = "";
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t head = end ? (size_t)(end - data) : size, n = end ? size - head - 1 : 0;
    const char *lines = end ? (const char *)end + 1 : "";
    struct token_ids ids = {0};
    struct error e = {0};
    memcpy(template, data, head < TEMPLATE - 1 ? head : TEMPLATE - 1);
    const struct tokenizer *t = tokenizer_of(template);
    if (!conversations_encode(t, "lines", lines, n, &ids, &e)) {
        ids_must_hold(t, lines, n, &ids);
    } else {
        fuzz_must_say(&e);
        must(e.code == ERR_FORMAT || e.code == ERR_UNSUPPORTED);
        must(e.offset == ERROR_NO_OFFSET || (e.offset <= n && !strncmp(e.text, "line ", 5)));
    }
    token_ids_clear(&ids);
    return 0;
}
