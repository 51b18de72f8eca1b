/* SPDX-License-Identifier: MIT
 * Fuzz target: a checkpoint with quantized weights, as config.json NUL safetensors file: configuration and parts are bound together
 * (model/binding.h) and rows of each weight are read through their layouts (model/weight.c, quant/layouts.h). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "tests/fuzz/fuzz.h"

/* Rows of a slab: finite numbers from inside the scratch that was asked for, or an error that says why not. */
static void read_rows(const struct model *m, const struct weight *w, uint64_t slab, uint64_t row0, uint64_t n)
{
    struct error e = {0};
    struct weight_seen seen;
    struct weight_range ranges[WEIGHT_RANGES];
    int count = weight_ranges(m, w, slab, row0, n, ranges);
    for (int i = 0; i < count; i++)
        must(ranges[i].at <= ranges[i].tensor->bytes && ranges[i].n <= ranges[i].tensor->bytes - ranges[i].at);
    float *x = malloc(n * w->cols * sizeof *x);
    void *scratch = malloc(weight_scratch(m, w, n) + 1);
    must(x && scratch);
    if (weight_read(m, w, slab, row0, n, x, scratch, &seen, &e))
        fuzz_must_say(&e);
    else
        for (uint64_t i = 0; i < n * w->cols; i++)
            must(isfinite(x[i]) && fabsf(x[i]) <= seen.amax);
    free(x);
    free(scratch);
}

static void read_weights(const struct model *m)
{
    for (int layer = -1; layer < (int)arch_all_layers(&m->params); layer++)
        for (int role = 0; role < ROLE_COUNT; role++) {
            struct weight w;
            if (!model_weight(m, (enum tensor_role)role, layer, &w) || w.cols > 1 << 12 || w.rows > 1 << 12 ||
                weight_scratch(m, &w, w.rows) > 1 << 20)
                continue;
            read_rows(m, &w, 0, 0, w.rows);
            read_rows(m, &w, w.slabs - 1, w.rows - 1, 1);
            if (w.rows > 13)
                read_rows(m, &w, w.slabs - 1, 5, 7);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = {0};
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t config = end ? (size_t)(end - data) : size;
    fuzz_subfolder("q");
    fuzz_file("q/config.json", data, config);
    fuzz_file("q/model.safetensors", end ? end + 1 : data, end ? size - config - 1 : 0);
    struct source *s = source_open(fuzz_path("q"), &e);
    struct model *m = s ? model_open(s, &e) : NULL;
    if (m)
        read_weights(m);
    else
        fuzz_must_say(&e);
    model_close(m);
    source_close(s);
    return 0;
}
