/* SPDX-License-Identifier: MIT
 * Packs: tar headers of all alignments and sizes, types against the codecs', and manifests that say what is not so. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/manifest.h"
#include "formats/pack.h"
#include "quant/types.h"
#include "tests/samples.h"
#include "tests/tap.h"

enum { RESERVED = 2048 };

/* ---- headers */

struct seen {
    char name[PACK_NAME];
    uint64_t size;
    int n;
};

static int see(void *context, const char *name, uint64_t size, struct error *e)
{
    struct seen *s = context;
    (void)e;
    snprintf(s->name, sizeof s->name, "%s", name);
    s->size = size;
    s->n++;
    return 0;
}

/* A tar of one member at `at` (zero blocks would end it before), its data a hole. */
static int lists(const char *name, uint64_t at, uint64_t size, uint64_t align)
{
    struct buffer b = {0};
    struct io_file f = {.handle = NULL};
    struct error e = {0};
    struct seen s = {.n = 0};
    const char *path = tmp_path("one.tar");
    const uint64_t data = pack_place(at, size, align);
    int good = !pack_headers(&b, name, at, size, align, &e) && b.size == data - at && data % align == 0 && data >= at + PACK_BLOCK;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
    good = good && fd >= 0 && pwrite(fd, b.data, b.size, 0) == (ssize_t)b.size &&
           !ftruncate(fd, (off_t)(pack_after(b.size, size) + PACK_END)) && !io_open(&f, path, &e) && !pack_walk(&f, see, &s, &e) && s.n == 1 &&
           !strcmp(s.name, name) && s.size == size;
    if (!good)
        note("%s at %llu: %s", name, (unsigned long long)at, e.text);
    io_close(&f);
    close(fd);
    buffer_clear(&b);
    return good;
}

static void test_headers(void)
{
    char name[PACK_NAME], text[PACK_NAME];
    int good = 1;
    for (uint64_t align = PACK_BLOCK; align <= PACK_ALIGN_MOST; align *= 2) {
        good = 1;
        for (uint64_t at = 0; at <= align; at += align / 8 > PACK_BLOCK ? align / 8 - align / 8 % PACK_BLOCK : PACK_BLOCK)
            good &= lists("tensors/x", at, 1000, align);
        good &= lists("tensors/x", align - PACK_BLOCK, 1000, align) && lists("tensors/x", align - 2 * PACK_BLOCK, 1000, align);
        ok(good, "members of alignment %llu are listed, wherever they begin", (unsigned long long)align);
    }
    ok(pack_place(PACK_BLOCK * 7, 10, 4096) == 4096, "no record where the header ends at a multiple");
    ok(pack_place(PACK_BLOCK * 6, 10, 4096) == 8192, "a record needs two blocks at least");
    ok(lists("tensors/x", 0, (UINT64_C(1) << 33) - 1, 4096), "8 GiB less a byte are listed");
    ok(lists("tensors/x", 3584, UINT64_C(1) << 33, 4096), "8 GiB are listed, by a pax record that alignment does not need");
    ok(lists("tensors/x", 0, UINT64_C(1) << 40, 4096), "1 TiB is listed");
    snprintf(name, sizeof name, "tensors/%0100d", 7);
    ok(lists(name, 0, 10, 4096), "a name of 108 bytes is listed");
    struct buffer b = {0};
    struct error e = {0};
    memset(text, 'x', sizeof text);
    text[120] = '\0';
    ok(pack_headers(&b, text, 0, 1, 512, &e) && e.code == ERR_UNSUPPORTED, "one of 120 bytes without a slash is refused");
    buffer_clear(&b);
}

/* ---- types */

static void test_types(void)
{
    size_t n = 0;
    for (const struct quant_type *t = quant_types; t->name; t++) {
        const struct storage *s = pack_storage(t->name);
        if (!t->ref.encode || (t->gguf_id < 0 && !t->group))
            continue;
        n++;
        if (!s || s->block_len != t->block_len || s->block_bytes != t->block_bytes || s->row_header)
            ok(0, "%s has in packs the blocks of its codec", t->name);
    }
    ok(n > 30, "all %zu types that packs are written in have the blocks of their codecs", n);
}

/* ---- hostile manifests */

