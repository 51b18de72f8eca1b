/* SPDX-License-Identifier: MIT
 * The safetensors reader: every rule of the format, and the files that broke other readers. Each hostile row differs
 * from a valid file in one thing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/safetensors.h"
#include "tests/samples.h"
#include "tests/tap.h"

#define ENTRY(name, dtype, shape, begin, end) \
    "'" name "':{'dtype':'" dtype "','shape':" shape ",'data_offsets':[" begin "," end "]}"
#define A ENTRY("a", "F32", "[2]", "0", "8")

static const struct {
    const char *title, *header;
    size_t data; /* bytes behind the header */
    const char *list;
} valid[] = {
    {"zero tensors", "{}", 0, ""},
    {"zero tensors, the writer's padding", "{}      ", 0, ""},
    {"one tensor", "{" A "}", 8, "a F32 [2] 0+8"},
    {"header padded with spaces", "{" A "}     ", 8, "a F32 [2] 0+8"},
    {"white space between tokens", " {%09%0a%0d" A " }", 8, "a F32 [2] 0+8"},
    {"a scalar has one element", "{" ENTRY("s", "F64", "[]", "0", "8") "}", 8, "s F64 [] 0+8"},
    {"metadata of strings", "{'__metadata__':{'format':'pt','x':''}," A "}", 8, "a F32 [2] 0+8"},
    {"keys in any order, the list by name",
     "{" ENTRY("c", "U8", "[3]", "12", "15") "," ENTRY("b", "I16", "[2]", "8", "12") "," A "}", 15,
     "a F32 [2] 0+8, b I16 [2] 8+4, c U8 [3] 12+3"},
    {"fields in any order", "{'a':{'data_offsets':[0,8],'shape':[2],'dtype':'F32'}}", 8, "a F32 [2] 0+8"},
    {"unknown fields are ignored", "{'a':{'x':[{}],'dtype':'F32','shape':[2],'data_offsets':[0,8]}}", 8,
     "a F32 [2] 0+8"},
    {"an empty tensor between two others",
     "{" A "," ENTRY("e", "F32", "[0,7]", "8", "8") "," ENTRY("z", "BOOL", "[1]", "8", "9") "}", 9,
     "a F32 [2] 0+8, e F32 [0, 7] 8+0, z BOOL [1] 8+1"},
    {"an empty tensor listed behind the one that begins at its place",
     "{" ENTRY("z", "BOOL", "[1]", "8", "9") "," ENTRY("e", "F32", "[0]", "8", "8") "," A "}", 9,
     "a F32 [2] 0+8, e F32 [0] 8+0, z BOOL [1] 8+1"},
    {"empty tensors alone", "{" ENTRY("e", "F32", "[0]", "0", "0") "," ENTRY("f", "U8", "[3,0]", "0", "0") "}", 0,
     "e F32 [0] 0+0, f U8 [3, 0] 0+0"},
    {"rank 8", "{" ENTRY("a", "U8", "[1,1,1,1,1,1,1,2]", "0", "2") "}", 2, "a U8 [1, 1, 1, 1, 1, 1, 1, 2] 0+2"},
    {"F4: two elements in a byte", "{" ENTRY("a", "F4", "[3,4]", "0", "6") "}", 6, "a F4 [3, 4] 0+6"},
    {"an escaped name", "{" ENTRY("\\u00e9\\\\u0000\\/", "U8", "[1]", "0", "1") "}", 1, "\xc3\xa9\\u0000/ U8 [1] 0+1"},
    {"every 8-bit dtype",
     "{" ENTRY("a", "BOOL", "[1]", "0", "1") "," ENTRY("b", "U8", "[1]", "1", "2") "," ENTRY("c", "I8", "[1]", "2", "3")
     "," ENTRY("d", "F8_E4M3", "[1]", "3", "4") "," ENTRY("e", "F8_E5M2", "[1]", "4", "5")
     "," ENTRY("f", "F8_E8M0", "[1]", "5", "6") "}", 6,
     "a BOOL [1] 0+1, b U8 [1] 1+1, c I8 [1] 2+1, d F8_E4M3 [1] 3+1, e F8_E5M2 [1] 4+1, f F8_E8M0 [1] 5+1"},
    {"every 16-bit dtype",
     "{" ENTRY("a", "I16", "[1]", "0", "2") "," ENTRY("b", "U16", "[1]", "2", "4")
     "," ENTRY("c", "F16", "[1]", "4", "6") "," ENTRY("d", "BF16", "[1]", "6", "8") "}", 8,
     "a I16 [1] 0+2, b U16 [1] 2+2, c F16 [1] 4+2, d BF16 [1] 6+2"},
    {"every 32-bit dtype",
     "{" ENTRY("a", "I32", "[1]", "0", "4") "," ENTRY("b", "U32", "[1]", "4", "8")
     "," ENTRY("c", "F32", "[1]", "8", "12") "}", 12, "a I32 [1] 0+4, b U32 [1] 4+4, c F32 [1] 8+4"},
    {"every 64-bit dtype",
     "{" ENTRY("a", "I64", "[1]", "0", "8") "," ENTRY("b", "U64", "[1]", "8", "16")
     "," ENTRY("c", "F64", "[1]", "16", "24") "," ENTRY("d", "C64", "[1]", "24", "32") "}", 32,
     "a I64 [1] 0+8, b U64 [1] 8+8, c F64 [1] 16+8, d C64 [1] 24+8"},
};

