/* SPDX-License-Identifier: MIT
 * Fuzz target: formats/manifest.h. The input is a manifest without its last line, which is made
 * here; without it nothing loads. What loads lies in its files, and saved and loaded again it is the same. */
#include <string.h>

#include "base/io.h"
#include "formats/manifest.h"
#include "tests/fuzz/fuzz.h"
#include "tests/seal.h"

static int same(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

static void files_must_equal(const struct manifest_file *a, const struct manifest_file *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        must(io_name_is_plain(a[i].name) && a[i].header_bytes <= a[i].bytes);
        must(same(a[i].name, b[i].name) && a[i].bytes == b[i].bytes && a[i].header_bytes == b[i].header_bytes &&
             same(a[i].header_hash, b[i].header_hash));
    }
}

static void tensors_must_equal(const struct manifest_tensor *t, const struct manifest_tensor *u, size_t n,
                               const struct manifest_file *files, size_t n_files)
{
    for (; n--; t++, u++) {
        must(t->name && t->type && t->file < n_files && t->n_dims <= TENSOR_MAX_DIMS && strlen(t->hash) == HASH_TEXT - 1);
        must(t->offset <= files[t->file].bytes && t->bytes <= files[t->file].bytes - t->offset);
        must(same(t->name, u->name) && same(t->type, u->type) && same(t->hash, u->hash) && t->file == u->file &&
             t->offset == u->offset && t->bytes == u->bytes && t->n_dims == u->n_dims &&
             !memcmp(t->dims, u->dims, sizeof t->dims));
    }
}

static void must_equal(const struct manifest *a, const struct manifest *b)
{
    must(a->tool && same(a->tool, b->tool) && same(a->recipe, b->recipe) && same(a->target, b->target));
    must(same(a->plan_hash, b->plan_hash));
    must(same(a->source, b->source) && same(a->output, b->output));
    must(same(a->source_folder, b->source_folder) && same(a->output_folder, b->output_folder));
    must(a->part == b->part && a->parts == b->parts && (a->parts == 1 || a->all_files == b->all_files));
    must(a->part && a->part <= a->parts);
    must(a->n_files == b->n_files && a->n_tensors == b->n_tensors);
    must(a->n_source_files == b->n_source_files && a->n_source_tensors == b->n_source_tensors);
    files_must_equal(a->files, b->files, a->n_files);
    files_must_equal(a->source_files, b->source_files, a->n_source_files);
    tensors_must_equal(a->tensors, b->tensors, a->n_tensors, a->files, a->n_files);
    tensors_must_equal(a->source_tensors, b->source_tensors, a->n_source_tensors, a->source_files, a->n_source_files);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = {0};
    struct manifest *m = manifest_load(fuzz_file("raw.manifest.json", data, size), &e), *again;
    must(!m);
    fuzz_must_say(&e);
    e = (struct error){0};
    char *sealed = manifest_sealed(data, &size);
    m = manifest_load(fuzz_file("x.manifest.json", sealed, size), &e);
    free(sealed);
    if (!m) {
        fuzz_must_say(&e);
        return 0;
    }
    must(!manifest_save(m, fuzz_path("again.json"), &e));
    must(again = manifest_load(fuzz_path("again.json"), &e));
    must_equal(m, again);
    manifest_free(again);
    manifest_free(m);
    return 0;
}
