/* SPDX-License-Identifier: MIT
 * Patterns with types, as llama-quantize parses them. */
#include "convert/tensor_types.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

enum { MAX_FILE = 1 << 20 };

/* The pattern before the '=', all of it in lower case: \D means \d there, too. */
static struct pattern *lower_pattern(const char *text, size_t n, struct error *e)
{
    char *lower = malloc(n + 1);
    if (!lower) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        lower[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] + 'a' - 'A') : text[i];
    lower[n] = '\0';
    struct pattern *p = pattern_new(lower, e);
    free(lower);
    return p;
}

static int add(struct recipe *r, const char *option, const char *text, struct error *e)
{
    const char *eq = strchr(text, '=');
    if (!eq || eq == text)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "'%.100s' is no PATTERN=TYPE", text);
    const struct quant_type *type = recipe_find_type(r, eq + 1, e);
    struct recipe_rule *rule = type ? recipe_add_rule(r, r->n_given, text, e) : NULL;
    if (!rule)
        return -1;
    r->n_given++;
    rule->option = option;
    rule->type = type;
    rule->may_miss = 1;
    return (rule->name = lower_pattern(text, (size_t)(eq - text), e)) ? 0 : -1;
}

int tensor_type_add(struct recipe *r, const char *text, struct error *e)
{
    if (!add(r, "tensor-type", text, e))
        return 0;
    if (e->code == ERR_FORMAT)
        e->code = ERR_USAGE; /* a pattern of the command line */
    return -1;
}

static int add_words(struct recipe *r, char *text, size_t size, struct error *e)
{
    size_t n = 0;
    char *rest = NULL, what[sizeof e->text];
    if (memchr(text, 0, size))
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the list of tensor types holds a NUL byte");
    for (char *word = strtok_r(text, " \t\n\v\f\r", &rest); word; word = strtok_r(NULL, " \t\n\v\f\r", &rest)) {
        n++;
        if (!add(r, "tensor-type-file", word, e))
            continue;
        snprintf(what, sizeof what, "entry %zu: %.480s", n, e->text);
        return error_set(e, e->code == ERR_MEMORY ? ERR_MEMORY : ERR_FORMAT, ERROR_NO_OFFSET, "%s", what);
    }
    return 0;
}

int tensor_type_file_add(struct recipe *r, const char *path, struct error *e)
{
    char *text;
    size_t size;
    if (io_read_all(path, MAX_FILE, &text, &size, e))
        return -1;
    int rc = add_words(r, text, size, e);
    free(text);
    return rc ? error_at_file(e, path) : 0;
}