/* A pack of a side file, a tensor and a bundle: places as pack_place gives them. */
static char *valid_text(void)
{
    static const char sums[] = "\"xxh3\":\"00000000000000000000000000000000\",\"crc32\":\"00000000\"";
    struct buffer b = {0};
    uint64_t at = pack_after(PACK_BLOCK, RESERVED), side = pack_place(at, 5, PACK_BLOCK);
    uint64_t single = pack_place(pack_after(side, 5), 24, PACK_ALIGN), bundle = pack_place(pack_after(single, 24), 82, PACK_ALIGN);
    buffer_printf(&b, "{\"format\":\"pare-pack\",\"version\":1,\"tool\":\"t\",\"source\":\"s\",\"recipe\":\"r\",\"model\":{\"layers\":4,\"experts\":2},\"align\":4096,"
                      "\"layout\":\"bundle\",\"split\":{\"index\":1,\"count\":1},\"files\":[{\"name\":\"config.json\",\"offset\":%llu,\"size\":5,%s}],",
                  (unsigned long long)side, sums);
    buffer_printf(&b, "\"tensors\":[{\"name\":\"a\",\"type\":\"F32\",\"shape\":[2,3],\"member\":\"tensors/a\",\"offset\":%llu,\"size\":24,%s}],",
                  (unsigned long long)single, sums);
    buffer_printf(&b, "\"experts\":[{\"layer\":3,\"expert\":1,\"member\":\"experts/003/001\",\"offset\":%llu,\"size\":82,\"tensors\":["
                      "{\"name\":\"g\",\"type\":\"Q4_0\",\"shape\":[1,32],\"offset\":%llu,\"size\":18,%s},"
                      "{\"name\":\"u\",\"type\":\"Q4_0\",\"shape\":[1,32],\"offset\":%llu,\"size\":18,%s}]}]",
                  (unsigned long long)bundle, (unsigned long long)bundle, sums, (unsigned long long)bundle + 64, sums);
    return b.data;
}

/* The file of a manifest in which the first `from` is replaced by `to`; `more` bytes longer than it should be. */
static const char *write_pack(const char *name, const char *from, const char *to, long more)
{
    struct buffer text = {0}, file = {0};
    struct error e = {0};
    char *valid = valid_text(), *found = from ? strstr(valid, from) : valid + strlen(valid);
    if (!found)
        bail("no %s", from);
    buffer_printf(&text, "%.*s%s%s", (int)(found - valid), valid, to ? to : "", found + (from ? strlen(from) : 0));
    if (manifest_seal(&text) || pack_headers(&file, PACK_MANIFEST, 0, RESERVED, PACK_BLOCK, &e))
        bail("no pack");
    buffer_add(&file, text.data, text.size);
    while (file.size < PACK_BLOCK + RESERVED - 1)
        buffer_text(&file, " ");
    buffer_text(&file, "\n");
    uint64_t side = pack_after(pack_place(pack_after(PACK_BLOCK, RESERVED), 5, PACK_BLOCK), 5);
    uint64_t end = pack_after(pack_place(pack_after(pack_place(side, 24, PACK_ALIGN), 24), 82, PACK_ALIGN), 82) + PACK_END;
    while (file.size < (size_t)((long)end + more))
        buffer_add(&file, "", 1);
    const char *path = tmp_path(name);
    write_file(path, file.data, (size_t)((long)end + more));
    buffer_clear(&text);
    buffer_clear(&file);
    free(valid);
    return path;
}

