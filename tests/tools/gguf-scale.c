/* SPDX-License-Identifier: MIT
 * usage: gguf-scale IN.gguf OUT.gguf NAME=NUMBER[,NUMBER...] ...
 * Copies a GGUF file and adds F32 tensors of one dimension: such as "blk.1.ffn_up_exps.scale", by which NVFP4 files multiply a
 * weight. Pairs and tensors are copied byte for byte. Nothing is checked: a test may add nonsense. */
#include "tests/tools/gguf_copy.h"

enum { MAX_NUMBERS = 1024 };

/* One NAME=NUMBER,... as a tensor. */
static struct copied added(char *text)
{
    char *eq = strchr(text, '='), *at = eq ? eq + 1 : text;
    float *values = eq ? calloc(MAX_NUMBERS, sizeof *values) : NULL;
    struct tensor t = {.name = text, .type = gguf_storage_by_name("F32"), .n_dims = 1};
    if (!values)
        copy_fail(text, "no NAME=NUMBERS");
    *eq = '\0';
    do {
        values[t.dims[0]++] = strtof(at, &at);
    } while (*at == ',' && at++ && t.dims[0] < MAX_NUMBERS);
    t.bytes = 4 * t.dims[0];
    return (struct copied){.t = t, .bytes = values};
}

int main(int argc, char **argv)
{
    struct error e = {0};
    struct source *s = argc > 3 ? source_open(argv[1], &e) : NULL;
    if (!s || !s->meta)
        copy_fail("gguf-scale", argc > 3 ? e.text : "usage: gguf-scale IN OUT NAME=NUMBERS ...");
    size_t n = s->n_tensors, more = (size_t)argc - 3;
    struct copied *list = calloc(n + more, sizeof *list);
    for (size_t i = 0; list && i < n; i++)
        list[i] = (struct copied){.t = s->tensors[i], .from = &s->tensors[i]};
    for (size_t i = 0; list && i < more; i++)
        list[n + i] = added(argv[3 + i]);
    copy_write(argv[2], s, list, n + more);
    free(list);
    source_close(s);
    return 0;
}
