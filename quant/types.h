/* SPDX-License-Identifier: MIT
 * Quantization types: number formats and block quantizers, floats <-> blocks. Nothing here knows a file.
 *
 * quant_types is the only list: the CLI's choices, the kernel tests and the help walk it. Names are the field's and equal
 * the storage names of formats/. */
#ifndef PARE_QUANT_TYPES_H
#define PARE_QUANT_TYPES_H

#include <stddef.h>
#include <stdint.h>

/* The kernels of a type, over n consecutive blocks. Blocks are packed; x holds n * block_len floats. No alignment is asked
 * for; nothing is allocated; thread-safe. */

/* x must be finite and within the type's max_abs. Deterministic and the same on every instruction set.
 *   importance  one weight per float of x, finite and not negative: the blocks are then one row of a matrix, because some
 *               types weigh by the mean square of the row. NULL: none, and the blocks may be of any number of rows. */
typedef void quant_encode_fn(const float *x, const float *importance, void *blocks, size_t n);
typedef void quant_decode_fn(const void *blocks, float *x, size_t n);

struct quant_kernels {
    quant_encode_fn *encode;  /* `--search compat`: the library's bytes. NULL: the type is read, never written */
    quant_decode_fn *decode;
    quant_encode_fn *improve; /* `--search best` (quant/best.h): blocks hold what encode made of the same x and importance,
                               * and get smaller errors. NULL: they are left as they are */
};

/* Replaces entries of *k by variants that these CPU features allow (base/cpu.h). */
typedef void quant_simd_fn(struct quant_kernels *k, unsigned cpu);

struct best;
struct group_form; /* quant/groups.h */
struct tiling;     /* quant/tiled.h */

enum quant_flags {
    QT_FLOAT = 1 << 0, /* a plain number format, one number per block */
    QT_TILED = 1 << 1, /* multiplied by one scale per tile that lies in another tensor (fp8_tiles.h, tiled.h) */
    QT_WEIGHED = 1 << 2, /* encode heeds importance, as every improve does; others give the same blocks with and without */
};

struct quant_type {
    const char *name;
    int gguf_id;              /* id in the GGUF specification; -1: not storable in GGUF */
    uint32_t block_len;       /* weights per block */
    uint32_t block_bytes;     /* stored bytes per block, scales included */
    unsigned flags;
    float max_abs;            /* encode takes |x| up to this without becoming infinite */
    struct quant_kernels ref; /* scalar kernels: the definition of the type */
    quant_simd_fn *simd;      /* NULL: scalar only */
    const struct best *best;  /* how blocks are taken apart and put together (quant/best.h); NULL: they are not */
    const struct group_form *group; /* of INT4 and INT8 groups; NULL: another kind */
    const struct tiling *tiling;    /* codes and scales in arrays of their own: tiled_encode in place of the kernels; NULL: blocks */
};

extern const struct quant_type quant_types[]; /* ends with a row whose name is NULL */

/* By name, in any case of letters, or NULL. */
const struct quant_type *quant_type_find(const char *name);

/* The best kernels for these features. */
struct quant_kernels quant_kernels_for(const struct quant_type *t, unsigned cpu);

/* Bits per weight as stored, scales included, but for those of tiles. */
double quant_type_bpw(const struct quant_type *t);

#endif
