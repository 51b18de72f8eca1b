/* SPDX-License-Identifier: MIT
 * Importance matrices: what both forms mean, what they must not say, how they become each other and add up. Rows of the hostile
 * table differ from a good file in one thing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/imatrix.h"
#include "tests/samples.h"
#include "tests/tap.h"

/* Recipe words, see samples.h. F32 in them: */
#define F0 "u32=0 "
#define F1 "u32=0x3f800000 "
#define F2 "u32=0x40000000 "
#define F4 "u32=0x40800000 "
#define F8 "u32=0x41000000 "
#define HALF "u32=0x3f000000 "
#define MINUS "u32=0xbf800000 "
#define INF "u32=0x7f800000 "
#define NAN_ "u32=0x7fc00000 "
#define LIMIT "u32=0x53800000 " /* 2^40 */

/* dat */
#define ENTRY(name, ncall, nval, values) "u32=1 '" name "' u32=" ncall " u32=" nval " " values
#define END "u32=9 u32=5 't.txt'"
#define TWO ENTRY("a", "2", "3", F2 F4 F0) ENTRY("b", "1", "1", F8)

/* GGUF: an entry w of 2 x 2 sums and 2 counts */
#define HEAD(n_tensors, n_kv) "'GGUF' u32=3 u64=" n_tensors " u64=" n_kv " "
#define TYPE "\"general.type\" u32=8 \"imatrix\" "
#define DATASETS "\"imatrix.datasets\" u32=9 u32=8 u64=1 \"t.txt\" "
#define CHUNKS "\"imatrix.chunk_count\" u32=4 u32=3 "
#define SIZE "\"imatrix.chunk_size\" u32=4 u32=512 "
#define PAIRS TYPE DATASETS CHUNKS SIZE
#define SUMS "\"w.in_sum2\" u32=2 u64=2 u64=2 u32=0 u64=0 "
#define COUNTS "\"w.counts\" u32=2 u64=1 u64=2 u32=0 u64=32 "
#define DATA(sums, counts) "pad=32 " sums "pad=32 " counts "pad=32"
#define GGUF(sums, counts) HEAD("2", "4") PAIRS SUMS COUNTS DATA(sums, counts)
#define GOOD F2 F4 F0 F8, F2 F4

