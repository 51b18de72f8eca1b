/* SPDX-License-Identifier: MIT
 * What mkcheckpoint's two halves share: mkcheckpoint.c says what a checkpoint of a family is,
 * mkcheckpoint_write.c gives it values and bytes. */
#ifndef PARE_TESTS_MKCHECKPOINT_H
#define PARE_TESTS_MKCHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { TILE = 128, GROUP = 32 };        /* rows and columns of an FP8 tile; weights of an INT4 group */
enum { EXIT_USAGE = 2, EXIT_IO = 4 };
enum dtype { U8, F8_E4M3, F8_E8M0, F16, BF16, I32, F32, I64, N_DTYPES };  /* low to high in a file's order */

struct params {
    int64_t layers, dense, experts, groups, topk_group, used, hidden, inter, moe_inter, heads,
            q_lora, kv_lora, vocab, mtp, index_heads, index_topk, shards, seed;
};

struct family {
    const char *name, *architecture, *model_type, *topk_method, *scoring;
    double routed_scaling_factor, mscale;
    int shared;                         /* shared experts */
    bool v3;                            /* correction bias, normalised top-k, MTP layer */
    bool int4;                          /* routed experts are INT4, packed by compressed-tensors */
    bool indexer, pow2;                 /* DSA; tile scales are powers of two */
    enum dtype dtype;                   /* of the linear layers */
    const struct params *small, *real;
};

struct tensor {
    char *name;
    const char *values;                 /* the name that seeds the values; borrowed */
    enum dtype dtype;
    bool vector;                        /* one dimension; rows is 1 then */
    bool is_scale;                      /* stores the tile scales of a weight of rows x cols */
    bool tiled;                         /* each tile has a magnitude of its own */
    bool odd;                           /* --odd-o-proj applies */
    bool is_step;                       /* stores the scales of INT4 groups */
    uint64_t of[2];                     /* of a weight_shape: what it says */
    uint64_t rows, cols;
    float mean, std;
    uint64_t begin;                     /* in its shard's data */
};

struct checkpoint {
    struct params p;
    const struct family *family;
    const char *out, *tokenizer;
    bool single, sparse, new_spelling, odd_o_proj, pow2;
    enum dtype linear, plain, scale;    /* matrices that can be FP8; the rest; tile scales */
    char prefix[64];                    /* of the names being added */
    struct tensor *t;                   /* the plan, in the model's order */
    size_t n, room;
    size_t *first;                      /* shard k has tensors first[k] .. first[k + 1] - 1 */
    uint64_t bytes;                     /* of all tensors */
};

__attribute__((format(printf, 2, 3), noreturn))
void die(int code, const char *format, ...);
void *must(void *p);                    /* p, which is not NULL: else out of memory */

/* A new file in c->out, and its end. */
FILE *create_file(const struct checkpoint *c, const char *name);
void finish_file(const struct checkpoint *c, FILE *f, const char *name);

/* Copies what there is of a tokenizer in the folder c->tokenizer. */
void copy_tokenizer(const struct checkpoint *c);

/* Distributes the plan: fills first and bytes. */
void assign_shards(struct checkpoint *c);

/* Writes the shards and the index. */
void write_tensors(struct checkpoint *c);

#endif
