/* SPDX-License-Identifier: MIT
 * Expert packs: a tar of a model's tensors, each at a place of its own that manifest.json, the first member, tells (docs/pack-format.md).
 *
 *   0            512               R = 512 + its size, whole blocks                                              -1024
 *   | tar header | manifest.json   | side files | tensors/NAME | experts/LLL/EEE: bundles of gate, up, down | two zero blocks |
 *
 * A member's data begin at a multiple of its alignment: a pax record ('x', comment=spaces) before its header fills the gap. */
#ifndef PARE_FORMATS_PACK_H
#define PARE_FORMATS_PACK_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/hash.h"
#include "formats/source.h"

enum {
    PACK_VERSION = 1,
    PACK_BLOCK = 512,             /* of tar */
    PACK_ALIGN = 4096,            /* of members that are tensors, unless another is chosen */
    PACK_ALIGN_MOST = 1 << 20,    /* readers take no longer records */
    PACK_INNER = 64,              /* of tensors in a bundle */
    PACK_END = 2 * PACK_BLOCK,
    PACK_NAME = 256,
};
#define PACK_FORMAT "pare-pack"
#define PACK_MANIFEST "manifest.json"
#define PACK_TENSORS "tensors/"

/* What is not in a pack that holds only some experts. */
enum pack_subset { PACK_WHOLE, PACK_SOME_EXPERTS, PACK_EXPERTS_ONLY, PACK_SUBSETS };
extern const char *const pack_subset_names[PACK_SUBSETS]; /* "" for PACK_WHOLE */

/* Where the data begin of a member whose headers begin at `at`; what follows data of this size. */
uint64_t pack_place(uint64_t at, uint64_t size, uint64_t align);
uint64_t pack_after(uint64_t data, uint64_t size);
uint64_t pack_round(uint64_t n, uint64_t align);
/* Appends the bytes from `at` to the member's data. ERR_UNSUPPORTED for a name that tar headers cannot hold. */
int pack_headers(struct buffer *b, const char *name, uint64_t at, uint64_t size, uint64_t align, struct error *e);

/* Name of an expert's bundle. Returns out. */
const char *pack_bundle_name(uint64_t layer, uint64_t expert, char out[PACK_NAME]);
/* A side file's name: plain components, none of the names that tensors have. */
int pack_side_name_is_valid(const char *name);

/* Storage of a tensor in a pack: dtypes of checkpoints, block types of GGUF, groups of integers with their scales. NULL: none. */
const struct storage *pack_storage(const char *name);

/* What the manifest says of a tensor beside its place. */
struct packed {
    char hash[HASH_TEXT];
    uint32_t crc;
};

struct pack_side {
    const char *name;
    uint32_t file;
    uint64_t offset, size;
    struct packed sum;
};

struct pack_member {
    const char *name;
    uint32_t file;
    uint64_t at, offset, size, align; /* headers, data */
    size_t first, n;                  /* of a bundle: its tensors' extents; n 0: the data are one tensor, a side file, the manifest */
};

/* Bytes of a bundle's tensor. */
struct pack_extent {
    uint64_t offset, size;
};

struct pack {
    uint64_t align;
    int plain;                   /* experts are members like all others */
    enum pack_subset subset;
    const char *recipe, *tool;
    const char *source;          /* name of what the first pack was made from */
    uint64_t layers, experts;    /* of the model */
    struct pack_side *sides;     /* in the order of the files */
    size_t n_sides;
    struct pack_member *members; /* of all files, in their order */
    size_t n_members;
    struct pack_extent *extents;
    size_t n_extents;
};

/* Calls `each` for every member that libarchive finds, in order, with the path and the size that it says. Stops at -1. */
int pack_walk(const struct io_file *f, int (*each)(void *context, const char *name, uint64_t size, struct error *e), void *context,
              struct error *e);

/* For the reader: the text of the first member, which must be manifest.json, malloc'd; *size as the tar header says. */
int pack_manifest_text(const struct io_file *f, char **text, size_t *size, struct error *e);

#endif