static const struct {
    const char *title, *recipe, *text;
} hostile[] = {
    {"a dat file of nothing", "", "file ends"},
    {"a dat file without entries", "u32=0 0*60", "no imatrix: 0 entries"},
    {"-1 entries", "u32=2^32-1 " TWO END, "no imatrix: -1 entries"},
    {"2^31-1 entries", "u32=2^31-1 " TWO END, "entries do not fit"},
    {"an entry more than there are", "u32=3 " TWO "0*40", "name length 0"},
    {"a name of no bytes", "u32=1 u32=0 u32=1 u32=1 " F1 "0*64", "name length 0"},
    {"a name of -1 bytes", "u32=1 u32=2^32-1 'a' 0*64", "name length -1"},
    {"a name of 2^31-1 bytes", "u32=1 u32=2^31-1 'a' 0*64", "name length 2147483647"},
    {"a name longer than the file", "u32=1 u32=200 'a' 0*64", "file ends"},
    {"a name with a NUL", "u32=1 u32=3 'a%00b' u32=1 u32=1 " F1, "NUL"},
    {"-1 calls", "u32=1 " ENTRY("a", "2^32-1", "1", F1) END, "1 values of -1 calls"},
    {"2^31-1 calls", "u32=1 " ENTRY("a", "2^31-1", "1", F1) END, "1 values of 2147483647 calls"},
    {"no values", "u32=1 " ENTRY("a", "1", "0", "") END, "0 values of 1 calls"},
    {"-1 values", "u32=1 " ENTRY("a", "1", "2^32-1", F1) END, "-1 values"},
    {"2^31-1 values", "u32=1 " ENTRY("a", "1", "2^31-1", F1) END, "exceed the file"},
    {"a value less than there should be", "u32=1 " ENTRY("a", "1", "3", F1 F1), "exceed the file"},
    {"a value that is NaN", "u32=2 " ENTRY("a", "2", "3", F2 NAN_ F0) ENTRY("b", "1", "1", F8) END, "a sum of squares is nan"},
    {"one that is infinite", "u32=1 " ENTRY("a", "2", "3", F2 INF F0) END, "a sum of squares is inf"},
    {"one that is negative", "u32=1 " ENTRY("a", "2", "3", F2 MINUS F0) END, "a sum of squares is -1"},
    {"a mean of 2^40", "u32=1 " ENTRY("a", "1", "2", LIMIT F1) END, "beyond anything"},
    {"an entry twice", "u32=2 " ENTRY("a", "1", "1", F1) ENTRY("a", "1", "1", F2) END, "stands twice"},
    {"-1 chunks", "u32=2 " TWO "u32=2^32-1 u32=0", "-1 chunks"},
    {"a dataset of -1 bytes", "u32=2 " TWO "u32=1 u32=2^32-1", "name length -1"},
    {"a dataset longer than the file", "u32=2 " TWO "u32=1 u32=100 'x'", "file ends"},
    {"bytes behind the end", "u32=2 " TWO END "'x'", "1 bytes follow"},
    {"half a chunk count", "u32=2 " TWO "'xx'", "file ends"},

    {"a GGUF of another type", HEAD("2", "4") "\"general.type\" u32=8 \"model\" " DATASETS CHUNKS SIZE SUMS COUNTS DATA(F2 F4 F0 F8, F2 F4),
     "another"},
    {"without a type", HEAD("2", "3") DATASETS CHUNKS SIZE SUMS COUNTS DATA(F2 F4 F0 F8, F2 F4), "another"},
    {"without datasets", HEAD("2", "3") TYPE CHUNKS SIZE SUMS COUNTS DATA(F2 F4 F0 F8, F2 F4), "no valid imatrix.datasets"},
    {"with datasets that are numbers", HEAD("2", "4") TYPE "\"imatrix.datasets\" u32=9 u32=4 u64=1 u32=7 " CHUNKS SIZE SUMS COUNTS DATA(
        F2 F4 F0 F8, F2 F4), "no valid imatrix.datasets"},
    {"with a dataset that holds a NUL", HEAD("2", "4") TYPE "\"imatrix.datasets\" u32=9 u32=8 u64=1 \"a%00b\" " CHUNKS SIZE SUMS COUNTS DATA(
        F2 F4 F0 F8, F2 F4), "NUL"},
    {"without a chunk count", HEAD("2", "3") TYPE DATASETS SIZE SUMS COUNTS DATA(F2 F4 F0 F8, F2 F4), "no valid imatrix.chunk_count"},
    {"without a chunk size", HEAD("2", "3") TYPE DATASETS CHUNKS SUMS COUNTS DATA(F2 F4 F0 F8, F2 F4), "no valid imatrix.chunk_size"},
    {"with chunks of no token", HEAD("2", "4") TYPE DATASETS CHUNKS "\"imatrix.chunk_size\" u32=4 u32=0 " SUMS COUNTS DATA(
        F2 F4 F0 F8, F2 F4), "no valid imatrix.chunk_size"},
    {"without tensors", HEAD("0", "4") PAIRS, "without entries"},
    {"sums without counts", HEAD("1", "4") PAIRS SUMS DATA(F2 F4 F0 F8, ""), "sums without counts"},
    {"counts without sums", HEAD("1", "4") PAIRS "\"w.counts\" u32=2 u64=1 u64=2 u32=0 u64=0 " DATA(F2 F4, ""), "1 tensors of counts, 0 of sums"},
    {"sums that are F16", HEAD("2", "4") PAIRS "\"w.in_sum2\" u32=2 u64=2 u64=2 u32=1 u64=0 " COUNTS DATA("0*8 ", F2 F4), "not F32"},
    {"counts that are I32", HEAD("2", "4") PAIRS SUMS "\"w.counts\" u32=2 u64=1 u64=2 u32=26 u64=32 " DATA(F2 F4 F0 F8, "u32=2 u32=4 "),
     "not F32"},
    {"3 counts of 4 sums", HEAD("2", "4") PAIRS SUMS "\"w.counts\" u32=2 u64=1 u64=3 u32=0 u64=32 " DATA(F2 F4 F0 F8, F2 F4 F4),
     "no whole number of rows"},
    {"a count that is NaN", GGUF(F2 F4 F0 F8, F2 NAN_), "is no whole number"},
    {"one that is infinite", GGUF(F2 F4 F0 F8, F2 INF), "is no whole number"},
    {"one that is negative", GGUF(F2 F4 F0 F8, F2 MINUS), "count -1"},
    {"half a token", GGUF(F2 F4 F0 F8, F2 HALF), "count 0.5"},
    {"sums of no token", GGUF(F2 F4 F0 F8, F2 F0), "without a single token"},
    {"a sum that is NaN where no token was", GGUF(F2 F4 F0 NAN_, F2 F0), "a sum of squares is nan"},
    {"sums that end early", HEAD("2", "4") PAIRS SUMS COUNTS "pad=32 " F2 F4 F0 F8 "pad=32 " F2, "truncated"},
};

