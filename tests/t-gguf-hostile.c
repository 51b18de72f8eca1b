/* SPDX-License-Identifier: MIT
 * The GGUF reader against files that crashed or fooled other readers (CVE-2024-21802 and its family, CVE-2025-53630,
 * CVE-2026-27940, CVE-2026-33298, llama.cpp issues 8816 and 27203, PR 24759 and others). Each row differs from a valid
 * file in one thing. All are refused in little memory: no allocation is sized by an unchecked field. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "formats/gguf.h"
#include "tests/samples.h"
#include "tests/tap.h"

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#else
#define WITH_ASAN 0
#endif

/* Recipe words, see samples.h. Strings in recipes: "a" is a GGUF string. */
#define HEAD(n_tensors, n_kv) "'GGUF' u32=3 u64=" n_tensors " u64=" n_kv " "
#define KEY(name, type) "\"" name "\" u32=" type " "
#define U32(name, value) KEY(name, "4") "u32=" value " "
#define INFO(name, ne0, type, offset) "\"" name "\" u32=1 u64=" ne0 " u32=" type " u64=" offset " "
#define DATA(n) "pad=32 0*" n
/* One pair or one tensor under test, and enough bytes behind it to let counts pass */
#define PAIR(words) HEAD("0", "1") words " 0*64"
#define DIMS(words, type) HEAD("1", "0") "\"t\" " words " u32=" type " u64=0 " DATA("128")
#define ONE(ne0, type) HEAD("1", "0") INFO("t", ne0, type, "0") DATA("128")

