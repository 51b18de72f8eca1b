/* SPDX-License-Identifier: MIT
 * Writer of the GGUF container: header bytes and offsets. The tensor data is written by whoever streams it. */
#include "formats/gguf.h"

#include <stdlib.h>
#include <string.h>

/* Pairs copied from another file may bring an alignment of their own, which readers will believe. */
static uint64_t alignment_of(const struct gguf_meta *meta)
{
    uint64_t v;
    return gguf_get_u64(gguf_find(meta, "general.alignment"), &v) || !v ? GGUF_ALIGNMENT : v;
}

static void put_string(struct buffer *out, const char *s)
{
    buffer_u64(out, strlen(s));
    buffer_text(out, s);
}

static int check_tensor(const struct tensor *t, struct error *e)
{
    int empty = 0;
    for (uint32_t d = 0; d < t->n_dims; d++)
        empty |= t->dims[d] == 0;
    if (!t->name[0] || strlen(t->name) > GGUF_MAX_NAME)
        error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "the name has not GGUF's 1 to %d bytes", GGUF_MAX_NAME);
    else if (t->n_dims < 1 || t->n_dims > GGUF_MAX_DIMS)
        error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "GGUF has no tensors of %u dimensions", t->n_dims);
    else if (empty)
        error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "GGUF has no tensors without elements");
    else if (t->type->gguf_id < 0)
        error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "type %s cannot be stored in GGUF", t->type->name);
    else
        return 0;
    return error_at_tensor(e, t->name);
}

int gguf_layout(const struct gguf_meta *meta, struct tensor *tensors, size_t n, struct buffer *out, uint64_t *size,
                struct error *e)
{
    uint64_t at = 0, alignment = alignment_of(meta);
    buffer_text(out, "GGUF");
    buffer_u32(out, 3);
    buffer_u64(out, n);
    buffer_u64(out, meta->n);
    for (size_t i = 0; i < meta->n; i++) {
        put_string(out, meta->kvs[i].key);
        buffer_u32(out, (uint32_t)meta->kvs[i].type);
        buffer_add(out, meta->kvs[i].value, meta->kvs[i].size);
    }
    for (size_t i = 0; i < n; i++) {
        struct tensor *t = &tensors[i];
        if (check_tensor(t, e))
            return -1;
        put_string(out, t->name);
        buffer_u32(out, t->n_dims);
        for (uint32_t d = t->n_dims; d-- > 0;)
            buffer_u64(out, t->dims[d]);
        buffer_u32(out, (uint32_t)t->type->gguf_id);
        buffer_u64(out, at);
        t->offset = at;
        at = (at + t->bytes + alignment - 1) / alignment * alignment;
    }
    buffer_pad(out, alignment);
    if (out->failed || meta->failed)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t i = 0; i < n; i++)
        tensors[i].offset += out->size;
    *size = out->size + at;
    return 0;
}