static const struct {
    const char *title, *header;
    size_t data;
    enum error_code code;
    const char *text;
} hostile[] = {
    {"a list as header", "[]", 0, ERR_FORMAT, "no JSON object"},
    {"header cut in the middle", "{" "'a':{'dtype':'F32'", 0, ERR_FORMAT, "invalid JSON"},
    {"text behind the object", "{}{}", 0, ERR_FORMAT, "text after"},
    {"header padded with NUL", "{" A "}%00%00%00", 8, ERR_FORMAT, "control byte"},
    {"NUL between tokens", "{%00" A "}", 8, ERR_FORMAT, "control byte"},
    {"byte order mark", "%ef%bb%bf{" A "}", 8, ERR_FORMAT, "invalid JSON"},
    {"a raw NUL in a name", "{" ENTRY("a%00b", "F32", "[2]", "0", "8") "}", 8, ERR_FORMAT, "control byte"},
    {"\\u0000 in a name", "{" ENTRY("a\\u0000b", "F32", "[2]", "0", "8") "}", 8, ERR_FORMAT, "NUL"},
    {"\\uZZZZ in a name", "{" ENTRY("a\\uZZZZb", "F32", "[2]", "0", "8") "}", 8, ERR_FORMAT, "escape"},
    {"a newline in a name", "{" ENTRY("a%0ab", "F32", "[2]", "0", "8") "}", 8, ERR_FORMAT, "control byte"},
    {"invalid UTF-8 in a name", "{" ENTRY("a%ff", "F32", "[2]", "0", "8") "}", 8, ERR_FORMAT, "UTF-8"},
    {"overlong UTF-8 in a name", "{" ENTRY("a%c0%80", "F32", "[2]", "0", "8") "}", 8, ERR_FORMAT, "UTF-8"},
    {"metadata is a list", "{'__metadata__':[]," A "}", 8, ERR_FORMAT, "__metadata__ is no object"},
    {"metadata with a number", "{'__metadata__':{'a':'b','n':1}," A "}", 8, ERR_FORMAT, "'n' is no string"},
    {"metadata with null", "{'__metadata__':{'n':null}}", 0, ERR_FORMAT, "'n' is no string"},
    {"__metadata__ as a tensor", "{" ENTRY("__metadata__", "U8", "[1]", "0", "1") "}", 1, ERR_FORMAT, "no string"},
    {"a tensor that is a string", "{'a':'F32'}", 0, ERR_FORMAT, "dtype"},
    {"no dtype", "{'a':{'shape':[2],'data_offsets':[0,8]}}", 8, ERR_FORMAT, "dtype is missing"},
    {"dtype is a number", "{'a':{'dtype':1,'shape':[2],'data_offsets':[0,8]}}", 8, ERR_FORMAT, "dtype is missing"},
    {"unknown dtype", "{" ENTRY("a", "F128", "[1]", "0", "16") "}", 16, ERR_UNSUPPORTED, "unknown dtype 'F128'"},
    {"dtype in lower case", "{" ENTRY("a", "f32", "[2]", "0", "8") "}", 8, ERR_UNSUPPORTED, "unknown dtype"},
    {"key in another case", "{'a':{'DTYPE':'F32','shape':[2],'data_offsets':[0,8]}}", 8, ERR_FORMAT,
     "dtype is missing"},
    {"no shape", "{'a':{'dtype':'F32','data_offsets':[0,8]}}", 8, ERR_FORMAT, "shape is missing"},
    {"shape is a number", "{" ENTRY("a", "F32", "2", "0", "8") "}", 8, ERR_FORMAT, "shape is missing or no list"},
    {"dimension -1", "{" ENTRY("a", "F32", "[-1]", "0", "8") "}", 8, ERR_FORMAT, "no whole number"},
    {"dimension 2.5", "{" ENTRY("a", "F32", "[2.5]", "0", "10") "}", 10, ERR_FORMAT, "no whole number"},
    {"dimension as text", "{" ENTRY("a", "F32", "['2']", "0", "8") "}", 8, ERR_FORMAT, "no whole number"},
    {"dimension 02", "{" ENTRY("a", "F32", "[02]", "0", "8") "}", 8, ERR_FORMAT, "malformed number"},
    {"dimension 2^53+1", "{" ENTRY("a", "U8", "[9007199254740993]", "0", "1") "}", 1, ERR_FORMAT, "no whole number"},
    {"dimension 1e999", "{" ENTRY("a", "U8", "[1e999]", "0", "1") "}", 1, ERR_FORMAT, "no whole number"},
    {"rank 9", "{" ENTRY("a", "U8", "[1,1,1,1,1,1,1,1,1]", "0", "1") "}", 1, ERR_FORMAT, "more than 8 dimensions"},
    {"2^32 x 2^32 elements wrap to 0 bytes", "{" ENTRY("a", "U8", "[4294967296,4294967296]", "0", "0") "}", 0,
     ERR_FORMAT, "too large"},
    {"274177 x 67280421310721 = 2^64 + 1 elements wrap to 1",
     "{" ENTRY("a", "U8", "[274177,67280421310721]", "0", "1") "}", 1, ERR_FORMAT, "too large"},
    {"2^52 x 2^9 U64 wraps only in bytes", "{" ENTRY("a", "U64", "[4503599627370496,512]", "0", "0") "}", 0, ERR_FORMAT,
     "too large"},
    {"a shape of 0 x 2^40 x 2^40", "{" ENTRY("a", "U8", "[0,1099511627776,1099511627776]", "0", "0") "}", 0, ERR_FORMAT,
     "too large"},
    {"one element too few", "{" ENTRY("a", "F32", "[1]", "0", "8") "}", 8, ERR_FORMAT, "needs 4 bytes"},
    {"one element too many", "{" ENTRY("a", "F32", "[3]", "0", "8") "}", 8, ERR_FORMAT, "needs 12 bytes"},
    {"an odd number of F4", "{" ENTRY("a", "F4", "[3]", "0", "2") "}", 2, ERR_FORMAT, "no multiple"},
    {"one F4", "{" ENTRY("a", "F4", "[]", "0", "1") "}", 1, ERR_FORMAT, "no multiple"},
    {"no data_offsets", "{'a':{'dtype':'F32','shape':[2]}}", 8, ERR_FORMAT, "data_offsets"},
    {"one offset", "{'a':{'dtype':'F32','shape':[2],'data_offsets':[8]}}", 8, ERR_FORMAT, "data_offsets"},
    {"three offsets", "{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8,8]}}", 8, ERR_FORMAT, "data_offsets"},
    {"offsets in an object", "{'a':{'dtype':'F32','shape':[2],'data_offsets':{'x':0,'y':8}}}", 8, ERR_FORMAT,
     "data_offsets"},
    {"offset -8", "{" ENTRY("a", "F32", "[2]", "-8", "0") "}", 8, ERR_FORMAT, "data_offsets"},
    {"offset 0.5", "{" ENTRY("a", "F32", "[2]", "0.5", "8.5") "}", 8, ERR_FORMAT, "data_offsets"},
    {"offset 2^53+1", "{" ENTRY("a", "U8", "[1]", "9007199254740992", "9007199254740993") "}", 1, ERR_FORMAT,
    "data_offsets"},
    {"end before begin", "{" ENTRY("a", "F32", "[2]", "8", "0") "}", 8, ERR_FORMAT, "data_offsets"},
    {"two tensors that overlap", "{" A "," ENTRY("b", "F32", "[2]", "4", "12") "}", 12, ERR_FORMAT, "overlaps"},
    {"two tensors in one place", "{" A "," ENTRY("b", "F32", "[2]", "0", "8") "}", 8, ERR_FORMAT, "overlaps"},
    {"an empty tensor inside another", "{" A "," ENTRY("b", "F32", "[0]", "4", "4") "}", 8, ERR_FORMAT, "overlaps"},
    {"a hole before the first tensor", "{" ENTRY("a", "F32", "[2]", "8", "16") "}", 16, ERR_FORMAT, "hole"},
    {"a hole between two tensors", "{" A "," ENTRY("b", "U8", "[1]", "9", "10") "}", 10, ERR_FORMAT, "hole"},
    {"one byte behind the last tensor", "{" A "}", 9, ERR_FORMAT, "1 bytes follow"},
    {"a zip behind the last tensor", "{" A "}", 300, ERR_FORMAT, "292 bytes follow"},
    {"data without tensors", "{}", 1, ERR_FORMAT, "1 bytes follow"},
    {"one byte short", "{" A "}", 7, ERR_FORMAT, "truncated"},
    {"no data at all", "{" A "}", 0, ERR_FORMAT, "truncated"},
    {"a tensor of 4 TB", "{" ENTRY("a", "U8", "[4398046511104]", "0", "4398046511104") "}", 8, ERR_FORMAT, "truncated"},
    {"the same key, another range", "{" A "," ENTRY("a", "F32", "[2]", "8", "16") "}", 16, ERR_FORMAT,
    "duplicate JSON key"},
    {"the same key, the same range", "{" A "," ENTRY("a", "I32", "[2]", "0", "8") "}", 8, ERR_FORMAT,
    "duplicate JSON key"},
    {"the same key, once escaped", "{" A "," ENTRY("\\u0061", "F32", "[2]", "8", "16") "}", 16, ERR_FORMAT,
    "duplicate"},
    {"dtype twice", "{'a':{'dtype':'F32','dtype':'I32','shape':[2],'data_offsets':[0,8]}}", 8, ERR_FORMAT, "duplicate"},
};