static const struct {
    const char *title, *recipe;
    enum error_code code;
    const char *text;
} rows[] = {
    /* the fixed header */
    {"an empty file", "", ERR_FORMAT, "exceeds the file"},
    {"magic GGUF alone", "'GGUF'", ERR_FORMAT, "exceeds the file"},
    {"magic GGML", "'GGML' u32=3 u64=0 u64=0 0*64", ERR_FORMAT, "no GGUF magic"},
    {"zeroed magic", "0*4 u32=3 u64=0 u64=0 0*64", ERR_FORMAT, "no GGUF magic"},
    {"version 0", "'GGUF' u32=0 u64=0 u64=0 0*64", ERR_UNSUPPORTED, "version 0"},
    {"version 1", "'GGUF' u32=1 u64=0 u64=0 0*64", ERR_UNSUPPORTED, "version 1"},
    {"version 4", "'GGUF' u32=4 u64=0 u64=0 0*64", ERR_UNSUPPORTED, "version 4"},
    {"version 2^31", "'GGUF' u32=2^31 u64=0 u64=0 0*64", ERR_UNSUPPORTED, "big-endian"},
    {"version 3, big-endian", "'GGUF' u32=0x03000000 u64=0 u64=0 0*64", ERR_UNSUPPORTED, "big-endian"},
    {"2^63-1 pairs", HEAD("0", "2^63-1") "0*64", ERR_FORMAT, "pairs do not fit"},
    {"2^64-1 pairs", HEAD("0", "2^64-1") "0*64", ERR_FORMAT, "pairs do not fit"},
    {"10^12 pairs", HEAD("0", "1000000000000") "0*64", ERR_FORMAT, "pairs do not fit"},
    {"2^63-1 tensors", HEAD("2^63-1", "0") "0*64", ERR_FORMAT, "tensors do not fit"},
    {"2^64-1 tensors", HEAD("2^64-1", "0") "0*64", ERR_FORMAT, "tensors do not fit"},
    {"10^12 tensors", HEAD("1000000000000", "0") "0*64", ERR_FORMAT, "tensors do not fit"},
    {"one pair more than there are", HEAD("0", "2") U32("a", "1"), ERR_FORMAT, "exceeds the file"},
    {"one tensor more than there are", HEAD("2", "0") INFO("t", "32", "0", "0") DATA("128"), ERR_FORMAT,
     "name length 0"},
    /* keys */
    {"a key of 0 bytes", PAIR("u64=0 u32=4 u32=1"), ERR_FORMAT, "name length 0"},
    {"a key of 2^64-1 bytes", PAIR("u64=2^64-1 'a' u32=4 u32=1"), ERR_FORMAT, "name length 18446744073709551615"},
    {"a key of 2^40 bytes", PAIR("u64=2^40 'a' u32=4 u32=1"), ERR_FORMAT, "name length 1099511627776"},
    {"a key of 65,536 bytes", PAIR("x*65536 u32=4 u32=1"), ERR_FORMAT, "name length 65536"},
    {"a key longer than the file", PAIR("u64=60000 'a' u32=4 u32=1"), ERR_FORMAT, "name of 60000 bytes exceeds"},
    {"a key with a NUL", PAIR("\"a%00b\" u32=4 u32=1"), ERR_FORMAT, "NUL"},
    {"a key twice, the same value", HEAD("0", "2") U32("a", "1") U32("a", "1"), ERR_FORMAT, "duplicate key 'a'"},
    {"a key twice, another type", HEAD("0", "2") U32("a", "1") KEY("a", "0") "u8=1", ERR_FORMAT, "duplicate key 'a'"},
    /* values */
    {"value type 13", PAIR("\"a\" u32=13 u64=1"), ERR_FORMAT, "unknown type 13"},
    {"value type 2^31", PAIR("\"a\" u32=2^31 u64=1"), ERR_FORMAT, "unknown type 2147483648"},
    {"value type 2^32-1", PAIR("\"a\" u32=2^32-1 u64=1"), ERR_FORMAT, "unknown type 4294967295"},
    {"a u64 cut short", HEAD("0", "1") KEY("a", "10") "0*7", ERR_FORMAT, "exceeds the file"},
    {"a string of 2^64-1 bytes", PAIR("\"a\" u32=8 u64=2^64-1"), ERR_FORMAT, "exceeds the file"},
    {"a string of 2^63 bytes", PAIR("\"a\" u32=8 u64=2^63"), ERR_FORMAT, "exceeds the file"},
    {"a string of 8 GB", PAIR("\"a\" u32=8 u64=8000000000"), ERR_FORMAT, "exceeds the file"},
    {"a string one byte longer than the file", HEAD("0", "1") KEY("a", "8") "u64=6 'hello'", ERR_FORMAT,
     "exceeds the file"},
    {"an array of arrays", PAIR("\"a\" u32=9 u32=9 u64=1 u32=0 u64=0"), ERR_FORMAT, "element type 9"},
    {"an array of type 13", PAIR("\"a\" u32=9 u32=13 u64=1"), ERR_FORMAT, "element type 13"},
    {"an array of type 2^32-1", PAIR("\"a\" u32=9 u32=2^32-1 u64=1"), ERR_FORMAT, "element type 4294967295"},
    {"2^62 u8 in an array", PAIR("\"a\" u32=9 u32=0 u64=2^62"), ERR_FORMAT, "too long"},
    {"2^61 u64 in an array", PAIR("\"a\" u32=9 u32=10 u64=2^61"), ERR_FORMAT, "too long"},
    {"2^60 strings in an array", PAIR("\"a\" u32=9 u32=8 u64=2^60"), ERR_FORMAT, "too long"},
    {"2^64-1 strings in an array", PAIR("\"a\" u32=9 u32=8 u64=2^64-1"), ERR_FORMAT, "too long"},
    {"2^30 u8 in an array", PAIR("\"a\" u32=9 u32=0 u64=2^30"), ERR_FORMAT, "array of 1073741824 bytes exceeds"},
    {"2^30 f64 in an array", PAIR("\"a\" u32=9 u32=12 u64=2^30"), ERR_FORMAT, "array of 8589934592 bytes exceeds"},
    {"2^30 strings in an array", PAIR("\"a\" u32=9 u32=8 u64=2^30"), ERR_FORMAT, "array of 8589934592 bytes exceeds"},
    {"a string of 2^64-1 bytes in an array", PAIR("\"a\" u32=9 u32=8 u64=2 \"x\" u64=2^64-1"), ERR_FORMAT, "string of"},
    {"an array that is cut short", HEAD("0", "1") KEY("a", "9") "u32=4 u64=2 u32=0", ERR_FORMAT,
     "array of 8 bytes exceeds"},
    /* general.alignment */
    {"alignment 0", PAIR("\"general.alignment\" u32=4 u32=0"), ERR_FORMAT, "power of two"},
    {"alignment 3", PAIR("\"general.alignment\" u32=4 u32=3"), ERR_FORMAT, "power of two"},
    {"alignment 2^32-1", PAIR("\"general.alignment\" u32=4 u32=2^32-1"), ERR_FORMAT, "power of two"},
    {"alignment as u64", PAIR("\"general.alignment\" u32=10 u64=32"), ERR_FORMAT, "power of two"},
    {"alignment as i32", PAIR("\"general.alignment\" u32=5 u32=32"), ERR_FORMAT, "power of two"},
    {"alignment as text", PAIR("\"general.alignment\" u32=8 \"32\""), ERR_FORMAT, "power of two"},
    /* tensor infos */
    {"a tensor name of 0 bytes", HEAD("1", "0") "u64=0 u32=1 u64=32 u32=0 u64=0 " DATA("128"), ERR_FORMAT,
     "name length 0"},
    {"a tensor name of 64 bytes", HEAD("1", "0") "x*64 u32=1 u64=32 u32=0 u64=0 " DATA("128"), ERR_FORMAT,
     "name length 64"},
    {"a tensor name of 2^64-1 bytes", HEAD("1", "0") "u64=2^64-1 " DATA("128"), ERR_FORMAT, "name length 1844"},
    {"a tensor name with a NUL", HEAD("1", "0") INFO("a%00b", "32", "0", "0") DATA("128"), ERR_FORMAT, "NUL"},
    {"two tensors of one name", HEAD("2", "0") INFO("t", "8", "0", "0") INFO("t", "8", "0", "32") DATA("64"),
     ERR_FORMAT, "stands twice"},
    {"0 dimensions", DIMS("u32=0", "0"), ERR_FORMAT, "0 dimensions"},
    {"5 dimensions", DIMS("u32=5 u64=1 u64=1 u64=1 u64=1 u64=1", "0"), ERR_FORMAT, "5 dimensions"},
    {"2^32-1 dimensions", DIMS("u32=2^32-1 u64=1", "0"), ERR_FORMAT, "4294967295 dimensions"},
    {"ne[0] = 0", ONE("0", "0"), ERR_FORMAT, "a dimension is 0"},
    {"ne = 32, 0", DIMS("u32=2 u64=32 u64=0", "0"), ERR_FORMAT, "a dimension is 0"},
    {"ne[0] = 2^63", ONE("2^63", "24"), ERR_FORMAT, "a dimension is 9223372036854775808"},
    {"ne[0] = 2^64-1", ONE("2^64-1", "24"), ERR_FORMAT, "a dimension is 18446744073709551615"},
    {"F32 with ne[0] = 2^62-1, then a small tensor",
     HEAD("2", "0") INFO("t", "2^62-1", "0", "0") INFO("u", "8", "0", "0") DATA("128"), ERR_FORMAT, "too large"},
    {"I8 with ne[0] = 2^63-1, whose padding overflows", ONE("2^63-1", "24"), ERR_FORMAT, "truncated"},
    {"2^32 x 2^32 x 1 x 1 elements", DIMS("u32=4 u64=2^32 u64=2^32 u64=1 u64=1", "0"), ERR_FORMAT, "too large"},
    {"2^31 x 2^31 x 2^2 elements", DIMS("u32=3 u64=2^31 u64=2^31 u64=4", "24"), ERR_FORMAT, "too large"},
    {"F64 of 2^61 elements", ONE("2^61", "28"), ERR_FORMAT, "too large"},
    {"Q8_0 of 32 x 2^20 x 2^20 x 2^20", DIMS("u32=4 u64=32 u64=2^20 u64=2^20 u64=2^20", "8"), ERR_FORMAT, "too large"},
    {"Q8_0 of 32 x 2^58 elements: 17/16 of 2^63 bytes", DIMS("u32=2 u64=32 u64=2^58", "8"), ERR_FORMAT, "too large"},
    {"Q4_0 of 32 x 2^57 elements", DIMS("u32=2 u64=32 u64=2^57", "2"), ERR_FORMAT, "truncated"},
    {"Q8_KV of 32 x 2^57 rows with headers", DIMS("u32=2 u64=32 u64=2^57", "151"), ERR_FORMAT, "truncated"},
    {"two tensors whose padded sizes add to 2^64",
     HEAD("2", "0") INFO("t", "2^63-32", "24", "0") INFO("u", "2^63-1", "24", "2^63-32") DATA("128"), ERR_FORMAT,
     "truncated"},
    {"a tensor of 4 TB", ONE("2^40", "0"), ERR_FORMAT, "truncated"},
    {"Q4_0 with a row of 33", ONE("33", "2"), ERR_FORMAT, "no multiple of Q4_0's block of 32"},
    {"Q4_K with rows of 32", DIMS("u32=2 u64=32 u64=8", "12"), ERR_FORMAT, "no multiple of Q4_K's block of 256"},
    {"type 4, removed", ONE("32", "4"), ERR_UNSUPPORTED, "unknown tensor type 4"},
    {"type 5, removed", ONE("32", "5"), ERR_UNSUPPORTED, "unknown tensor type 5"},
    {"type 31, removed", ONE("32", "31"), ERR_UNSUPPORTED, "unknown tensor type 31"},
    {"type 38, removed", ONE("32", "38"), ERR_UNSUPPORTED, "unknown tensor type 38"},
    {"type 200", ONE("32", "200"), ERR_UNSUPPORTED, "unknown tensor type 200"},
    {"type 2^31", ONE("32", "2^31"), ERR_UNSUPPORTED, "unknown tensor type 2147483648"},
    {"type 2^32-1", ONE("32", "2^32-1"), ERR_UNSUPPORTED, "unknown tensor type 4294967295"},
    /* offsets and data */
    {"the first offset is 32", HEAD("1", "0") INFO("t", "8", "0", "32") DATA("64"), ERR_FORMAT, "offset 32"},
    {"the first offset is 2^64-32", HEAD("1", "0") INFO("t", "8", "0", "2^64-32") DATA("64"), ERR_FORMAT, "offset 184"},
    {"two tensors in one place", HEAD("2", "0") INFO("t", "8", "0", "0") INFO("u", "8", "0", "0") DATA("64"),
     ERR_FORMAT, "offset 0 is not the 32"},
    {"an unpadded second offset", HEAD("2", "0") INFO("t", "5", "0", "0") INFO("u", "5", "0", "20") DATA("64"),
     ERR_FORMAT, "offset 20 is not the 32"},
    {"a gap between two tensors", HEAD("2", "0") INFO("t", "8", "0", "0") INFO("u", "8", "0", "64") DATA("96"),
     ERR_FORMAT, "offset 64 is not the 32"},
    {"infos in another order than data", HEAD("2", "0") INFO("t", "8", "0", "32") INFO("u", "8", "0", "0") DATA("64"),
     ERR_FORMAT, "offset 32 is not the 0"},
    {"data one byte short", HEAD("1", "0") INFO("t", "8", "0", "0") DATA("31"), ERR_FORMAT, "truncated"},
    {"no data", HEAD("1", "0") INFO("t", "8", "0", "0"), ERR_FORMAT, "truncated"},
    {"one byte behind the last tensor", HEAD("1", "0") INFO("t", "8", "0", "0") DATA("33"), ERR_FORMAT,
     "1 bytes follow"},
    {"a zip behind the last tensor", HEAD("1", "0") INFO("t", "8", "0", "0") DATA("300"), ERR_FORMAT,
     "268 bytes follow"},
    {"IQ4_KSS without its row headers", DIMS("u32=2 u64=256 u64=1", "146"), ERR_FORMAT, "truncated"},
};

