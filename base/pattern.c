/* SPDX-License-Identifier: MIT
 * Patterns by PCRE2. Names are short: the interpreter is quick enough, and steps are limited, since a pattern comes from
 * a file that may be hostile. */
#include "base/pattern.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { MAX_PATTERN = 4096, MAX_STEPS = 10000, MAX_HEAP_KIB = 4096 };

struct pattern {
    pcre2_code *code;
    pcre2_match_context *limits; /* read only while matching */
};

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

static int compile(struct pattern *p, const char *text, struct error *e)
{
    /* as ECMAScript has them: [] and [^], \u0041, a reference to a group that took no part */
    uint32_t how = PCRE2_ALLOW_EMPTY_CLASS | PCRE2_ALT_BSUX | PCRE2_MATCH_UNSET_BACKREF | PCRE2_DOLLAR_ENDONLY |
                   PCRE2_NEVER_BACKSLASH_C;
    char what[128];
    int code;
    PCRE2_SIZE at;
    if (strlen(text) > MAX_PATTERN)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "a pattern of more than %d bytes", MAX_PATTERN);
    if (!(p->limits = pcre2_match_context_create(NULL)))
        return no_memory(e);
    pcre2_set_match_limit(p->limits, MAX_STEPS);
    pcre2_set_heap_limit(p->limits, MAX_HEAP_KIB);
    if ((p->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, how, &code, &at, NULL)))
        return 0;
    if (code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED)
        return no_memory(e);
    pcre2_get_error_message(code, (PCRE2_UCHAR *)what, sizeof what);
    return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "pattern '%.200s', at character %zu: %s", text, (size_t)at + 1, what);
}

struct pattern *pattern_new(const char *text, struct error *e)
{
    struct pattern *p = calloc(1, sizeof *p);
    if (!p) {
        no_memory(e);
        return NULL;
    }
    if (!compile(p, text, e))
        return p;
    pattern_free(p);
    return NULL;
}

void pattern_free(struct pattern *p)
{
    if (!p)
        return;
    pcre2_code_free(p->code);
    pcre2_match_context_free(p->limits);
    free(p);
}

int pattern_matches(const struct pattern *p, const char *name, struct error *e)
{
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    int rc = match ? pcre2_match(p->code, (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0, match, p->limits)
                   : PCRE2_ERROR_NOMEMORY;
    pcre2_match_data_free(match);
    if (rc >= 0)
        return 1;
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc == PCRE2_ERROR_NOMEMORY)
        return no_memory(e);
    return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the pattern takes too many steps");
}
