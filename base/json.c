/* SPDX-License-Identifier: MIT
 * JSON: cJSON behind checks that untrusted files need. */
#include "base/json.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

static const cJSON *node(const struct json *v)
{
    return (const cJSON *)v;
}

/* Length of the valid UTF-8 sequence at s, or 0. Source: RFC 3629, section 4. */
static size_t utf8_sequence(const unsigned char *s, size_t n)
{
    unsigned char lo = 0x80, hi = 0xbf;
    size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    if (len == 0 || len > n)
        return 0;
    if (s[0] == 0xe0)
        lo = 0xa0;
    if (s[0] == 0xed)
        hi = 0x9f;
    if (s[0] == 0xf0)
        lo = 0x90;
    if (s[0] == 0xf4)
        hi = 0x8f;
    for (size_t i = 1; i < len; i++) {
        if (s[i] < lo || s[i] > hi)
            return 0;
        lo = 0x80;
        hi = 0xbf;
    }
    return len;
}

static size_t utf8_valid_prefix(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        size_t len = utf8_sequence((const unsigned char *)s + i, n - i);
        if (len == 0)
            break;
        i += len;
    }
    return i;
}

int utf8_is_valid(const char *s, size_t n)
{
    return utf8_valid_prefix(s, n) == n;
}

static size_t digits(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n && isdigit((unsigned char)s[i]))
        i++;
    return i;
}

/* Length of the number at s, or 0 when it breaks the grammar: 01, 1., 1e. Source: RFC 8259, section 6. */
static size_t number_length(const char *s, size_t n)
{
    size_t i = s[0] == '-', k = i < n && s[i] == '0' ? 1 : digits(s + i, n - i);
    if (k == 0)
        return 0;
    i += k;
    if (i < n && s[i] == '.' && (k = digits(s + i + 1, n - i - 1)))
        i += 1 + k;
    if (i < n && (s[i] == 'e' || s[i] == 'E')) {
        size_t sign = i + 1 < n && (s[i + 1] == '+' || s[i + 1] == '-');
        if ((k = digits(s + i + 1 + sign, n - i - 1 - sign)))
            i += 1 + sign + k;
    }
    /* what is left over of a malformed number would be a part of a number still */
    return i == n || !strchr("0123456789+-.eE", s[i]) ? i : 0;
}

/* Says what is wrong with an escape at s (a backslash and more), or NULL. */
static const char *check_escape(const char *s, size_t n)
{
    if (n < 2 || s[1] != 'u')
        return NULL; /* cJSON knows the others */
    for (size_t i = 2; i < 6; i++)
        if (i >= n || !isxdigit((unsigned char)s[i]))
            return "malformed \\u escape in JSON";
    return memcmp(s + 2, "0000", 4) ? NULL : "a JSON string holds a NUL character";
}

/* Refuses tokens that cJSON would bend: it ends a string at a NUL, reads a malformed \u as NUL, takes any control byte
 * for white space and lets strtod have 01. Returns what is wrong, and where in *at, or NULL. */
static const char *scan_tokens(const char *s, size_t n, size_t *at)
{
    int in_string = 0;
    for (size_t i = 0, step; i < n; i += step) {
        unsigned char c = (unsigned char)s[i];
        const char *bad = NULL;
        *at = i;
        step = 1;
        if (c < 0x20 && (in_string || !c || !strchr("\t\n\r", c)))
            return "a control byte in JSON";
        if (c == '"') {
            in_string = !in_string;
        } else if (in_string && c == '\\') {
            if ((bad = check_escape(s + i, n - i)))
                return bad;
            step = 2; /* whatever is escaped, a quote or a second backslash above all, means nothing more */
        } else if (!in_string && c >= 0x80) {
            return "invalid JSON"; /* a byte order mark */
        } else if (!in_string && (c == '-' || isdigit(c)) && !(step = number_length(s + i, n - i))) {
            return "malformed number in JSON";
        }
    }
    return NULL;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int refuse_duplicate_keys(const cJSON *object, struct error *e)
{
    size_t n = 0, i = 0;
    int rc = 0;
    for (const cJSON *c = object->child; c; c = c->next)
        n++;
    if (n < 2)
        return 0;
    const char **keys = malloc(n * sizeof *keys);
    if (!keys)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (const cJSON *c = object->child; c; c = c->next)
        keys[i++] = c->string;
    qsort(keys, n, sizeof *keys, compare_keys);
    for (i = 1; i < n && !rc; i++)
        if (!strcmp(keys[i - 1], keys[i]))
            rc = error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "duplicate JSON key '%s'", keys[i]);
    free(keys);
    return rc;
}

