/* SPDX-License-Identifier: MIT
 * Key-value pairs of a GGUF file: lookup, decoding of single values, adding. */
#include "formats/gguf_meta.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} types[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = {"u8", 1},   [GGUF_I8] = {"i8", 1},     [GGUF_U16] = {"u16", 2},     [GGUF_I16] = {"i16", 2},
    [GGUF_U32] = {"u32", 4}, [GGUF_I32] = {"i32", 4},   [GGUF_F32] = {"f32", 4},     [GGUF_BOOL] = {"bool", 1},
    [GGUF_U64] = {"u64", 8}, [GGUF_I64] = {"i64", 8},   [GGUF_F64] = {"f64", 8},     [GGUF_STRING] = {"string", 0},
    [GGUF_ARRAY] = {"array", 0},
};

size_t gguf_type_size(enum gguf_type t)
{
    return types[t].size;
}

const char *gguf_type_name(enum gguf_type t)
{
    return types[t].name;
}

static uint64_t little_endian(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | p[n];
    return v;
}

const struct gguf_kv *gguf_find(const struct gguf_meta *m, const char *key)
{
    for (size_t i = 0; m && i < m->n; i++)
        if (!strcmp(m->kvs[i].key, key))
            return &m->kvs[i];
    return NULL;
}

int gguf_get_u64(const struct gguf_kv *kv, uint64_t *out)
{
    if (!kv)
        return -1;
    size_t size = types[kv->type].size;
    uint64_t v = little_endian(kv->value, size);
    switch (kv->type) {
    case GGUF_U8: case GGUF_U16: case GGUF_U32: case GGUF_U64:
        break;
    case GGUF_I8: case GGUF_I16: case GGUF_I32: case GGUF_I64:
        if (v >> (8 * size - 1))
            return -1; /* negative */
        break;
    default:
        return -1;
    }
    *out = v;
    return 0;
}

int gguf_get_f64(const struct gguf_kv *kv, double *out)
{
    float f;
    if (!kv || (kv->type != GGUF_F32 && kv->type != GGUF_F64))
        return -1;
    if (kv->type == GGUF_F64) {
        uint64_t bits = little_endian(kv->value, 8);
        memcpy(out, &bits, sizeof *out);
        return 0;
    }
    uint32_t bits = (uint32_t)little_endian(kv->value, 4);
    memcpy(&f, &bits, sizeof f);
    *out = f;
    return 0;
}

int gguf_get_bool(const struct gguf_kv *kv, int *out)
{
    if (!kv || kv->type != GGUF_BOOL)
        return -1;
    *out = kv->value[0] != 0;
    return 0;
}

int gguf_get_string(const struct gguf_kv *kv, const char **s, size_t *n)
{
    if (!kv || kv->type != GGUF_STRING)
        return -1;
    *n = kv->size - 8;
    *s = (const char *)kv->value + 8;
    return 0;
}

int gguf_get_array(const struct gguf_kv *kv, enum gguf_type *element, uint64_t *count, const uint8_t **data)
{
    if (!kv || kv->type != GGUF_ARRAY)
        return -1;
    *element = (enum gguf_type)little_endian(kv->value, 4);
    *count = little_endian(kv->value + 4, 8);
    *data = kv->value + 12;
    return 0;
}

/* A zeroed place for the pair with this key: the old one when it exists. NULL when out of memory. */
static struct gguf_kv *place_for(struct gguf_meta *m, const char *key)
{
    for (size_t i = 0; i < m->n; i++)
        if (!strcmp(m->kvs[i].key, key))
            return &m->kvs[i];
    if (m->n == m->room) {
        size_t room = m->room ? 2 * m->room : 64;
        struct gguf_kv *kvs = realloc(m->kvs, room * sizeof *kvs);
        if (!kvs)
            return NULL;
        m->kvs = kvs;
        m->room = room;
    }
    char *copy = arena_copy(&m->arena, key, strlen(key));
    if (!copy)
        return NULL;
    m->kvs[m->n] = (struct gguf_kv){.key = copy};
    return &m->kvs[m->n++];
}

void gguf_add(struct gguf_meta *m, const char *key, enum gguf_type type, const void *value, size_t size)
{
    struct gguf_kv *kv = m->failed ? NULL : place_for(m, key);
    char *copy = kv ? arena_copy(&m->arena, value, size) : NULL;
    if (!copy) {
        m->failed = 1;
        return;
    }
    kv->type = type;
    kv->value = (const uint8_t *)copy;
    kv->size = size;
}

static void add_integer(struct gguf_meta *m, const char *key, enum gguf_type type, uint64_t v)
{
    uint8_t le[8];
    for (size_t i = 0; i < sizeof le; i++)
        le[i] = (uint8_t)(v >> (8 * i));
    gguf_add(m, key, type, le, types[type].size);
}

void gguf_add_u16(struct gguf_meta *m, const char *key, uint16_t v)
{
    add_integer(m, key, GGUF_U16, v);
}

void gguf_add_u32(struct gguf_meta *m, const char *key, uint32_t v)
{
    add_integer(m, key, GGUF_U32, v);
}

void gguf_add_i32(struct gguf_meta *m, const char *key, int32_t v)
{
    add_integer(m, key, GGUF_I32, (uint32_t)v);
}

void gguf_add_f32(struct gguf_meta *m, const char *key, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    add_integer(m, key, GGUF_F32, bits);
}

void gguf_add_bool(struct gguf_meta *m, const char *key, int v)
{
    add_integer(m, key, GGUF_BOOL, v != 0);
}

void gguf_add_string(struct gguf_meta *m, const char *key, const char *s, size_t n)
{
    struct buffer b = {0};
    buffer_u64(&b, n);
    buffer_add(&b, s, n);
    m->failed |= b.failed;
    gguf_add(m, key, GGUF_STRING, b.data, b.size);
    buffer_clear(&b);
}

void gguf_add_array(struct gguf_meta *m, const char *key, enum gguf_type element, uint64_t count, const void *data,
                    size_t size)
{
    struct buffer b = {0};
    buffer_u32(&b, (uint32_t)element);
    buffer_u64(&b, count);
    buffer_add(&b, data, size);
    m->failed |= b.failed;
    gguf_add(m, key, GGUF_ARRAY, b.data, b.size);
    buffer_clear(&b);
}

void gguf_meta_free(struct gguf_meta *m)
{
    if (!m)
        return;
    free(m->kvs);
    arena_clear(&m->arena);
    free(m);
}