static void check_hostile(void)
{
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        const char *path = write_recipe("hostile", hostile[i].recipe);
        struct error e = {0};
        struct imatrix *m = imatrix_open(path, &e);
        ok(!m && e.code == ERR_FORMAT && strstr(e.text, hostile[i].text) && e.file[0], "%s: refused as '%s'", hostile[i].title,
           hostile[i].text);
        if (m || !strstr(e.text, hostile[i].text))
            note("it says: %s", e.text);
        imatrix_close(m);
    }
}

static struct imatrix *open_recipe(const char *name, const char *recipe)
{
    struct error e = {0};
    struct imatrix *m = imatrix_open(write_recipe(name, recipe), &e);
    if (!ok(m != NULL, "%s opens", name))
        bail("%s", e.text);
    return m;
}

/* Means [first, first + n) are these, or there are none. */
static void means(const struct imatrix *m, const char *name, uint64_t first, uint64_t n, int has, const char *want, const char *title)
{
    float v[16];
    char text[256] = "";
    struct error e = {0};
    int rc = imatrix_means(m, imatrix_find(m, name), first, n, v, &e);
    for (uint64_t i = 0; rc > 0 && i < n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%g", i ? " " : "", (double)v[i]);
    ok(rc == has && !strcmp(text, want), "%s", title);
    if (strcmp(text, want))
        note("means %s, not %s", text, want);
}

static void check_meaning(void)
{
    struct imatrix *m = open_recipe("good.dat", "u32=4 " TWO ENTRY("c", "0", "2", F2 F4) ENTRY("d", "2", "6", F2 F2 F0 F0 F0 F2) END);
    ok(m->form == IMATRIX_DAT && m->n_entries == 4 && m->chunk_count == 9 && m->n_datasets == 1 && !strcmp(m->datasets[0], "t.txt"),
       "a dat file has entries, chunks and a dataset");
    means(m, "a", 0, 3, 1, "1 2 0", "its values are divided by the calls; a column of 0 is data");
    means(m, "c", 0, 2, 1, "2 4", "0 calls: values are means");
    means(m, "d", 0, 2, 0, "", "an expert whose every mean is 1 has no data");
    means(m, "d", 2, 2, 0, "", "nor has one whose every mean is 0");
    means(m, "d", 4, 2, 1, "0 1", "but one of 0 and 1 has");
    ok(!imatrix_find(m, "e"), "there is no entry that is not there");
    imatrix_close(m);
    imatrix_close(open_recipe("bare.dat", "u32=2 " TWO));
    imatrix_close(open_recipe("chunks.dat", "u32=2 " TWO "u32=7"));

    m = open_recipe("good.gguf", GGUF(F2 F4 F0 F8, F2 F4));
    ok(m->form == IMATRIX_GGUF && m->n_entries == 1 && m->chunk_count == 3 && m->chunk_size == 512 && m->n_datasets == 1,
       "a GGUF has entries, chunks and datasets");
    means(m, "w", 0, 2, 1, "1 2", "sums are divided by their matrix's count");
    means(m, "w", 2, 2, 1, "0 2", "each by its own");
    imatrix_close(m);
    m = open_recipe("idle.gguf", GGUF(F2 F4 F0 F0, F2 F0));
    means(m, "w", 2, 2, 0, "", "a count of 0 is no data");
    imatrix_close(m);
    m = open_recipe("zeros.gguf", GGUF(F2 F4 F0 F0, F2 F4));
    means(m, "w", 2, 2, 0, "", "nor are sums that are all 0, whatever the count");
    imatrix_close(m);
    m = open_recipe("ones.gguf", GGUF(F2 F2 F4 F4, F2 F4));
    means(m, "w", 0, 2, 1, "1 1", "means of 1 are data where there are counts");
    imatrix_close(m);
    m = open_recipe("others.gguf", HEAD("3", "4") PAIRS SUMS COUNTS "\"w.in_sum\" u32=1 u64=2 u32=0 u64=64 " DATA(F2 F4 F0 F8, F2 F4) " " F1 F1
                                                                                                                     "pad=32");
    ok(m->n_entries == 1 && m->n_others == 1, "tensors of other kinds are counted and left alone");
    imatrix_close(m);
}

/* Merges n files into `out`. */
static int merge(const char *const *paths, size_t n, const char *out, enum imatrix_form form, struct error *e)
{
    struct imatrix *in[4];
    for (size_t i = 0; i < n; i++)
        if (!(in[i] = imatrix_open(paths[i], e)))
            bail("%s: %s", paths[i], e->text);
    int rc = imatrix_merge(in, n, form, out, e);
    for (size_t i = 0; i < n; i++)
        imatrix_close(in[i]);
    return rc;
}

static void same(const char *a, const char *b, const char *title)
{
    size_t n = 0, k = 0;
    char *x = read_file(a, &n), *y = read_file(b, &k);
    ok(x && y && n == k && !memcmp(x, y, n), "%s", title);
    free(x);
    free(y);
}

static void check_forms(void)
{
    struct error e = {0};
    const char *dat = write_recipe("f.dat", "u32=2 " TWO END), *gguf = write_recipe("f.gguf", GGUF(F2 F4 F0 F8, F2 F4));
    const char *other = tmp_path("other"), *back = tmp_path("back");
    ok(!merge(&dat, 1, back, IMATRIX_DAT, &e), "a dat file is written again");
    same(dat, back, "byte for byte");
    ok(!merge(&gguf, 1, back, IMATRIX_GGUF, &e), "and a GGUF");
    same(gguf, back, "byte for byte");
    ok(!merge(&dat, 1, other, IMATRIX_GGUF, &e) && !merge(&other, 1, back, IMATRIX_DAT, &e), "dat becomes GGUF and dat again");
    same(dat, back, "without a changed bit");
    ok(!merge(&gguf, 1, other, IMATRIX_DAT, &e), "a GGUF becomes dat");
    same(other, write_recipe("want.dat", "u32=1 " ENTRY("w", "1", "4", F1 F2 F0 F2) "u32=3 u32=5 't.txt'"), "with means and calls");
    gguf = write_recipe("idle.gguf", GGUF(F2 F4 F0 F0, F2 F0));
    ok(!merge(&gguf, 1, other, IMATRIX_DAT, &e), "one with an idle expert becomes dat");
    same(other, write_recipe("want.dat", "u32=1 " ENTRY("w", "1", "4", F1 F2 F1 F1) "u32=3 u32=5 't.txt'"), "in which its means are 1");
    gguf = write_recipe("none.gguf", GGUF(F0 F0 F0 F0, F0 F0));
    ok(merge(&gguf, 1, tmp_path("none"), IMATRIX_DAT, &e) && e.code == ERR_UNSUPPORTED, "without any data there is no dat file");
    ok(!read_file(tmp_path("none"), &(size_t){0}) && !read_file(tmp_path("none.partial"), &(size_t){0}), "and nothing is left");
}

static void check_sums(void)
{
    struct error e = {0};
    const char *gguf[2] = {write_recipe("a.gguf", GGUF(F2 F4 F0 F0, F2 F0)), write_recipe("b.gguf", GGUF(F1 F1 F4 F8, F2 F4))};
    const char *mixed[2] = {gguf[0], write_recipe("a.dat", "u32=1 " ENTRY("w", "1", "4", F1 F1 F1 F2) END)};
    const char *shapes[2] = {write_recipe("c.dat", "u32=1 " ENTRY("w", "1", "2", F1 F2)), mixed[1]};
    const char *out = tmp_path("sum.gguf");
    ok(!merge(gguf, 2, out, IMATRIX_GGUF, &e), "two imatrices add up");
    struct imatrix *m = imatrix_open(out, &e);
    ok(m && m->chunk_count == 6 && m->n_datasets == 2, "chunks add up, datasets are all named");
    means(m, "w", 0, 2, 1, "0.75 1.25", "sums and counts add up");
    means(m, "w", 2, 2, 1, "1 2", "an idle expert gets the other's data");
    imatrix_close(m);
    ok(merge(mixed, 2, out, IMATRIX_GGUF, &e) && strstr(e.text, "counts calls"), "calls and tokens do not");
    ok(merge(shapes, 2, out, IMATRIX_GGUF, &e) && strstr(e.text, "in another file") && !strcmp(e.tensor, "w"), "nor do entries of other shapes");
    const char *huge[2] = {write_recipe("h.gguf", GGUF("u32=0x7f7fffff " F0 F0 F0, "u32=0x7e000000 " F0)), tmp_path("h.gguf")};
    ok(merge(huge, 2, out, IMATRIX_GGUF, &e) && strstr(e.text, "beyond F32"), "nor do sums beyond F32");
}

int main(void)
{
    check_hostile();
    check_meaning();
    check_forms();
    check_sums();
    ok(imatrix_probe(write_recipe("p.dat", "u32=2 " TWO)) && imatrix_probe(write_recipe("p.gguf", GGUF(F2 F4 F0 F8, F2 F4))),
       "both forms are recognised, whatever their names");
    ok(!imatrix_probe(write_recipe("q", "'GGUF' u32=3 u64=0 u64=0")) && !imatrix_probe(tmp_folder()) && !imatrix_probe("/nowhere"),
       "other files, folders and nothing are not");
    return done();
}
