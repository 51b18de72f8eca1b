/* SPDX-License-Identifier: MIT
 * GGUF: valid files, split files, key-value pairs, the geometry of all types, and headers that gguf_layout writes, read
 * back. Hostile files are in t-gguf-hostile.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "quant/types.h"
#include "tests/samples.h"
#include "tests/tap.h"

#define HEAD(n_tensors, n_kv) "'GGUF' u32=3 u64=" n_tensors " u64=" n_kv " "
#define INFO(name, ne0, type, offset) "\"" name "\" u32=1 u64=" ne0 " u32=" type " u64=" offset " "
#define SPLIT(no, count) "\"split.no\" u32=2 u16=" no " \"split.count\" u32=2 u16=" count " "
#define TOTAL(n) "\"split.tensors.count\" u32=5 u32=" n " "
#define X63 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static const struct {
    const char *title, *recipe;
    size_t data; /* bytes from the first tensor on */
    const char *list;
} valid[] = {
    {"no pairs, no tensors", HEAD("0", "0"), 0, ""},
    {"one pair, no tensors, no padding", HEAD("0", "1") "\"a\" u32=0 u8=7", 0, ""},
    {"version 2", "'GGUF' u32=2 u64=1 u64=0 " INFO("t", "8", "0", "0") "pad=32 0*32", 32, "t F32 [8] 0+32"},
    {"one tensor", HEAD("1", "0") INFO("t", "8", "0", "0") "pad=32 0*32", 32, "t F32 [8] 0+32"},
    {"the last padding is missing", HEAD("1", "0") INFO("t", "5", "0", "0") "pad=32 0*20", 20, "t F32 [5] 0+20"},
    {"the last padding is there", HEAD("1", "0") INFO("t", "5", "0", "0") "pad=32 0*32", 32, "t F32 [5] 0+20"},
    {"a name of 63 bytes", HEAD("1", "0") "x*63 u32=1 u64=1 u32=24 u64=0 pad=32 0*32", 32, X63 " I8 [1] 0+1"},
    {"ne = 256, 3, 2, 1 is the shape 1, 2, 3, 256",
     HEAD("1", "0") "\"t\" u32=4 u64=256 u64=3 u64=2 u64=1 u32=12 u64=0 pad=32 0*864", 864,
     "t Q4_K [1, 2, 3, 256] 0+864"},
    {"listed by name, placed in the order of the infos",
     HEAD("3", "0") INFO("c", "32", "8", "0") INFO("a", "1", "30", "64") INFO("b", "32", "2", "96") "pad=32 0*128", 128,
     "a BF16 [1] 64+2, b Q4_0 [32] 96+18, c Q8_0 [32] 0+34"},
    {"alignment 64",
     HEAD("2", "1") "\"general.alignment\" u32=4 u32=64 " INFO("t", "1", "0", "0") INFO("u", "1", "0", "64")
     "pad=64 0*128", 128, "t F32 [1] 0+4, u F32 [1] 64+4"},
    {"alignment 1",
     HEAD("2", "1") "\"general.alignment\" u32=4 u32=1 " INFO("t", "1", "0", "0") INFO("u", "1", "24", "4")
     "0*5", 5, "t F32 [1] 0+4, u I8 [1] 4+1"},
    {"IQ4_KS has 4 bytes before each row", HEAD("1", "0") "\"t\" u32=2 u64=256 u64=3 u32=144 u64=0 pad=32 0*448", 448,
     "t IQ4_KS [3, 256] 0+420"},
    {"an array of no strings", HEAD("0", "1") "\"a\" u32=9 u32=8 u64=0", 0, ""},
    {"a part of 1", HEAD("1", "2") SPLIT("0", "1") INFO("t", "8", "0", "0") "pad=32 0*32", 32, "t F32 [8] 0+32"},
};

