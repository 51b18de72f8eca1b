/* SPDX-License-Identifier: MIT
 * Splitting by PCRE2: each step cuts the pieces of the step before, depth first, so that no list of pieces is kept. */
#include "model/splitter.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/buffer.h"

enum { OLDEST_UNICODE = 14 }; /* what model/unicode.c's table is built upon */

struct splitter {
    size_t n_steps;
    pcre2_code *steps[PRETOKENIZER_STEPS];
    pcre2_match_context *limits; /* read only while matching */
};

struct run {
    const struct splitter *splitter;
    const char *text;
    pcre2_match_data *match;
    splitter_word_fn *word;
    void *user;
    struct error *e;
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

/* A pattern as PCRE2 is to see it. `\s+$` would try every place in a long run of spaces in vain, and each time up to
 * the run's end: its matches can only begin where a run begins. */
static void translate(const char *pattern, struct buffer *out)
{
    static const char space[] = "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"
                                "\\x{202f}\\x{205f}\\x{3000}";
    if (!strcmp(pattern, "\\s+$"))
        pattern = "(?<!\\s)\\s+$";
    for (const char *c = pattern; *c; c++) {
        if (*c != '\\') {
            buffer_add(out, c, 1);
        } else if (*++c == 's' || *c == 'S') { /* never inside a class of ours */
            buffer_printf(out, "[%s%s]", *c == 'S' ? "^" : "", space);
        } else {
            buffer_add(out, "\\", 1);
            buffer_add(out, c, 1);
        }
    }
}

static int compile(const char *pattern, pcre2_compile_context *context, pcre2_code **out, struct error *e)
{
    struct buffer b = {0};
    PCRE2_SIZE at;
    int code;
    translate(pattern, &b);
    if (b.failed) {
        buffer_clear(&b);
        return no_memory(e);
    }
    *out = pcre2_compile((PCRE2_SPTR)b.data, b.size, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &code, &at, context);
    buffer_clear(&b);
    if (!*out) {
        char text[128];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
        return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "PCRE2 does not take a pattern of the pre-tokenizer: %s",
                         text);
    }
    pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* where that cannot be, pcre2_match interprets */
    return 0;
}

static int compile_steps(struct splitter *s, const struct pretokenizer *p, struct error *e)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    int rc = context && (s->limits = pcre2_match_context_create(NULL)) ? 0 : no_memory(e);
    if (!rc) {
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
        pcre2_set_match_limit(s->limits, UINT32_MAX); /* the default would end in a run of ten million spaces */
        pcre2_set_depth_limit(s->limits, UINT32_MAX);
    }
    while (!rc && s->n_steps < PRETOKENIZER_STEPS && p->steps[s->n_steps].kind != STEP_END) {
        const struct pretokenizer_step *step = &p->steps[s->n_steps];
        rc = compile(step->kind == STEP_DIGITS ? "\\p{N}" : step->pattern, context, &s->steps[s->n_steps], e);
        s->n_steps += !rc;
    }
    pcre2_compile_context_free(context);
    return rc;
}

struct splitter *splitter_new(const struct pretokenizer *p, struct error *e)
{
    char version[64] = "";
    pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, version);
    if (atoi(version) < OLDEST_UNICODE) {
        error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "PCRE2 has Unicode %s; %d or newer is needed", version,
                  OLDEST_UNICODE);
        return NULL;
    }
    struct splitter *s = calloc(1, sizeof *s);
    if (!s) {
        no_memory(e);
        return NULL;
    }
    if (compile_steps(s, p, e)) {
        splitter_free(s);
        return NULL;
    }
    return s;
}

void splitter_free(struct splitter *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < PRETOKENIZER_STEPS; i++)
        pcre2_code_free(s->steps[i]);
    pcre2_match_context_free(s->limits);
    free(s);
}

/* The next match of a step in n bytes from `from` on, which is never empty: 1 with *start and *end, 0, or -1. */
static int next_match(struct run *r, size_t step, const char *piece, size_t n, size_t from, size_t *start, size_t *end)
{
    const pcre2_code *code = r->splitter->steps[step];
    PCRE2_SPTR subject = (PCRE2_SPTR)piece;
    uint32_t how = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    int rc = pcre2_match(code, subject, n, from, how, r->match, r->splitter->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(code, subject, n, from, how | PCRE2_NO_JIT, r->match, r->splitter->limits);
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc < 0)
        return rc == PCRE2_ERROR_NOMEMORY ? no_memory(r->e)
                   : error_set(r->e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "PCRE2 gave up on a text with error %d", rc);
    *start = pcre2_get_ovector_pointer(r->match)[0];
    *end = pcre2_get_ovector_pointer(r->match)[1];
    return 1;
}

/* Cuts one piece by a step and all after it. */
static int cut(struct run *r, size_t step, size_t at, size_t n)
{
    size_t done = 0, start = 0, end = 0;
    int rc = 0, found;
    if (step == r->splitter->n_steps)
        return r->word(r->user, at, n);
    while (!rc && done < n && (found = next_match(r, step, r->text + at, n, done, &start, &end))) {
        if (found < 0)
            return -1;
        if (start > done)
            rc = cut(r, step + 1, at + done, start - done);
        if (!rc)
            rc = cut(r, step + 1, at + start, end - start);
        done = end;
    }
    return !rc && done < n ? cut(r, step + 1, at + done, n - done) : rc;
}

int splitter_run(const struct splitter *s, const char *text, size_t at, size_t n, splitter_word_fn *word, void *user,
                 struct error *e)
{
    struct run r = {s, text, pcre2_match_data_create(1, NULL), word, user, e};
    int rc = !r.match ? no_memory(e) : n ? cut(&r, 0, at, n) : 0;
    pcre2_match_data_free(r.match);
    return rc;
}
