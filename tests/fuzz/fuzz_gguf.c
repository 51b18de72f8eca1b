/* SPDX-License-Identifier: MIT
 * Fuzz target: formats/gguf_read.c, and of what opens the model (model/model.h), its first weights and its tokenizer. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_meta.h"
#include "model/model.h"
#include "model/tokenizer.h"
#include "tests/fuzz/fuzz.h"

/* Values are as long as their types say. */
static void pairs_must_hold(const struct gguf_meta *m)
{
    for (size_t i = 0; i < m->n; i++) {
        const struct gguf_kv *kv = &m->kvs[i];
        enum gguf_type element;
        uint64_t count;
        const uint8_t *data;
        const char *s;
        size_t n;
        must(kv->key && kv->type < GGUF_TYPE_COUNT && gguf_find(m, kv->key) == kv);
        must(!gguf_type_size(kv->type) || kv->size == gguf_type_size(kv->type));
        must(gguf_get_string(kv, &s, &n) || n == kv->size - 8);
        if (!gguf_get_array(kv, &element, &count, &data))
            must(element == GGUF_STRING ? count <= kv->size / 8 : kv->size == 12 + count * gguf_type_size(element));
    }
}

/* One row of every weight: finite numbers, or an error that says why not. */
static void read_weights(const struct model *m)
{
    for (int layer = -1; layer < (int)arch_all_layers(&m->params); layer++)
        for (int role = 0; role < ROLE_COUNT; role++) {
            struct weight w;
            struct error e = {0};
            struct weight_seen seen;
            if (!model_weight(m, (enum tensor_role)role, layer, &w) || w.cols > 1 << 16 ||
                weight_scratch(m, &w, 1) > 1 << 20)
                continue;
            float *row = malloc(w.cols * sizeof *row);
            void *scratch = malloc(weight_scratch(m, &w, 1) + 1);
            must(row && scratch);
            if (weight_read(m, &w, w.slabs - 1, w.rows - 1, 1, row, scratch, &seen, &e))
                fuzz_must_say(&e);
            else
                for (uint64_t i = 0; i < w.cols; i++)
                    must(isfinite(row[i]) && fabsf(row[i]) <= seen.amax);
            free(row);
            free(scratch);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = {0};
    struct source *s = source_open(fuzz_file("x.gguf", data, size), &e);
    if (!s) {
        fuzz_must_say(&e);
        return 0;
    }
    fuzz_must_hold(s);
    if (s->meta)
        pairs_must_hold(s->meta);
    struct model *m = model_open(s, &e);
    if (m)
        read_weights(m);
    else
        fuzz_must_say(&e);
    struct tokenizer *t = tokenizer_open(s, m ? &m->params : NULL, &e);
    if (!t)
        fuzz_must_say(&e);
    tokenizer_close(t);
    model_close(m);
    source_close(s);
    return 0;
}