static void valid_files(void)
{
    char name[64];
    for (size_t i = 0; i < sizeof valid / sizeof *valid; i++) {
        struct stat st;
        snprintf(name, sizeof name, "valid-%zu.gguf", i);
        const char *path = write_recipe(name, valid[i].recipe);
        opens(path, stat(path, &st) ? 0 : (uint64_t)st.st_size - valid[i].data, valid[i].list, valid[i].title);
    }
    opens(write_recipe("by-content.bin", valid[3].recipe), 96 - 32, "t F32 [8] 0+32", "a file without the suffix");
}

/* Writes two parts, named base-00001-of-00002.gguf and so on, and returns the path of part `opened`. */
static const char *write_split(const char *base, const char *one, const char *two, int opened)
{
    char name[128];
    const char *path[2] = {0};
    snprintf(name, sizeof name, "%s-00001-of-00002.gguf", base);
    path[0] = one ? write_recipe(name, one) : tmp_path(name);
    snprintf(name, sizeof name, "%s-00002-of-00002.gguf", base);
    path[1] = two ? write_recipe(name, two) : tmp_path(name);
    return path[opened - 1];
}

#define PART1 \
    HEAD("1", "4") "\"general.name\" u32=8 \"n\" " SPLIT("0", "2") TOTAL("2") INFO("b", "8", "0", "0") "pad=32 0*32"
#define PART2 HEAD("1", "3") SPLIT("1", "2") TOTAL("2") INFO("a", "4", "0", "0") "pad=32 0*32"
#define BARE(n_tensors, no, count, total, infos) HEAD(n_tensors, "3") SPLIT(no, count) TOTAL(total) infos

static void split_files(void)
{
    for (int part = 1; part <= 2; part++) {
        struct error e = {0};
        const char *s = NULL;
        size_t n = 0;
        struct source *src = source_open(write_split("good", PART1, PART2, part), &e);
        ok(src && src->n_tensors == 2 && src->n_files == 2 && src->tensor_bytes == 48,
           "a split of 2, opened by part %d: 2 files, 2 tensors, 48 bytes", part);
        ok(src && source_find(src, "a")->file == 1 && source_find(src, "b")->file == 0,
           "opened by part %d: tensor b is in the first file, a in the second", part);
        ok(src && !gguf_get_string(gguf_find(src->meta, "general.name"), &s, &n) && n == 1 && *s == 'n',
           "opened by part %d: the pairs are those of the first part", part);
        source_close(src);
    }
    opens(write_split("empty", BARE("0", "0", "2", "1", ""),
                      BARE("1", "1", "2", "1", INFO("a", "4", "0", "0") "pad=32 0*16"), 2),
          160, "a F32 [4] 0+16", "a first part without tensors");

    refuses(write_split("gone", PART1, NULL, 1), ERR_FORMAT, "part 2 of 2 is missing", "the second part is missing");
    refuses(write_split("gone1", NULL, PART2, 2), ERR_FORMAT, "part 1 of 2 is missing", "the first part is missing");
    refuses(write_split("twice", PART1, PART1, 1), ERR_FORMAT, "not part 2 of 2", "the first part under both names");
    refuses(write_split("swap", PART2, PART1, 1), ERR_FORMAT, "not part 1 of 2", "the parts with swapped names");
    refuses(write_split("count", PART1, BARE("1", "1", "3", "2", INFO("a", "4", "0", "0") "pad=32 0*32"), 1),
            ERR_FORMAT, "not part 2 of 2", "a second part of 3");
    refuses(write_split("nokeys", PART1, HEAD("1", "0") INFO("a", "4", "0", "0") "pad=32 0*32", 1), ERR_FORMAT,
            "not part 2 of 2", "a second part without split keys");
    refuses(write_split("total", BARE("0", "0", "2", "3", ""), PART2, 1), ERR_FORMAT, "split.tensors.count says 3",
            "3 tensors said, 1 there");
    refuses(write_split("same", PART1, BARE("1", "1", "2", "2", INFO("b", "4", "0", "0") "pad=32 0*32"), 1), ERR_FORMAT,
            "stands twice", "one tensor in both parts");
    refuses(write_split("short", PART1, BARE("1", "1", "2", "2", INFO("a", "4", "0", "0") "pad=32 0*15"), 1),
            ERR_FORMAT, "truncated", "a second part one byte short");
    refuses(write_split("many", BARE("0", "0", "65535", "0", ""), NULL, 1), ERR_FORMAT, "65535 parts", "65,535 parts");
    refuses(write_recipe("renamed.gguf", PART1), ERR_FORMAT, "does not end in",
            "a part without the suffix -NNNNN-of-NNNNN");
    refuses(write_recipe("m-0001-of-00002.gguf", PART1), ERR_FORMAT, "does not end in", "a suffix of 4 digits");
}

