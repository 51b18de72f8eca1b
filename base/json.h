/* SPDX-License-Identifier: MIT
 * JSON, strictly: cJSON parses and prints, and what it lets pass is refused here: text after the value, invalid UTF-8,
 * duplicate keys, control bytes, NUL in strings, malformed numbers and \u escapes. Only json.c includes cJSON. */
#ifndef PARE_BASE_JSON_H
#define PARE_BASE_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct json; /* a value of a parsed or built document */

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* Parses n bytes. Returns the root, which the caller frees with json_free, or NULL with ERR_FORMAT (offset where
 * known) or ERR_MEMORY. The tree takes about 13 times the text. Values live as long as the root. */
struct json *json_parse(const char *text, size_t n, struct error *e);

/* Reads and parses a file of at most `max` bytes. */
struct json *json_parse_file(const char *path, uint64_t max, struct error *e);

/* Frees a root; NULL is allowed. */
void json_free(struct json *root);

enum json_type json_type(const struct json *v);
/* First element or member, and the following; NULL at the end. The way to walk large objects. */
const struct json *json_child(const struct json *v);
const struct json *json_next(const struct json *v);
const char *json_key(const struct json *v);
size_t json_count(const struct json *v);

/* Member of an object by its exact name, or NULL; also NULL for a NULL or non-object `v`. A linear scan: for small
 * objects only. */
const struct json *json_get(const struct json *v, const char *key);

/* Typed values. json_string is NULL for anything else than a string; the others return 0, or -1 when the value is
 * missing (v NULL) or of another type. json_u64 refuses fractions, negatives and anything from 2^53 on, where numbers
 * become others as they are read; json_f64 what is too large for a double. */
const char *json_string(const struct json *v);
int json_u64(const struct json *v, uint64_t *out);
int json_f64(const struct json *v, double *out);
int json_bool(const struct json *v, int *out);

/* Building. Each returns the new value, owned by its parent, or NULL when out of memory (or when parent is NULL, so
 * that failures travel to json_print, which then gives NULL). A NULL key appends to an array. */
struct json *json_new_object(void);
struct json *json_add_object(struct json *parent, const char *key);
struct json *json_add_array(struct json *parent, const char *key);
struct json *json_add_string(struct json *parent, const char *key, const char *value);
struct json *json_add_u64(struct json *parent, const char *key, uint64_t value);
struct json *json_add_f64(struct json *parent, const char *key, double value);
struct json *json_add_bool(struct json *parent, const char *key, int value);
struct json *json_add_null(struct json *parent, const char *key);
/* Takes a member away from an object, if it is there. */
void json_remove(struct json *object, const char *key);

/* Numbers read back as the same double; NaN and infinity become null. */
/* malloc'd text, indented, with a final newline; NULL when out of memory. Invalid UTF-8 in strings is escaped as
 * U+FFFD so that the text is always valid. */
char *json_print(const struct json *root);
/* The same in one line, without a newline. */
char *json_print_line(const struct json *root);

/* Whether n bytes are valid UTF-8 (no surrogates, no overlong forms). */
int utf8_is_valid(const char *s, size_t n);

#endif
