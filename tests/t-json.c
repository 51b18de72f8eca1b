/* SPDX-License-Identifier: MIT
 * base/json: what RFC 8259 forbids and cJSON lets pass is refused; numbers are exact or refused; what is printed
 * parses. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/json.h"
#include "tests/tap.h"

/* Literals with NUL bytes keep their length. */
#define TEXT(s) s, sizeof s - 1

static const struct {
    const char *title, *text;
    size_t n;
    const char *error; /* NULL: accepted */
    int at;            /* offset of the error; -1: none is given, -2: not tested */
} rows[] = {
    /* structure */
    {"nothing", TEXT(""), "invalid JSON", 0},
    {"white space", TEXT(" \t\r\n"), "invalid JSON", -2},
    {"an empty object", TEXT("{}"), NULL, 0},
    {"an empty list with white space", TEXT(" [ \t\r\n ] \n"), NULL, 0},
    {"a bare string", TEXT("\"a\""), NULL, 0},
    {"text after the value", TEXT("{} x"), "text after", 3},
    {"a second value", TEXT("{}{}"), "text after", 2},
    {"a comma behind the last element", TEXT("[1,]"), "invalid JSON", 3},
    {"a comma behind the last member", TEXT("{\"a\":1,}"), "invalid JSON", -2},
    {"no closing bracket", TEXT("[1"), "invalid JSON", -2},
    {"no closing quote", TEXT("\"a"), "invalid JSON", -2},
    {"the wrong bracket", TEXT("[1}"), "invalid JSON", 2},
    {"a key without quotes", TEXT("{a:1}"), "invalid JSON", -2},
    {"single quotes", TEXT("['a']"), "invalid JSON", 1},
    {"a comment", TEXT("[1] // one"), "text after", 4},
    {"true in upper case", TEXT("[TRUE]"), "invalid JSON", 1},
    {"NaN", TEXT("[NaN]"), "invalid JSON", 1},
    {"Infinity", TEXT("[Infinity]"), "invalid JSON", 1},
    {"a byte order mark", TEXT("\xef\xbb\xbf{}"), "invalid JSON", 0},
    {"NUL behind the value", TEXT("{}\0"), "control byte", 2},
    {"NUL inside the object", TEXT("{\0}"), "control byte", 1},
    {"a vertical tab as white space", TEXT("[\v1]"), "control byte", 1},
    /* keys */
    {"the same key twice", TEXT("{\"a\":1,\"a\":1}"), "duplicate JSON key 'a'", -1},
    {"the same key once escaped", TEXT("{\"a\":1,\"\\u0061\":2}"), "duplicate JSON key 'a'", -1},
    {"the same key in an inner object", TEXT("[{\"x\":{\"b\":1,\"c\":2,\"b\":3}}]"), "duplicate JSON key 'b'", -1},
    {"two empty keys", TEXT("{\"\":1,\"\":2}"), "duplicate JSON key ''", -1},
    {"keys that differ in case", TEXT("{\"a\":1,\"A\":2}"), NULL, 0},
    {"the same key in two objects", TEXT("[{\"a\":1},{\"a\":1}]"), NULL, 0},
    /* strings */
    {"a raw NUL in a string", TEXT("\"a\0b\""), "control byte", 2},
    {"a raw newline in a string", TEXT("\"a\nb\""), "control byte", 2},
    {"a raw tab in a string", TEXT("\"a\tb\""), "control byte", 2},
    {"\\u0000 in a string", TEXT("\"a\\u0000b\""), "NUL", 2},
    {"\\u0000 in a key", TEXT("{\"a\\u0000\":1}"), "NUL", 3},
    {"an escaped backslash before u0000", TEXT("\"a\\\\u0000b\""), NULL, 0},
    {"two escaped backslashes before u0000", TEXT("\"\\\\\\\\u0000\""), NULL, 0},
    {"an escaped backslash before \\u0000", TEXT("\"\\\\\\u0000\""), "NUL", 3},
    {"an escaped quote before \\u0000", TEXT("\"\\\"\\u0000\""), "NUL", 3},
    {"\\u00e9 and \\u20ac", TEXT("\"\\u00e9\\u20AC\""), NULL, 0},
    {"\\uZZZZ", TEXT("\"\\uZZZZ\""), "escape", 1},
    {"\\u00 cut by the quote", TEXT("\"\\u00\""), "escape", 1},
    {"\\u00 cut by the end", TEXT("\"\\u00"), "escape", 1},
    {"\\x41", TEXT("\"\\x41\""), "invalid JSON", -2},
    {"a surrogate pair", TEXT("\"\\ud83d\\ude00\""), NULL, 0},
    {"a high surrogate alone", TEXT("\"\\ud83d\""), "invalid JSON", -2},
    {"a low surrogate alone", TEXT("\"\\ude00\""), "invalid JSON", -2},
    {"two high surrogates", TEXT("\"\\ud83d\\ud83d\""), "invalid JSON", -2},
    {"DEL", TEXT("\"\x7f\""), NULL, 0},
    /* UTF-8 */
    {"2, 3 and 4 bytes", TEXT("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""), NULL, 0},
    {"the last code point, U+10FFFF", TEXT("\"\xf4\x8f\xbf\xbf\""), NULL, 0},
    {"a continuation byte alone", TEXT("\"a\x80\""), "UTF-8", 2},
    {"a sequence cut by a letter", TEXT("\"\xe2\x82" "a\""), "UTF-8", 1},
    {"a sequence cut by the end", TEXT("\"\xe2\x82"), "UTF-8", 1},
    {"overlong, 2 bytes", TEXT("\"\xc0\xaf\""), "UTF-8", 1},
    {"overlong, 3 bytes", TEXT("\"\xe0\x9f\xbf\""), "UTF-8", 1},
    {"overlong, 4 bytes", TEXT("\"\xf0\x8f\xbf\xbf\""), "UTF-8", 1},
    {"a surrogate in UTF-8", TEXT("\"\xed\xa0\x80\""), "UTF-8", 1},
    {"above U+10FFFF", TEXT("\"\xf4\x90\x80\x80\""), "UTF-8", 1},
    {"the byte 0xf5", TEXT("\"\xf5\x80\x80\x80\""), "UTF-8", 1},
    {"the byte 0xff", TEXT("\"\xff\""), "UTF-8", 1},
    {"UTF-16", TEXT("\xff\xfe{\0}\0"), "UTF-8", 0},
    /* numbers */
    {"0, -0, 12, -1.5, 1e3, 1E+3, 2.5e-3", TEXT("[0,-0,12,-1.5,1e3,1E+3,2.5e-3]"), NULL, 0},
    {"a leading zero", TEXT("[01]"), "malformed number", 1},
    {"-01", TEXT("[-01]"), "malformed number", 1},
    {"a plus", TEXT("[+1]"), "invalid JSON", 1},
    {"a minus alone", TEXT("[-]"), "malformed number", 1},
    {"no digit before the point", TEXT("[.5]"), "invalid JSON", 1},
    {"no digit after the point", TEXT("[1.]"), "malformed number", 1},
    {"no digit in the exponent", TEXT("[1e]"), "malformed number", 1},
    {"two points", TEXT("[1.2.3]"), "malformed number", 1},
    {"hexadecimal", TEXT("[0x10]"), "invalid JSON", -2},
    {"1-2", TEXT("[1-2]"), "malformed number", 1},
    {"digits in strings are no numbers", TEXT("{\"01\":\"1.\"}"), NULL, 0},
};

static void strictness(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error e = {0};
        char *exact = malloc(rows[i].n + !rows[i].n); /* ends where it ends: ASan */
        memcpy(exact, rows[i].text, rows[i].n);
        struct json *v = json_parse(exact, rows[i].n, &e);
        if (!rows[i].error)
            ok(v != NULL, "%s: accepted", rows[i].title);
        else if (!ok(!v && e.code == ERR_FORMAT && strstr(e.text, rows[i].error) &&
                         (rows[i].at == -2 || e.offset == (rows[i].at < 0 ? ERROR_NO_OFFSET : (uint64_t)rows[i].at)),
                     "%s: refused, '%s'", rows[i].title, rows[i].error))
            note("code %d, offset %lld, expected %d: %s", e.code, (long long)e.offset, rows[i].at, e.text);
        json_free(v);
        free(exact);
    }
}

static struct json *parse(const char *text)
{
    return json_parse(text, strlen(text), NULL);
}

static void nesting(void)
{
    const size_t deep = 1000000;
    char *text = malloc(2 * deep);
    struct error e = {0};
    memset(text, '[', deep);
    memset(text + deep, ']', deep);
    ok(!json_parse(text, 2 * deep, &e) && e.code == ERR_FORMAT, "10^6 nested lists: refused");
    ok(!json_parse(text, deep, &e) && e.code == ERR_FORMAT, "10^6 open brackets: refused");
    for (size_t i = 0; i < deep; i += 5)
        memcpy(text + i, "{\"a\":", 5);
    ok(!json_parse(text, deep, &e) && e.code == ERR_FORMAT, "200,000 nested objects: refused");
    memset(text, '[', 900);
    memset(text + 900, ']', 900);
    struct json *v = json_parse(text, 1800, NULL);
    ok(v != NULL, "900 nested lists: accepted");
    json_free(v);
    free(text);
}

static void integers(void)
{
    static const struct {
        const char *text;
        int rc;
        uint64_t v;
    } numbers[] = {
        {"0", 0, 0}, {"129280", 0, 129280}, {"4294967296", 0, 4294967296}, {"16.0", 0, 16}, {"1.6e1", 0, 16},
        {"9007199254740991", 0, 9007199254740991}, {"9007199254740992", -1, 0}, {"9007199254740993", -1, 0},
        {"18446744073709551615", -1, 0}, {"1e999", -1, 0}, {"-1", -1, 0}, {"-1e-300", -1, 0}, {"16.5", -1, 0},
        {"1e-1", -1, 0}, {"\"16\"", -1, 0}, {"true", -1, 0}, {"null", -1, 0}, {"[16]", -1, 0},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        uint64_t got = 0;
        struct json *v = parse(numbers[i].text);
        int rc = json_u64(v, &got);
        ok(v && rc == numbers[i].rc && (rc || got == numbers[i].v), "%s: %s as a whole number", numbers[i].text,
           numbers[i].rc ? "refused" : "accepted");
        json_free(v);
    }
}

static void values(void)
{
    double d = 0;
    int b = 5;
    uint64_t u;
    struct json *v =
        parse("{\"n\":1.5,\"t\":true,\"f\":false,\"z\":null,\"s\":\"x\",\"l\":[1,2,3],\"o\":{},\"h\":1e999}");
    ok(v && json_type(v) == JSON_OBJECT && json_count(v) == 8, "an object of 8 members");
    ok(!json_f64(json_get(v, "n"), &d) && d == 1.5, "1.5 is a double");
    ok(!json_bool(json_get(v, "t"), &b) && b == 1 && !json_bool(json_get(v, "f"), &b) && b == 0,
       "true is 1, false is 0");
    ok(json_type(json_get(v, "z")) == JSON_NULL && json_type(json_get(v, "l")) == JSON_ARRAY &&
           json_type(json_get(v, "o")) == JSON_OBJECT && json_type(json_get(v, "s")) == JSON_STRING &&
           json_type(json_get(v, "t")) == JSON_BOOL && json_type(json_get(v, "n")) == JSON_NUMBER,
       "each value has its type");
    ok(json_string(json_get(v, "s")) && !strcmp(json_string(json_get(v, "s")), "x") && !json_string(json_get(v, "n")),
       "json_string is NULL for a number");
    ok(json_f64(json_get(v, "s"), &d) && json_bool(json_get(v, "n"), &b) && json_u64(json_get(v, "t"), &u),
       "values are not converted");
    ok(json_f64(json_get(v, "h"), &d), "1e999 is no double");
    ok(!json_get(v, "N") && !json_get(v, "absent") && !json_get(NULL, "n") && !json_get(json_get(v, "l"), "n"),
       "names are exact: N does not find n; no member of NULL or of a list");
    ok(json_u64(NULL, &u) && json_f64(NULL, &d) && json_bool(NULL, &b) && !json_string(NULL) && !json_child(NULL),
       "a missing value is of no type");
    ok(json_count(json_get(v, "l")) == 3 && json_count(json_get(v, "o")) == 0, "a list of 3, an object of 0");
    ok(!strcmp(json_key(json_child(v)), "n") && !strcmp(json_key(json_next(json_child(v))), "t"),
       "members in file order");
    json_free(v);
    json_free(NULL);
}

static void many_keys(void)
{
    const unsigned n = 100000;
    struct buffer b = {0};
    buffer_text(&b, "{");
    for (unsigned i = 0; i < n; i++)
        buffer_printf(&b, "%s\"model.layers.%u.weight\":\"s-%u\"", i ? "," : "", i * 7919 % n, i % 163);
    buffer_text(&b, "}");
    struct json *v = json_parse(b.data, b.size, NULL);
    size_t members = 0;
    for (const struct json *c = json_child(v); c; c = json_next(c))
        members += json_string(c) != NULL;
    ok(v && members == n, "an object of 100,000 different keys parses and is walked");
    json_free(v);
    b.size--;
    buffer_text(&b, ",\"model.layers.99999.weight\":0}");
    struct error e = {0};
    ok(!json_parse(b.data, b.size, &e) && strstr(e.text, "duplicate"), "the same with one key twice: refused");
    buffer_clear(&b);
}

static void printing(void)
{
    struct json *v = json_new_object(), *list, *inner;
    json_add_string(v, "text", "a\"\\\n\t\x01\xc3\xa9\x7f");
    json_add_string(v, "bad", "x\xff\xfey\xc3");
    json_add_u64(v, "size", 689492164608);
    json_add_u64(v, "big", 9007199254740991);
    json_add_u64(v, "max", UINT64_MAX);
    json_add_f64(v, "tenth", 0.1);
    json_add_f64(v, "nan", NAN);
    json_add_bool(v, "yes", 1);
    list = json_add_array(v, "list");
    inner = json_add_object(list, NULL);
    json_add_u64(inner, "n", 3);
    json_add_string(list, NULL, "last");
    char *text = json_print(v);
    ok(text && text[strlen(text) - 1] == '\n' && utf8_is_valid(text, strlen(text)),
       "printed text is UTF-8 and ends a line");
    ok(text && strstr(text, "689492164608") && strstr(text, "9007199254740991") && strstr(text, "18446744073709551615"),
       "689492164608, 2^53-1 and 2^64-1 are printed with all digits");
    struct json *r = text ? parse(text) : NULL;
    uint64_t u = 0;
    double d = 0;
    int b = 0;
    ok(r && json_count(r) == 9, "printed text parses: 9 members");
    ok(r && !strcmp(json_string(json_get(r, "text")), "a\"\\\n\t\x01\xc3\xa9\x7f"), "escapes come back");
    ok(r && !strcmp(json_string(json_get(r, "bad")), "x\xef\xbf\xbd\xef\xbf\xbdy\xef\xbf\xbd"),
       "each byte of invalid UTF-8 is printed as U+FFFD");
    ok(r && !json_u64(json_get(r, "size"), &u) && u == 689492164608 && !json_u64(json_get(r, "big"), &u) &&
           u == 9007199254740991,
       "whole numbers below 2^53 come back exactly");
    ok(r && !json_f64(json_get(r, "tenth"), &d) && d == 0.1 && !json_bool(json_get(r, "yes"), &b) && b == 1,
       "0.1 and true come back");
    ok(r && json_type(json_get(r, "nan")) == JSON_NULL, "NaN is printed as null");
    ok(r && json_count(json_get(r, "list")) == 2 && !json_u64(json_get(json_child(json_get(r, "list")), "n"), &u) &&
           u == 3,
       "a list with an object comes back");
    json_free(r);
    json_free(v);
    free(text);
    ok(!json_add_string(NULL, "a", "b") && !json_add_object(NULL, "a") && !json_print(NULL),
       "building on NULL gives NULL, and printing it too");
}

static unsigned allocations, failing;

static void *failing_malloc(size_t n)
{
    return allocations++ == failing ? NULL : malloc(n);
}

static char *build_and_print(void)
{
    struct json *v = json_new_object();
    json_add_u64(v, "n", 3);
    json_add_u64(v, "big", UINT64_MAX);
    struct json *list = json_add_array(v, "list");
    json_add_string(list, NULL, "a\xff");
    json_add_bool(json_add_object(list, NULL), "yes", 1);
    char *text = json_print(v);
    json_free(v);
    return text;
}

/* The one place outside json.c that knows of cJSON. */
static void out_of_memory(void)
{
    char *whole = build_and_print();
    int holes = 0;
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = failing_malloc, .free_fn = free});
    for (failing = allocations = 0; allocations >= failing; failing++) { /* until all are enough */
        allocations = 0;
        char *text = build_and_print();
        holes += text && strcmp(text, whole);
        free(text);
    }
    cJSON_InitHooks(NULL);
    ok(failing > 10 && !holes, "when any one of %u allocations fails, nothing is printed rather than a part",
       failing - 1);
    free(whole);
}

static void files(void)
{
    struct error e = {0};
    const char *path = tmp_path("f.json");
    write_file(path, "{\"a\":1}\n", 8);
    struct json *v = json_parse_file(path, 8, &e);
    ok(v && json_get(v, "a"), "a file of 8 bytes parses with a limit of 8");
    json_free(v);
    ok(!json_parse_file(path, 7, &e) && e.code == ERR_FORMAT && strstr(e.file, "f.json"),
       "a limit of 7 refuses it by name");
    write_file(path, "{\"a\":1", 6);
    ok(!json_parse_file(path, 8, &e) && e.code == ERR_FORMAT && strstr(e.file, "f.json"), "a broken file is named");
    ok(!json_parse_file(tmp_path("none.json"), 8, &e) && e.code == ERR_IO, "a missing file is an I/O error");
}

int main(void)
{
    strictness();
    nesting();
    integers();
    values();
    many_keys();
    printing();
    out_of_memory();
    files();
    return done();
}