static void pairs(void)
{
    struct gguf_meta m = {0};
    uint64_t u = 99, count = 0;
    double d = 0;
    int b = 0;
    const char *s = NULL;
    size_t n = 0;
    enum gguf_type element = GGUF_U8;
    const uint8_t *data = NULL;
    static const uint8_t minus_one[8] = {255, 255, 255, 255, 255, 255, 255, 255};

    gguf_add_u16(&m, "u16", 65535);
    gguf_add_u32(&m, "u32", 4000000000u);
    gguf_add_i32(&m, "i32", -5);
    gguf_add_f32(&m, "f32", 1e-6f);
    gguf_add_bool(&m, "bool", 7);
    gguf_add_string(&m, "string", "a\0b", 3);
    gguf_add_array(&m, "array", GGUF_I32, 2, "\1\0\0\0\2\0\0", 8);
    gguf_add(&m, "u64", GGUF_U64, minus_one, 8);
    gguf_add(&m, "i64", GGUF_I64, minus_one, 8);
    ok(!m.failed && m.n == 9, "9 pairs are added");
    ok(!gguf_get_u64(gguf_find(&m, "u16"), &u) && u == 65535, "u16 65535 is read as an integer");
    ok(!gguf_get_u64(gguf_find(&m, "u32"), &u) && u == 4000000000u, "u32 4000000000 is read as an integer");
    ok(!gguf_get_u64(gguf_find(&m, "u64"), &u) && u == UINT64_MAX, "u64 2^64-1 is read as an integer");
    ok(gguf_get_u64(gguf_find(&m, "i32"), &u) && gguf_get_u64(gguf_find(&m, "i64"), &u),
       "negative integers do not fit a u64");
    ok(!gguf_get_f64(gguf_find(&m, "f32"), &d) && d == (double)1e-6f, "f32 1e-6 is read as a double");
    ok(!gguf_get_bool(gguf_find(&m, "bool"), &b) && b == 1, "bool 7 is stored as 1");
    ok(!gguf_get_string(gguf_find(&m, "string"), &s, &n) && n == 3 && !memcmp(s, "a\0b", 3), "a string keeps its NUL");
    ok(!gguf_get_array(gguf_find(&m, "array"), &element, &count, &data) && element == GGUF_I32 && count == 2 &&
           data[4] == 2,
       "an array of 2 i32 keeps type, count and bytes");
    ok(gguf_get_u64(gguf_find(&m, "f32"), &u) && gguf_get_f64(gguf_find(&m, "u32"), &d) &&
           gguf_get_bool(gguf_find(&m, "u16"), &b) && gguf_get_string(gguf_find(&m, "array"), &s, &n) &&
           gguf_get_u64(gguf_find(&m, "bool"), &u) && gguf_get_u64(gguf_find(&m, "string"), &u),
       "a pair of another kind is not converted");
    ok(gguf_get_u64(gguf_find(&m, "absent"), &u) && gguf_get_string(NULL, &s, &n) && !gguf_find(NULL, "u16"),
       "a missing pair is -1, for a NULL list too");
    gguf_add_string(&m, "u32", "now text", 8);
    ok(m.n == 9 && !strcmp(m.kvs[1].key, "u32") && m.kvs[1].type == GGUF_STRING, "a key added again keeps its place");
    free(m.kvs);
    arena_clear(&m.arena);
}