static void hostile_rows(void)
{
    char name[64];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(name, sizeof name, "%zu.gguf", i);
        refuses(write_recipe(name, rows[i].recipe), rows[i].code, rows[i].text, rows[i].title);
    }
}

/* Opens every beginning of a file; at `padding` of its lengths all is there but padding. */
static void every_truncation(const char *recipe, size_t padding, const char *what)
{
    struct buffer b = {0};
    size_t opened = 0, wrong_code = 0;
    assemble(&b, recipe);
    for (size_t n = 0; n < b.size; n++) {
        struct error e = {0};
        const char *path = tmp_path("cut.gguf");
        write_file(path, b.data, n);
        struct source *s = source_open(path, &e);
        opened += s != NULL;
        wrong_code += !s && e.code != ERR_FORMAT;
        source_close(s);
    }
    ok(opened == padding && !wrong_code, "%s: refused at all lengths but the %zu that lack padding only", what,
       padding);
    buffer_clear(&b);
}

/* Changes each byte of a small file: refused or opened, never a crash; sanitizers see the rest. */
static void every_byte_changed(const char *recipe)
{
    struct buffer b = {0};
    size_t opened = 0, wrong_code = 0;
    assemble(&b, recipe);
    for (size_t i = 0; i < b.size; i++)
        for (int k = 0; k < 3; k++) {
            static const uint8_t change[] = {0x01, 0x80, 0xff};
            struct error e = {0};
            const char *path = tmp_path("changed.gguf");
            b.data[i] = (char)((uint8_t)b.data[i] ^ change[k]);
            write_file(path, b.data, b.size);
            b.data[i] = (char)((uint8_t)b.data[i] ^ change[k]);
            struct source *s = source_open(path, &e);
            opened += s != NULL;
            wrong_code += !s && e.code != ERR_FORMAT && e.code != ERR_UNSUPPORTED;
            source_close(s);
        }
    ok(!wrong_code && opened < 3 * b.size, "3 changes of each of %zu bytes: bad or unsupported input, or opened",
       b.size);
    buffer_clear(&b);
}

