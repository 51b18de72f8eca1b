/* SPDX-License-Identifier: MIT
 * Fuzz target: base/json.h. What parses is valid UTF-8 with unique keys; built again value by value, printed and parsed, it
 * is the same document. Documents near cJSON's nesting limit are parsed only: the copy is two levels deeper. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "tests/fuzz/fuzz.h"

enum { DEPTH = 900 };

/* Adds a copy of v to parent; returns how deep v is. */
static int copy(struct json *parent, const char *key, const struct json *v, int depth)
{
    int b, deepest = depth;
    double d;
    uint64_t n;
    if (json_string(v))
        must(json_add_string(parent, key, json_string(v)));
    else if (!json_bool(v, &b))
        must(json_add_bool(parent, key, b));
    else if (!json_u64(v, &n))
        must(json_add_u64(parent, key, n));
    else if (json_type(v) == JSON_NUMBER || json_type(v) == JSON_NULL)
        must(json_add_f64(parent, key, json_f64(v, &d) ? (double)NAN : d)); /* what is too large comes back as null */
    if (json_type(v) != JSON_ARRAY && json_type(v) != JSON_OBJECT)
        return depth;
    struct json *o = json_type(v) == JSON_ARRAY ? json_add_array(parent, key) : json_add_object(parent, key);
    must(o);
    for (const struct json *c = json_child(v); c; c = json_next(c)) {
        int below = copy(o, json_type(v) == JSON_OBJECT ? json_key(c) : NULL, c, depth + 1);
        deepest = below > deepest ? below : deepest;
    }
    return deepest;
}

static void must_equal(const struct json *a, const struct json *b)
{
    double x = 0, y = 0;
    int lost = json_type(a) == JSON_NUMBER && json_f64(a, &x), p = 0, q = 0;
    must(json_type(b) == (lost ? JSON_NULL : json_type(a)));
    must(!json_string(a) == !json_string(b));
    must(!json_string(a) || !strcmp(json_string(a), json_string(b)));
    must(!json_string(a) || utf8_is_valid(json_string(a), strlen(json_string(a))));
    must(json_bool(a, &p) == json_bool(b, &q) && p == q);
    must(lost || (json_f64(a, &x) == json_f64(b, &y) && x == y));
    must(json_count(a) == json_count(b));
    for (a = json_child(a), b = json_child(b); a; a = json_next(a), b = json_next(b)) {
        must(!json_key(a) == !json_key(b) && (!json_key(a) || !strcmp(json_key(a), json_key(b))));
        must_equal(a, b);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = {0};
    struct json *root = json_parse((const char *)data, size, &e), *built, *again;
    if (!root) {
        fuzz_must_say(&e);
        return 0;
    }
    must(utf8_is_valid((const char *)data, size));
    must(built = json_new_object());
    if (copy(built, "copy", root, 0) < DEPTH) {
        char *text = json_print(built);
        must(text);
        must(again = json_parse(text, strlen(text), &e));
        must_equal(root, json_get(again, "copy"));
        json_free(again);
        free(text);
    }
    json_free(built);
    json_free(root);
    return 0;
}