/* Header and tensors as gguf_layout places them, in a file; NULL on error. */
static const char *write_layout(const char *name, const struct gguf_meta *m, struct tensor *t, size_t n)
{
    struct buffer b = {0};
    struct error e = {0};
    uint64_t size;
    if (gguf_layout(m, t, n, &b, &size, &e)) {
        note("%s", e.text);
        buffer_clear(&b);
        return NULL;
    }
    while (b.size < size)
        buffer_add(&b, "", 1);
    const char *path = tmp_path(name);
    write_file(path, b.data, b.size);
    buffer_clear(&b);
    return path;
}

static void layout(uint32_t alignment)
{
    struct error e = {0};
    struct gguf_meta *m = calloc(1, sizeof *m);
    struct tensor t[] = {
        {.name = "token_embd.weight", .type = gguf_storage_by_name("Q4_K"), .n_dims = 2, .dims = {3, 256}},
        {.name = "a", .type = gguf_storage(0), .n_dims = 1, .dims = {5}},
        {.name = X63, .type = gguf_storage(8), .n_dims = 4, .dims = {2, 1, 3, 64}},
    };
    int same = 1;
    for (size_t i = 0; i < 3; i++)
        tensor_size(&t[i], &t[i].bytes, NULL);
    gguf_add_string(m, "general.architecture", "deepseek2", 9);
    gguf_add_u32(m, "deepseek2.block_count", 61);
    gguf_add_array(m, "tokenizer.ggml.tokens", GGUF_STRING, 2, "\1\0\0\0\0\0\0\0a\0\0\0\0\0\0\0", 17);
    if (alignment)
        gguf_add_u32(m, "general.alignment", alignment);
    struct source *s = source_open(write_layout("layout.gguf", m, t, 3), &e);
    ok(s != NULL, "alignment %u: what gguf_layout wrote opens", alignment);
    for (size_t i = 0; s && i < m->n; i++) {
        const struct gguf_kv *a = &m->kvs[i], *b = &s->meta->kvs[i];
        same &= s->meta->n == m->n && !strcmp(a->key, b->key) && a->type == b->type && a->size == b->size &&
                !memcmp(a->value, b->value, a->size);
    }
    ok(s && same, "alignment %u: the same %zu pairs in the same order, byte for byte", alignment, m->n);
    for (size_t i = 0; s && i < 3; i++) {
        const struct tensor *r = source_find(s, t[i].name);
        same &= r && r->type == t[i].type && r->n_dims == t[i].n_dims && r->offset == t[i].offset &&
                r->bytes == t[i].bytes && !memcmp(r->dims, t[i].dims, sizeof r->dims) &&
                r->offset % (alignment ? alignment : 32) == 0;
    }
    ok(s && same && s->n_tensors == 3, "alignment %u: the same 3 tensors at the same aligned offsets", alignment);
    if (!s)
        note("%s", e.text);
    source_close(s);
    gguf_meta_free(m);
}