static const struct {
    const char *title, *recipe;
    const char *text;
} raw[] = {
    {"an empty file", "", "too few"},
    {"7 bytes", "0*7", "too few"},
    {"8 zero bytes", "0*8", "invalid JSON"},
    {"header length 0 with data", "u64=0 0*8", "invalid JSON"},
    {"header length one more than the file", "u64=3 '{}'", "exceeds the file"},
    {"header length 2^64-1", "u64=2^64-1 '{}'", "exceeds the file"},
    {"header length 2^64-8", "u64=2^64-8 '{}'", "exceeds the file"},
    {"header length 2^63", "u64=2^63 '{}'", "exceeds the file"},
    {"a Git LFS pointer",
     "'version https://git-lfs.github.com/spec/v1%0aoid sha256:00%0asize 4300000000%0a'", "Git LFS pointer"},
    {"a web page", "'<!DOCTYPE html><html><head><title>404</title></head></html>'", "exceeds the file"},
};

/* Headers that a program has to write. */
static void generated(void)
{
    struct buffer b = {0};
    const size_t depth = 1000000;
    buffer_text(&b, "{'a':");
    for (size_t i = 0; i < depth; i++)
        buffer_text(&b, "[");
    refuses(write_safetensors("deep.safetensors", b.data, 0), ERR_FORMAT, "invalid JSON", "10^6 open brackets");
    buffer_clear(&b);

    buffer_text(&b, "{'a':{'dtype':'U8','shape':[1");
    for (size_t i = 0; i < depth; i++)
        buffer_text(&b, ",1");
    buffer_text(&b, "],'data_offsets':[0,1]}}");
    refuses(write_safetensors("rank.safetensors", b.data, 1), ERR_FORMAT, "more than 8 dimensions",
            "a shape of rank 10^6");
    buffer_clear(&b);

    const char *path = write_recipe("long.safetensors", "u64=100000001 '{'");
    if (truncate(path, 100000009))
        bail("cannot lengthen %s", path);
    refuses(path, ERR_FORMAT, "limit of 100000000", "a header of 100,000,001 bytes");
}

