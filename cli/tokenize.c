/* SPDX-License-Identifier: MIT
 * pare tokenize: the ids that a model's tokenizer gives a text, or conversations. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "model/conversation.h"
#include "model/unicode.h"

enum { IDS_PER_LINE = 16 };

static const struct option_row rows[] = {
    {0, "conversations", "FILE", "take conversations (JSON lines) by the chat template"},
    {'s', "special", NULL, "take the text of control tokens for the tokens"},
    {'c', "count", NULL, "print the number of tokens only"},
    {'p', "pieces", NULL, "print one token per line: its id, its text"},
    {0, "raw", "FILE", "write the ids to FILE: 32-bit integers, little-endian"},
    {'f', "force", NULL, "replace an existing FILE"},
    OPTION_JSON,
    OPTION_END,
};
static const struct option_table table = {
    .command = "tokenize",
    .operands = "MODEL [TEXT]",
    .summary = "print the token ids of a text file or of conversations",
    .min_operands = 1,
    .max_operands = 2,
    .rows = rows,
    .epilog = "MODEL is a checkpoint folder or a GGUF; TEXT is a file, or - for standard input.\n"
              "A line of --conversations is {\"messages\": [{\"role\": ..., \"content\": ...}, ...]}.\n"
              "A text gets no BOS. In pieces \\n, \\t, \\\\ and \\xNN stand for bytes; a character\n"
              "may be spread over several tokens.",
};

struct text {
    char *bytes;
    size_t n;
};

/* What cannot be read as a file of known size: standard input, a pipe. */
static int read_stream(FILE *f, const char *name, struct text *t, struct error *e)
{
    struct buffer b = {0};
    char part[1 << 16];
    size_t n;
    while ((n = fread(part, 1, sizeof part, f)) > 0)
        buffer_add(&b, part, n);
    if (ferror(f) || b.failed) {
        if (b.failed)
            error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        else
            error_set(e, ERR_IO, ERROR_NO_OFFSET, "cannot read: %s", strerror(errno));
        buffer_clear(&b);
        return error_at_file(e, name);
    }
    *t = (struct text){b.data, b.size};
    return 0;
}

static int read_text(const char *path, struct text *t, struct error *e)
{
    if (!strcmp(path, "-"))
        return read_stream(stdin, "standard input", t, e);
    FILE *f = io_kind(path) == 3 ? fopen(path, "rb") : NULL;
    if (!f)
        return io_read_all(path, SIZE_MAX - 1, &t->bytes, &t->n, e);
    int rc = read_stream(f, path, t, e);
    fclose(f);
    return rc;
}

/* Text in which everything that a line or a terminal could not hold is \n, \t, \\ or \xNN. */
static void escape(const char *s, size_t n, struct buffer *out)
{
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        len = utf8_read(s + i, n - i, &cp);
        if (cp == '\n' || cp == '\t' || cp == '\\')
            buffer_printf(out, "\\%c", cp == '\n' ? 'n' : cp == '\t' ? 't' : '\\');
        else if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x2028 || cp == 0x2029 || cp == UINT32_MAX)
            for (size_t k = 0; k < len; k++)
                buffer_printf(out, "\\x%02x", (unsigned char)s[i + k]);
        else
            buffer_add(out, s + i, len);
    }
}

static void add_piece(const struct tokenizer *t, int32_t id, struct buffer *out)
{
    struct buffer piece = {0};
    tokenizer_piece(t, id, &piece);
    escape(piece.data, piece.size, out);
    out->failed |= piece.failed;
    buffer_clear(&piece);
}