static void layout_refuses(void)
{
    struct gguf_meta m = {0};
    const struct storage *f32 = gguf_storage(0);
    struct {
        struct tensor t;
        const char *title;
    } rows[] = {
        {{.name = X63 "x", .type = f32, .n_dims = 1, .dims = {1}, .bytes = 4}, "a name of 64 bytes"},
        {{.name = "", .type = f32, .n_dims = 1, .dims = {1}, .bytes = 4}, "an empty name"},
        {{.name = "t", .type = f32, .n_dims = 0, .bytes = 4}, "a scalar"},
        {{.name = "t", .type = f32, .n_dims = 5, .dims = {1, 1, 1, 1, 1}, .bytes = 4}, "5 dimensions"},
        {{.name = "t", .type = f32, .n_dims = 2, .dims = {4, 0}}, "a dimension of 0"},
        {{.name = "t", .type = safetensors_dtype("F8_E4M3"), .n_dims = 1, .dims = {1}, .bytes = 1}, "F8_E4M3"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buffer b = {0};
        struct error e = {0};
        uint64_t size;
        ok(gguf_layout(&m, &rows[i].t, 1, &b, &size, &e) && e.code == ERR_UNSUPPORTED &&
               !strcmp(e.tensor, rows[i].t.name),
           "%s cannot be written to GGUF: unsupported", rows[i].title);
        buffer_clear(&b);
    }
}

/* Typed from llama.cpp's ggml.h and ggml-common.h once more, for a second opinion on formats/gguf_types.c. */
static const struct {
    const char *name;
    uint32_t id, block, bytes;
} geometry[] = {
    {"F32", 0, 1, 4}, {"F16", 1, 1, 2}, {"Q4_0", 2, 32, 18}, {"Q4_1", 3, 32, 20}, {"Q5_0", 6, 32, 22},
    {"Q5_1", 7, 32, 24}, {"Q8_0", 8, 32, 34}, {"Q8_1", 9, 32, 36}, {"Q2_K", 10, 256, 84}, {"Q3_K", 11, 256, 110},
    {"Q4_K", 12, 256, 144}, {"Q5_K", 13, 256, 176}, {"Q6_K", 14, 256, 210}, {"Q8_K", 15, 256, 292},
    {"IQ2_XXS", 16, 256, 66}, {"IQ2_XS", 17, 256, 74}, {"IQ3_XXS", 18, 256, 98}, {"IQ1_S", 19, 256, 50},
    {"IQ4_NL", 20, 32, 18}, {"IQ3_S", 21, 256, 110}, {"IQ2_S", 22, 256, 82}, {"IQ4_XS", 23, 256, 136},
    {"I8", 24, 1, 1}, {"I16", 25, 1, 2}, {"I32", 26, 1, 4}, {"I64", 27, 1, 8}, {"F64", 28, 1, 8},
    {"IQ1_M", 29, 256, 56}, {"BF16", 30, 1, 2}, {"TQ1_0", 34, 256, 54}, {"TQ2_0", 35, 256, 66}, {"MXFP4", 39, 32, 17},
    {"NVFP4", 40, 64, 36}, {"Q1_0", 41, 128, 18}, {"Q2_0", 42, 64, 18},
};

static void types(void)
{
    size_t n = sizeof geometry / sizeof *geometry, wrong = 0, dead = 0;
    for (size_t i = 0; i < n; i++) {
        const struct storage *s = gguf_storage(geometry[i].id);
        wrong += !s || strcmp(s->name, geometry[i].name) || s->block_len != geometry[i].block ||
                 s->block_bytes != geometry[i].bytes || s != gguf_storage_by_name(geometry[i].name);
    }
    ok(!wrong, "%zu types of llama.cpp have its ids, names, block lengths and bytes", n);
    for (uint32_t id = 0; id < 1000; id++)
        dead += gguf_storage(id) != NULL;
    ok(dead == n + 17 && !gguf_storage(43) && !gguf_storage(UINT32_MAX),
       "17 more ids are ik_llama.cpp's; all others NULL");
    for (const struct quant_type *t = quant_types; t->name; t++) {
        if (t->gguf_id < 0 && !(t->flags & QT_FLOAT))
            continue; /* lies in tensors of other types */
        const struct storage *s = t->gguf_id < 0 ? safetensors_dtype(t->name) : gguf_storage((uint32_t)t->gguf_id);
        ok(s && !strcmp(s->name, t->name) && s->block_len == t->block_len && s->block_bytes == t->block_bytes &&
               s->gguf_id == t->gguf_id && s == (t->gguf_id < 0 ? s : gguf_storage_by_name(t->name)),
           "%s: the codec and the container agree on id %d, %u weights in %u bytes", t->name, t->gguf_id, t->block_len,
           t->block_bytes);
    }
}

int main(void)
{
    valid_files();
    split_files();
    pairs();
    layout(0);
    layout(32);
    layout(256);
    layout_refuses();
    types();
    return done();
}