/* 100,000 strings in an array and 100,000 tensors: no step may take time for all pairs of them. */
static void many(void)
{
    const unsigned n = 100000;
    struct buffer b = {0};
    assemble(&b, "'GGUF' u32=3 u64=100000 u64=1 \"a\" u32=9 u32=8 u64=100000");
    for (unsigned i = 0; i < n; i++)
        assemble(&b, i % 2 ? "\"token\"" : "\"\"");
    for (unsigned i = 0; i < n; i++) {
        char info[64];
        snprintf(info, sizeof info, "\"blk.%u\" u32=1 u64=8 u32=0 u64=%u", i * 7919 % n, 32 * i);
        assemble(&b, info);
    }
    assemble(&b, "pad=32 0*3200000");
    const char *path = tmp_path("many.gguf");
    write_file(path, b.data, b.size);
    struct source *s = source_open(path, NULL);
    ok(s && s->n_tensors == n && source_find(s, "blk.99999"), "a file of 100,000 tensors and 100,000 strings opens");
    source_close(s);
    buffer_clear(&b);
}

/* No allocation may follow a field of the file: with this limit one that did would show as ERR_MEMORY. */
static void limit_memory(void)
{
    struct rlimit r = {.rlim_cur = 512 << 20, .rlim_max = RLIM_INFINITY};
    if (!WITH_ASAN)
        setrlimit(RLIMIT_AS, &r);
}

int main(void)
{
    static const char small[] = HEAD("2", "2") U32("a", "1")
        KEY("b", "9") "u32=8 u64=2 \"x\" \"yz\" " INFO("t", "8", "0", "0") INFO("u", "5", "0", "32") DATA("64");
    struct rusage usage;
    limit_memory();
    hostile_rows();
    every_truncation(small, 12, "a file of 2 pairs and 2 tensors");
    every_truncation(HEAD("0", "1") U32("a", "1"), 0, "a file of one pair");
    every_byte_changed(small);
    many();
    if (WITH_ASAN || getrusage(RUSAGE_SELF, &usage))
        skip("AddressSanitizer needs more memory itself", "all hostile files together stay under 64 MiB");
    else
        ok(usage.ru_maxrss < 64 << 10, "all hostile files together stay under 64 MiB");
    return done();
}