static void every_truncation(void)
{
    struct buffer b = {0};
    int opened = 0, wrong = 0;
    assemble_safetensors(&b, "{" A "," ENTRY("b", "U8", "[3]", "8", "11") "}", 11);
    for (size_t n = 0; n < b.size; n++) {
        struct error e = {0};
        const char *path = tmp_path("cut.safetensors");
        write_file(path, b.data, n);
        struct source *s = source_open(path, &e);
        opened += s != NULL;
        wrong += !s && e.code != ERR_FORMAT;
        source_close(s);
    }
    ok(!opened && !wrong, "a file cut at each of its %zu lengths: refused as bad input", b.size);
    buffer_clear(&b);
}

static void every_byte_changed(void)
{
    struct buffer b = {0};
    size_t opened = 0, wrong = 0;
    assemble_safetensors(&b, "{'__metadata__':{'a':'\\u00e9'}," A "," ENTRY("b", "U8", "[3]", "8", "11") "}", 11);
    for (size_t i = 0; i < b.size - 11; i++)
        for (int k = 0; k < 3; k++) {
            static const uint8_t change[] = {0x01, 0x20, 0x80};
            struct error e = {0};
            const char *path = tmp_path("changed.safetensors");
            b.data[i] = (char)((uint8_t)b.data[i] ^ change[k]);
            write_file(path, b.data, b.size);
            b.data[i] = (char)((uint8_t)b.data[i] ^ change[k]);
            struct source *s = source_open(path, &e);
            opened += s != NULL;
            wrong += !s && e.code != ERR_FORMAT && e.code != ERR_UNSUPPORTED;
            source_close(s);
        }
    ok(!wrong && opened < b.size, "3 changes of each byte of a header: bad or unsupported input, or opened");
    buffer_clear(&b);
}

