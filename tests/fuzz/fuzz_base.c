/* SPDX-License-Identifier: MIT
 * Fuzz target: verify/base.h. The input is a base file of any form, whose hashes are put right first. What opens has tokens of its
 * vocabulary, experts of its model, and divergences that are numbers; ours are not below 0. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/source.h"
#include "tests/fuzz/fuzz.h"
#include "verify/base_file.h"

enum { MOST = 1 << 16 };

/* The input with the hashes that its tensors ask for, as far as they are there. */
static const char *sealed(const uint8_t *data, size_t size)
{
    static const char *const parts[] = {"logits", "ids", "codes", "log_sums", "target_logits", "top_logits", "thresholds", "routing"};
    static const char *const all[] = {"about", "tokens", "hashes"};
    struct error e;
    const char *path = fuzz_file("in.safetensors", data, size);
    struct source *s = source_open(path, &e);
    const struct tensor *hashes = s ? source_find(s, "hashes") : NULL, *seal = s ? source_find(s, "seal") : NULL;
    if (hashes && seal && hashes->bytes % BASE_HASH == 0 && hashes->bytes && seal->bytes == BASE_HASH) {
        uint8_t *copy = malloc(size);
        const size_t chunks = (size_t)hashes->bytes / BASE_HASH;
        must(copy != NULL);
        memcpy(copy, data, size);
        for (size_t c = 0; c < chunks; c++) {
            struct hash *h = hash_new();
            for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
                const struct tensor *t = source_find(s, parts[i]);
                if (t)
                    hash_add(h, copy + t->offset + t->bytes / chunks * c, (size_t)(t->bytes / chunks));
            }
            base_hash_bytes(h, copy + hashes->offset + c * BASE_HASH);
        }
        struct hash *h = hash_new();
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            const struct tensor *t = source_find(s, all[i]);
            if (t)
                hash_add(h, copy + t->offset, (size_t)t->bytes);
        }
        base_hash_bytes(h, copy + seal->offset);
        path = fuzz_file("sealed.safetensors", copy, size);
        free(copy);
    }
    source_close(s);
    return path;
}

static void must_score(struct base_file *b, size_t position, const float *row)
{
    struct position p;
    struct base_list list;
    struct error e = {0};
    double kld;
    if (base_score(b, position, 1, row, 1, &p, &kld, &e)) {
        fuzz_must_say(&e);
        return;
    }
    must(isfinite(kld) && (base_about(b)->form == BASE_LLAMA || kld >= 0));
    must(p.target >= 0 && (size_t)p.target < base_about(b)->vocab && p.base_top.n > 0 && p.cand_top.n > 0);
    must(!base_list(b, position, &list, &e) && list.n);
    for (size_t i = 0; i < list.n; i++)
        must(list.ids[i] >= 0 && (size_t)list.ids[i] < base_about(b)->vocab && (!i || list.ids[i - 1] <= list.ids[i]));
    base_list_clear(&list);
}

static void must_hold(struct base_file *b)
{
    const struct base_about *a = base_about(b);
    struct error e = {0};
    for (size_t i = 0; i < a->chunks * a->ctx; i++)
        must(base_tokens(b)[i] >= 0 && (size_t)base_tokens(b)[i] < a->vocab);
    for (size_t c = 0; c < a->chunks && c < 3; c++) {
        int16_t *routing;
        const size_t n = (a->n_layers - a->n_dense) * a->ctx * a->experts_used;
        if (base_routing(b, c, &routing, &e)) {
            fuzz_must_say(&e);
            continue;
        }
        for (size_t i = 0; routing && i < n; i++)
            must(routing[i] >= 0 && (size_t)routing[i] < a->n_experts);
        free(routing);
    }
    if (a->vocab > MOST)
        return;
    float *row = malloc(a->vocab * sizeof *row);
    must(row != NULL);
    for (size_t i = 0; i < a->vocab; i++)
        row[i] = (float)(i % 7) - 3;
    for (size_t i = 0; i < a->chunks * a->scored && i < 3; i++)
        must_score(b, i, row);
    free(row);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = {0};
    const char *path = sealed(data, size);
    int is_one = base_probe(path);
    struct base_file *b = base_open(path, &e);
    if (!b) {
        fuzz_must_say(&e);
        return 0;
    }
    must(is_one);
    must_hold(b);
    base_close(b);
    return 0;
}
