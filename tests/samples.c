/* SPDX-License-Identifier: MIT
 * Small files for the reader tests: an assembler for bytes, and the two checks of a reader. */
#include "tests/samples.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tap.h"

/* Appends text up to `end` with %XX decoded and, when quote is not 0, every ' replaced by it. */
static void add_text(struct buffer *b, const char *s, const char *end, char quote)
{
    while (s < end) {
        char c = *s++;
        if (c == '%') {
            char hex[3] = {s[0], s[1], '\0'};
            c = (char)strtoul(hex, NULL, 16);
            s += 2;
        } else if (c == '\'' && quote) {
            c = quote;
        }
        buffer_add(b, &c, 1);
    }
}

/* 12, 0x1f, 2^62, 2^64-1. Moves *s behind the number. */
static uint64_t parse_number(const char **s)
{
    char *end;
    uint64_t v = strtoull(*s, &end, 0);
    if (*end == '^') {
        unsigned long power = strtoul(end + 1, &end, 10);
        v = power < 64 ? (uint64_t)1 << power : 0;
    }
    if (*end == '+' || *end == '-') {
        int minus = *end == '-';
        uint64_t w = strtoull(end + 1, &end, 0);
        v = minus ? v - w : v + w;
    }
    *s = end;
    return v;
}

static void add_integer(struct buffer *b, uint64_t v, int bits)
{
    for (int i = 0; i < bits; i += 8) {
        char c = (char)(v >> i);
        buffer_add(b, &c, 1);
    }
}

static void fill(struct buffer *b, char c, uint64_t n)
{
    while (n--)
        buffer_add(b, &c, 1);
}

/* Appends one word and returns what follows it. */
static const char *add_word(struct buffer *b, const char *s)
{
    int bits = 0, at = 0;
    if (*s == '\'' || *s == '"') {
        const char *end = strchr(s + 1, *s);
        size_t start = b->size;
        if (!end)
            bail("recipe: no end of %s", s);
        if (*s == '"')
            buffer_u64(b, 0);
        add_text(b, s + 1, end, 0);
        for (size_t i = 0; *s == '"' && i < 8; i++)
            b->data[start + i] = (char)((b->size - start - 8) >> (8 * i));
        return end + 1;
    }
    if (sscanf(s, "u%d=%n", &bits, &at) == 1 && at) {
        s += at;
        add_integer(b, parse_number(&s), bits);
    } else if (!strncmp(s, "x*", 2) || !strncmp(s, "0*", 2)) {
        char c = *s == 'x' ? 'x' : '\0';
        s += 2;
        uint64_t n = parse_number(&s);
        if (c)
            buffer_u64(b, n);
        fill(b, c, n);
    } else if (!strncmp(s, "pad=", 4)) {
        s += 4;
        buffer_pad(b, (size_t)parse_number(&s));
    } else {
        bail("recipe: unknown word at %s", s);
    }
    return s;
}

void assemble(struct buffer *b, const char *recipe)
{
    while (*(recipe += strspn(recipe, " ")))
        recipe = add_word(b, recipe);
}

void assemble_safetensors(struct buffer *b, const char *header, size_t n)
{
    struct buffer text = {0};
    add_text(&text, header, header + strlen(header), '"');
    buffer_u64(b, text.size);
    buffer_add(b, text.data, text.size);
    fill(b, '\0', n);
    buffer_clear(&text);
}

static const char *write_buffer(const char *name, struct buffer *b)
{
    const char *path = tmp_path(name);
    if (b->failed)
        bail("out of memory");
    write_file(path, b->data, b->size);
    buffer_clear(b);
    return path;
}

const char *write_recipe(const char *name, const char *recipe)
{
    struct buffer b = {0};
    assemble(&b, recipe);
    return write_buffer(name, &b);
}

const char *write_safetensors(const char *name, const char *header, size_t n)
{
    struct buffer b = {0};
    assemble_safetensors(&b, header, n);
    return write_buffer(name, &b);
}

void check_refuses(const char *file, int line, const char *path, enum error_code code, const char *text,
                   const char *title)
{
    struct error e = {0};
    char got[1024];
    struct source *s = source_open(path, &e);
    int passed = !s && e.code == code && strstr(e.text, text) && e.file[0];
    if (!tap_ok(passed, file, line, "%s: refused, '%s'", title, text)) {
        error_line(&e, got, sizeof got);
        note("%s; code %d, expected %d: %s", s ? "it was opened" : "it was refused", e.code, code, got);
    }
    source_close(s);
}

void list_tensors(struct buffer *b, const struct source *s, uint64_t base)
{
    char shape[SHAPE_TEXT];
    for (size_t i = 0; i < s->n_tensors; i++) {
        const struct tensor *t = &s->tensors[i];
        buffer_printf(b, "%s%s %s %s %" PRIu64 "+%" PRIu64, i ? ", " : "", t->name, t->type->name,
                      shape_text(t->dims, t->n_dims, shape), t->offset - base, t->bytes);
    }
    buffer_text(b, "");
}

void check_opens(const char *file, int line, const char *path, uint64_t base, const char *list, const char *title)
{
    struct error e = {0};
    struct buffer got = {0};
    char refusal[1024] = "";
    struct source *s = source_open(path, &e);
    if (s)
        list_tensors(&got, s, base);
    else
        error_line(&e, refusal, sizeof refusal);
    int passed = s && !strcmp(got.data, list);
    if (!tap_ok(passed, file, line, "%s: opens as %s", title, *list ? list : "no tensors"))
        note("%s", s ? got.data : refusal);
    buffer_clear(&got);
    source_close(s);
}