static void test_manifests(void)
{
    static const struct {
        const char *from, *to, *says, *title;
        enum error_code code;
    } bad[] = {
        {"pare-pack", "pare-pact", "no manifest of an expert pack", "another format", ERR_FORMAT},
        {"\"version\":1", "\"version\":2", "version 2", "another version", ERR_UNSUPPORTED},
        {"\"align\":4096", "\"align\":4095", "align", "an alignment that is no power of two", ERR_FORMAT},
        {"\"align\":4096", "\"align\":0", "align", "no alignment", ERR_FORMAT},
        {"\"align\":4096", "\"align\":2097152", "align", "too large an alignment", ERR_FORMAT},
        {"\"layout\":\"bundle\"", "\"layout\":\"heap\"", "layout", "an unknown layout", ERR_FORMAT},
        {"\"index\":1,\"count\":1", "\"index\":2,\"count\":1", "split", "file 2 of 1", ERR_FORMAT},
        {"\"index\":1,\"count\":1", "\"index\":1,\"count\":2", "-NNNNN-of-NNNNN.tar", "file 1 of 2 by another name", ERR_FORMAT},
        {"\"split\"", "\"subset\":\"some\",\"split\"", "subset", "an unknown subset", ERR_FORMAT},
        {"\"config.json\"", "\"../config.json\"", "no plain name", "a side file outside", ERR_FORMAT},
        {"\"config.json\"", "\"tensors/x\"", "no plain name", "a side file among tensors", ERR_FORMAT},
        {"\"config.json\"", "\"manifest.json\"", "no plain name", "a side file that is the manifest", ERR_FORMAT},
        {"\"name\":\"a\"", "\"name\":\"../a\"", "no plain name", "a tensor outside", ERR_FORMAT},
        {"\"name\":\"a\"", "\"name\":\"b\"", "not named after it", "a member named otherwise", ERR_FORMAT},
        {"\"name\":\"a\",\"type\":\"F32\",\"shape\":[2,3],\"member\":\"tensors/a\"", "\"name\":\"g\",\"type\":\"F32\",\"shape\":[2,3],\"member\":\"tensors/g\"",
         "stands twice", "the same tensor twice", ERR_FORMAT},
        {"\"F32\"", "\"F33\"", "unknown type", "an unknown type", ERR_UNSUPPORTED},
        {"[2,3]", "[2,4]", "need 32 bytes", "a shape of other bytes", ERR_FORMAT},
        {"[2,3]", "[4294967296,4294967296,4294967296]", "too large", "a shape that overflows", ERR_FORMAT},
        {"[2,3]", "[2,-3]", "whole numbers", "a negative dimension", ERR_FORMAT},
        {"[2,3]", "[1,1,1,1,1,1,1,2,3]", "too long", "nine dimensions", ERR_FORMAT},
        {"[1,32]", "[1,31]", "no multiple", "a row that is no whole blocks", ERR_FORMAT},
        {"\"size\":24", "\"size\":9007199254740991", "9007199254740991", "a size beyond the file", ERR_FORMAT},
        {"\"size\":82", "\"size\":9007199254740991", "ends behind the end", "a bundle beyond the file", ERR_FORMAT},
        {"\"size\":82", "\"size\":83", "size of its tensors", "a bundle longer than its tensors", ERR_FORMAT},
        {"\"size\":82", "\"size\":81", "in its bundle", "a bundle shorter than its tensors", ERR_FORMAT},
        {"\"member\":\"experts/003/001\"", "\"member\":\"experts/003/002\"", "another name", "a bundle of another expert's name", ERR_FORMAT},
        {"\"type\":\"Q4_0\"", "\"coded\":{\"chunk\":1},\"type\":\"Q4_0\"", "keys that are not known", "coded data with other keys", ERR_UNSUPPORTED},
        {"\"type\":\"Q4_0\"", "\"coded\":{\"chunk\":0,\"count\":1,\"size\":18},\"type\":\"Q4_0\"", "lacks chunk", "chunks of nothing", ERR_FORMAT},
        {"\"type\":\"Q4_0\"", "\"coded\":{\"chunk\":18,\"count\":2,\"size\":18},\"type\":\"Q4_0\"", "do not fit", "more chunks than bytes", ERR_FORMAT},
        {"\"type\":\"Q4_0\"", "\"coded\":{\"chunk\":18,\"count\":1,\"size\":18},\"type\":\"Q4_0\"", "coded chunk", "a table that does not add up", ERR_FORMAT},
        {"\"type\":\"Q4_0\"", "\"twist\":1,\"type\":\"Q4_0\"", "keys that are not known", "an unknown key", ERR_UNSUPPORTED},
        {"\"crc32\":\"00000000\"", "\"crc32\":\"0000000g\"", "crc32", "a CRC that is none", ERR_FORMAT},
        {"\"xxh3\":\"0", "\"xxh3\":\"", "xxh3", "a hash of 31 digits", ERR_FORMAT},
        {"\"offset\":", "\"offset\":1", "does not lie where", "a side file elsewhere", ERR_FORMAT},
        {"\"tensors\":[{\"name\":\"a\"", "\"tensor\":[{\"name\":\"a\"", "'tensors' is missing", "no list of tensors", ERR_FORMAT},
    };
    const char *path = write_pack("valid.tar", NULL, NULL, 0);
    opens(path, 0, "a F32 [2, 3] 4096+24, g Q4_0 [1, 32] 8192+18, u Q4_0 [1, 32] 8256+18", "a pack made by hand opens");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuses(write_pack("bad.tar", bad[i].from, bad[i].to, 0), bad[i].code, bad[i].says, bad[i].title);
    refuses(write_pack("long.tar", NULL, NULL, 512), ERR_FORMAT, "end already", "a block too many");
    refuses(write_pack("short.tar", NULL, NULL, -512), ERR_FORMAT, "end only", "a block too few");
    refuses(write_pack("cut.tar", NULL, NULL, -1500), ERR_FORMAT, "ends behind the end", "a file that ends in a bundle");
    refuses(write_pack("torn.tar", NULL, NULL, -8000), ERR_FORMAT, "manifest.json of 2048 bytes", "a file that ends in its manifest");
}

int main(void)
{
    test_headers();
    test_types();
    test_manifests();
    return done();
}