/* No step may take time for all pairs of tensors. */
static void many(void)
{
    const unsigned n = 100000;
    struct buffer b = {0};
    for (unsigned i = 0; i < n; i++)
        buffer_printf(&b, "%s'layers.%u':{'dtype':'F32','shape':[0],'data_offsets':[0,0]}", i ? "," : "{",
                      i * 7919 % n);
    buffer_text(&b, "}");
    struct source *s = source_open(write_safetensors("many.safetensors", b.data, 0), NULL);
    ok(s && s->n_tensors == n && source_find(s, "layers.99999"), "a file of 100,000 empty tensors opens");
    source_close(s);
    buffer_clear(&b);
}

static void errors_say_where(void)
{
    struct error e = {0};
    char line[1024];
    const char *path = write_safetensors("where.safetensors", "{" A "," ENTRY("b", "U8", "[1]", "9", "10") "}", 10);
    ok(!source_open(path, &e) && strstr(e.file, "where.safetensors") && !strcmp(e.tensor, "b"),
       "a hole: the error names the file and tensor 'b'");
    ok(e.offset == 8 + 107 + 9, "a hole: the error names the offset in the file, 8 + 107 + 9");
    error_line(&e, line, sizeof line);
    note("%s", line);
    ok(!source_open(path, NULL), "a NULL error is allowed");
}

static void reads_bytes(void)
{
    struct error e = {0};
    struct buffer b = {0};
    uint8_t got[4] = {0};
    assemble_safetensors(&b, "{" ENTRY("a", "U8", "[4]", "0", "4") "," ENTRY("b", "U8", "[2]", "4", "6") "}", 0);
    buffer_add(&b, "\1\2\3\4\5\6", 6);
    const char *path = tmp_path("bytes.safetensors");
    write_file(path, b.data, b.size);
    struct source *s = source_open(path, &e);
    ok(s && !source_read(s, source_find(s, "b"), 0, got, 2, &e) && got[0] == 5 && got[1] == 6,
       "tensor b reads as bytes 5 and 6 of the data");
    ok(s && !source_read(s, source_find(s, "a"), 1, got, 3, &e) && got[0] == 2 && got[2] == 4,
       "a read at 1 begins at the tensor's second byte");
    ok(s && !source_find(s, "c") && !source_find(s, "A") && !source_find(s, ""), "names that are not there give NULL");
    ok(s && s->tensor_bytes == 6 && s->n_files == 1 && !s->meta && !s->is_folder,
       "the source sums up 6 bytes in 1 file");
    if (s && !truncate(path, (off_t)b.size - 1))
        ok(source_read(s, source_find(s, "b"), 0, got, 2, &e) && e.code == ERR_FORMAT && !strcmp(e.tensor, "b"),
           "a file cut under us: the read fails and names tensor 'b'");
    source_close(s);
    buffer_clear(&b);
}

int main(void)
{
    char name[64];
    for (size_t i = 0; i < sizeof valid / sizeof *valid; i++) {
        snprintf(name, sizeof name, "valid-%zu.safetensors", i);
        const char *path = write_safetensors(name, valid[i].header, valid[i].data);
        struct stat st;
        opens(path, stat(path, &st) ? 0 : (uint64_t)st.st_size - valid[i].data, valid[i].list, valid[i].title);
    }
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        snprintf(name, sizeof name, "hostile-%zu.safetensors", i);
        refuses(write_safetensors(name, hostile[i].header, hostile[i].data), hostile[i].code, hostile[i].text,
                hostile[i].title);
    }
    for (size_t i = 0; i < sizeof raw / sizeof *raw; i++) {
        snprintf(name, sizeof name, "raw-%zu.safetensors", i);
        refuses(write_recipe(name, raw[i].recipe), ERR_FORMAT, raw[i].text, raw[i].title);
    }
    refuses(write_recipe("text.txt", "'hello'"), ERR_FORMAT, "neither safetensors nor GGUF", "a text file");
    opens(write_safetensors("by-content.bin", "{" A "}", 8), 8 + 54, "a F32 [2] 0+8", "a file without the suffix");
    generated();
    every_truncation();
    every_byte_changed();
    many();
    errors_say_where();
    reads_bytes();
    return done();
}
