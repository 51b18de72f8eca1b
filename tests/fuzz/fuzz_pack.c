/* SPDX-License-Identifier: MIT
 * Fuzz target: formats/pack_read.c, and of what opens the model. The input is the file's size in blocks, two bytes, and a manifest without
 * its last line; the line, the tar header and the rest of the file are made here. The bytes as they are must be no pack. */
#include <stdlib.h>
#include <string.h>

#include "formats/manifest.h"
#include "formats/pack.h"
#include "model/model.h"
#include "tests/fuzz/fuzz.h"

/* Every member lies behind the one before it, and every side file can be asked for. */
static void members_must_hold(const struct source *s)
{
    const struct pack *k = s->pack;
    for (size_t i = 0; i < k->n_members; i++) {
        const struct pack_member *m = &k->members[i];
        must(m->file < s->n_files && m->at + PACK_BLOCK <= m->offset && m->offset % m->align == 0);
        must(m->offset <= s->files[m->file].size && m->size <= s->files[m->file].size - m->offset);
        must(!i || m->file != m[-1].file || m[-1].offset + m[-1].size <= m->at);
        for (size_t x = m->first; x < m->first + m->n; x++)
            must(k->extents[x].offset >= m->offset && k->extents[x].offset + k->extents[x].size <= m->offset + m->size);
    }
    for (size_t i = 0; i < k->n_sides; i++) {
        struct error e = {0};
        char *text = NULL;
        size_t n;
        must(pack_side_name_is_valid(k->sides[i].name));
        int found = source_side_file(s, k->sides[i].name, 1 << 20, &text, &n, &e);
        if (found > 0)
            free(text);
        else
            fuzz_must_say(&e);
    }
}

static void try(const char *path)
{
    struct error e = {0};
    struct source *s = source_open(path, &e);
    if (!s) {
        fuzz_must_say(&e);
        return;
    }
    fuzz_must_hold(s);
    must(s->pack);
    members_must_hold(s);
    struct model *m = model_open(s, &e);
    if (!m)
        fuzz_must_say(&e);
    model_close(m);
    source_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer text = {0}, file = {0};
    struct error e = {0};
    if (size < 2 || size > 1 << 16)
        return 0;
    const size_t bytes = ((size_t)data[0] | (size_t)data[1] << 8) % 1024 * PACK_BLOCK;
    buffer_add(&text, data + 2, size - 2);
    must(!manifest_seal(&text));
    const uint64_t reserved = pack_round(text.size + 1, PACK_BLOCK);
    must(!pack_headers(&file, PACK_MANIFEST, 0, reserved, PACK_BLOCK, &e));
    buffer_add(&file, text.data, text.size);
    while (file.size < PACK_BLOCK + reserved - 1)
        buffer_text(&file, " ");
    buffer_text(&file, "\n");
    while (file.size < bytes)
        buffer_add(&file, "", 1);
    try(fuzz_file("x.tar", file.data, bytes && bytes < file.size ? bytes : file.size));
    buffer_clear(&text);
    buffer_clear(&file);
    return 0;
}
