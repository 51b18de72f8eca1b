/* SPDX-License-Identifier: MIT
 * Importance matrices (imatrix): of each weight matrix, how large the inputs were that it was multiplied with, column by
 * column: sums of squares over tokens, and how many tokens they are sums of. llama.cpp's llama-imatrix makes them; quantizers
 * weigh a column's error by its mean square, sum / count.
 *
 * Two forms of file:
 *   GGUF  general.type "imatrix", imatrix.datasets, imatrix.chunk_count, imatrix.chunk_size (tokens); of each weight two F32
 *         tensors, NAME.in_sum2 {n_cols, n_mat} and NAME.counts {1, n_mat}. A stack of experts has a count for each, every
 *         other weight one (also attn_k_b and attn_v_b, whose heads lie behind one another in its one row of sums).
 *   dat   | i32 n_entries | i32 length, name, i32 ncall, i32 nval, f32 v[nval] | ... | i32 chunk_count | i32 length, dataset |
 *         little-endian; v / ncall is the mean square. The last two parts may be missing. There are no counts: of an expert
 *         that no token was sent to v is ncall in every column.
 *
 * Both are read as sums and counts. A dat file's v are its sums, ncall its only count, and its "chunk" is one call: so it becomes
 * GGUF and dat again without a changed bit. Written as dat, counts turn into ncall = ceil(largest count / chunk_size) and v =
 * sum / count * ncall, as llama-imatrix does.
 *
 * Rules for what a file must not say. Refused: sums or counts that are NaN, infinite or negative; counts that are no whole numbers;
 * a count of 0 beside sums that are not; mean squares from IMATRIX_MAX on, which no activation has; a name twice. Taken as
 * "no data": a count of 0, and a matrix whose every column is 0 (which no quantizer can weigh by), and in a dat file one whose
 * every mean is exactly 1. Single columns of 0 are data. An ncall of 0 means that v are means (llama-quantize's reading).
 *
 * A V3's imatrix is 1 GB: an open one is names, counts and places; sums are read when they are asked for.
 * Source: ggml-org/llama.cpp tools/imatrix/imatrix.cpp, common/imatrix-loader.cpp, tools/quantize/quantize.cpp. */
#ifndef PARE_FORMATS_IMATRIX_H
#define PARE_FORMATS_IMATRIX_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/hash.h"
#include "formats/source.h"

#define IMATRIX_MAX 0x1p40f

enum imatrix_form { IMATRIX_GGUF, IMATRIX_DAT, IMATRIX_FORMS };
extern const char *const imatrix_form_names[IMATRIX_FORMS]; /* "gguf", "dat" */

struct imatrix_entry {
    const char *name;        /* of the weight, as GGUF calls it: "blk.3.ffn_up_exps.weight" */
    uint64_t n_mat, n_cols;  /* sums are [n_mat][n_cols] */
    float *counts;           /* [n_mat] */
    const struct io_file *file; /* where the sums lie; NULL in an imatrix that no file is behind */
    uint64_t at;
};

/* All pointers belong to it. */
struct imatrix {
    enum imatrix_form form;
    struct arena arena;
    struct imatrix_entry *entries; /* sorted by name (bytes), names are unique */
    size_t n_entries;
    const char **datasets;         /* names of the texts, as whoever ran llama-imatrix wrote them */
    size_t n_datasets;
    uint32_t chunk_count, chunk_size; /* of a dat file chunk_size is 1: see above */
    size_t n_others;               /* tensors of a GGUF that are neither sums nor counts; ignored */
    char hash[HASH_TEXT];          /* of the whole file */
    uint64_t bytes;
    const char *path;
    struct source *source;         /* the GGUF, or NULL */
    struct io_file file;           /* the dat file, or closed */
};

/* Whether a file is an imatrix of either form, by its first bytes and keys; whether it is a good one is imatrix_open's business. */
int imatrix_probe(const char *path);

/* Opens a file of either form, checks every size and reads all values once to prove the rules above. NULL with ERR_FORMAT,
 * ERR_UNSUPPORTED, ERR_IO or ERR_MEMORY. Reading is thread-safe afterwards. */
struct imatrix *imatrix_open(const char *path, struct error *e);
void imatrix_close(struct imatrix *m); /* NULL is allowed */

/* The file behind an open one. */
const struct io_file *imatrix_file(const struct imatrix *m);

/* By exact name, or NULL. */
const struct imatrix_entry *imatrix_find(const struct imatrix *m, const char *name);

/* n sums from flat index `first` on, finite and not negative. */
int imatrix_sums(const struct imatrix *m, const struct imatrix_entry *t, uint64_t first, uint64_t n, float *out, struct error *e);

/* n mean squares from flat index `first` on, which must lie within one matrix, in [0, IMATRIX_MAX): 1; or 0 when there are no
 * data for these columns (out is undefined then); or -1. */
int imatrix_means(const struct imatrix *m, const struct imatrix_entry *t, uint64_t first, uint64_t n, float *out, struct error *e);

/* What a writer asks for: n sums of m's entry number `entry` from flat index `first` on. */
typedef int imatrix_sums_fn(void *context, size_t entry, uint64_t first, uint64_t n, float *out, struct error *e);

/* Writes one, by a temporary name: `m` says everything but the sums, its entries sorted by name. Entries without any data are left out of a dat file.
 * ERR_UNSUPPORTED for what a form cannot say. */
int imatrix_save(const struct imatrix *m, imatrix_sums_fn *sums, void *context, enum imatrix_form form, const char *path,
                 struct error *e);

/* Writes the sum of n imatrices: sums and counts add up, entry by entry; datasets and chunks likewise. One alone is
 * converted. ERR_FORMAT when an entry has another shape in another file, or when one counts tokens and another calls. */
int imatrix_merge(struct imatrix *const *in, size_t n, enum imatrix_form form, const char *path, struct error *e);

#endif
