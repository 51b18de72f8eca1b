/* SPDX-License-Identifier: MIT
 * Key-value pairs of a GGUF file. Values are kept in the file's own encoding (little-endian), so that copying a pair from
 * one file to another keeps every byte.
 * Source: ggml-org/ggml, docs/gguf.md; ggml/src/gguf.cpp. */
#ifndef PARE_FORMATS_GGUF_META_H
#define PARE_FORMATS_GGUF_META_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"

enum gguf_type {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL,
    GGUF_STRING, GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64, GGUF_TYPE_COUNT,
};

struct gguf_kv {
    const char *key;
    enum gguf_type type;
    const uint8_t *value; /* encoded: of a string u64 length + bytes, of an array i32 type + u64 count + elements */
    size_t size;
};

struct gguf_meta {
    struct arena arena;
    struct gguf_kv *kvs; /* in file order; keys are unique */
    size_t n, room;
    int failed; /* an allocation failed while adding; all later adds do nothing. Check once at the end. */
};

/* Bytes of one element, 0 for strings and arrays. */
size_t gguf_type_size(enum gguf_type t);
const char *gguf_type_name(enum gguf_type t);

/* By key, or NULL. */
const struct gguf_kv *gguf_find(const struct gguf_meta *m, const char *key);

/* Typed values of a pair, which may be NULL. Any integer type is accepted for integers where it fits. They return 0, or
 * -1 when the pair is missing or of another kind. */
int gguf_get_u64(const struct gguf_kv *kv, uint64_t *out);
int gguf_get_f64(const struct gguf_kv *kv, double *out);
int gguf_get_bool(const struct gguf_kv *kv, int *out);
/* Bytes of a string (not terminated). */
int gguf_get_string(const struct gguf_kv *kv, const char **s, size_t *n);
int gguf_get_array(const struct gguf_kv *kv, enum gguf_type *element, uint64_t *count, const uint8_t **data);

/* Adding; a key that exists already keeps its place and gets the new value. */
void gguf_add(struct gguf_meta *m, const char *key, enum gguf_type type, const void *value, size_t size);
void gguf_add_u16(struct gguf_meta *m, const char *key, uint16_t v);
void gguf_add_u32(struct gguf_meta *m, const char *key, uint32_t v);
void gguf_add_i32(struct gguf_meta *m, const char *key, int32_t v);
void gguf_add_f32(struct gguf_meta *m, const char *key, float v);
void gguf_add_bool(struct gguf_meta *m, const char *key, int v);
void gguf_add_string(struct gguf_meta *m, const char *key, const char *s, size_t n);
/* `data` holds `count` encoded elements. */
void gguf_add_array(struct gguf_meta *m, const char *key, enum gguf_type element, uint64_t count, const void *data,
                    size_t size);

void gguf_meta_free(struct gguf_meta *m); /* frees m itself; NULL is allowed */

#endif
