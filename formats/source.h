/* SPDX-License-Identifier: MIT
 * Sources: anything readable as a list of named tensors, whatever the container. A source knows names, shapes, storage
 * types and bytes; what a tensor means is model/'s business, what its bytes decode to quant/'s. */
#ifndef PARE_FORMATS_SOURCE_H
#define PARE_FORMATS_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/io.h"

enum { TENSOR_MAX_DIMS = 8 };

/* SHARD.consumed stands for a shard that a conversion has used up and removed (convert/consume.h): header, size and time of
 * the shard, no data. Sources with such shards open, so that the conversion can go on; reading their data is an error. */
#define SOURCE_CONSUMED ".consumed"

/* How elements are stored: blocks of `block_len` elements in `block_bytes` bytes, along the fastest dimension.
 * Names are the field's ("F8_E4M3", "BF16", "Q4_K") and equal those of quant/types.c where a codec exists. */
struct storage {
    const char *name;
    uint32_t block_len;
    uint32_t block_bytes;
    int gguf_id;         /* id in the GGUF specification, or -1 */
    uint32_t row_header; /* bytes before the first block of each row; 0 but for some ik_llama.cpp types */
};

/* A tensor of a source. All pointers belong to the source. */
struct tensor {
    const char *name;
    const struct storage *type;
    uint32_t n_dims;                /* 0: a scalar */
    uint32_t file;                  /* index into source->files */
    uint64_t dims[TENSOR_MAX_DIMS]; /* row-major, slowest first: [rows][cols] of a matrix */
    uint64_t offset;                /* of its first byte in the file */
    uint64_t bytes;                 /* checked: equals the size that type and dims give, and lies in the file */
    const struct coded *coded;      /* entropy coded (formats/coded.h): bytes is what they stand for; NULL: they lie there as they are */
    const struct packed *packed;    /* of a pack: its sums (formats/pack.h); NULL for others */
};

struct gguf_meta;
struct pack;
struct packed;
struct coded_cache;

struct source {
    const struct format *format;
    char *path;              /* as the user gave it */
    struct arena arena;      /* names, tensors, paths */
    struct io_file *files;   /* one per shard, open */
    size_t n_files, n_consumed;
    struct tensor *tensors;  /* sorted by name (bytes), names are unique */
    size_t n_tensors, tensor_room;
    uint64_t tensor_bytes;   /* sum over tensors */
    int is_folder;           /* side files (config.json, tokenizer.json) lie in the folder `path` */
    struct gguf_meta *meta;  /* key-value pairs of a GGUF; NULL for others */
    struct coded_cache *coded; /* NULL: no tensor is coded */
    struct pack *pack;       /* members, side files and more of a pack (formats/pack.h); NULL for others */
    const char *note;        /* something odd but harmless that the user should know, or NULL */
};

/* A container format: one const row in format.c. */
struct format {
    const char *name;
    /* 0 no .. 100 certain; `head` are the first n <= 64 bytes, n 0 for a folder */
    int (*probe)(const char *path, int is_folder, const uint8_t *head, size_t n);
    /* fills files and tensors (any order); s->path and s->arena are ready. The caller cleans up on failure */
    int (*open)(struct source *s, struct error *e);
};
extern const struct format *const formats[]; /* ends with NULL */

/* Opens and validates PATH: a checkpoint folder, a safetensors file, a GGUF or pack (a split one by any part, or by the whole's name). Every
 * header is parsed, every size checked against the file it names. Returns NULL with ERR_FORMAT, ERR_UNSUPPORTED,
 * ERR_IO or ERR_MEMORY. Reading is thread-safe afterwards. */
struct source *source_open(const char *path, struct error *e);
void source_close(struct source *s); /* NULL is allowed */

/* By exact name, or NULL. */
const struct tensor *source_find(const struct source *s, const char *name);

/* Reads n bytes at `at` of the tensor's data; at + n <= t->bytes is the caller's duty. Errors name file and tensor. */
int source_read(const struct source *s, const struct tensor *t, uint64_t at, void *buf, size_t n,
                struct error *e);

/* Tells the disk that source_read will want these bytes soon. */
void source_will_need(const struct source *s, const struct tensor *t, uint64_t at, uint64_t n);
/* XXH3-128 of all its bytes; of coded ones, of what they stand for. */
int source_hash(const struct source *s, const struct tensor *t, char out[HASH_TEXT], struct error *e);

/* Bytes of a file before its first tensor's data. */
uint64_t source_header_size(const struct source *s, size_t file);

/* A side file of a checkpoint folder or pack: 1 and malloc'd text (caller frees), 0 when there is none, -1 on error. */
int source_side_file(const struct source *s, const char *name, uint64_t max, char **text, size_t *size,
                     struct error *e);
/* Their names, sorted, in the arena: of a folder those of all regular files directly in it. ERR_IO, ERR_MEMORY, ERR_UNSUPPORTED: too many. */
int source_side_names(const struct source *s, struct arena *a, const char ***names, size_t *n, struct error *e);

/* For the readers: appends a shard (takes over `path`'s memory from the arena) and returns its index, or -1. */
int source_add_file(struct source *s, const char *path, struct error *e);
/* For the readers: appends a tensor; dims and type set, bytes computed and checked against the given size. */
int source_add_tensor(struct source *s, const struct tensor *t, struct error *e);
/* For the readers: the bytes that type and dims need; -1 with ERR_FORMAT when they overflow or do not divide. */
int tensor_size(const struct tensor *t, uint64_t *bytes, struct error *e);
/* Elements of a tensor. */
uint64_t tensor_elements(const struct tensor *t);

/* "[7168, 2048]" */
enum { SHAPE_TEXT = 200 };
const char *shape_text(const uint64_t *dims, uint32_t n, char out[SHAPE_TEXT]);

#endif
