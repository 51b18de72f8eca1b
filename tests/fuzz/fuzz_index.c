/* SPDX-License-Identifier: MIT
 * Fuzz target: formats/checkpoint_read.c. The input is a model.safetensors.index.json; beside it lie two shards with the
 * tensors a, b (in "s") and c, d.weight_scale_inv (in "t"), and above them a file that no index may reach. */
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *folder;
    struct error e = {0};
    if (!folder) {
        folder = fuzz_subfolder("model");
        shard("model/s", "{" ENTRY("a", 0, 4) "," ENTRY("b", 4, 8) "}");
        shard("model/t", "{" ENTRY("c", 0, 4) "," ENTRY("d.weight_scale_inv", 4, 8) "}");
        shard("s", "{" ENTRY("a", 0, 4) "," ENTRY("b", 4, 8) "}");
    }
    fuzz_file("model/model.safetensors.index.json", data, size);
    struct source *s = source_open(folder, &e);
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