/* Walks the tree; cJSON's nesting limit (1000) bounds the recursion. */
static int check_tree(const cJSON *v, struct error *e)
{
    if (cJSON_IsObject(v) && refuse_duplicate_keys(v, e))
        return -1;
    for (const cJSON *c = v->child; c; c = c->next)
        if ((cJSON_IsObject(c) || cJSON_IsArray(c)) && check_tree(c, e))
            return -1;
    return 0;
}

/* cJSON gives the same NULL for bad text and for no memory: only its allocator can tell which it was. */
static _Thread_local int no_memory;

static void *tell_malloc(size_t n)
{
    void *p = malloc(n);
    no_memory |= !p;
    return p;
}

static void set_hooks(void)
{
    cJSON_Hooks hooks = {tell_malloc, free};
    cJSON_InitHooks(&hooks);
}

static cJSON *parse(const char *text, size_t n, const char **end, struct error *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_hooks);
    no_memory = 0;
    cJSON *root = cJSON_ParseWithLengthOpts(text, n, end, 0);
    if (!root && no_memory)
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    else if (!root)
        error_set(e, ERR_FORMAT, *end && *end >= text ? (uint64_t)(*end - text) : 0, "invalid JSON");
    return root;
}

struct json *json_parse(const char *text, size_t n, struct error *e)
{
    const char *end = NULL;
    size_t bad = utf8_valid_prefix(text, n);
    if (bad < n) {
        error_set(e, ERR_FORMAT, bad, "invalid UTF-8 in JSON");
        return NULL;
    }
    const char *wrong = scan_tokens(text, n, &bad);
    if (wrong) {
        error_set(e, ERR_FORMAT, bad, "%s", wrong);
        return NULL;
    }
    cJSON *root = parse(text, n, &end, e);
    if (!root)
        return NULL;
    while (end < text + n && strchr(" \t\r\n", *end)) /* *end is no NUL: scan_tokens */
        end++;
    if (end < text + n) {
        error_set(e, ERR_FORMAT, (uint64_t)(end - text), "text after the JSON value");
        cJSON_Delete(root);
        return NULL;
    }
    if (check_tree(root, e)) {
        cJSON_Delete(root);
        return NULL;
    }
    return (struct json *)root;
}

struct json *json_parse_file(const char *path, uint64_t max, struct error *e)
{
    char *text;
    size_t n;
    if (io_read_all(path, max, &text, &n, e))
        return NULL;
    struct json *root = json_parse(text, n, e);
    if (!root)
        error_at_file(e, path);
    free(text);
    return root;
}

void json_free(struct json *root)
{
    cJSON_Delete((cJSON *)root);
}

enum json_type json_type(const struct json *v)
{
    const cJSON *c = node(v);
    return cJSON_IsObject(c) ? JSON_OBJECT : cJSON_IsArray(c) ? JSON_ARRAY : cJSON_IsString(c) ? JSON_STRING
         : cJSON_IsNumber(c) ? JSON_NUMBER : cJSON_IsBool(c) ? JSON_BOOL : JSON_NULL;
}

const struct json *json_child(const struct json *v)
{
    return v ? (const struct json *)node(v)->child : NULL;
}

const struct json *json_next(const struct json *v)
{
    return (const struct json *)node(v)->next;
}

const char *json_key(const struct json *v)
{
    return node(v)->string;
}

size_t json_count(const struct json *v)
{
    size_t n = 0;
    for (const struct json *c = json_child(v); c; c = json_next(c))
        n++;
    return n;
}

const struct json *json_get(const struct json *v, const char *key)
{
    if (!v || !cJSON_IsObject(node(v)))
        return NULL;
    for (const cJSON *c = node(v)->child; c; c = c->next)
        if (!strcmp(c->string, key))
            return (const struct json *)c;
    return NULL;
}

