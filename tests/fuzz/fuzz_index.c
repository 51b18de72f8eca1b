/* SPDX-License-Identifier: MIT
 * Fuzz target: formats/checkpoint_read.c. The input is a model.safetensors.index.json; beside it lie two shards with the
 * tensors a, b (in "s") and c, d.weight_scale_inv (in "t"), and above them a file that no index may reach. In a second folder a
 * stand-in takes the place of "t", as convert --consume leaves it (SOURCE_CONSUMED). */
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#define ENTRY(name, begin, end) "\"" name "\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[" #begin "," #end "]}"

static void shard(const char *name, const char *header)
{
    char bytes[512] = {0};
    size_t n = strlen(header);
    bytes[0] = (char)n; /* below 256 */
    memcpy(bytes + 8, header, n);
    fuzz_file(name, bytes, 8 + n + 8);
}

/* With a stand-in the same opens as with the shard; only the data are gone. */
static void try_consumed(const char *folder, const struct source *whole, const struct error *why)
{
    struct error e = {0};
    uint8_t bytes[4];
    struct source *s = source_open(folder, &e);
    must(!s == !whole);
    if (!s) {
        fuzz_must_say(&e);
        must(e.code == why->code && !strcmp(e.text, why->text));
        return;
    }
    must(s->n_files == whole->n_files && s->n_tensors == whole->n_tensors);
    for (size_t i = 0; i < s->n_tensors; i++) {
        const struct tensor *t = &s->tensors[i], *w = &whole->tensors[i];
        const char *path = s->files[t->file].path;
        int gone = !strcmp(path + strlen(path) - 2, "/t");
        must(!strcmp(t->name, w->name) && t->bytes == w->bytes && t->offset == w->offset && t->file == w->file);
        must(!source_read(s, t, 0, bytes, sizeof bytes, &e) == !gone);
        if (gone)
            fuzz_must_say(&e);
    }
    must(s->n_consumed <= 1 && (s->n_consumed || !s->note || !strstr(s->note, "consumed")));
    source_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *folder, *half;
    struct error e = {0};
    if (!folder) {
        folder = fuzz_subfolder("model");
        shard("model/s", "{" ENTRY("a", 0, 4) "," ENTRY("b", 4, 8) "}");
        shard("model/t", "{" ENTRY("c", 0, 4) "," ENTRY("d.weight_scale_inv", 4, 8) "}");
        half = fuzz_subfolder("half");
        shard("half/s", "{" ENTRY("a", 0, 4) "," ENTRY("b", 4, 8) "}");
        shard("half/t" SOURCE_CONSUMED, "{" ENTRY("c", 0, 4) "," ENTRY("d.weight_scale_inv", 4, 8) "}");
        shard("s", "{" ENTRY("a", 0, 4) "," ENTRY("b", 4, 8) "}");
    }
    fuzz_file("model/model.safetensors.index.json", data, size);
    fuzz_file("half/model.safetensors.index.json", data, size);
    struct source *s = source_open(folder, &e);
    try_consumed(half, s, &e);
    if (!s) {
        fuzz_must_say(&e);
        return 0;
    }
    fuzz_must_hold(s);
    must(s->is_folder && s->n_files <= 2 && s->n_tensors == 2 * s->n_files);
    for (size_t i = 0; i < s->n_files; i++)
        must(!strncmp(s->files[i].path, folder, strlen(folder)) && s->files[i].path[strlen(folder)] == '/' &&
             strspn(s->files[i].path + strlen(folder) + 1, "st") == 1);
    source_close(s);
    return 0;
}
