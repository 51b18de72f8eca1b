/* SPDX-License-Identifier: MIT
 * Fuzz target: convert/recipe.h. The first line is a recipe's name, every other one an override. */
#include <string.h>

#include "convert/recipe.h"
#include "tests/fuzz/fuzz.h"

enum { LINE = 600 };

/* Copies the line at *at, ended by a newline or NUL, and moves behind it. */
static void take_line(const uint8_t *data, size_t size, size_t *at, char line[LINE])
{
    size_t n = 0;
    while (*at < size && data[*at] && data[*at] != '\n' && n < LINE - 1)
        line[n++] = (char)data[(*at)++];
    line[n] = '\0';
    *at += 1;
}

static void usage_must_say(const struct error *e)
{
    must(e->code == ERR_USAGE && e->text[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct recipe r;
    struct error e = {0};
    char line[LINE];
    size_t at = 0;
    take_line(data, size, &at, line);
    if (recipe_from_name(&r, line, &e)) {
        usage_must_say(&e);
        must(!recipe_from_name(&r, presets[0].name, &e));
    }
    must(r.preset && quant_type_find(r.preset->base));
    while (at < size) {
        struct recipe cleared = r;
        int roles_set = 0;
        memset(cleared.by_role, 0, sizeof cleared.by_role);
        take_line(data, size, &at, line);
        int rc = recipe_override(&cleared, line, &e);
        for (int i = 0; i < ROLE_COUNT; i++) {
            must(!cleared.by_role[i] || (cleared.by_role[i]->gguf_id >= 0 && !(roles[i].flags & ROLE_ALWAYS_F32)));
            roles_set += cleared.by_role[i] != NULL;
        }
        if (rc)
            usage_must_say(&e);
        must(rc || roles_set); /* an override that overrides nothing is a mistake that nobody sees */
    }
    return 0;
}