const char *json_string(const struct json *v)
{
    return v && cJSON_IsString(node(v)) ? node(v)->valuestring : NULL;
}

int json_u64(const struct json *v, uint64_t *out)
{
    /* not valueint: it saturates at INT_MAX */
    double d;
    if (json_f64(v, &d) || !(d >= 0) || d >= 9007199254740992.0 || d != floor(d))
        return -1;
    *out = (uint64_t)d;
    return 0;
}

int json_f64(const struct json *v, double *out)
{
    if (!v || !cJSON_IsNumber(node(v)) || !isfinite(node(v)->valuedouble))
        return -1; /* 1e999 is infinite */
    *out = node(v)->valuedouble;
    return 0;
}

int json_bool(const struct json *v, int *out)
{
    if (!v || !cJSON_IsBool(node(v)))
        return -1;
    *out = cJSON_IsTrue(node(v));
    return 0;
}

/* Hands a new value to its parent; on failure frees it and returns NULL, and the parent becomes unprintable: a document
 * with a hole must not be written. */
static struct json *attach(struct json *parent, const char *key, cJSON *value)
{
    cJSON *p = (cJSON *)parent;
    if (p && value && (key ? cJSON_AddItemToObject(p, key, value) : cJSON_AddItemToArray(p, value)))
        return (struct json *)value;
    if (p)
        p->type = cJSON_Invalid;
    cJSON_Delete(value);
    return NULL;
}

struct json *json_new_object(void)
{
    return (struct json *)cJSON_CreateObject();
}

struct json *json_add_object(struct json *parent, const char *key)
{
    return attach(parent, key, cJSON_CreateObject());
}

struct json *json_add_array(struct json *parent, const char *key)
{
    return attach(parent, key, cJSON_CreateArray());
}

struct json *json_add_string(struct json *parent, const char *key, const char *value)
{
    if (utf8_is_valid(value, strlen(value)))
        return attach(parent, key, cJSON_CreateString(value));
    /* names from files may be any bytes; the text must stay valid */
    size_t n = strlen(value), m = 0;
    char *fixed = malloc(3 * n + 1);
    if (!fixed)
        return attach(parent, key, NULL);
    for (size_t i = 0; i < n;) {
        size_t len = utf8_sequence((const unsigned char *)value + i, n - i);
        memcpy(fixed + m, len ? value + i : "\xef\xbf\xbd", len ? len : 3);
        m += len ? len : 3;
        i += len ? len : 1;
    }
    fixed[m] = '\0';
    struct json *v = attach(parent, key, cJSON_CreateString(fixed));
    free(fixed);
    return v;
}

struct json *json_add_u64(struct json *parent, const char *key, uint64_t value)
{
    char text[24];
    if (value < 1000000000000000)
        return attach(parent, key, cJSON_CreateNumber((double)value));
    /* cJSON prints 15 digits and takes a double that is off by one for the same */
    snprintf(text, sizeof text, "%" PRIu64, value);
    return attach(parent, key, cJSON_CreateRaw(text));
}

struct json *json_add_f64(struct json *parent, const char *key, double value)
{
    char text[32];
    /* cJSON takes 15 digits where they are nearly right; the reader must get the same double back */
    if (!isfinite(value) || (value == floor(value) && fabs(value) < 1e15))
        return attach(parent, key, cJSON_CreateNumber(value));
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    return attach(parent, key, cJSON_CreateRaw(text));
}

struct json *json_add_bool(struct json *parent, const char *key, int value)
{
    return attach(parent, key, cJSON_CreateBool(value));
}

struct json *json_add_null(struct json *parent, const char *key)
{
    return attach(parent, key, cJSON_CreateNull());
}

void json_remove(struct json *object, const char *key)
{
    cJSON_DeleteItemFromObjectCaseSensitive((cJSON *)object, key);
}

char *json_print(const struct json *root)
{
    char *text = cJSON_Print((const cJSON *)root), *with_newline;
    if (!text)
        return NULL;
    size_t n = strlen(text);
    if (!(with_newline = realloc(text, n + 2))) {
        free(text);
        return NULL;
    }
    memcpy(with_newline + n, "\n", 2);
    return with_newline;
}

char *json_print_line(const struct json *root)
{
    return cJSON_PrintUnformatted((const cJSON *)root);
}
