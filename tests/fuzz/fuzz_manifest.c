/* SPDX-License-Identifier: MIT
 * Fuzz target: formats/manifest.h. What loads lies in its files, and saved and loaded again it is the same. */
#include <string.h>

#include "base/io.h"
#include "formats/manifest.h"
#include "tests/fuzz/fuzz.h"

static int same(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

static void must_hold(const struct manifest *m)
{
    must(m->tool);
    for (size_t i = 0; i < m->n_files; i++)
        must(io_name_is_plain(m->files[i].name) && m->files[i].header_bytes <= m->files[i].bytes);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct manifest_tensor *t = &m->tensors[i];
        must(t->name && t->type && t->file < m->n_files && t->n_dims <= TENSOR_MAX_DIMS);
        must(t->offset <= m->files[t->file].bytes && t->bytes <= m->files[t->file].bytes - t->offset);
        must(strlen(t->hash) == HASH_TEXT - 1);
    }
}

static void must_equal(const struct manifest *a, const struct manifest *b)
{
    must(same(a->tool, b->tool) && same(a->recipe, b->recipe) && same(a->source, b->source));
    must(a->n_files == b->n_files && a->n_tensors == b->n_tensors);
    for (size_t i = 0; i < a->n_files; i++) {
        const struct manifest_file *f = &a->files[i], *g = &b->files[i];
        must(same(f->name, g->name) && f->bytes == g->bytes && f->header_bytes == g->header_bytes &&
             same(f->header_hash, g->header_hash));
    }
    for (size_t i = 0; i < a->n_tensors; i++) {
        const struct manifest_tensor *t = &a->tensors[i], *u = &b->tensors[i];
        must(same(t->name, u->name) && same(t->type, u->type) && same(t->hash, u->hash) && t->file == u->file &&
             t->offset == u->offset && t->bytes == u->bytes && t->n_dims == u->n_dims &&
             !memcmp(t->dims, u->dims, sizeof t->dims));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = {0};
    struct manifest *m = manifest_load(fuzz_file("x.manifest.json", data, size), &e), *again;
    if (!m) {
        fuzz_must_say(&e);
        return 0;
    }
    must_hold(m);
    must(!manifest_save(m, fuzz_path("again.json"), &e));
    must(again = manifest_load(fuzz_path("again.json"), &e));
    must_equal(m, again);
    manifest_free(again);
    manifest_free(m);
    return 0;
}
