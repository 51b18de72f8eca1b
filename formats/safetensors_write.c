/* SPDX-License-Identifier: MIT
 * Writing safetensors: the header, from which all places follow. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "formats/safetensors.h"

static void add_tensor(struct json *root, const struct tensor *t, uint64_t from)
{
    struct json *j = json_add_object(root, t->name), *list;
    json_add_string(j, "dtype", t->type->name);
    list = json_add_array(j, "shape");
    for (uint32_t d = 0; d < t->n_dims; d++)
        json_add_u64(list, NULL, t->dims[d]);
    list = json_add_array(j, "data_offsets");
    json_add_u64(list, NULL, from);
    json_add_u64(list, NULL, from + t->bytes);
}

int safetensors_header(struct tensor *t, size_t n, const char *format, struct buffer *out, uint64_t *file_bytes, struct error *e)
{
    struct json *root = json_new_object();
    uint64_t at = 0;
    if (format)
        json_add_string(json_add_object(root, "__metadata__"), "format", format);
    for (size_t i = 0; i < n; i++) {
        if (tensor_size(&t[i], &t[i].bytes, e)) {
            json_free(root);
            return error_at_tensor(e, t[i].name);
        }
        add_tensor(root, &t[i], at);
        t[i].offset = at;
        at += t[i].bytes;
    }
    char *text = json_print_line(root);
    json_free(root);
    if (text) {
        size_t size = strlen(text), padded = (size + 7) / 8 * 8;
        buffer_u64(out, padded);
        buffer_text(out, text);
        for (; size < padded; size++)
            buffer_text(out, " ");
    }
    free(text);
    if (!text || out->failed)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t i = 0; i < n; i++)
        t[i].offset += out->size;
    *file_bytes = at + out->size;
    return 0;
}