static int print_plain(const struct options *o, const struct tokenizer *t, const struct token_ids *ids, struct error *e)
{
    struct buffer b = {0};
    if (options_get(o, "count"))
        buffer_printf(&b, "%zu\n", ids->n);
    else if (options_get(o, "pieces"))
        for (size_t i = 0; i < ids->n; i++) {
            buffer_printf(&b, "%" PRId32 "\t", ids->ids[i]);
            add_piece(t, ids->ids[i], &b);
            buffer_text(&b, "\n");
        }
    else
        for (size_t i = 0; i < ids->n; i++)
            buffer_printf(&b, "%" PRId32 "%s", ids->ids[i], (i + 1) % IDS_PER_LINE && i + 1 < ids->n ? " " : "\n");
    return print_buffer(&b, e);
}

static int print_as_json(const struct options *o, const struct tokenizer *t, const struct token_ids *ids, size_t bytes,
                         struct error *e)
{
    struct json *root = json_new_object(), *list;
    json_add_string(root, "pre", tokenizer_vocab(t)->pre->name);
    json_add_u64(root, "bytes", bytes);
    json_add_u64(root, "tokens", ids->n);
    if (!options_get(o, "count") && !options_get(o, "raw")) {
        list = json_add_array(root, "ids");
        for (size_t i = 0; i < ids->n; i++)
            json_add_u64(list, NULL, (uint64_t)ids->ids[i]);
    }
    if (options_get(o, "pieces")) {
        list = json_add_array(root, "pieces");
        for (size_t i = 0; i < ids->n; i++) {
            struct buffer b = {0};
            add_piece(t, ids->ids[i], &b);
            json_add_string(list, NULL, b.data ? b.data : "");
            buffer_clear(&b);
        }
    }
    return print_json(root, e);
}

static int write_raw(const char *path, int force, const struct token_ids *ids, struct error *e)
{
    struct buffer b = {0};
    if (io_kind(path) && !force) {
        error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "the output exists (--force replaces it)");
        return error_at_file(e, path);
    }
    for (size_t i = 0; i < ids->n; i++)
        buffer_u32(&b, (uint32_t)ids->ids[i]);
    int rc = b.failed ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory")
                      : io_write_all(path, b.data, b.size, e);
    buffer_clear(&b);
    return rc;
}

static int show(const struct options *o, const struct tokenizer *t, const struct token_ids *ids, size_t bytes,
                struct error *e)
{
    const char *raw = options_get(o, "raw");
    if (raw && write_raw(raw, options_get(o, "force") != NULL, ids, e))
        return -1;
    if (options_get(o, "json"))
        return print_as_json(o, t, ids, bytes, e);
    return raw && !options_get(o, "count") && !options_get(o, "pieces") ? 0 : print_plain(o, t, ids, e);
}

/* The text's ids: one of two kinds, never both. */
static int encode(const struct options *o, const struct tokenizer *t, const char *path, const struct text *text,
                  struct token_ids *ids, struct error *e)
{
    if (options_get(o, "conversations")) {
        const char *name = strcmp(path, "-") ? path : "standard input";
        int rc = conversations_encode(t, name, text->bytes, text->n, ids, e);
        return rc ? error_at_file(e, o->operands[0]) : 0; /* what names no line is the model's fault */
    }
    return tokenizer_encode(t, text->bytes, text->n, options_get(o, "special") != NULL, ids, e);
}

static int run(const struct options *o, struct error *e)
{
    struct text text = {0};
    struct token_ids ids = {0};
    const char *conversations = options_get(o, "conversations");
    if (!conversations == (o->n_operands < 2))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "either TEXT or --conversations FILE is needed");
    if (conversations && options_get(o, "special"))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--special goes with TEXT; of conversations it is always so");
    const char *path = conversations ? conversations : o->operands[1];
    struct source *s = source_open(o->operands[0], e);
    struct tokenizer *t = s ? tokenizer_open(s, NULL, e) : NULL;
    int rc = -1;
    if (t && !read_text(path, &text, e) && !encode(o, t, path, &text, &ids, e))
        rc = show(o, t, &ids, text.n, e);
    token_ids_clear(&ids);
    free(text.bytes);
    tokenizer_close(t);
    source_close(s);
    return rc;
}

const struct command cmd_tokenize = {&table, run};
